//! The durable event log: the guarantee behind a 2xx response.
//!
//! An event is appended once to its endpoint's log, however many subscriptions read it. A subscription is a durable
//! *consumer* of one endpoint's log. The journal stores only its cursor and the exceptions (in flight, retrying, dead).
//!
//! ```text
//!   sequence   1   2   3   4   5   6   7   8   9
//!              ─── settled ──┐   │   │   │   └ newest event
//!                            │   │   │   └ new: not claimed yet
//!                      floor ┘   │   └ in flight
//!                                └ an exception: retrying or dead
//! ```
//!
//! This module defines the contract ([`Journal`]) and the parts common to all engines; each engine has its own
//! directory. [`factory`] opens the engine that `--journal` names. The contract tests are exported as one macro, so
//! that no engine can skip one (`tests/journal/contract.rs`).
//!
//! # Terms
//!
//! An [`Incarnation`] is one life of an object: a name and a uid. A *position* (`after`, [`RedeliveryPosition`]) is opaque: it is
//! only compared, never computed with.
//!
//! # Invariants, for every engine
//!
//! 1. [`Journal::append`] returns `Ok` only after its events are durable as the engine defines it: synced to disk, or
//!    acknowledged by a quorum of a replicated log. The events of one endpoint are stored all or none. Concurrent
//!    appends share one sync.
//! 2. Within an endpoint, sequences ascend strictly in commit order and are never reused, not even after a crash, after
//!    events have been removed, or when another object takes the name. They need not start at 1 and may have gaps.
//! 3. Deduplication is atomic with the append: of any number of concurrent arrivals with one id within the window,
//!    exactly one is `Stored` and every other is a `Duplicate` of it, including across restarts and within one batch.
//!    Two arrivals are within the window if they were received less than a window apart, in either order.
//! 4. An event that a consumer has not settled stays claimable until it is settled: after a claim it is in flight until
//!    it is settled or its holder's tenure ends, and is then claimable again with the same attempt number. Within a
//!    tenure, no event is in flight twice for one consumer.
//! 5. `Retry` makes an event claimable again when it is due, never earlier, with the next attempt number. Due times
//!    survive a restart. A retry that is due later than the claim's `longest_delay` allows is due at once. `Dead`
//!    events are never claimed unless they are redelivered, and stay listed until their retention has passed.
//! 6. [`Journal::settle`] may be lazily durable: a crash may cause an event to be delivered again, never to be lost.
//! 7. [`Journal::sweep`] never removes an event that is unsettled for a consumer attached before the sweep began, nor a
//!    dead event before its own retention has passed.
//! 8. Nothing is removed because it is unknown: a consumer is removed only by [`Journal::detach`], or when another
//!    object of its name is attached.
//! 9. An event that [`Journal::redeliver`] counts as queued is durably queued, is no longer settled or dead, and is
//!    claimable at once with attempt 1, for that consumer alone.
//! 10. A different uid is a different object. A new endpoint has an empty log and remembers no ids; events of the
//!     earlier endpoint reach only consumers that were attached before, which lose none of them. A new consumer begins
//!     where its [`Start`] says, in the log of the endpoint that it names.
//! 11. The [`Outcome`] of an event is known for each consumer for as long as the event is kept.
//! 12. When an endpoint exhausts its share, or its namespace's share, only its own events are rejected.

mod board;
mod delivery;
pub mod embedded;
mod error;
mod event;
pub mod factory;
pub mod limits;
mod machine;
pub mod memory;
pub mod nats;
pub mod record;
mod redelivery;
mod tenure;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod upkeep;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use grapnel_api::Incarnation;
use jiff::Timestamp;
use tokio::sync::watch;

pub use crate::{
    board::{Board, BoardRow},
    delivery::{
        Attached, AttachedConsumer, Claim, Claimed, Delivery, DeliveryPage, DeliveryQuery, DeliveryRecord,
        DeliveryState, Detached, Exchange, Failure, Outcome, Progress, Settlement, SkipReason, Start,
    },
    error::{JournalError, Result, ShareExhausted, ShareScope},
    event::{Appended, Arrival, EventEntry, EventPage, EventQuery, EventSummary, StoredEvent},
    redelivery::{InvalidPosition, Redelivered, RedeliveryPosition, RedeliveryStep, Selection},
    tenure::Tenure,
    upkeep::{EndpointUsage, JournalUsage, NamespaceUsage, Replication, Retention, Swept, Vitals},
};

/// The position of an event in its endpoint's log.
pub type Sequence = u64;

