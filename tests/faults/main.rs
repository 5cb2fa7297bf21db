//! Crashes and failing disks below the real program: what was answered 2xx is there afterwards.
//!
//! `shim.c` is put between the program and libc and makes its calls fail, tears them, or kills it at them; nothing in the
//! product knows of it. The tests take their sizes from the environment: `FAULTS_KILLS`, `FAULTS_POINTS`,
//! `FAULTS_POWER_CUTS` and `FAULTS_SLOW_EVENTS` (see docs/reliability.md).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // How a test fails.

mod crash;
mod disk;
mod shim;
mod site;
mod slow;
mod traffic;

use grapnel_test_support::{program, size};

/// A random number below `bound`, printed by nobody: what matters is in the fault that is made of it.
fn random(bound: u64) -> u64 {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).unwrap();
    u64::from_ne_bytes(bytes) % bound
}
