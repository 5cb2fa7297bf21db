//! The journal in a directory of its own, on `fjall`: one process, no other service.
//!
//! One thread, the [committer](commit), does all writing. Reading happens elsewhere: a claim takes
//! recent events from memory and reads older ones on Tokio's blocking threads. See
//! [`record`](super::record) for what lies on disk.

mod claim;
mod commit;
mod compact;
mod consumer;
mod cursor;
mod due;
mod endpoint;
mod inbox;
mod membership;
mod open;
mod ordered;
mod read;
mod redeliver;
mod settle;
mod store;
mod sweep;
mod tail;
#[cfg(test)]
mod tests;
mod trouble;

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use futures_util::{FutureExt, future::BoxFuture};
use jiff::Timestamp;
use parking_lot::{Mutex, RwLock};
use tokio::sync::oneshot;

use self::{
    commit::{Answer, Append, Committer, Incoming, Task},
    compact::Garbage,
    consumer::Consumer,
    endpoint::{Endpoint, Endpoints},
    inbox::Inbox,
    settle::{End, Settle},
    store::{Directory, Store},
};
use super::{
    Appended, Arrival, Claimed, DeliveryQuery, DeliveryRecord, EventQuery, Journal, JournalError, Progress,
    Redelivered, Result, Retention, Selection, Sequence, Settlement, Start, Step, StoredEvent, Swept, Usage, record,
};
use crate::api::ObjectKey;

/// Where and how large.
#[derive(Debug, Clone)]
pub struct EmbeddedOptions {
    /// The journal's own directory; made if it is not there.
    pub directory: PathBuf,
    /// Bound of [`Usage::bytes`]; 0 for none.
    pub max_bytes: u64,
}

/// The embedded engine. Dropping it writes what is queued and closes the files; [`Journal::close`]
/// also syncs settlements.
pub struct EmbeddedJournal {
    engine: Arc<Engine>,
    committer: Mutex<Option<JoinHandle<()>>>,
}

/// What the committer, the claims and the listings share.
struct Engine {
    directory: Mutex<Option<Directory>>,
    /// `None` while the files are opened again, and after the end.
    store: RwLock<Option<Store>>,
    inbox: Inbox,
    endpoints: RwLock<Endpoints>,
    consumers: RwLock<HashMap<ObjectKey, Arc<Consumer>>>,
    next_consumer: AtomicU32,
    /// Bytes of the events kept.
    live_bytes: AtomicU64,
    max_bytes: u64,
    garbage: Garbage,
    closing: AtomicBool,
    /// Why appends are refused; written by the committer.
    trouble: Mutex<Option<JournalError>>,
    /// Since when the committer has been busy with what it took last.
    busy: Mutex<Option<Instant>>,
    sweeping: tokio::sync::Mutex<()>,
    redelivering: tokio::sync::Mutex<()>,
}

impl EmbeddedJournal {
    /// Opens the journal with everything that was acknowledged. Blocks: for milliseconds, or a few
    /// seconds when much has to be recovered.
    ///
    /// # Errors
    ///
    /// [`JournalError::Locked`] when another process has it open, [`JournalError::NewerFormat`],
    /// [`JournalError::Corrupt`], [`JournalError::Io`] or [`JournalError::Full`].
    pub fn open(options: EmbeddedOptions) -> Result<Self> {
        let engine = Arc::new(Engine::open(&options)?);
        let committer = Committer::new(engine.clone());
        let thread = std::thread::Builder::new()
            .name("journal-committer".into())
            .spawn(move || committer.run())
            .map_err(|error| store::from_io("a thread of its own".into(), error))?;
        Ok(Self { engine, committer: Mutex::new(Some(thread)) })
    }

    fn consumer(&self, key: &ObjectKey) -> Result<Arc<Consumer>> {
        self.engine.consumers.read().get(key).cloned().ok_or_else(|| JournalError::UnknownConsumer(key.clone()))
    }

    fn known_endpoint(&self, key: &ObjectKey) -> Option<Arc<Endpoint>> {
        self.engine.endpoints.read().get(key).cloned()
    }
}

impl Drop for EmbeddedJournal {
    fn drop(&mut self) {
        self.engine.inbox.close();
        if let Some(committer) = self.committer.lock().take() {
            // A committer that panicked has said so already.
            let _ = committer.join();
        }
    }
}