/// The durable log. See the [module](self) for the invariants of every engine.
#[async_trait]
pub trait Journal: Send + Sync + 'static {
    /// Appends events and returns once they are durable: one result per event, in the order given.
    ///
    /// # Errors
    ///
    /// [`JournalError::ShareExhausted`], [`JournalError::Full`], [`JournalError::TooLarge`],
    /// [`JournalError::EndpointReplaced`], and any write error. After [`JournalError::Unavailable`] and
    /// [`JournalError::Io`] the events may nevertheless have been stored.
    async fn append(&self, events: Vec<Arrival>) -> Result<Vec<Appended>>;

    /// Ensures that `consumer` reads `endpoint`. The start of a new consumer is decided once, here. A consumer of
    /// another object of the same name is detached. The change is durable when the call returns.
    ///
    /// # Errors
    ///
    /// [`JournalError::EndpointChanged`], [`JournalError::EndpointReplaced`], and any write error.
    async fn attach(&self, consumer: &Incarnation, endpoint: &Incarnation, start: Start) -> Result<Attached>;

    /// Removes a consumer, its cursor and its exceptions. Returns `None` when that incarnation is not attached. The
    /// change is durable when the call returns.
    async fn detach(&self, consumer: &Incarnation) -> Result<Option<Detached>>;

    /// Returns every consumer in the journal, sorted, including those attached in earlier runs.
    async fn consumers(&self) -> Result<Vec<AttachedConsumer>>;

    /// Claims due deliveries. Returns none for a consumer whose endpoint this process does not deliver.
    ///
    /// # Errors
    ///
    /// [`JournalError::UnknownConsumer`], and any read error.
    async fn claim(&self, consumer: &Incarnation, claim: Claim) -> Result<Claimed>;

    /// Waits until a claim may find deliveries that it did not find before: resolves after an append to the consumer's
    /// endpoint, a release, a redelivery or a detach, and at once while new events wait to be claimed or the consumer
    /// is not attached. Due retries do not wake it; see [`Claimed::next_due`]. An append between a claim and this call
    /// is never missed. New events do not count while they wait behind a delivery that held up the last claim in order,
    /// or while the consumer is at its maximum number of retries.
    async fn ready(&self, consumer: &Incarnation);

    /// Ends attempts. Sequences that are not in flight are ignored, because they are already settled. After an error,
    /// the attempts are still in flight and must be settled again, except those released.
    ///
    /// # Errors
    ///
    /// [`JournalError::UnknownConsumer`], [`JournalError::Moved`], and any write error.
    async fn settle(&self, consumer: &Incarnation, settlements: Vec<(Sequence, Settlement)>) -> Result<()>;

    /// Queues settled and dead events again, and makes retrying events due now. One call is one step of at most
    /// [`REDELIVERY_STEP`](crate::limits::REDELIVERY_STEP) events, to be repeated with [`Redelivered::next`] until that
    /// is `None`. Ids stay the same; the attempts of queued events start again at 1. Each event is examined once, so an
    /// event that dies again in the meantime is not queued twice.
    ///
    /// After an error, the step may or may not have been done; repeating it queues no event that still waits from the
    /// first call.
    ///
    /// # Errors
    ///
    /// [`JournalError::UnknownConsumer`], and any write error.
    async fn redeliver(
        &self,
        consumer: &Incarnation,
        selection: &Selection,
        step: RedeliveryStep,
    ) -> Result<Redelivered>;

    /// Returns the counts of one consumer, from memory. If another process delivers it, these are the counts last
    /// reported.
    fn progress(&self, consumer: &Incarnation) -> Option<Progress>;

    /// Lists the events of an endpoint: one bounded step, which reads no bodies.
    async fn events(&self, endpoint: &Incarnation, query: EventQuery) -> Result<EventPage>;

    /// Returns the newest event with that id.
    async fn event(&self, endpoint: &Incarnation, id: &str) -> Result<Option<StoredEvent>>;

    /// Returns events of a consumer with their bodies, without claiming them: one result per sequence, in the order
    /// given, and `None` for an event that is damaged or no longer kept, or that does not belong to the consumer. Large
    /// events end the answer early, but never before the first.
    ///
    /// # Errors
    ///
    /// [`JournalError::UnknownConsumer`], and any read error.
    async fn peek(&self, consumer: &Incarnation, sequences: &[Sequence]) -> Result<Vec<Option<StoredEvent>>>;

    /// Lists the deliveries of a consumer: one bounded step, which reads no bodies.
    ///
    /// # Errors
    ///
    /// [`JournalError::UnknownConsumer`], and any read error.
    async fn deliveries(&self, consumer: &Incarnation, query: DeliveryQuery) -> Result<DeliveryPage>;

    /// Removes events and dead letters whose retention has passed at `now`, in bounded steps.
    async fn sweep(&self, retention: Retention, now: Timestamp) -> Result<Swept>;

    /// Returns which endpoints this process delivers, and every change.
    fn tenure(&self) -> watch::Receiver<Tenure>;

    /// Returns how many processes accept events at present, at least 1, from memory. What each of them limits by itself
    /// is divided by this number.
    fn replicas(&self) -> usize {
        1
    }

    /// Returns whether other processes may use the store at the same time, and so attach consumers that this process
    /// does not know.
    fn is_shared(&self) -> bool {
        false
    }

    /// Returns the usage of the whole journal, from memory.
    fn usage(&self) -> JournalUsage;

    /// Returns the usage of one endpoint, from memory.
    fn storage(&self, endpoint: &Incarnation) -> EndpointUsage;

    /// Returns the usage of each namespace, sorted by name, from memory.
    fn namespaces(&self) -> Vec<NamespaceUsage>;

    /// Returns measurements, from memory.
    fn vitals(&self) -> Vitals {
        Vitals::default()
    }

    /// Returns why appends are currently rejected, from memory. The error clears by itself when its cause does, even
    /// without appends. `None` from an engine that cannot know in advance.
    fn trouble(&self) -> Option<JournalError> {
        None
    }

    /// Returns how long the current write has taken so far, from memory. `None` while nothing is written, and from an
    /// engine that does not know.
    fn stalled(&self) -> Option<Duration> {
        None
    }

    /// Returns how this replica stands among the others, from memory; `None` from an engine of one process.
    fn replication(&self) -> Option<Replication> {
        None
    }

    /// Returns why it is not proven that events are synced before they are acknowledged, so that none are accepted; from
    /// memory. `None` from an engine that syncs them itself.
    fn unproven(&self) -> Option<String> {
        self.replication()?.unproven
    }

    /// Returns the board of the replicas; `None` from an engine of one process.
    fn board(&self) -> Option<Arc<dyn Board>> {
        None
    }

    /// Makes everything settled so far durable. Appends after this return [`JournalError::Closed`].
    async fn close(&self) -> Result<()>;
}
