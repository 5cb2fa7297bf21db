//! Arrivals and settlements to try things with.

use std::time::Duration;

use bytes::Bytes;
use grapnel::{
    api::ObjectKey,
    journal::{Arrival, Failure, Settlement},
    rules::{
        identity::{Identity, Payload},
        schema::{SchemaSet, Unmatched, Validated},
        signature::{Scheme, Verifier},
    },
};
use http::HeaderMap;
use jiff::Timestamp;

/// The one place where tests make a `Validated`.
pub(crate) fn validated(id: &str, kind: &str, body: Bytes) -> Validated {
    let verifier = Verifier::new(Scheme::None, Vec::new()).unwrap();
    let verified = verifier.verify(&HeaderMap::new(), body, at(0)).unwrap();
    let schemas = SchemaSet::compile(Vec::new(), Unmatched::Accept).unwrap();
    schemas.validate(verified, &Payload::Opaque, Identity { id: id.into(), kind: kind.into() }).unwrap()
}

/// A moment of the simulated clock.
pub(crate) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).unwrap()
}

pub(crate) fn key(name: &str) -> ObjectKey {
    ObjectKey::new("shop", name)
}

/// An event with a window of an hour.
pub(crate) fn arrival(endpoint: &ObjectKey, id: &str, second: i64) -> Arrival {
    Arrival {
        endpoint: endpoint.clone(),
        validated: validated(id, "order.created", Bytes::from(format!("{{\"id\":\"{id}\"}}"))),
        received: at(second),
        content_type: Some("application/json".into()),
        remote: Some([192, 0, 2, 7].into()),
        headers: vec![("user-agent".into(), Bytes::from_static(b"shop/1"))],
        window: Some(Duration::from_secs(3600)),
    }
}

pub(crate) fn failure(second: i64) -> Failure {
    Failure { time: at(second), reason: "status".into(), status: Some(500), message: "out of order".into() }
}

pub(crate) fn retry(due: i64) -> Settlement {
    Settlement::Retry { due: at(due), failure: failure(due - 1) }
}

pub(crate) fn dead(second: i64) -> Settlement {
    Settlement::Dead { failure: failure(second) }
}
