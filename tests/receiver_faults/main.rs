//! What receivers do to the whole program: queues that grow, kills in the middle, dead letters that go elsewhere.
//!
//! Sizes come from the environment, so that the same tests run for seconds in CI and for as long as one likes by hand:
//! `RECEIVERS_EVENTS` (queued for each dead receiver), `RECEIVERS_BODY` (bytes of each), `RECEIVERS_KILLS`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // How a test fails.

mod backlog;
#[path = "../standalone/home.rs"]
#[allow(dead_code, reason = "shared: every test binary uses its part")]
mod home;
mod kills;
#[path = "../program/mod.rs"]
#[allow(dead_code, reason = "shared: every test binary uses its part")]
mod program;
mod recorder;

/// A size from the environment.
fn size(name: &str, default: usize) -> usize {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name} is not a number: {text}")),
        Err(_) => default,
    }
}
