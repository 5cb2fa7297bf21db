//! The in-memory engine: the whole journal in plain collections, under one lock.
//!
//! It is the reference model for the other engines, and the journal of tests that need no disk. It is written to be
//! obviously correct: it scans, it copies, and it stores what other engines derive. It keeps every invariant of the
//! [contract](crate), with one substitute: "durable" means that [`MemoryJournal::reopen`] keeps it.
//!
//! Its sequences have gaps and do not start at 1, and its lists can be split into small steps, so that no caller can
//! depend on either.
//!
//! - `state`: the endpoints' logs and the registered consumers.
//! - `consumer`: one consumer: claims, settlements, counts.
//! - `redeliver`: which events a redelivery selects.
//! - `room`: bounds on what is kept.
//!
//! ```
//! use grapnel_api::{Incarnation, ObjectKey};
//! use grapnel_journal::{Journal, Start, memory::MemoryJournal};
//!
//! # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
//! let journal = MemoryJournal::new(Default::default());
//! let object = |name| Incarnation::of_file(ObjectKey::new("shop", name));
//! journal.attach(&object("billing"), &object("orders"), Start::Now).await?;
//! let journal = journal.reopen();
//! assert_eq!(journal.consumers().await?.len(), 1, "what is durable is there again");
//! # Ok::<(), grapnel_journal::JournalError>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod consumer;
mod kept_event;
mod redeliver;
mod room;
mod scope;
mod state;
#[cfg(test)]
mod tests;

use async_trait::async_trait;
use grapnel_api::Incarnation;
use jiff::Timestamp;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{Notify, watch};

use self::state::MemoryState;
use super::{
    Appended, Arrival, Attached, AttachedConsumer, Claim, Claimed, DeliveryPage, DeliveryQuery, Detached,
    EndpointUsage, EventPage, EventQuery, Journal, JournalError, JournalUsage, NamespaceUsage, Progress, Redelivered,
    RedeliveryStep, Result, Retention, Selection, Sequence, Settlement, Start, StoredEvent, Swept, Tenure, Vitals,
};
use crate::limits::LIST_LIMIT;

/// Limits and numbering of a [`MemoryJournal`].
#[derive(Debug, Clone)]
pub struct MemoryOptions {
    /// Maximum bytes of the kept events; 0 for no limit.
    pub max_bytes: u64,
    /// Maximum bytes of the events of one namespace; `None` for half of `max_bytes`.
    pub namespace_share: Option<u64>,
    /// The sequence of an endpoint's first event; at least 1.
    pub first_sequence: Sequence,
    /// The distance from one sequence of an endpoint to the next; at least 1.
    pub stride: u64,
    /// Maximum number of events that one step of a list examines; at least 1.
    pub list_scan: usize,
    /// Maximum number of events of one consumer that wait for another attempt or are in flight in one. A consumer at
    /// this limit claims new events in order only.
    pub max_retries: usize,
}

impl Default for MemoryOptions {
    fn default() -> Self {
        Self {
            max_bytes: 0,
            namespace_share: None,
            first_sequence: 1000,
            stride: 7,
            list_scan: LIST_LIMIT,
            max_retries: usize::MAX,
        }
    }
}

/// A journal in the memory of the process.
pub struct MemoryJournal {
    options: MemoryOptions,
    state: Mutex<MemoryState>,
    /// Wakes every [`Journal::ready`], each of which then checks its own consumer.
    changed: Notify,
    tenure: watch::Sender<Tenure>,
}

impl MemoryJournal {
    /// Creates an empty journal.
    pub fn new(options: MemoryOptions) -> Self {
        Self::with_state(options, MemoryState::default())
    }

    /// Returns the journal as another process would find it if this one ended now: durable state stays, and claims end.
    /// Closes this journal.
    pub fn reopen(&self) -> Self {
        let mut state = self.state.lock();
        state.closed = true;
        let durable = state.durable();
        drop(state);
        self.changed.notify_waiters();
        Self::with_state(self.options.clone(), durable)
    }

    fn with_state(options: MemoryOptions, state: MemoryState) -> Self {
        Self { options, state: Mutex::new(state), changed: Notify::new(), tenure: watch::Sender::new(Tenure::all()) }
    }

