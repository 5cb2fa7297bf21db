//! The public server over real sockets, with a real journal.
// A test fails by panicking, and so do its helpers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod answers;
mod attack;
mod attack_crowd;
mod attack_h2;
mod callers;
mod client;
mod connections;
mod events;
mod fixture;
mod payloads;
mod signatures;
mod tls;
mod trouble;
