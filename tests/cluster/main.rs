//! The operator on a real Kubernetes API server: real objects, real RBAC, real HTTP.
//!
//! nextest starts one API server for the run (`.config/nextest.toml`); every test has a namespace of its own on it. Tests
//! in `own` have a control plane of their own, which they stop, or fill.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // How a test fails.

mod callers;
mod changes;
mod classes;
mod drain;
mod forward;
mod gitops;
mod own;
mod reasons;
mod replays;
mod replicas;
mod restarts;
mod reviews;
mod rights;
mod routes;
mod secrets;
mod shop;
mod statuses;
mod tenants;
mod versions;
mod walk;

use grapnel_test_support::{cluster as fixture, program};
