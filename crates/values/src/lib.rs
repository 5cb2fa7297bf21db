//! Values that the other crates read, compare and bound: durations, quantities, names, patterns, secrets, time.
//!
//! Every parser here takes text that a user or a sender wrote, has a bound on its length, and says in its error what is
//! wrong and what to write instead.

#![warn(missing_docs)]
// Input from outside must never end the process: a refusal has a name and an answer.
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

pub mod bounds;
pub mod clock;
pub mod cost_budget;
pub mod duration;
pub mod glob;
pub mod limits;
pub mod name;
pub mod pointer;
pub mod quantity;
pub mod secret;
pub mod selector;
pub mod suggest;
pub mod traceparent;
