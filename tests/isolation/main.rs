//! Nobody in: where deliveries may go, what tenants learn of each other, and where secrets may be seen. Every test makes
//! the attack, on the real program and real sockets.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // How a test fails.

mod debug;
mod hosts;
mod memory;
mod proxy;
mod rebinding;
mod redirects;
mod secrets;
mod targets;
mod tenancy;
mod urls;
mod world;

use grapnel_test_support::{home, program};
