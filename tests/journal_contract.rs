//! What [`grapnel::journal::Journal`] promises, asked of every engine.
//!
//! The suite takes any engine: it needs a way to open it (again), with and without a close before.

// Helpers of tests too fail by panicking.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod journal {
    pub(crate) mod arrivals;
    pub(crate) mod embedded;
    pub(crate) mod model;
    pub(crate) mod redelivery;
    pub(crate) mod suite;
    pub(crate) mod upgrade;
}
