//! The contents of a request: the body, its headers, and the CloudEvents in either.
//!
//! Nothing here knows whether a body is genuine: `grapnel-signature` verifies the raw bytes first.

pub mod cloudevents;
pub mod event_data;
pub mod expression_inputs;
mod form;
pub mod headers;
pub mod json;
pub mod json_text;
pub mod lenient;
pub mod limits;
pub mod malformed;
pub mod payload;
pub mod reading;
