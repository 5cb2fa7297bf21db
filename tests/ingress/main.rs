//! The public server over real sockets, with a real journal.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // How a test fails.

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
mod handshakes;
mod payloads;
mod presets;
mod probes;
mod signatures;
mod sns;
mod tls;
mod trouble;

use grapnel_test_support::{journal_front as front, program};
