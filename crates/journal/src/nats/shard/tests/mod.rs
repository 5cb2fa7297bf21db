//! The whole state: against the naive engine, and what that one does not have.

mod harness;
mod model;
mod operations;
mod scenarios;