impl Engine {
    /// Reads or writes the store. Blocks while the files are opened again.
    fn read<T>(&self, read: impl FnOnce(&Store) -> Result<T>) -> Result<T> {
        match &*self.store.read() {
            Some(store) => read(store),
            None if !self.is_closing() && self.directory.lock().is_some() => {
                Err(JournalError::Io("its files could not be opened again after a failed write".into(), None))
            }
            None => Err(JournalError::Closed),
        }
    }

    /// Nothing new is begun any more.
    fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    /// The same on a thread that may block.
    async fn blocking<T: Send + 'static>(
        self: &Arc<Self>,
        read: impl FnOnce(&Store) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let engine = self.clone();
        let outcome = tokio::task::spawn_blocking(move || engine.read(read)).await;
        outcome.map_err(|error| JournalError::Io("reading was broken off".into(), Some(Box::new(error))))?
    }

    /// Has the committer do something and waits for its answer.
    async fn ask<T>(&self, task: impl FnOnce(Answer<T>) -> Task) -> Result<T> {
        let (answer, answered) = oneshot::channel();
        self.inbox.task(task(answer)).await?;
        answered.await.map_err(|_| JournalError::Closed)?
    }

    /// The endpoint, known from now on. It takes no place on disk before something refers to it.
    fn endpoint(&self, key: &ObjectKey) -> Arc<Endpoint> {
        if let Some(known) = self.endpoints.read().get(key) {
            return known.clone();
        }
        let mut endpoints = self.endpoints.write();
        if let Some(known) = endpoints.get(key) {
            return known.clone();
        }
        let endpoint = Arc::new(Endpoint::empty(key.clone(), endpoints.unused()));
        endpoints.insert(endpoint.clone());
        endpoint
    }

    /// Closes the files and lets go of the directory.
    fn shut(&self) {
        *self.store.write() = None;
        *self.directory.lock() = None;
    }
}

