//! Delivery policies: when to retry, when to pause, at which rate, and to which addresses.
//!
//! Pure: no clock of its own, no I/O.

pub mod breaker;
pub mod egress;
pub mod egress_proxy;
pub mod limits;
pub mod rate_limit;
pub mod retry;