    /// Locks the state, for a call that a closed journal rejects.
    fn open_state(&self) -> Result<MutexGuard<'_, MemoryState>> {
        let state = self.state.lock();
        if state.closed { Err(JournalError::Closed) } else { Ok(state) }
    }
}

#[async_trait]
impl Journal for MemoryJournal {
    async fn append(&self, events: Vec<Arrival>) -> Result<Vec<Appended>> {
        let appended = self.open_state()?.append(&self.options, events);
        self.changed.notify_waiters();
        appended
    }

    async fn attach(&self, consumer: &Incarnation, endpoint: &Incarnation, start: Start) -> Result<Attached> {
        let attached = self.open_state()?.attach(consumer, endpoint, start);
        self.changed.notify_waiters();
        attached
    }

    async fn detach(&self, consumer: &Incarnation) -> Result<Option<Detached>> {
        let detached = self.open_state()?.detach(consumer);
        self.changed.notify_waiters();
        Ok(detached)
    }

    async fn consumers(&self) -> Result<Vec<AttachedConsumer>> {
        Ok(self.state.lock().attached_consumers())
    }

    async fn claim(&self, consumer: &Incarnation, claim: Claim) -> Result<Claimed> {
        self.open_state()?.claim(&self.options, consumer, &claim)
    }

    async fn ready(&self, consumer: &Incarnation) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // Registered before the check, so that no change in between is missed.
            changed.as_mut().enable();
            if self.state.lock().is_ready(&self.options, consumer) {
                return;
            }
            changed.await;
        }
    }

    async fn settle(&self, consumer: &Incarnation, settlements: Vec<(Sequence, Settlement)>) -> Result<()> {
        self.open_state()?.consumer_mut(consumer)?.settle(settlements);
        self.changed.notify_waiters();
        Ok(())
    }

    async fn redeliver(
        &self,
        consumer: &Incarnation,
        selection: &Selection,
        step: RedeliveryStep,
    ) -> Result<Redelivered> {
        let redelivered = self.open_state()?.redeliver(consumer, selection, step);
        self.changed.notify_waiters();
        redelivered
    }

    fn progress(&self, consumer: &Incarnation) -> Option<Progress> {
        self.state.lock().consumer(consumer).ok().map(|consumer| consumer.progress())
    }

    async fn events(&self, endpoint: &Incarnation, query: EventQuery) -> Result<EventPage> {
        Ok(self.state.lock().events(endpoint, &query, self.options.list_scan))
    }

    async fn event(&self, endpoint: &Incarnation, id: &str) -> Result<Option<StoredEvent>> {
        Ok(self.state.lock().event(endpoint, id))
    }

    async fn peek(&self, consumer: &Incarnation, sequences: &[Sequence]) -> Result<Vec<Option<StoredEvent>>> {
        self.state.lock().peek(consumer, sequences)
    }

    async fn deliveries(&self, consumer: &Incarnation, query: DeliveryQuery) -> Result<DeliveryPage> {
        self.state.lock().deliveries(consumer, &query, self.options.list_scan)
    }

    async fn sweep(&self, retention: Retention, now: Timestamp) -> Result<Swept> {
        Ok(self.open_state()?.sweep(retention, now))
    }

    fn tenure(&self) -> watch::Receiver<Tenure> {
        self.tenure.subscribe()
    }

    fn usage(&self) -> JournalUsage {
        let bytes = self.state.lock().kept_bytes();
        JournalUsage { bytes, disk_bytes: bytes, max_bytes: self.options.max_bytes }
    }

    fn storage(&self, endpoint: &Incarnation) -> EndpointUsage {
        self.state.lock().storage(endpoint)
    }

    fn namespaces(&self) -> Vec<NamespaceUsage> {
        self.state.lock().namespaces(&self.options)
    }

    fn vitals(&self) -> Vitals {
        Vitals { retrying: self.state.lock().retrying(), ..Vitals::default() }
    }

    fn trouble(&self) -> Option<JournalError> {
        self.state.lock().trouble()
    }

    async fn close(&self) -> Result<()> {
        self.state.lock().closed = true;
        Ok(())
    }
}
