//! Events for tests of this and other crates (feature `testing`).

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use bytes::Bytes;
use grapnel_event::{
    identity::{Identity, Payload},
    schema::{SchemaSet, Validated},
};
use grapnel_signature::{Scheme, Verifier};
use jiff::Timestamp;

/// Returns an event that passed the same checks as any other.
pub fn validated(id: &str, kind: &str, body: Bytes) -> Validated {
    let verifier = Verifier::new(Scheme::None, Vec::new()).unwrap();
    let verified = verifier.verify(&http::HeaderMap::new(), body, Timestamp::UNIX_EPOCH).unwrap();
    let identity = Identity { id: id.into(), kind: kind.into() };
    SchemaSet::default().validate(verified, &Payload::Opaque, identity).unwrap()
}
