//! The public server over real sockets, with a real journal.
// A test fails by panicking, and so do its helpers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod answers;
mod callers;
mod client;
mod cloudevents;
mod connections;
mod events;
mod fixture;
mod handshakes;
mod payloads;
mod presets;
mod signatures;
mod tls;
mod trouble;
