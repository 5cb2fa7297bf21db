//! Deliveries: claims, settlements, and the recorded outcomes.

use std::{sync::Arc, time::Duration};

use grapnel_api::{Incarnation, ObjectKey};
use jiff::Timestamp;

use super::{EventEntry, Sequence, StoredEvent};

/// The dead-letter reason of an event that cannot be read.
pub(crate) const DAMAGED: &str = "damaged";

/// Where a new consumer begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Start {
    /// After the newest event.
    Now,
    /// At the oldest event that is kept.
    Earliest,
}

/// The result of [`Journal::attach`](super::Journal::attach).
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Attached {
    /// The consumer of an earlier object of the same name, which this call detached.
    pub replaced: Option<Detached>,
}

/// A consumer that [`Journal::detach`](super::Journal::detach) removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Detached {
    /// Number of events that it had neither delivered nor skipped nor dead-lettered.
    pub abandoned: u64,
    /// Number of its dead letters, which are no longer listed.
    pub dead_letters: u64,
}

impl From<Progress> for Detached {
    /// Returns what a consumer with these counts leaves behind.
    fn from(progress: Progress) -> Self {
        let Progress { pending, in_flight, retrying, dead, .. } = progress;
        Self { abandoned: pending + in_flight + retrying, dead_letters: dead }
    }
}

/// An attached consumer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct AttachedConsumer {
    /// The subscription.
    pub consumer: Incarnation,
    /// The endpoint whose events it reads.
    pub endpoint: ObjectKey,
}

/// Parameters of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    /// Maximum number of deliveries.
    pub limit: usize,
    /// The current time.
    pub now: Timestamp,
    /// Claims strictly by sequence: begins with the lowest that is neither settled nor dead, stops at the first that is
    /// not due, and claims nothing while anything is in flight.
    pub in_order: bool,
    /// The longest delay that the retry policy can ask for. A retry due later than `now` plus this was scheduled by a
    /// clock that was ahead, and is due at once.
    pub longest_delay: Duration,
}

impl Claim {
    /// Claims at most `limit` deliveries that are due at `now`, in any order.
    pub fn new(limit: usize, now: Timestamp) -> Self {
        Self { limit, now, in_order: false, longest_delay: Duration::MAX }
    }

    /// Makes the claim strictly by sequence.
    pub fn in_order(self) -> Self {
        Self { in_order: true, ..self }
    }
}

/// A claimed event. The worker that holds it must settle it.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// The event.
    pub event: Arc<StoredEvent>,
    /// Number of this attempt; the first is 1.
    pub attempt: u32,
}

/// The result of [`Journal::claim`](super::Journal::claim).
#[derive(Debug, Clone, Default)]
pub struct Claimed {
    /// Due deliveries, at most the limit of the claim, and fewer if they are large
    /// ([`CLAIM_BYTES`](crate::limits::CLAIM_BYTES)): due retries and redelivered events first (earliest due first,
    /// then by sequence), then new events by sequence.
    pub deliveries: Vec<Delivery>,
    /// When the next retry is due, unless the consumer becomes ready before. For a claim in order: when the delivery is
    /// due at which the claim stopped.
    pub next_due: Option<Timestamp>,
}

/// Why a delivery failed. Holds no secret: the sender truncates and redacts `message`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Failure {
    /// When the attempt ended.
    pub time: Timestamp,
    /// A word of a small, fixed set: `timeout`, `connect`, `status`, … (see `dispatch`), or `damaged` when the event
    /// could not be read.
    pub reason: Box<str>,
    /// HTTP status, if there was a response.
    pub status: Option<u16>,
    /// How long the attempt took.
    pub took: Duration,
    /// Details for a human reader, at most [`FAILURE_MESSAGE_BYTES`](crate::limits::FAILURE_MESSAGE_BYTES).
    pub message: Box<str>,
}

/// A delivered event's request and response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Exchange {
    /// When the attempt ended.
    pub time: Timestamp,
    /// HTTP status of the response, if there was one.
    pub status: Option<u16>,
    /// How long the attempt took.
    pub took: Duration,
}