impl Journal for EmbeddedJournal {
    fn append(&self, events: Vec<Arrival>) -> BoxFuture<'_, Result<Vec<Appended>>> {
        async move {
            if self.engine.is_closing() {
                return Err(JournalError::Closed);
            }
            if events.is_empty() {
                return Ok(Vec::new());
            }
            // Encoded here, on the caller's thread, so that the committer has less to do.
            let mut bytes = 0;
            let events = events.into_iter().map(|arrival| {
                let endpoint = self.engine.endpoint(&arrival.endpoint);
                let row = record::encode_event(&arrival);
                bytes += row.len();
                Incoming {
                    index_key: record::key::index(endpoint.number, &arrival.validated.identity().id),
                    endpoint,
                    row,
                    received: arrival.received,
                    window: arrival.window,
                }
            });
            let events = events.collect();
            let (answer, answered) = oneshot::channel();
            self.engine.inbox.append(Append { events, answer }, bytes).await?;
            answered.await.map_err(|_| JournalError::Closed)?
        }
        .boxed()
    }

    fn attach<'a>(
        &'a self,
        consumer: &'a ObjectKey,
        endpoint: &'a ObjectKey,
        start: Start,
    ) -> BoxFuture<'a, Result<()>> {
        async move {
            if membership::attached(&self.engine, consumer, endpoint)? {
                return Ok(());
            }
            let endpoint = self.engine.endpoint(endpoint);
            let consumer = consumer.clone();
            self.engine.ask(|answer| Task::Attach(membership::Attach { consumer, endpoint, start, answer })).await
        }
        .boxed()
    }

    fn detach<'a>(&'a self, consumer: &'a ObjectKey) -> BoxFuture<'a, Result<()>> {
        async move {
            let consumer = consumer.clone();
            let gone = self.engine.ask(|answer| Task::Detach(membership::Detach { consumer, answer })).await?;
            match gone {
                Some(number) => membership::purge(&self.engine, number).await,
                None => Ok(()),
            }
        }
        .boxed()
    }

    fn consumers(&self) -> BoxFuture<'_, Result<Vec<(ObjectKey, ObjectKey)>>> {
        let consumers = self.engine.consumers.read();
        let mut all: Vec<_> = consumers.values().map(|c| (c.key.clone(), c.endpoint.key.clone())).collect();
        all.sort_unstable();
        std::future::ready(Ok(all)).boxed()
    }

    fn claim<'a>(&'a self, consumer: &'a ObjectKey, limit: usize, now: Timestamp) -> BoxFuture<'a, Result<Claimed>> {
        async move {
            let consumer = self.consumer(consumer)?;
            claim::claim(&self.engine, &consumer, limit, now).await
        }
        .boxed()
    }

    fn claim_in_order<'a>(
        &'a self,
        consumer: &'a ObjectKey,
        limit: usize,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<Claimed>> {
        async move {
            let consumer = self.consumer(consumer)?;
            ordered::claim(&self.engine, &consumer, limit, now).await
        }
        .boxed()
    }

    fn ready<'a>(&'a self, consumer: &'a ObjectKey) -> BoxFuture<'a, ()> {
        async move {
            if let Ok(consumer) = self.consumer(consumer) {
                consumer.ready().await;
            }
        }
        .boxed()
    }

    fn settle<'a>(
        &'a self,
        consumer: &'a ObjectKey,
        settlements: Vec<(Sequence, Settlement)>,
    ) -> BoxFuture<'a, Result<()>> {
        async move {
            let consumer = self.consumer(consumer)?;
            let ends = settlements.into_iter().map(|(sequence, end)| (sequence, End::Settled(end))).collect();
            self.engine.ask(|answer| Task::Settle(Settle { consumer, ends, gap: None, answer })).await
        }
        .boxed()
    }

    fn redeliver<'a>(
        &'a self,
        consumer: &'a ObjectKey,
        selection: &'a Selection,
        step: Step,
    ) -> BoxFuture<'a, Result<Redelivered>> {
        async move {
            let consumer = self.consumer(consumer)?;
            redeliver::redeliver(&self.engine, &consumer, selection, step).await
        }
        .boxed()
    }

    fn progress(&self, consumer: &ObjectKey) -> Option<Progress> {
        self.consumer(consumer).ok().map(|consumer| consumer.progress())
    }

    fn events<'a>(&'a self, endpoint: &'a ObjectKey, query: EventQuery) -> BoxFuture<'a, Result<Vec<StoredEvent>>> {
        async move {
            let Some(endpoint) = self.known_endpoint(endpoint) else { return Ok(Vec::new()) };
            self.engine.blocking(move |store| read::events(store, &endpoint, &query)).await
        }
        .boxed()
    }

    fn event<'a>(&'a self, endpoint: &'a ObjectKey, id: &'a str) -> BoxFuture<'a, Result<Option<StoredEvent>>> {
        async move {
            let Some(endpoint) = self.known_endpoint(endpoint) else { return Ok(None) };
            let id = id.to_owned();
            self.engine.blocking(move |store| read::event(store, &endpoint, &id)).await
        }
        .boxed()
    }

    fn deliveries<'a>(
        &'a self,
        consumer: &'a ObjectKey,
        query: DeliveryQuery,
    ) -> BoxFuture<'a, Result<Vec<DeliveryRecord>>> {
        async move {
            let consumer = self.consumer(consumer)?;
            self.engine.blocking(move |store| read::deliveries(store, &consumer, &query)).await
        }
        .boxed()
    }

    fn sweep(&self, retention: Retention, now: Timestamp) -> BoxFuture<'_, Result<Swept>> {
        sweep::sweep(&self.engine, retention, now).boxed()
    }

    fn usage(&self) -> Usage {
        Usage { bytes: self.engine.live_bytes.load(Ordering::Acquire), max_bytes: self.engine.max_bytes }
    }

    fn trouble(&self) -> Option<JournalError> {
        self.engine.trouble.lock().as_ref().map(trouble::again)
    }

    fn stalled(&self) -> Option<Duration> {
        self.engine.busy.lock().map(|since| since.elapsed())
    }

    fn close(&self) -> BoxFuture<'_, Result<()>> {
        async move {
            self.engine.closing.store(true, Ordering::Release);
            match self.engine.ask(Task::Close).await {
                // Closed before.
                Err(JournalError::Closed) => Ok(()),
                outcome => outcome,
            }
        }
        .boxed()
    }
}
