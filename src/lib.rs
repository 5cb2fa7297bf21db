//! Grapnel: a Kubernetes operator for webhooks.

pub mod admin;
pub mod api;
pub mod catalog;
pub mod cli;
pub mod journal;
pub mod rules;
pub mod telemetry;
