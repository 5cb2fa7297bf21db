//! The durable event log: what a 2xx promises.
//!
//! An event is appended once to its endpoint's log, however many subscriptions read it. A subscription is a durable
//! *consumer* of one endpoint's log; only its cursor and the exceptions (in flight, retrying, dead) are kept beside it.
//!
//! ```text
//!   sequence   1   2   3   4   5   6   7   8   9
//!              ─── settled ──┐   │   │   │   └ newest event
//!                            │   │   │   └ new: not claimed yet
//!                      floor ┘   │   └ in flight
//!                                └ an exception: retrying or dead
//! ```
//!
//! This module holds the contract ([`Journal`]) and what every engine has in common; each engine has a directory of its
//! own. [`factory`] opens the one that `--journal` names. The tests of the contract are exported to every engine as one
//! macro, so that no engine can leave one out (`tests/journal/contract.rs`).
//!
//! # Terms
//!
//! An [`Incarnation`] is one life of an object: a name and a uid. A *position* (`after`, [`Position`]) is opaque: it is
//! only compared, never computed with.
//!
//! # Invariants, for every engine
//!
//! 1. [`Journal::append`] returns `Ok` only after its events are durable as the engine defines it: synced to the disk, or
//!    acknowledged by a quorum of a replicated log. The events of one endpoint are stored all or none. Concurrent appends
//!    share one sync.
//! 2. Within an endpoint, sequences ascend strictly in order of commit and are never used again, also after a crash,
//!    when events have been removed, or when another object takes the name. They need not start at 1, and may have gaps.
//! 3. Deduplication is atomic with the append: of any number of concurrent arrivals with one id within the window exactly
//!    one is `Stored`, every other one is a `Duplicate` of that one, also across restarts and within one batch. Two
//!    arrivals are within the window when they were received less than a window apart, whichever came first.
//! 4. An event that a consumer has not settled is claimable until it is settled: after a claim it is in flight until it is
//!    settled or the tenure of its holder ends, and is then claimable again with the same attempt number. No event is in
//!    flight twice for one consumer within a tenure.
//! 5. `Retry` makes an event claimable again when it is due, never before, with the next attempt number; due times survive
//!    a restart. A retry that is due later than the claim's `longest_delay` allows is due at once. `Dead` events are never
//!    claimed unless they are redelivered, and stay listed until their retention has passed.
//! 6. [`Journal::settle`] may be lazily durable: a crash may deliver an event again, never lose one.
//! 7. [`Journal::sweep`] never removes an event that a consumer has not settled which was attached before the sweep began,
//!    nor a dead one before its own retention has passed.
//! 8. Nothing is removed because it is unknown: a consumer goes by [`Journal::detach`], or when another object of its name
//!    is attached.
//! 9. What [`Journal::redeliver`] has counted as queued is durable, is neither settled nor dead any more, and is claimable
//!    at once with attempt 1, for that consumer alone.
//! 10. Another uid is another object. A new endpoint has an empty log and no memory of ids; events of the earlier one
//!     reach only consumers that were attached before, which lose none of them. A new consumer begins where its
//!     [`Start`] says, in the log of the endpoint that it names.
//! 11. What became of an event is known for each consumer for as long as the event is kept ([`Outcome`]).
//! 12. An endpoint that exhausts its share, or that of its namespace, is refused alone.

#![warn(missing_docs)]
// Input from outside must never end the process: a refusal has a name and an answer.
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod delivery;
pub mod embedded;
mod error;
mod event;
pub mod factory;
pub mod limits;
mod machine;
pub mod memory;
pub mod record;
mod redelivery;
mod tenure;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod upkeep;

use std::time::Duration;

use async_trait::async_trait;
use grapnel_api::Incarnation;
use jiff::Timestamp;
use tokio::sync::watch;

pub use crate::{
    delivery::{
        Attached, AttachedConsumer, Claim, Claimed, Delivery, DeliveryPage, DeliveryQuery, DeliveryRecord,
        DeliveryState, Detached, Exchange, Failure, Outcome, Progress, Settlement, SkipReason, Start,
    },
    error::{JournalError, Result, ShareExhausted, ShareScope},
    event::{Appended, Arrival, EventEntry, EventPage, EventQuery, EventSummary, StoredEvent},
    redelivery::{InvalidPosition, Position, Redelivered, Selection, Step},
    tenure::Tenure,
    upkeep::{NamespaceUsage, Retention, Storage, Swept, Usage, Vitals},
};

/// Position of an event in its endpoint's log.
pub type Sequence = u64;

