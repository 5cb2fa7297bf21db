//! Values that the other crates parse, compare and bound: durations, quantities, names, patterns, secrets, time.
//!
//! Every parser takes text from users or senders, limits its length, and returns an error that says what is wrong and
//! what to write instead.

#![warn(missing_docs)]
// Input from outside must never cause a panic: every rejection is an error with a response.
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

pub mod bounds;
pub mod clock;
pub mod cost_budget;
pub mod duration;
pub mod fields;
pub mod glob;
pub mod limits;
pub mod name;
pub mod pointer;
pub mod provider;
pub mod quantity;
pub mod secret;
pub mod selector;
pub mod suggest;
pub mod traceparent;
