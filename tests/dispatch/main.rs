//! Deliveries, with a real journal and real receivers on the loopback.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // How a test fails.

mod answers;
mod attachment;
mod circuit;
mod dead_letters;
mod detachment;
mod expressions;
mod faults;
mod fetching;
mod h2;
mod identities;
mod incarnations;
mod kept_connections;
mod lifecycle;
mod names;
mod ordering;
mod outages;
mod requests;
mod services;
mod shadow;
mod stage;
mod tenure;
mod throttle;
mod tls;
mod tokens;

use grapnel_test_support::journal_front as front;
