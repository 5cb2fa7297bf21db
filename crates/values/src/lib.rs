//! Values that the other crates parse, compare and bound: durations, quantities, names, patterns, secrets, time.
//!
//! Every parser takes text from users or senders, limits its length, and returns an error that says what is wrong and
//! what to write instead.

pub mod age;
pub mod bounds;
pub mod clock;
pub mod cost_budget;
pub mod duration;
pub mod fields;
pub mod glob;
pub mod label;
pub mod limits;
pub mod name;
pub mod pointer;
pub mod provider;
pub mod quantity;
pub mod secret;
pub mod suggest;
pub mod traceparent;
