//! Names, arrivals and settlements to test with.

use std::time::Duration;

use bytes::Bytes;
use grapnel_api::{Incarnation, ObjectKey};
pub(crate) use grapnel_journal::testing::validated;
use grapnel_journal::{Arrival, Exchange, Failure, Settlement, SkipReason};
use jiff::Timestamp;

/// A moment of the simulated clock.
pub(crate) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).unwrap()
}

pub(crate) fn key(name: &str) -> ObjectKey {
    ObjectKey::new("shop", name)
}

/// An object that comes from a file: the one incarnation of its name.
pub(crate) fn file(name: &str) -> Incarnation {
    Incarnation::of_file(key(name))
}

/// An object of a cluster.
pub(crate) fn object(name: &str, uid: &str) -> Incarnation {
    Incarnation::new(key(name), uid)
}

/// An event with a window of an hour.
pub(crate) fn arrival(endpoint: &Incarnation, id: &str, second: i64) -> Arrival {
    Arrival {
        endpoint: endpoint.clone(),
        validated: validated(id, "order.created", Bytes::from(format!("{{\"id\":\"{id}\"}}"))),
        received: at(second),
        content_type: Some("application/json".into()),
        remote: Some([192, 0, 2, 7].into()),
        headers: vec![("user-agent".into(), Bytes::from_static(b"shop/1"))],
        window: Some(Duration::from_secs(3600)),
        max_bytes: None,
    }
}

/// The same with a body of so many bytes.
pub(crate) fn sized(endpoint: &Incarnation, id: &str, bytes: usize) -> Arrival {
    Arrival { validated: validated(id, "big", Bytes::from(vec![b'x'; bytes])), ..arrival(endpoint, id, 0) }
}

/// How long every attempt takes.
pub(crate) const TOOK: Duration = Duration::from_millis(250);

pub(crate) fn exchange(second: i64, status: u16) -> Exchange {
    Exchange { time: at(second), status: Some(status), took: TOOK }
}

pub(crate) fn failure(second: i64) -> Failure {
    Failure { time: at(second), reason: "status".into(), status: Some(500), took: TOOK, message: "out of order".into() }
}

pub(crate) fn delivered(second: i64) -> Settlement {
    Settlement::Delivered(exchange(second, 202))
}

pub(crate) fn skipped(second: i64) -> Settlement {
    Settlement::Skipped { reason: SkipReason::Type, time: at(second) }
}

/// A failure in the second before `due`.
pub(crate) fn retry(due: i64) -> Settlement {
    Settlement::Retry { due: at(due), failure: failure(due - 1) }
}

pub(crate) fn dead(second: i64) -> Settlement {
    Settlement::Dead { failure: failure(second) }
}
