//! The contents of a request: the body, its headers, and the CloudEvents in either.
//!
//! Nothing here knows whether a body is genuine: `grapnel-signature` verifies the raw bytes first.

pub mod cloudevents;
pub mod event_data;
pub mod headers;
pub mod json;
pub mod lenient;
pub mod limits;
pub mod payload;
pub mod reading;
