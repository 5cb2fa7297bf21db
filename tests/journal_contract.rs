//! What [`grapnel::journal::Journal`] promises, asked of every engine.
//!
//! The suite takes any engine: it needs a way to open it (again), with and without a close before.

mod journal {
    pub(crate) mod arrivals;
    pub(crate) mod embedded;
    pub(crate) mod model;
    pub(crate) mod suite;
}
