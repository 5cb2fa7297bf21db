//! The durable log: what a 2xx promises.
//!
//! An event is appended once to its endpoint's sequence, however many subscriptions read it. A
//! subscription is a durable *consumer* of one endpoint's sequence; only its cursor and the
//! exceptions (in flight, retrying, dead) are kept.
//!
//! # Invariants, for every engine
//!
//! 1. [`Journal::append`] returns `Ok` only after the whole batch is on stable storage. A batch is
//!    all or nothing. Concurrent appends share one sync.
//! 2. Within an endpoint, sequences are handed out in order of commit, start at 1 and are never
//!    given to another event, also after a crash or when events have been removed.
//! 3. De-duplication is atomic with the append: of any number of concurrent arrivals with one id
//!    within the window exactly one is `Stored`, every other is `Duplicate` of that one, also
//!    across restarts and within one batch.
//! 4. An event that a consumer has not settled is claimable until it is settled: after a claim it
//!    is in flight until settled or until the process ends, and is then claimable again with the
//!    same attempt number. No event is ever in flight twice for one consumer.
//! 5. `Retry` makes an event claimable again at its due time, never before, with the next attempt
//!    number; due times survive a restart. `Dead` events are never claimed, unless they are queued
//!    once more, and stay listed until their retention has passed.
//! 6. [`Journal::settle`] may be lazily durable: a crash may bring an event again, never lose one.
//! 7. [`Journal::sweep`] never removes an event that any attached consumer has not settled, nor a
//!    dead one before its own retention has passed.
//! 8. Nothing is removed because it is unknown: a consumer goes by [`Journal::detach`] alone.
//! 9. What [`Journal::redeliver`] has counted as queued is on stable storage, is no longer settled
//!    nor dead, and is claimable at once with attempt 1, for that consumer alone.

pub mod embedded;
pub mod record;
mod redelivery;

use std::{fmt, net::IpAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use jiff::Timestamp;

pub use self::redelivery::{InvalidPosition, Position, Redelivered, Selection, Step};
use crate::{api::ObjectKey, catalog::DeliveryCounts, rules::schema::Validated};

/// Position of an event in its endpoint's log; the first is 1.
pub type Sequence = u64;

/// An event on its way in.
#[derive(Clone)]
pub struct Arrival {
    /// The endpoint that accepted it.
    pub endpoint: ObjectKey,
    /// What has been verified and validated: identity and raw body.
    pub validated: Validated,
    /// When the request was received.
    pub received: Timestamp,
    /// `Content-Type` as sent.
    pub content_type: Option<Box<str>>,
    /// The client's address, after trusted proxies.
    pub remote: Option<IpAddr>,
    /// Request headers without credentials, lower-case names, in order of arrival.
    pub headers: Vec<(Box<str>, Bytes)>,
    /// How long an equal id is a duplicate; `None` turns de-duplication off for this event.
    pub window: Option<Duration>,
}

/// What became of an arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Appended {
    /// Durable under this sequence.
    Stored(Sequence),
    /// An event of the same id is already there, under this sequence.
    Duplicate(Sequence),
}

/// An event as it lies in the journal.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredEvent {
    /// Its place in the endpoint's log.
    pub sequence: Sequence,
    /// Event id, unique within the endpoint and the de-duplication window.
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

/// Where a new consumer begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// After the newest event.
    Now,
    /// At the oldest event still kept.
    Earliest,
}

/// A claimed event: the worker that holds it must settle it.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// The event.
    pub event: Arc<StoredEvent>,
    /// Number of this attempt; the first is 1.
    pub attempt: u32,
}

/// What [`Journal::claim`] found.
#[derive(Debug, Clone, Default)]
pub struct Claimed {
    /// Due deliveries, at most as many as asked for, and fewer where they are large
    /// ([`CLAIM_BYTES`](crate::rules::limits::CLAIM_BYTES)): due retries and events queued once more first
    /// (earliest due first, then by sequence), then new events by sequence.
    pub deliveries: Vec<Delivery>,
    /// When the next retry falls due (or an event queued once more did), if nothing else makes the consumer ready before.
    pub next_due: Option<Timestamp>,
}

