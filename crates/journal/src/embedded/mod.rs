//! The journal in a local directory: an append-only log, the single source of truth, and indexes derived from it. One
//! process, no other service.
//!
//! # How it works
//!
//! The log is a sequence of segments. One thread, the `writer`, appends to the last one. It takes everything that
//! waits, encodes it into one buffer, writes it with one call, syncs it once if anything in it has to be durable, and
//! only then changes the state in memory and answers. Every change of the state is a record of the log, and the state
//! is the result of its records: recovery replays them, see `replay`.
//!
//! When a segment is full, the writer begins the next one with the whole state at its head, so that nothing before that
//! head is needed to restore the state. A second thread, the `keeper`, turns the index of the full segment into a file,
//! merges files of ids, deletes segments without kept events or reduces them to outcomes (see `eventless`), rewrites
//! those of which little is kept, and checks old ones for damage.
//!
//! | file | content |
//! |---|---|
//! | `frame`, `entry`, `segment` | the records of the log, and reading them |
//! | `blocks`, `index`, `ids` | the derived files |
//! | `files`, `log_files`, `open`, `replay`, `live` | the directory; from files to memory |
//! | `inbox`, `incoming`, `task` | what waits for the writer |
//! | `round`, `append`, `membership`, `tasks`, `writer`, `staged`, `pending` | from calls to records |
//! | `rotation`, `recovery`, `writer_health` | segments that are begun, replaced and deleted; failed writes |
//! | `lookup`, `loading`, `claim`, `read`, `deliveries`, `ends`, `received`, `redeliver` | from records to answers |
//! | `sweep`, `room`, `keeper`, `sealing`, `eventless`, `outcomes`, `rewrite` | what leaves the log |
//! | `check` | looking at it offline |

mod append;
mod batch;
mod blocks;
mod check;
mod claim;
mod consumer;
mod consumer_machine;
mod deliveries;
mod endpoint;
mod ends;
mod engine;
mod entry;
mod error;
mod eventless;
mod files;
mod frame;
#[cfg(any(test, feature = "testing"))]
pub mod fuzzing;
mod ids;
mod inbox;
mod incoming;
mod index;
mod keeper;
mod keeper_inbox;
mod live;
mod loading;
mod log_files;
mod lookup;
mod members;
mod membership;
mod open;
mod outcomes;
mod pending;
mod read;
mod received;
mod recovery;
mod redeliver;
mod registry;
mod replay;
mod rewrite;
mod room;
mod rotation;
mod round;
mod sealing;
mod segment;
mod segment_name;
mod segments;
#[cfg(test)]
mod small_journal;
mod staged;
mod sweep;
mod task;
mod tasks;
mod writer;
mod writer_health;

use std::{
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
    thread::JoinHandle,
    time::Duration,
};

use async_trait::async_trait;
use grapnel_api::Incarnation;
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::watch;

pub use self::{
    check::{CheckReport, Repaired, SegmentReport, check, repair},
    error::OpenError,
    files::FORMAT_VERSION,
};
use self::{
    consumer::Consumer,
    engine::{Engine, Limits},
    keeper::Keeper,
    task::{Attach, Task},
    writer::Writer,
};
use super::{
    Appended, Arrival, Attached, AttachedConsumer, Claim, Claimed, DeliveryPage, DeliveryQuery, Detached,
    EndpointUsage, EventPage, EventQuery, Journal, JournalError, JournalUsage, NamespaceUsage, Progress, Redelivered,
    RedeliveryStep, Result, Retention, Selection, Sequence, Settlement, Start, StoredEvent, Swept, Tenure, Vitals,
    machine::Micros,
};

/// The location and limits of an embedded journal.
#[derive(Debug, Clone)]
pub struct EmbeddedOptions {
    /// The journal's own directory, created if missing.
    pub directory: PathBuf,
    /// Maximum size of the directory, log and index together, in bytes; 0 for no limit.
    pub max_bytes: u64,
    /// Maximum bytes of the events of one namespace; `None` for half of `max_bytes`.
    pub namespace_share: Option<u64>,
    /// Whether to refuse damaged records instead of reporting them.
    pub strict: bool,
}

