//! The API `grapnel.dev/v1alpha1`: types only.

mod key;

pub use key::ObjectKey;
