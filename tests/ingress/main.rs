//! The public server over real sockets, with a real journal.
// A test fails by panicking, and so do its helpers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod answers;
mod attack;
mod attack_crowd;
mod attack_h2;
mod attack_load;
mod callers;
mod client;
mod cloudevents;
mod connections;
mod events;
mod fixture;
#[path = "../journal/front.rs"]
mod front;
mod handshakes;
mod payloads;
mod presets;
mod probes;
#[path = "../program/mod.rs"]
#[allow(dead_code, reason = "shared: every test binary uses its part")]
mod program;
mod signatures;
mod sns;
mod tls;
mod trouble;
