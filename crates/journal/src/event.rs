//! Events: on their way in, as they are kept, and as they are listed.

use std::{fmt, net::IpAddr, time::Duration};

use bytes::Bytes;
use grapnel_api::Incarnation;
use grapnel_event::schema::Validated;
use jiff::Timestamp;

use super::Sequence;

/// An event on its way in.
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
    /// The client's address, after trusted proxies.
    pub remote: Option<IpAddr>,
    /// Request headers without credentials, lower-case names, in order of arrival.
    pub headers: Vec<(Box<str>, Bytes)>,
    /// How long an equal id is a duplicate; `None` turns deduplication off for this event.
    pub window: Option<Duration>,
    /// `spec.storage.maxBytes` of the endpoint; `None` leaves it the share of its namespace.
    pub max_bytes: Option<u64>,
}

/// The result of appending one event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Appended {
    /// Durable under this sequence.
    Stored(Sequence),
    /// An event with the same id was stored before, under this sequence.
    Duplicate(Sequence),
}

/// An event as the journal keeps it.
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
    /// Request headers without credentials, lower-case names.
    pub headers: Vec<(Box<str>, Bytes)>,
    /// The raw body.
    pub body: Bytes,
}

/// An event in a list: everything but its headers and body.
#[derive(Debug, Clone, PartialEq, Eq)]
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

/// One line of a list of events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventEntry {
    /// A readable event.
    Kept(EventSummary),
    /// An event that was acknowledged and whose record is damaged: only its sequence is known.
    Damaged(Sequence),
}

/// Which events to list; ascending by sequence.
#[derive(Debug, Clone, Default)]
pub struct EventQuery {
    /// Exact type.
    pub kind: Option<String>,
    /// Received at or after.
    pub since: Option<Timestamp>,
    /// Sequences greater than this.
    pub after: Sequence,
    /// At most so many.
    pub limit: usize,
}

/// One bounded step of a list of events. It may hold fewer events than asked for, or none, although more follow.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventPage {
    /// What was found.
    pub events: Vec<EventEntry>,
    /// The `after` of the next step; `None` at the end of the log.
    pub next: Option<Sequence>,
}

impl StoredEvent {
    /// The event without its headers and body.
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
    /// The event's position in the endpoint's log.
    pub fn sequence(&self) -> Sequence {
        match self {
            Self::Kept(event) => event.sequence,
            Self::Damaged(sequence) => *sequence,
        }
    }

    /// The event, if it is readable.
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
