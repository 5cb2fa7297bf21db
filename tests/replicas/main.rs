//! Several replicas on three brokers, some of which are killed, paused, cut off or misconfigured: what was answered 2xx is
//! delivered, in order, and not twice without reason.
//!
//! The replicas are processes of the real program, the brokers real NATS servers that sync before they acknowledge.
//! `REPLICAS_ROUNDS` sets how many times the chaos test breaks something, and `REPLICAS_SEED` repeats a run's choices (see
//! docs/reliability.md).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // How a test fails.

mod audit;
mod by_hand;
mod chaos;
mod outages;
mod power;
mod proxy;
mod receipts;
mod rolling;
mod senders;
mod setups;
mod site;
mod stage;
mod takeover;
