//! What [`grapnel_journal::Journal`] promises, asked of every engine.
//!
//! `journal/contract.rs` lists the parts of the contract; each engine has a file of its own that asks for all of them and
//! for what only it promises.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // How a test fails.

mod journal {
    pub(crate) mod appends;
    pub(crate) mod arrivals;
    pub(crate) mod claims;
    pub(crate) mod consumers;
    pub(crate) mod contract;
    pub(crate) mod damage;
    pub(crate) mod embedded;
    pub(crate) mod endpoints;
    mod eventless;
    mod full;
    mod list_bounds;
    pub(crate) mod listings;
    pub(crate) mod memory;
    pub(crate) mod model;
    pub(crate) mod nats;
    pub(crate) mod outcomes;
    pub(crate) mod redelivery;
    pub(crate) mod retention;
    pub(crate) mod session;
    pub(crate) mod shares;
}