/// Why a delivery failed. Holds nothing secret: `message` is bounded and stripped by the sender.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// When.
    pub time: Timestamp,
    /// Fixed, small set of words: `timeout`, `connect`, `status`, … (see `dispatch`).
    pub reason: Box<str>,
    /// HTTP status, if an answer came.
    pub status: Option<u16>,
    /// What a person needs to know; at most [`crate::rules::limits::FAILURE_MESSAGE_BYTES`].
    pub message: Box<str>,
}

/// The end of one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settlement {
    /// The receiver answered 2xx.
    Delivered,
    /// Not for this subscription (`eventTypes`).
    Skipped,
    /// Try again at `due`.
    Retry {
        /// Not before this moment.
        due: Timestamp,
        /// What happened this time.
        failure: Failure,
    },
    /// Give it back unattempted, claimable at once under the same attempt number (shutdown,
    /// suspension, lost permits).
    Released,
    /// Attempts are exhausted, or the receiver said never again.
    Dead {
        /// What happened the last time.
        failure: Failure,
    },
}

impl Settlement {
    /// What went wrong, if something did.
    pub fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Retry { failure, .. } | Self::Dead { failure } => Some(failure),
            Self::Delivered | Self::Skipped | Self::Released => None,
        }
    }
}

/// Counts of one consumer; cheap to read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Stored and not yet attempted, or queued once more and not attempted since; not in flight.
    pub pending: u64,
    /// Claimed now.
    pub in_flight: u64,
    /// Waiting for another attempt.
    pub retrying: u64,
    /// In the dead letter.
    pub dead: u64,
    /// Deliveries since the consumer was attached first, those of events queued once more included;
    /// survives restarts (lazily durable).
    pub delivered: u64,
}

impl From<Progress> for DeliveryCounts {
    fn from(progress: Progress) -> Self {
        let Progress { pending, in_flight, retrying, dead, delivered } = progress;
        Self { pending, in_flight, retrying, dead, delivered }
    }
}

/// Where a delivery stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum DeliveryState {
    /// Not yet attempted, or not since it was queued once more.
    Pending,
    /// Being attempted.
    InFlight,
    /// Failed, will be tried again.
    Retrying,
    /// Given up, kept for redelivery.
    DeadLettered,
    /// Done: delivered, or not for this subscription.
    Settled,
}

/// One event from one consumer's point of view.
#[derive(Debug, Clone)]
pub struct DeliveryRecord {
    /// The event, without its body and headers being of interest.
    pub event: Arc<StoredEvent>,
    /// Where it stands.
    pub state: DeliveryState,
    /// Attempts made so far; 0 once settled, because nothing is kept of what went well.
    pub attempts: u32,
    /// Due time of the next attempt, while retrying.
    pub due: Option<Timestamp>,
    /// The last failure, while retrying or dead.
    pub failure: Option<Failure>,
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

/// Which deliveries to list; ascending by sequence.
#[derive(Debug, Clone, Default)]
pub struct DeliveryQuery {
    /// Only this state; `None` lists every state, settled ones included.
    pub state: Option<DeliveryState>,
    /// Sequences greater than this.
    pub after: Sequence,
    /// At most so many.
    pub limit: usize,
}

/// What [`Journal::sweep`] may remove.
#[derive(Debug, Clone, Default)]
pub struct Retention {
    /// How long settled events of each endpoint stay; endpoints not named keep
    /// [`crate::rules::limits::DEFAULT_RETENTION`].
    pub endpoints: Vec<(ObjectKey, Duration)>,
    /// How long dead letters of each consumer stay; consumers not named keep
    /// [`crate::rules::limits::DEFAULT_DEAD_LETTER_RETENTION`].
    pub consumers: Vec<(ObjectKey, Duration)>,
}

/// What a sweep did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Swept {
    /// Events removed.
    pub events: u64,
    /// Dead letters whose retention had passed.
    pub dead_letters: u64,
}

