//! Grapnel: a Kubernetes operator for webhooks.

pub mod api;
pub mod catalog;
pub mod files;
pub mod journal;
pub mod rules;
pub mod telemetry;