/// The embedded engine. Dropping it writes what is queued and closes the files; [`Journal::close`] also syncs
/// settlements.
pub struct EmbeddedJournal {
    engine: Arc<Engine>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    tenure: watch::Sender<Tenure>,
}

impl EmbeddedJournal {
    /// Opens the journal with everything that was acknowledged. Blocks for milliseconds, or for a few seconds when much
    /// has to be recovered.
    ///
    /// # Errors
    ///
    /// See [`OpenError`].
    pub fn open(options: EmbeddedOptions) -> Result<Self, OpenError> {
        let (engine, writer) = open::open(&options)?;
        let engine = Arc::new(engine);
        let unusable = |error| OpenError::Unusable { path: options.directory.clone(), source: error };
        let writer = Writer::new(Arc::clone(&engine), writer);
        let keeper = Keeper::new(Arc::clone(&engine));
        let threads = vec![
            std::thread::Builder::new().name("journal-writer".into()).spawn(move || writer.run()).map_err(unusable)?,
            std::thread::Builder::new().name("journal-keeper".into()).spawn(move || keeper.run()).map_err(unusable)?,
        ];
        Ok(Self { engine, threads: Mutex::new(threads), tenure: watch::Sender::new(Tenure::all()) })
    }
}

impl Drop for EmbeddedJournal {
    fn drop(&mut self) {
        self.engine.inbox.close();
        self.engine.keeper.close();
        for thread in self.threads.lock().drain(..) {
            // A thread that panicked has already logged it.
            let _ = thread.join();
        }
    }
}

#[async_trait]
impl Journal for EmbeddedJournal {
    async fn append(&self, events: Vec<Arrival>) -> Result<Vec<Appended>> {
        append::append(&self.engine, events).await
    }

    async fn attach(&self, consumer: &Incarnation, endpoint: &Incarnation, start: Start) -> Result<Attached> {
        // Rejected before the endpoint is registered, so that a failing call changes nothing.
        let attached = self.engine.consumer(consumer).ok();
        if let Some(other) = attached.as_ref().filter(|attached| attached.endpoint.key != endpoint.key) {
            let endpoint = other.endpoint.key.clone();
            return Err(JournalError::EndpointChanged { consumer: consumer.key.clone(), endpoint });
        }
        let (known, incarnation) = self.engine.resolve(endpoint).await?;
        if attached.is_some_and(|attached| attached.endpoint.number == known.number) {
            return Ok(Attached::default());
        }
        let attach = Attach { consumer: consumer.clone(), endpoint: known, incarnation, start };
        self.engine.ask(|answer| Task::Attach { attach, answer }).await
    }

    async fn detach(&self, consumer: &Incarnation) -> Result<Option<Detached>> {
        let consumer = consumer.clone();
        self.engine.ask(|answer| Task::Detach { consumer, answer }).await
    }

    async fn consumers(&self) -> Result<Vec<AttachedConsumer>> {
        let consumers = self.engine.consumers.read();
        let attached = |consumer: &Arc<Consumer>| AttachedConsumer {
            consumer: consumer.object.clone(),
            endpoint: consumer.endpoint.key.clone(),
        };
        let mut all: Vec<_> = consumers.iter().map(attached).collect();
        all.sort_unstable();
        Ok(all)
    }

    async fn claim(&self, consumer: &Incarnation, claim: Claim) -> Result<Claimed> {
        let consumer = self.engine.consumer(consumer)?;
        claim::claim(&self.engine, &consumer, claim).await
    }

    async fn ready(&self, consumer: &Incarnation) {
        if let Ok(consumer) = self.engine.consumer(consumer) {
            consumer.ready().await;
        }
    }

    async fn settle(&self, consumer: &Incarnation, settlements: Vec<(Sequence, Settlement)>) -> Result<()> {
        let consumer = self.engine.consumer(consumer)?;
        claim::settle(&self.engine, &consumer, settlements).await
    }

    async fn redeliver(
        &self,
        consumer: &Incarnation,
        selection: &Selection,
        step: RedeliveryStep,
    ) -> Result<Redelivered> {
        let consumer = self.engine.consumer(consumer)?;
        redeliver::redeliver(&self.engine, &consumer, selection, step).await
    }