/// How full the journal is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes of the events kept, with what belongs to them. An engine's own overhead comes on top:
    /// the embedded one's write-ahead log (at most some 200 MiB) and what its compaction has not
    /// reclaimed yet.
    pub bytes: u64,
    /// The bound, 0 when there is none.
    pub max_bytes: u64,
}

/// What can go wrong; the kind is also the metric label.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// `--journal-max-bytes` is reached and only unsettled events remain, or the disk is full.
    #[error(
        "the journal is full: {0}; make room on the volume, raise --journal-max-bytes, or mend the subscriptions that pin events"
    )]
    Full(String),
    /// Reading or writing failed.
    #[error("the journal cannot be read or written: {0}")]
    Io(String, #[source] Option<Box<dyn std::error::Error + Send + Sync>>),
    /// A record cannot be decoded.
    #[error("the journal holds a record that cannot be decoded: {0}")]
    Corrupt(String),
    /// The directory was written by a newer Grapnel.
    #[error("the journal has format {found}, this build knows formats up to {known}; run a newer Grapnel")]
    NewerFormat {
        /// Version on disk.
        found: u32,
        /// Newest version known here.
        known: u32,
    },
    /// Another process holds the directory.
    #[error("the journal directory {0} is in use by another process; one process at a time may open it")]
    Locked(String),
    /// No such consumer is attached.
    #[error("no consumer {0} in the journal")]
    UnknownConsumer(ObjectKey),
    /// The consumer is attached to another endpoint; its events there would be lost.
    #[error(
        "subscription {consumer} is a consumer of endpoint {endpoint}; endpointRef cannot be changed, delete the subscription and create a new one"
    )]
    EndpointChanged {
        /// The subscription.
        consumer: ObjectKey,
        /// The endpoint it reads.
        endpoint: ObjectKey,
    },
    /// The journal is shutting down.
    #[error("the journal is closed")]
    Closed,
}

impl JournalError {
    /// The metric label and log field.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Full(_) => "full",
            Self::Io(..) => "io",
            Self::Corrupt(_) => "corrupt",
            Self::NewerFormat { .. } => "newer_format",
            Self::Locked(_) => "locked",
            Self::UnknownConsumer(_) => "unknown_consumer",
            Self::EndpointChanged { .. } => "endpoint_changed",
            Self::Closed => "closed",
        }
    }
}

/// A journal's answer.
pub type Result<T, E = JournalError> = std::result::Result<T, E>;

