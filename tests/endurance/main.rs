//! What has to hold for long: restarts under load, retention, replays. The real program wherever that is possible.
//!
//! The sizes are small enough for every run. For a long one set, as numbers, `GRAPNEL_RESTARTS` (restarts under load) and
//! `GRAPNEL_RETAINED_EVENTS` (events of each test of retention).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // How a test fails.

mod drain;
mod full;
mod home;
mod replays;
mod restarts;
mod retention;
mod sweeps;

use grapnel_test_support::{program, size};
