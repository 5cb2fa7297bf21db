//! The operator on a real Kubernetes API server: real objects, real RBAC, real HTTP.
//!
//! nextest starts one API server for the run (`.config/nextest.toml`); every test has a namespace of its own on it. Tests
//! in `own` have a control plane of their own, which they stop, or fill.

mod callers;
mod changes;
mod drain;
#[allow(dead_code, reason = "shared: every test binary uses its part")]
mod fixture;
mod forward;
mod own;
#[path = "../program/mod.rs"]
#[allow(dead_code, reason = "shared: every test binary uses its part")]
mod program;
mod reasons;
mod replicas;
mod restarts;
mod reviews;
mod secrets;
mod shop;
mod statuses;
mod tenants;
mod versions;
mod walk;