    fn progress(&self, consumer: &Incarnation) -> Option<Progress> {
        self.engine.consumer(consumer).ok().map(|consumer| consumer.progress())
    }

    async fn events(&self, endpoint: &Incarnation, query: EventQuery) -> Result<EventPage> {
        let Some((endpoint, begin)) = self.engine.present_endpoint(endpoint) else { return Ok(EventPage::default()) };
        self.engine.blocking(move |engine| read::events(engine, &endpoint, begin, &query)).await
    }

    async fn event(&self, endpoint: &Incarnation, id: &str) -> Result<Option<StoredEvent>> {
        let Some((endpoint, _)) = self.engine.present_endpoint(endpoint) else { return Ok(None) };
        let id = id.to_owned();
        self.engine.blocking(move |engine| read::event(engine, &endpoint, &id)).await
    }

    async fn peek(&self, consumer: &Incarnation, sequences: &[Sequence]) -> Result<Vec<Option<StoredEvent>>> {
        let (consumer, sequences) = (self.engine.consumer(consumer)?, sequences.to_vec());
        self.engine.blocking(move |engine| read::peek(engine, &consumer, &sequences)).await
    }

    async fn deliveries(&self, consumer: &Incarnation, query: DeliveryQuery) -> Result<DeliveryPage> {
        let consumer = self.engine.consumer(consumer)?;
        self.engine.blocking(move |engine| deliveries::deliveries(engine, &consumer, &query)).await
    }

    async fn sweep(&self, retention: Retention, now: Timestamp) -> Result<Swept> {
        sweep::sweep(&self.engine, retention, now).await
    }

    fn tenure(&self) -> watch::Receiver<Tenure> {
        self.tenure.subscribe()
    }

    fn usage(&self) -> JournalUsage {
        let (log, index) = self.engine.disk();
        JournalUsage {
            bytes: self.engine.live_bytes(),
            disk_bytes: log + index,
            max_bytes: self.engine.limits.max_bytes,
        }
    }

    fn storage(&self, endpoint: &Incarnation) -> EndpointUsage {
        let Some((endpoint, _)) = self.engine.present_endpoint(endpoint) else { return EndpointUsage::default() };
        let state = endpoint.state.lock();
        let own = (state.own.bytes, state.exhausted.clone());
        drop(state);
        let exhausted = own.1.or_else(|| self.engine.exhausted.lock().get(&endpoint.key.namespace).cloned());
        EndpointUsage { bytes: own.0, exhausted }
    }

    fn namespaces(&self) -> Vec<NamespaceUsage> {
        let max_bytes = self.engine.limits.namespace_share;
        let namespaces = self.engine.namespaces.lock();
        namespaces
            .iter()
            .map(|(namespace, bytes)| NamespaceUsage { namespace: namespace.to_string(), bytes: *bytes, max_bytes })
            .collect()
    }

    fn vitals(&self) -> Vitals {
        let (log_bytes, index_bytes) = self.engine.disk();
        let (append_queue_bytes, task_queue) = self.engine.inbox.waiting();
        let consumers = self.engine.consumers.read();
        let checkpoint = Micros(self.engine.checkpoint.load(Ordering::Acquire) as i64);
        Vitals {
            log_bytes,
            index_bytes,
            checkpoint: Some(checkpoint.timestamp()),
            since_checkpoint_bytes: self.engine.segments.all().last().map_or(0, |segment| segment.len()),
            append_queue_bytes,
            task_queue,
            retrying: consumers.iter().map(|consumer| consumer.state().retries() as u64).sum(),
            damaged_records: self.engine.damaged_records.load(Ordering::Acquire),
        }
    }

    fn trouble(&self) -> Option<JournalError> {
        self.engine.trouble.lock().as_ref().map(JournalError::clone_for_caller)
    }

    fn stalled(&self) -> Option<Duration> {
        self.engine.busy.lock().map(|since| since.elapsed())
    }

    async fn close(&self) -> Result<()> {
        self.engine.closing.store(true, Ordering::Release);
        match self.engine.ask(Task::Close).await {
            // Already closed.
            Err(JournalError::Closed) => Ok(()),
            outcome => outcome,
        }
    }
}
