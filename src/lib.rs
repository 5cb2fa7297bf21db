//! Grapnel: a Kubernetes operator for webhooks.

pub mod api;
pub mod journal;
pub mod rules;
