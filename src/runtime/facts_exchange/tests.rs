//! Replicas that exchange facts over a board in memory.

mod board;
mod model;
mod scenarios;
