//! Deliveries: what a consumer claims, how it settles, and what is known of it afterwards.

use std::{sync::Arc, time::Duration};

use grapnel_api::{Incarnation, ObjectKey};
use jiff::Timestamp;

use super::{EventEntry, Sequence, StoredEvent};

/// Where a new consumer begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// After the newest event.
    Now,
    /// At the oldest event that is kept.
    Earliest,
}

/// What [`Journal::attach`](super::Journal::attach) did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attached {
    /// The consumer of an earlier object of the same name, which this call detached.
    pub replaced: Option<Detached>,
}

/// A consumer that [`Journal::detach`](super::Journal::detach) removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Detached {
    /// Events that it had neither delivered nor skipped nor dead-lettered.
    pub abandoned: u64,
    /// Its dead letters, which are no longer listed.
    pub dead_letters: u64,
}

impl From<Progress> for Detached {
    /// What a consumer with these counts leaves behind.
    fn from(progress: Progress) -> Self {
        let Progress { pending, in_flight, retrying, dead, .. } = progress;
        Self { abandoned: pending + in_flight + retrying, dead_letters: dead }
    }
}

/// An attached consumer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct AttachedConsumer {
    /// The subscription.
    pub consumer: Incarnation,
    /// The endpoint whose events it reads.
    pub endpoint: ObjectKey,
}

/// How to claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    /// At most so many deliveries.
    pub limit: usize,
    /// The present.
    pub now: Timestamp,
    /// Strictly by sequence: begin with the lowest that is neither settled nor dead, stop at the first that is not due,
    /// and claim nothing while anything is in flight.
    pub in_order: bool,
    /// The longest delay that the retry policy can ask for. A retry that is due later than `now` plus this was
    /// scheduled by a clock that was ahead, and is due at once.
    pub longest_delay: Duration,
}

impl Claim {
    /// Claims at most `limit` deliveries that are due at `now`, in any order.
    pub fn new(limit: usize, now: Timestamp) -> Self {
        Self { limit, now, in_order: false, longest_delay: Duration::MAX }
    }

    /// Claims strictly by sequence.
    pub fn in_order(self) -> Self {
        Self { in_order: true, ..self }
    }
}

/// A claimed event: the worker that holds it must settle it.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// The event.
    pub event: Arc<StoredEvent>,
    /// Number of this attempt; the first is 1.
    pub attempt: u32,
}

/// What [`Journal::claim`](super::Journal::claim) found.
#[derive(Debug, Clone, Default)]
pub struct Claimed {
    /// Due deliveries, at most as many as asked for, and fewer where they are large
    /// ([`CLAIM_BYTES`](crate::limits::CLAIM_BYTES)): due retries and redelivered events first (earliest due
    /// first, then by sequence), then new events by sequence.
    pub deliveries: Vec<Delivery>,
    /// When the next retry is due, unless something makes the consumer ready before. In order: when the delivery is due
    /// at which the claim stopped.
    pub next_due: Option<Timestamp>,
}

/// Why a delivery failed. Holds no secret: the sender bounds and cleans `message`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// When the attempt ended.
    pub time: Timestamp,
    /// One of a small, fixed set of words: `timeout`, `connect`, `status`, … (see `dispatch`), or `damaged` when the
    /// event could not be read.
    pub reason: Box<str>,
    /// HTTP status, if there was a response.
    pub status: Option<u16>,
    /// How long the attempt took.
    pub took: Duration,
    /// Details for a person, at most [`FAILURE_MESSAGE_BYTES`](crate::limits::FAILURE_MESSAGE_BYTES).
    pub message: Box<str>,
}

/// The exchange that delivered an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
    /// `filter` yielded false.
    Filter,
    /// `eventTypes` does not list its type.
    Type,
}

impl SkipReason {
    /// The label of metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Filter => "filter",
            Self::Type => "type",
        }
    }
}

/// The end of one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settlement {
    /// The receiver answered 2xx.
    Delivered(Exchange),
    /// The subscription does not deliver it.
    Skipped {
        /// Why.
        reason: SkipReason,
        /// When that was decided.
        time: Timestamp,
    },
    /// Try again at `due`.
    Retry {
        /// Not before this moment.
        due: Timestamp,
        /// How this attempt failed.
        failure: Failure,
    },
    /// Return it unattempted: claimable at once under the same attempt number (shutdown, suspension, lost permits).
    Released,
    /// The attempts are exhausted, or the receiver refused the event for good.
    Dead {
        /// How the last attempt failed.
        failure: Failure,
    },
}

impl Settlement {
    /// How the attempt failed, if it did.
    pub fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Retry { failure, .. } | Self::Dead { failure } => Some(failure),
            Self::Delivered(_) | Self::Skipped { .. } | Self::Released => None,
        }
    }
}

/// Counts of one consumer; cheap to read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Stored and not yet attempted, or redelivered and not attempted since; not in flight.
    pub pending: u64,
    /// Claimed now.
    pub in_flight: u64,
    /// Waiting for another attempt.
    pub retrying: u64,
    /// In the dead letter.
    pub dead: u64,
    /// Deliveries since the consumer was attached, redeliveries included; survives restarts (lazily durable).
    pub delivered: u64,
}

/// Where a delivery is at this moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum DeliveryState {
    /// Not yet attempted, or not since it was redelivered.
    Pending,
    /// Being attempted.
    InFlight,
    /// Failed; waits for a retry.
    Retrying,
    /// Dead, kept for redelivery.
    DeadLettered,
    /// Delivered or skipped.
    Settled,
}

/// What became of an event for one subscription, as far as it is decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Not attempted yet.
    Pending,
    /// The last attempt failed, another one follows.
    Retrying,
    /// Dead-lettered.
    Dead,
    /// Delivered.
    Delivered,
    /// Not for this subscription.
    Skipped(SkipReason),
    /// Settled, but the record of how is damaged.
    Unknown,
}

impl Outcome {
    /// The word of the API and of the command line.
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

/// One event from the point of view of one consumer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryRecord {
    /// The event.
    pub event: EventEntry,
    /// Where its delivery is at this moment.
    pub state: DeliveryState,
    /// What is decided.
    pub outcome: Outcome,
    /// Attempts that have ended.
    pub attempts: u32,
    /// When the next attempt is due, while retrying.
    pub due: Option<Timestamp>,
    /// The last attempt that ended, or the moment at which the event was skipped.
    pub last: Option<Exchange>,
    /// The last failure, also of an event that was delivered after it.
    pub failure: Option<Failure>,
}

/// Which deliveries to list; ascending by sequence.
#[derive(Debug, Clone, Default)]
pub struct DeliveryQuery {
    /// Only this state; `None` lists every state.
    pub state: Option<DeliveryState>,
    /// Sequences greater than this.
    pub after: Sequence,
    /// At most so many.
    pub limit: usize,
}

/// One bounded step of a list of deliveries. It may hold fewer than asked for, or none, although more follow.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeliveryPage {
    /// What was found.
    pub deliveries: Vec<DeliveryRecord>,
    /// The `after` of the next step; `None` at the end.
    pub next: Option<Sequence>,
}
