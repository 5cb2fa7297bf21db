//! What the test binaries and the benches share: the program as a child process, a receiver that follows a script,
//! certificates, a Kubernetes cluster, and the one way to wait for something.
//!
//! Only dev-dependencies name this crate. It uses the library crates, not `grapnel` itself, so that a change of the
//! program does not compile it again.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // How a test fails.

pub mod certificates;
pub mod cluster;
pub mod directory;
pub mod disk;
pub mod home;
pub mod journal_front;
pub mod leaks;
pub mod namespace;
pub mod nats;
pub mod program;
pub mod receiver;
pub mod replicas;
mod size;
mod wait;

pub use size::size;
pub use wait::{Outcome, PATIENCE, eventually, eventually_every};
