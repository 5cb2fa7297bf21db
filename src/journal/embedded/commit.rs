//! The committer: the one thread that writes.
//!
//! A round takes everything that waits. Settlements and other small tasks are written first,
//! without a sync; then all appends go into one batch with one sync, and while that runs the next
//! round gathers. There is no timer: alone, an append pays for its own sync; under load, hundreds
//! share one.
//!
//! One writer also makes the rest simple: no id can be looked up by two at once, sequences are
//! handed out in order of commit, and what is in memory changes only after the write succeeded.
//!
//! What happens when that fails, and when there is no room, is in [`trouble`](super::trouble).

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use bytes::Bytes;
use jiff::Timestamp;
use tokio::sync::oneshot;

use super::{
    Engine,
    endpoint::{Endpoint, Recency},
    inbox::Round,
    membership::{Attach, Detach},
    redeliver::Requeue,
    settle::Settle,
    store::Store,
    sweep::{Bury, Forget, Reclaim, Remove},
    trouble::{CrashOnly, Trouble, again},
};
use crate::journal::{
    Appended, Result, Sequence,
    record::{EndpointRow, IndexRow, key},
};

/// Bytes an event takes besides its row and the id in the index: its key and its index row.
const EVENT_OVERHEAD_BYTES: usize = 12 + 33;

/// A caller's answer.
pub(super) type Answer<T> = oneshot::Sender<Result<T>>;

/// Events to append, all or nothing.
pub(super) struct Append {
    pub(super) events: Vec<Incoming>,
    pub(super) answer: Answer<Vec<Appended>>,
}

/// An event, encoded.
pub(super) struct Incoming {
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) index_key: Bytes,
    pub(super) row: Bytes,
    pub(super) received: Timestamp,
    pub(super) window: Option<Duration>,
}

/// Everything that is not an append.
pub(super) enum Task {
    Settle(Settle),
    Attach(Attach),
    Detach(Detach),
    Remove(Remove),
    Bury(Bury),
    Forget(Forget),
    Requeue(Requeue),
    /// Removes rows of `state` that mean nothing any more.
    Erase(Vec<Bytes>, Answer<()>),
    Close(Answer<()>),
}

/// The committer's own state.
pub(super) struct Committer {
    pub(super) engine: Arc<Engine>,
    recency: Recency,
    pub(super) reclaim: Reclaim,
    pub(super) trouble: Trouble,
    staged: Staged,
}

/// What a round will have written once its batch is committed.
#[derive(Default)]
struct Staged {
    added: HashMap<u32, Added>,
    ids: HashMap<Bytes, IndexRow>,
    events: Vec<(Arc<Endpoint>, Sequence, Bytes)>,
    answers: Vec<(Answer<Vec<Appended>>, Vec<Appended>)>,
    bytes: u64,
}

/// What a round adds to one endpoint. Its row is made of that when the batch is, because until then settled events may
/// go early to make room, which changes the row too.
struct Added {
    endpoint: Arc<Endpoint>,
    events: u64,
    bytes: u64,
}

impl Added {
    fn row(&self) -> EndpointRow {
        let mut row = self.endpoint.row.lock().clone();
        row.head += self.events;
        row.count += self.events;
        row.bytes += self.bytes;
        row
    }
}

/// What an event of that size counts for in the journal's usage.
pub(super) fn event_cost(row: usize, index_key: usize) -> u64 {
    (row + index_key + EVENT_OVERHEAD_BYTES) as u64
}

impl Committer {
    pub(super) fn new(engine: Arc<Engine>) -> Self {
        Self {
            engine,
            recency: Recency::default(),
            reclaim: Reclaim::default(),
            trouble: Trouble::default(),
            staged: Staged::default(),
        }
    }

    /// Works until the inbox is closed, then closes the files.
    pub(super) fn run(mut self) {
        let _crash_only = CrashOnly;
        let engine = self.engine.clone();
        let mut round = Round::default();
        while !round.last {
            engine.inbox.take(&mut round, self.trouble.look_again());
            *engine.busy.lock() = Some(Instant::now());
            self.round(&mut round);
            *engine.busy.lock() = None;
        }
        engine.shut();
    }

    /// Does and answers all that was taken, and empties the round.
    pub(super) fn round(&mut self, round: &mut Round) {
        self.ease();
        self.tasks(round);
        self.appends(round);
        round.tasks.clear();
        round.appends.clear();
        self.report();
    }

    fn tasks(&mut self, round: &mut Round) {
        // Settlements in a row share a batch; anything else comes in between, in order.
        let mut settles = Vec::new();
        for (task, permit) in round.tasks.drain(..) {
            if let Task::Settle(settle) = task {
                settles.push((settle, permit));
                continue;
            }
            self.settle(&mut settles);
            match task {
                Task::Settle(_) => {}
                Task::Attach(attach) => self.attach(attach),
                Task::Detach(detach) => self.detach(detach),
                Task::Remove(remove) => {
                    let outcome = self.remove(&remove.plan);
                    let _ = remove.answer.send(outcome);
                }
                Task::Bury(bury) => self.bury(bury),
                Task::Forget(forget) => self.forget(forget),
                Task::Requeue(requeue) => self.requeue(requeue),
                Task::Erase(keys, answer) => {
                    let _ = answer.send(self.erase(keys));
                }
                Task::Close(answer) => {
                    let outcome = self.write(Store::sync);
                    self.engine.inbox.close();
                    let _ = answer.send(outcome);
                }
            }
        }
        self.settle(&mut settles);
    }