/// The durable log. See the [module](self) for what every engine promises.
pub trait Journal: Send + Sync + 'static {
    /// Appends events, all or nothing, and returns after they are durable: one answer an event, in
    /// the order given.
    fn append(&self, events: Vec<Arrival>) -> BoxFuture<'_, Result<Vec<Appended>>>;

    /// Makes sure that `consumer` reads `endpoint`; where it begins is decided once, when it is
    /// new. Durable when it returns.
    fn attach<'a>(
        &'a self,
        consumer: &'a ObjectKey,
        endpoint: &'a ObjectKey,
        start: Start,
    ) -> BoxFuture<'a, Result<()>>;

    /// Forgets a consumer, its cursor and its exceptions. Unknown consumers are no error.
    fn detach<'a>(&'a self, consumer: &'a ObjectKey) -> BoxFuture<'a, Result<()>>;

    /// Every consumer in the journal with the endpoint it reads, attached in this run or not.
    fn consumers(&self) -> BoxFuture<'_, Result<Vec<(ObjectKey, ObjectKey)>>>;

    /// Claims at most `limit` deliveries due at `now`.
    fn claim<'a>(&'a self, consumer: &'a ObjectKey, limit: usize, now: Timestamp) -> BoxFuture<'a, Result<Claimed>>;

    /// Claims in order: at most `limit` deliveries ascending by sequence, beginning with the lowest
    /// that is neither settled nor dead, and none beyond the first that is not due at `now`. Claims
    /// nothing while anything is in flight, so whoever settles everything before claiming again
    /// attempts events strictly by sequence, also across restarts. `next_due` is the due time of the
    /// delivery at which the claim stopped.
    fn claim_in_order<'a>(
        &'a self,
        consumer: &'a ObjectKey,
        limit: usize,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<Claimed>>;

    /// Waits until a claim may find something that it did not find before: resolves after an
    /// append to the consumer's endpoint, a release, a redelivery, or a detach, and at once while new events wait
    /// to be claimed or the consumer is not attached. Due retries do not wake it, see
    /// [`Claimed::next_due`]. An append between a claim and this call is never missed. New events do
    /// not count while they wait behind a delivery that held up the last claim in order.
    fn ready<'a>(&'a self, consumer: &'a ObjectKey) -> BoxFuture<'a, ()>;

    /// Ends attempts. Sequences that are not in flight are ignored (already settled). After an error
    /// the attempts are still in flight and have to be settled again, except those released.
    fn settle<'a>(
        &'a self,
        consumer: &'a ObjectKey,
        settlements: Vec<(Sequence, Settlement)>,
    ) -> BoxFuture<'a, Result<()>>;

    /// Queues events once more that were delivered (or skipped) or are dead: one step of at most
    /// [`REDELIVERY_STEP`](crate::rules::limits::REDELIVERY_STEP) events, to be repeated with
    /// [`Redelivered::next`] until that is `None`. Their ids stay the same, their attempts start anew.
    /// Each event is looked at once, so that one that dies again meanwhile does not come round again.
    ///
    /// After an error the step may have been done or not; repeating it queues nothing that is
    /// still waiting from the first time.
    ///
    /// # Errors
    ///
    /// [`JournalError::UnknownConsumer`], and whatever writing fails with.
    fn redeliver<'a>(
        &'a self,
        consumer: &'a ObjectKey,
        selection: &'a Selection,
        step: Step,
    ) -> BoxFuture<'a, Result<Redelivered>>;

    /// Counts of one consumer, from memory.
    fn progress(&self, consumer: &ObjectKey) -> Option<Progress>;

    /// Events of an endpoint, ascending.
    fn events<'a>(&'a self, endpoint: &'a ObjectKey, query: EventQuery) -> BoxFuture<'a, Result<Vec<StoredEvent>>>;

    /// The newest event of that id.
    fn event<'a>(&'a self, endpoint: &'a ObjectKey, id: &'a str) -> BoxFuture<'a, Result<Option<StoredEvent>>>;

    /// Deliveries of a consumer, ascending by sequence.
    fn deliveries<'a>(
        &'a self,
        consumer: &'a ObjectKey,
        query: DeliveryQuery,
    ) -> BoxFuture<'a, Result<Vec<DeliveryRecord>>>;

    /// Removes what its retention has passed at `now`. Works in bounded steps.
    fn sweep(&self, retention: Retention, now: Timestamp) -> BoxFuture<'_, Result<Swept>>;

    /// How full it is.
    fn usage(&self) -> Usage;

    /// Why appends are refused at present, and have been since the last that was not; from memory. It goes away by
    /// itself when the cause does, also when nobody appends. `None` from an engine that does not know beforehand.
    fn trouble(&self) -> Option<JournalError> {
        None
    }

    /// How long the write under way has taken so far; from memory. `None` while nothing is written, and from an engine that
    /// does not know.
    fn stalled(&self) -> Option<Duration> {
        None
    }

    /// Flushes everything settled so far; appends after this answer [`JournalError::Closed`].
    fn close(&self) -> BoxFuture<'_, Result<()>>;
}

/// An event that went through the same checks as any other, for unit tests.
#[cfg(test)]
fn validated(id: &str, kind: &str, body: bytes::Bytes) -> Validated {
    use crate::rules::{
        identity::{Identity, Payload},
        schema::SchemaSet,
        signature::{Scheme, Verifier},
    };

    let verifier = Verifier::new(Scheme::None, Vec::new()).unwrap();
    let verified = verifier.verify(&http::HeaderMap::new(), body, Timestamp::UNIX_EPOCH).unwrap();
    let identity = Identity { id: id.into(), kind: kind.into() };
    SchemaSet::default().validate(verified, &Payload::Opaque, identity).unwrap()
}
