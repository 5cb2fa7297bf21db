//! Telemetry: metrics, logs and traces.

pub mod limits;
pub mod metrics;
pub mod spans;
pub mod tracing;
