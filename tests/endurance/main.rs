//! What has to hold for long: restarts under load, retention, replays. The real program wherever that is possible.
//!
//! The sizes are small enough for every run. For a long one set, as numbers, `GRAPNEL_RESTARTS` (restarts under load) and
//! `GRAPNEL_RETAINED_EVENTS` (events of each test of retention).

mod drain;
mod full;
mod home;
#[path = "../program/mod.rs"]
#[allow(dead_code, reason = "shared: every test binary uses its part")]
mod program;
mod replays;
mod restarts;
mod retention;
mod sweeps;

/// A size: what the environment says, or what fits into every run.
fn size(variable: &str, usual: usize) -> usize {
    std::env::var(variable).map_or(usual, |text| text.parse().unwrap())
}
