//! Deliveries, with a real journal and real receivers on the loopback.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // How a test fails.

mod answers;
mod circuit;
mod fetching;
mod lifecycle;
mod ordering;
mod requests;
mod services;
mod stage;
mod throttle;
mod tls;