/// The durable log. See the [module](self) for what every engine promises.
#[async_trait]
pub trait Journal: Send + Sync + 'static {
    /// Appends events and returns after they are durable: one answer an event, in the order given.
    ///
    /// # Errors
    ///
    /// [`JournalError::ShareExhausted`], [`JournalError::Full`], [`JournalError::TooLarge`],
    /// [`JournalError::EndpointReplaced`], and whatever writing fails with. After [`JournalError::Unavailable`] and
    /// [`JournalError::Io`] the events may have been stored all the same.
    async fn append(&self, events: Vec<Arrival>) -> Result<Vec<Appended>>;

    /// Makes sure that `consumer` reads `endpoint`; where it begins is decided once, when it is new. A consumer of another
    /// object of the same name is detached. Durable when it returns.
    ///
    /// # Errors
    ///
    /// [`JournalError::EndpointChanged`], [`JournalError::EndpointReplaced`], and whatever writing fails with.
    async fn attach(&self, consumer: &Incarnation, endpoint: &Incarnation, start: Start) -> Result<Attached>;

    /// Removes a consumer, its cursor and its exceptions. `None` when that incarnation is not attached. Durable when it
    /// returns.
    async fn detach(&self, consumer: &Incarnation) -> Result<Option<Detached>>;

    /// Every consumer in the journal, sorted, whether it was attached in this run or an earlier one.
    async fn consumers(&self) -> Result<Vec<AttachedConsumer>>;

    /// Claims due deliveries. Empty for a consumer whose endpoint this process does not deliver.
    ///
    /// # Errors
    ///
    /// [`JournalError::UnknownConsumer`], and whatever reading fails with.
    async fn claim(&self, consumer: &Incarnation, claim: Claim) -> Result<Claimed>;

    /// Waits until a claim may find something that it did not find before: resolves after an append to the consumer's
    /// endpoint, a release, a redelivery, or a detach, and at once while new events wait to be claimed or the consumer is
    /// not attached. Due retries do not wake it, see [`Claimed::next_due`]. An append between a claim and this call is
    /// never missed. New events do not count while they wait behind a delivery that held up the last claim in order, or
    /// while the consumer has as many retries as it may have.
    async fn ready(&self, consumer: &Incarnation);

    /// Ends attempts. Sequences that are not in flight are ignored (already settled). After an error the attempts are
    /// still in flight and have to be settled again, except those released.
    ///
    /// # Errors
    ///
    /// [`JournalError::UnknownConsumer`], [`JournalError::Moved`], and whatever writing fails with.
    async fn settle(&self, consumer: &Incarnation, settlements: Vec<(Sequence, Settlement)>) -> Result<()>;

    /// Queues settled and dead events once more, and makes retrying ones due now: one step of at most
    /// [`REDELIVERY_STEP`](crate::limits::REDELIVERY_STEP) events, to be repeated with [`Redelivered::next`] until
    /// that is `None`. Ids stay the same; the attempts of what is queued start again at 1. Each event is looked at once,
    /// so that one that dies again meanwhile is not queued twice.
    ///
    /// After an error the step may have been done or not; repeating it queues nothing that still waits from the first
    /// time.
    ///
    /// # Errors
    ///
    /// [`JournalError::UnknownConsumer`], and whatever writing fails with.
    async fn redeliver(&self, consumer: &Incarnation, selection: &Selection, step: Step) -> Result<Redelivered>;

    /// Counts of one consumer, from memory; as reported last where another process delivers it.
    fn progress(&self, consumer: &Incarnation) -> Option<Progress>;

    /// Events of an endpoint, ascending: one bounded step.
    async fn events(&self, endpoint: &Incarnation, query: EventQuery) -> Result<EventPage>;

    /// The newest event of that id.
    async fn event(&self, endpoint: &Incarnation, id: &str) -> Result<Option<StoredEvent>>;

    /// Deliveries of a consumer, ascending by sequence: one bounded step.
    ///
    /// # Errors
    ///
    /// [`JournalError::UnknownConsumer`], and whatever reading fails with.
    async fn deliveries(&self, consumer: &Incarnation, query: DeliveryQuery) -> Result<DeliveryPage>;

    /// Removes events and dead letters whose retention has passed at `now`. Works in bounded steps.
    async fn sweep(&self, retention: Retention, now: Timestamp) -> Result<Swept>;

    /// Which endpoints this process delivers, and every change of that.
    fn tenure(&self) -> watch::Receiver<Tenure>;

    /// How full it is; from memory.
    fn usage(&self) -> Usage;

    /// What one endpoint keeps; from memory.
    fn storage(&self, endpoint: &Incarnation) -> Storage;

    /// What each namespace keeps, sorted by name; from memory.
    fn namespaces(&self) -> Vec<NamespaceUsage>;

    /// Measurements; from memory.
    fn vitals(&self) -> Vitals {
        Vitals::default()
    }

    /// Why appends are refused at present, and have been since the last that was not; from memory. It goes away by
    /// itself when the cause does, also when nobody appends. `None` from an engine that does not know beforehand.
    fn trouble(&self) -> Option<JournalError> {
        None
    }

    /// How long the current write has taken so far; from memory. `None` while nothing is written, and from an engine that
    /// does not know.
    fn stalled(&self) -> Option<Duration> {
        None
    }

    /// Makes everything settled so far durable; appends after this return [`JournalError::Closed`].
    async fn close(&self) -> Result<()>;
}