/// Why a subscription does not deliver an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SkipReason {
    /// `filter` evaluated to false.
    Filter,
    /// `eventTypes` does not match the event type.
    Type,
    /// The subscription only records what it would have sent (`mode: Shadow`).
    Shadow,
}

impl SkipReason {
    /// Returns the metric label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Filter => "filter",
            Self::Type => "type",
            Self::Shadow => "shadow",
        }
    }
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settlement {
    /// The receiver responded with a 2xx status.
    Delivered(Exchange),
    /// The subscription does not deliver the event.
    Skipped {
        /// The reason.
        reason: SkipReason,
        /// When this was decided.
        time: Timestamp,
    },
    /// Attempt again at `due`.
    Retry {
        /// The earliest time of the next attempt.
        due: Timestamp,
        /// How this attempt failed.
        failure: Failure,
    },
    /// Release it unattempted: claimable at once under the same attempt number (shutdown, suspension, lost permits).
    Released,
    /// The attempts are exhausted, or the receiver permanently rejected the event.
    Dead {
        /// How the last attempt failed.
        failure: Failure,
    },
}

impl Settlement {
    /// Returns how the attempt failed, if it did.
    pub fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Retry { failure, .. } | Self::Dead { failure } => Some(failure),
            Self::Delivered(_) | Self::Skipped { .. } | Self::Released => None,
        }
    }
}

/// Counts of one consumer. Cheap to read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Progress {
    /// Events not yet attempted, or not since they were redelivered; not in flight.
    pub pending: u64,
    /// Claimed events.
    pub in_flight: u64,
    /// Events waiting for another attempt.
    pub retrying: u64,
    /// Dead letters.
    pub dead: u64,
    /// Deliveries since the consumer was attached, including redeliveries. Survives restarts (lazily durable).
    pub delivered: u64,
}

/// The current state of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum DeliveryState {
    /// Not yet attempted, or not since it was redelivered.
    Pending,
    /// Being attempted.
    InFlight,
    /// Failed, to be attempted again.
    Retrying,
    /// Dead-lettered, kept for redelivery.
    DeadLettered,
    /// Delivered or skipped.
    Settled,
}

/// The outcome of an event for one subscription, as far as it is decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Outcome {
    /// Not attempted yet.
    Pending,
    /// The last attempt failed, and another one follows.
    Retrying,
    /// Dead-lettered.
    Dead,
    /// Delivered.
    Delivered,
    /// Skipped by this subscription.
    Skipped(SkipReason),
    /// Settled, but the record of the outcome is damaged.
    Unknown,
}

impl Outcome {
    /// Returns the word used in the API and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Retrying => "retrying",
            Self::Dead => "dead",
            Self::Delivered => "delivered",
            Self::Skipped(_) => "skipped",
            Self::Unknown => "unknown",
        }
    }
}

/// One event as seen by one consumer.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct DeliveryRecord {
    /// The event.
    pub event: EventEntry,
    /// The current state of its delivery.
    pub state: DeliveryState,
    /// The outcome, as far as it is decided.
    pub outcome: Outcome,
    /// Number of attempts that have ended.
    pub attempts: u32,
    /// When the next attempt is due, while retrying.
    pub due: Option<Timestamp>,
    /// The last attempt that ended, or the time at which the event was skipped.
    pub last: Option<Exchange>,
    /// The last failure, including that of an event delivered afterwards.
    pub failure: Option<Failure>,
}

/// Parameters of a list of deliveries, by sequence.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct DeliveryQuery {
    /// Only deliveries in this state; `None` for every state.
    pub state: Option<DeliveryState>,
    /// Only sequences beyond this in the order of the list; 0 for all.
    pub after: Sequence,
    /// Descending instead of ascending.
    pub newest_first: bool,
    /// Maximum number of deliveries.
    pub limit: usize,
}

/// One bounded step of a list of deliveries. It may hold fewer than requested, even none, although more follow.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct DeliveryPage {
    /// The deliveries found.
    pub deliveries: Vec<DeliveryRecord>,
    /// The `after` of the next step; `None` at the end.
    pub next: Option<Sequence>,
}
