//! Events for tests of this and other crates (feature `testing`).

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use bytes::Bytes;
use grapnel_event::{
    identity::{Identity, Payload},
    schema::{SchemaSet, Validated},
};
use grapnel_signature::testing::verified;

/// Returns an event that passed the same checks as any other.
pub fn validated(id: &str, kind: &str, body: Bytes) -> Validated {
    let identity = Identity::new(id, kind);
    SchemaSet::default().validate(verified(body), &Payload::Opaque, identity).unwrap()
}