    fn erase(&mut self, keys: Vec<Bytes>) -> Result<()> {
        self.write(|store| {
            let mut batch = store.batch(keys.len());
            for key in keys {
                batch.remove(&store.state, key);
            }
            store.commit_lazily(batch)
        })
    }

    /// Everything that waits, in one batch and one sync.
    fn appends(&mut self, round: &mut Round) {
        if round.appends.is_empty() {
            return;
        }
        if let Err(error) = self.can_append() {
            for (append, _) in round.appends.drain(..) {
                let _ = append.answer.send(Err(again(&error)));
            }
            return;
        }
        let mut staged = std::mem::take(&mut self.staged);
        for (append, _) in round.appends.iter_mut() {
            // The answer moves; the permit stays until the round is over.
            let answer = std::mem::replace(&mut append.answer, oneshot::channel().0);
            let events = std::mem::take(&mut append.events);
            if let Err(error) = self.make_room(&events, staged.bytes) {
                let _ = answer.send(Err(error));
                continue;
            }
            match self.engine.read(|store| staged.add(store, events)) {
                Ok(appended) => staged.answers.push((answer, appended)),
                Err(error) => {
                    let _ = answer.send(Err(error));
                }
            }
        }
        let outcome = if staged.events.is_empty() {
            Ok(())
        } else {
            self.write(|store| {
                let mut batch = store.batch(2 * staged.events.len() + staged.added.len());
                for (endpoint, sequence, row) in &staged.events {
                    batch.insert(&store.events, key::event(endpoint.number, *sequence), row.clone());
                }
                for (id, row) in staged.ids.drain() {
                    batch.insert(&store.index, id, row.encode());
                }
                for (number, added) in &staged.added {
                    batch.insert(&store.state, key::numbered(key::ENDPOINTS, *number), added.row().encode());
                }
                store.commit_durably(batch)
            })
        };
        match outcome {
            Ok(()) => {
                self.engine.live_bytes.fetch_add(staged.bytes, Ordering::AcqRel);
                if !staged.events.is_empty() {
                    self.trouble.stored(staged.bytes);
                }
                for (endpoint, sequence, row) in staged.events.drain(..) {
                    if !endpoint.consumers.read().is_empty() {
                        self.recency.push(&endpoint, sequence, row);
                    }
                }
                for (_, added) in staged.added.drain() {
                    added.endpoint.publish(added.row());
                }
                for (answer, appended) in staged.answers.drain(..) {
                    let _ = answer.send(Ok(appended));
                }
            }
            Err(error) => {
                tracing::error!(error = %again(&error), events = staged.events.len(), "events were not stored");
                for (answer, _) in staged.answers.drain(..) {
                    let _ = answer.send(Err(again(&error)));
                }
            }
        }
        staged.clear();
        self.staged = staged;
    }
}

impl Staged {
    /// Decides about each event of one caller. Nothing is staged when reading fails.
    fn add(&mut self, store: &Store, events: Vec<Incoming>) -> Result<Vec<Appended>> {
        // All lookups come first: they are what can fail.
        let mut known = Vec::with_capacity(events.len());
        for event in &events {
            known.push(match self.ids.get(&event.index_key) {
                Some(row) => Some(*row),
                None if event.window.is_none() => None,
                None => Store::get(&store.index, &event.index_key)?.map(IndexRow::decode).transpose()?,
            });
        }
        let mut appended = Vec::with_capacity(events.len());
        for (event, known) in events.into_iter().zip(known) {
            // An earlier event of the same call comes before what the index said.
            let known = self.ids.get(&event.index_key).copied().or(known);
            if let (Some(window), Some(known)) = (event.window, known)
                && event.received < after(known.received, window)
            {
                appended.push(Appended::Duplicate(known.sequence));
                continue;
            }
            let added = self.added.entry(event.endpoint.number).or_insert_with(|| Added {
                endpoint: event.endpoint.clone(),
                events: 0,
                bytes: 0,
            });
            let cost = event_cost(event.row.len(), event.index_key.len());
            added.events += 1;
            added.bytes += cost;
            self.bytes += cost;
            let sequence = event.endpoint.head() + added.events;
            let keep_until = event.window.map_or(event.received, |window| after(event.received, window));
            self.ids.insert(event.index_key, IndexRow { sequence, received: event.received, keep_until });
            self.events.push((event.endpoint, sequence, event.row));
            appended.push(Appended::Stored(sequence));
        }
        Ok(appended)
    }

    fn clear(&mut self) {
        self.added.clear();
        self.ids.clear();
        self.events.clear();
        self.answers.clear();
        self.bytes = 0;
    }
}

/// `time + span`, at most the end of time.
fn after(time: Timestamp, span: Duration) -> Timestamp {
    time.checked_add(span).unwrap_or(Timestamp::MAX)
}
