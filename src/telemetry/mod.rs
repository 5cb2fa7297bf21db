//! What Grapnel tells about itself: metrics and logs.

pub mod metrics;
pub mod tracing;
