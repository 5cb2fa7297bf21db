//! What receivers do to the whole program: queues that grow, kills in the middle, dead letters that go elsewhere.
//!
//! Sizes come from the environment, so that the same tests run for seconds in CI and for as long as one likes by hand:
//! `RECEIVERS_EVENTS` (queued for each dead receiver), `RECEIVERS_BODY` (bytes of each), `RECEIVERS_KILLS`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // How a test fails.

mod backlog;
mod kills;
mod recorder;

use grapnel_test_support::{home, program, size};
