//! Events on their way to the writer, encoded.

use std::{sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};

use super::{
    endpoint::Endpoint,
    frame::{Frame, Kind, head_checksum},
    ids::{IdHash, KnownId},
    segments::EVENT_OVERHEAD,
    task::Answer,
};
use crate::{
    Appended, Arrival, Sequence,
    machine::Micros,
    record::{self, codec::put_var},
};

/// Events to append, all or none.
pub(super) struct Append {
    pub(super) events: Vec<Incoming>,
    pub(super) answer: Answer<Vec<Appended>>,
}

/// An encoded event.
pub(super) struct Incoming {
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) incarnation: u32,
    pub(super) id: IdHash,
    /// The payload of the record.
    pub(super) payload: Bytes,
    /// Offset of the event in the payload.
    pub(super) row: usize,
    checksum: u32,
    /// Checksum of the payload before the body.
    head: u32,
    pub(super) received: Micros,
    pub(super) window: Option<Duration>,
    pub(super) max_bytes: Option<u64>,
}

impl Incoming {
    pub(super) fn new(endpoint: Arc<Endpoint>, incarnation: u32, arrival: &Arrival) -> Self {
        let mut payload = BytesMut::with_capacity(10 + record::event_len(arrival));
        let window = arrival.window.map_or(0, |window| u64::try_from(window.as_micros()).unwrap_or(u64::MAX - 1) + 1);
        put_var(&mut payload, window);
        let row = payload.len();
        record::put_event(&mut payload, arrival);
        let payload = payload.freeze();
        let body = arrival.validated.body().len();
        let (before, body) = payload.split_at(payload.len().saturating_sub(body));
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(before);
        let head = head_checksum(hasher.clone().finalize());
        hasher.update(body);
        Self {
            id: IdHash::of(endpoint.number, incarnation, &arrival.validated.identity().id),
            endpoint,
            incarnation,
            row,
            checksum: hasher.finalize(),
            head,
            payload,
            received: Micros::floor(arrival.received),
            window: arrival.window,
            max_bytes: arrival.max_bytes,
        }
    }

    /// Returns the size of the event's record in bytes.
    pub(super) fn cost(&self) -> u64 {
        EVENT_OVERHEAD + self.payload.len() as u64
    }

    /// Returns until when its id is known.
    pub(super) fn keep_until(&self) -> Micros {
        self.window.map_or(self.received, |window| self.received.after(window))
    }

    pub(super) fn frame(&self, sequence: Sequence) -> Frame {
        Frame {
            kind: Kind::Event,
            len: u32::try_from(self.payload.len()).unwrap_or(u32::MAX),
            checksum: self.checksum,
            head: self.head,
            sequence,
            number: self.endpoint.number,
            incarnation: self.incarnation,
        }
    }

    /// Returns whether this event is a duplicate of a known event of the same id: they were received less than a window
    /// apart.
    pub(super) fn is_duplicate_of(&self, known: KnownId) -> bool {
        let apart = Duration::from_micros(self.received.0.abs_diff(known.received.0));
        self.window.is_some_and(|window| apart < window)
    }
}
