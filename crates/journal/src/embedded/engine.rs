//! What the threads, claims and lists of a journal share.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::Instant,
};

use grapnel_api::{Incarnation, ObjectKey};
use parking_lot::{Mutex, RwLock};
use tokio::sync::oneshot;

use super::{
    consumer::Consumer,
    endpoint::Endpoint,
    files::{Directory, Layout},
    ids::{ActiveIds, Run},
    inbox::Inbox,
    keeper_inbox::KeeperInbox,
    registry::Registry,
    segments::Segments,
    task::{Answer, Task},
};
use crate::{JournalError, Result, Sequence, ShareExhausted};

/// State shared by the threads, claims and lists.
pub(super) struct Engine {
    pub(super) directory: Mutex<Option<Directory>>,
    pub(super) layout: Layout,
    pub(super) limits: Limits,
    pub(super) segments: Segments,
    pub(super) ids: RwLock<Ids>,
    pub(super) inbox: Inbox,
    pub(super) keeper: KeeperInbox,
    pub(super) endpoints: RwLock<Registry<Endpoint>>,
    pub(super) consumers: RwLock<Registry<Consumer>>,
    pub(super) next_endpoint: AtomicU32,
    pub(super) next_consumer: AtomicU32,
    /// No forgotten endpoint had a greater sequence.
    pub(super) retired_head: AtomicU64,
    /// Bytes of the kept events by namespace.
    pub(super) namespaces: Mutex<BTreeMap<Arc<str>, u64>>,
    /// Namespaces whose share is exhausted.
    pub(super) exhausted: Mutex<BTreeMap<Arc<str>, ShareExhausted>>,
    pub(super) closing: AtomicBool,
    /// Why appends are rejected. Set by the writer.
    pub(super) trouble: Mutex<Option<JournalError>>,
    /// Since when the writer has been busy with its current round.
    pub(super) busy: Mutex<Option<Instant>>,
    pub(super) damaged_records: AtomicU64,
    /// When the whole state was last written, in microseconds.
    pub(super) checkpoint: AtomicU64,
    pub(super) sweeping: tokio::sync::Mutex<()>,
    pub(super) redelivering: tokio::sync::Mutex<()>,
}

/// The engine's limits, from its options.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) max_bytes: u64,
    pub(super) namespace_share: u64,
    /// Size at which a segment is full.
    pub(super) segment_bytes: u64,
}

/// Every known id, newest last.
#[derive(Debug, Default)]
pub(super) struct Ids {
    pub(super) active: ActiveIds,
    /// The ids of full segments whose files are not written yet.
    pub(super) sealing: Vec<(u64, Arc<ActiveIds>)>,
    pub(super) runs: Vec<Arc<Run>>,
}

impl Ids {
    /// Replaces runs by one that covers them.
    pub(super) fn replace(&mut self, is_replaced: impl Fn(&Run) -> bool, run: Arc<Run>) {
        self.runs.retain(|other| !is_replaced(other));
        self.insert(run);
    }

    pub(super) fn insert(&mut self, run: Arc<Run>) {
        let at = self.runs.partition_point(|other| other.name < run.name);
        self.runs.insert(at, run);
    }
}

impl Engine {
    /// Returns whether the journal is closing, so that no new work may start.
    pub(super) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    pub(super) fn consumer(&self, object: &Incarnation) -> Result<Arc<Consumer>> {
        let found = self.consumers.read().get(&object.key).cloned();
        found
            .filter(|consumer| consumer.object.uid == object.uid)
            .ok_or_else(|| JournalError::UnknownConsumer(object.key.clone()))
    }

    pub(super) fn endpoint(&self, key: &ObjectKey) -> Option<Arc<Endpoint>> {
        self.endpoints.read().get(key).cloned()
    }

    pub(super) fn endpoint_numbered(&self, number: u32) -> Option<Arc<Endpoint>> {
        self.endpoints.read().numbered(number).cloned()
    }

    pub(super) fn consumer_numbered(&self, number: u32) -> Option<Arc<Consumer>> {
        self.consumers.read().numbered(number).cloned()
    }

    /// Returns the endpoint and where its log begins, if that incarnation is the current one.
    pub(super) fn present_endpoint(&self, endpoint: &Incarnation) -> Option<(Arc<Endpoint>, Sequence)> {
        let known = self.endpoint(&endpoint.key)?;
        let begin = known.begin_of(&endpoint.uid)?;
        Some((known, begin))
    }

    /// Runs `work` on a thread that may block.
    pub(super) async fn blocking<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Arc<Self>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let engine = Arc::clone(self);
        let outcome = tokio::task::spawn_blocking(move || {
            if engine.directory.lock().is_none() {
                return Err(JournalError::Closed);
            }
            work(&engine)
        })
        .await;
        outcome.map_err(|error| JournalError::Io("reading was interrupted".into(), Some(Box::new(error))))?
    }

    /// Sends a task to the writer and waits for its result.
    pub(super) async fn ask<T>(&self, task: impl FnOnce(Answer<T>) -> Task) -> Result<T> {
        let (answer, answered) = oneshot::channel();
        self.inbox.task(task(answer)).await?;
        answered.await.map_err(|_| JournalError::Closed)?
    }

    /// Sends a task to the writer and waits for its result, on a thread that may block.
    pub(super) fn ask_blocking<T>(&self, task: impl FnOnce(Answer<T>) -> Task) -> Result<T> {
        let (answer, answered) = oneshot::channel();
        self.inbox.keeper_task(task(answer))?;
        answered.blocking_recv().map_err(|_| JournalError::Closed)?
    }

    /// Returns the endpoint and the number of its incarnation, which is created if new.
    pub(super) async fn resolve(&self, endpoint: &Incarnation) -> Result<(Arc<Endpoint>, u32)> {
        if let Some(known) = self.endpoint(&endpoint.key)
            && let Some(incarnation) = known.incarnation_of(&endpoint.uid)?
        {
            return Ok((known, incarnation));
        }
        let endpoint = endpoint.clone();
        self.ask(|answer| Task::Endpoint { endpoint, answer }).await
    }

    /// Returns the bytes of the log and of the index.
    pub(super) fn disk(&self) -> (u64, u64) {
        let segments = self.segments.all();
        let log = segments.iter().map(|segment| segment.len()).sum();
        let index: u64 = segments.iter().map(|segment| segment.index_bytes()).sum();
        let runs: u64 = self.ids.read().runs.iter().map(|run| run.len).sum();
        (log, index + runs)
    }

    /// Returns the bytes of the kept events.
    pub(super) fn live_bytes(&self) -> u64 {
        self.segments.all().iter().map(|segment| segment.live_bytes()).sum()
    }
}
