//! Grapnel: a Kubernetes operator for webhooks.

pub mod api;
pub mod catalog;
pub mod ingress;
pub mod journal;
pub mod rules;
pub mod telemetry;
