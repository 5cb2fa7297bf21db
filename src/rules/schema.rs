//! Validation by schema.

use bytes::Bytes;

use super::identity::Identity;

/// An event that has passed verification and validation.
#[derive(Debug, Clone)]
pub struct Validated {
    identity: Identity,
    body: Bytes,
}

impl Validated {
    /// Placeholder until `SchemaSet::validate` is the only way.
    pub fn new(identity: Identity, body: Bytes) -> Self {
        Self { identity, body }
    }

    /// Its parts.
    pub fn into_parts(self) -> (Identity, Bytes) {
        (self.identity, self.body)
    }

    /// Id and type.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The raw body.
    pub fn body(&self) -> &Bytes {
        &self.body
    }
}
