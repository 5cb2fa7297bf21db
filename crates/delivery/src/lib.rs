//! The rules by which events are delivered: when to attempt again, when to pause, how fast, and to which addresses.
//!
//! Pure: no clock of its own, no I/O.

#![warn(missing_docs)]
// Input from outside must never end the process: a refusal has a name and an answer.
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

pub mod breaker;
pub mod egress;
pub mod egress_proxy;
pub mod limits;
pub mod rate_limit;
pub mod retry;
