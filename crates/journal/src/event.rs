//! Events: arriving, stored, and listed.

use std::{fmt, net::IpAddr, time::Duration};

use bytes::Bytes;
use grapnel_api::Incarnation;
use grapnel_event::schema::Validated;
use jiff::Timestamp;

use super::Sequence;

/// An arriving event.
#[derive(Clone)]
pub struct Arrival {
    /// The endpoint that accepted it.
    pub endpoint: Incarnation,
    /// The verified and validated event: its identity and its raw body.
    pub validated: Validated,
    /// When the request was received.
    pub received: Timestamp,
    /// `Content-Type` as sent.
    pub content_type: Option<Box<str>>,
    /// The client's address, resolved through trusted proxies.
    pub remote: Option<IpAddr>,
    /// Request headers without credentials, with lower-case names, in order of arrival.
    pub headers: Vec<(Box<str>, Bytes)>,
    /// The deduplication window, in which an equal id is a duplicate; `None` disables deduplication for this event.
    pub window: Option<Duration>,
    /// `spec.storage.maxBytes` of the endpoint; `None` leaves only the share of its namespace as bound.
    pub max_bytes: Option<u64>,
}

/// The result of appending one event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Appended {
    /// The event is durable under this sequence.
    Stored(Sequence),
    /// An event with the same id was stored before, under this sequence.
    Duplicate(Sequence),
}

/// A stored event.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredEvent {
    /// Its position in the endpoint's log.
    pub sequence: Sequence,
    /// Event id, unique within the endpoint and the deduplication window.
    pub id: Box<str>,
    /// Event type.
    pub kind: Box<str>,
    /// When the request was received.
    pub received: Timestamp,
    /// `Content-Type` as sent.
    pub content_type: Option<Box<str>>,
    /// The client's address.
    pub remote: Option<IpAddr>,
    /// Request headers without credentials, with lower-case names.
    pub headers: Vec<(Box<str>, Bytes)>,
    /// The raw body.
    pub body: Bytes,
}

/// An event in a list, without its headers and body.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct EventSummary {
    /// Its position in the endpoint's log.
    pub sequence: Sequence,
    /// Event id.
    pub id: Box<str>,
    /// Event type.
    pub kind: Box<str>,
    /// When the request was received.
    pub received: Timestamp,
    /// `Content-Type` as sent.
    pub content_type: Option<Box<str>>,
    /// The client's address.
    pub remote: Option<IpAddr>,
    /// Length of the body in bytes.
    pub bytes: usize,
}

/// One entry of a list of events.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum EventEntry {
    /// A readable event.
    Kept(EventSummary),
    /// An acknowledged event whose record is damaged: only its sequence is known.
    Damaged(Sequence),
}

/// Parameters of a list of events, by sequence.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct EventQuery {
    /// Only events of exactly this type.
    pub kind: Option<String>,
    /// Only events received at or after this time. The list may leave out events that were stored more than
    /// [`REDELIVERY_SKEW`](crate::limits::REDELIVERY_SKEW) out of the order of receipt.
    pub since: Option<Timestamp>,
    /// Only sequences beyond this in the order of the list; 0 for all.
    pub after: Sequence,
    /// Descending instead of ascending.
    pub newest_first: bool,
    /// Maximum number of events.
    pub limit: usize,
}

/// One bounded step of a list of events. It may hold fewer events than requested, even none, although more follow.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct EventPage {
    /// The events found.
    pub events: Vec<EventEntry>,
    /// The `after` of the next step; `None` at the end of the log.
    pub next: Option<Sequence>,
}

impl StoredEvent {
    /// Returns the event without its headers and body.
    pub fn summary(&self) -> EventSummary {
        EventSummary {
            sequence: self.sequence,
            id: self.id.clone(),
            kind: self.kind.clone(),
            received: self.received,
            content_type: self.content_type.clone(),
            remote: self.remote,
            bytes: self.body.len(),
        }
    }
}

impl EventEntry {
    /// Returns the event's position in the endpoint's log.
    pub fn sequence(&self) -> Sequence {
        match self {
            Self::Kept(event) => event.sequence,
            Self::Damaged(sequence) => *sequence,
        }
    }

    /// Returns the event, if it is readable.
    pub fn kept(&self) -> Option<&EventSummary> {
        match self {
            Self::Kept(event) => Some(event),
            Self::Damaged(_) => None,
        }
    }
}

impl fmt::Debug for Arrival {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arrival")
            .field("endpoint", &self.endpoint)
            .field("validated", &self.validated)
            .field("received", &self.received)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for StoredEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredEvent")
            .field("sequence", &self.sequence)
            .field("id", &self.id)
            .field("kind", &self.kind)
            .field("received", &self.received)
            .field("bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}
