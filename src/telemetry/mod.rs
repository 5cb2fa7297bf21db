//! What Grapnel tells about itself: metrics, logs and traces.

pub mod metrics;
pub mod spans;
pub mod tracing;
