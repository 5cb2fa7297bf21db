//! Pure rules: no I/O, no async, no Kubernetes, no HTTP server.

pub mod identity;
pub mod limits;
pub mod schema;
