//! Identity and validation of events. [`schema`] is the only way from a `Verified` body to a `Validated` event.

#![warn(missing_docs)]
// Input from outside must never cause a panic: every rejection is an error with a response.
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

pub mod dead_letter;
pub mod identity;
pub mod limits;
pub mod schema;
