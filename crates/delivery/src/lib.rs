//! Delivery policies: when to retry, when to pause, at which rate, and to which addresses.
//!
//! Pure: no clock of its own, no I/O.

#![warn(missing_docs)]
// Input from outside must never cause a panic: every rejection is an error with a response.
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

pub mod breaker;
pub mod egress;
pub mod egress_proxy;
pub mod limits;
pub mod rate_limit;
pub mod retry;
