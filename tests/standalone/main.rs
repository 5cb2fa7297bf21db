//! The whole walk, as a user has it: the real program, real files, real HTTP.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // How a test fails.

mod check;
mod commands;
mod eval;
mod expressions;
mod journal;
mod plan;
mod providers;
mod redeliver;
mod reload;
mod replays;
mod restart;
mod start;
mod targets;
mod tenancy;
mod traces;
mod walk;

use grapnel_test_support::{home, program};
