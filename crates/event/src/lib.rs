//! Identity and validation of events. [`schema`] is the only way from a `Verified` body to a `Validated` event.

pub mod dead_letter;
pub mod identity;
pub mod limits;
pub mod schema;
