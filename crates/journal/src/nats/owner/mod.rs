//! A shard that this replica owns: its state in memory, its log, and the walk of its deliveries.
//!
//! Every change of the state is an entry of the shard's state log, which only the owner writes: each entry is published
//! with the sequence that the log must end in. A replica that has lost the shard without knowing it fails there, and
//! changes nothing. The events are in a stream of their own, to which every replica appends, and which the owner
//! follows.
//!
//! - `load`: taking a shard over: the log is replayed, and the index of the events rebuilt.
//! - `log`: entries of the state log: many changes share one.
//! - `tail`: new events.
//! - `claim`, `calls`, `lists`, `sweep`: what callers ask for.
//! - `recent`: the latest events, in memory.

mod calls;
mod claim;
mod lists;
mod load;
mod log;
mod recent;
mod sweep;
mod tail;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{mpsc, oneshot, watch};

pub(super) use self::{
    claim::{LoadedEvent, read_event},
    load::load,
};
use self::{log::Commit, recent::Recent};
use super::{
    broker::Broker,
    layout::{Layout, Shard},
    ownership::Tenancy,
    shard::{Change, Head, ShardState},
};
use crate::{
    JournalError, Result, Sequence,
    limits::{JOURNAL_TASK_QUEUE, NATS_EVENTS_AHEAD},
};

/// How long an append waits until the owner's own index has its event. Only callers that ask at once notice.
const VISIBLE: Duration = Duration::from_millis(20);

/// How often a shard that is to be handed over looks for what is in flight.
const DRAIN_LOOK: Duration = Duration::from_millis(20);

/// A shard that this replica owns.
pub(super) struct OwnedShard {
    pub(super) shard: Shard,
    broker: Broker,
    layout: Layout,
    tenancy: Tenancy,
    state: Mutex<ShardState>,
    /// Held by calls that read the state, decide, and make the decision durable.
    turn: tokio::sync::Mutex<()>,
    commits: mpsc::Sender<Commit>,
    recent: Mutex<Recent>,
    /// Events that this replica appended, before the index has reached them.
    ahead: Mutex<BTreeMap<Sequence, (Head, Bytes)>>,
    /// The last sequence known to be in the events stream.
    newest: watch::Sender<Newest>,
    /// The last sequence in the index.
    indexed: watch::Sender<Sequence>,
    ended: watch::Sender<bool>,
}

/// The last sequence known to be in the events stream.
#[derive(Debug, Clone, Copy, Default)]
struct Newest {
    /// Appended by this replica: the events between it and the index are likely on their way.
    own: Sequence,
    /// Appended by others.
    foreign: Sequence,
}

impl OwnedShard {
    fn new(
        broker: Broker,
        layout: Layout,
        shard: Shard,
        tenancy: Tenancy,
        state: ShardState,
    ) -> (Arc<Self>, mpsc::Receiver<Commit>) {
        let (commits, inbox) = mpsc::channel(JOURNAL_TASK_QUEUE);
        let indexed = state.tail();
        let owned = Self {
            shard,
            broker,
            layout,
            tenancy,
            state: Mutex::new(state),
            turn: tokio::sync::Mutex::default(),
            commits,
            recent: Mutex::default(),
            ahead: Mutex::default(),
            newest: watch::Sender::default(),
            indexed: watch::Sender::new(indexed),
            ended: watch::Sender::new(false),
        };
        (Arc::new(owned), inbox)
    }

    pub(super) fn state(&self) -> MutexGuard<'_, ShardState> {
        self.state.lock()
    }

    /// Returns the number of this tenure: a later one of the shard has a higher number.
    pub(super) fn epoch(&self) -> u64 {
        self.tenancy.epoch
    }

    /// Returns whether this replica may still act on the shard.
    pub(super) fn serves(&self) -> bool {
        !*self.ended.borrow() && self.tenancy.is_valid()
    }

    /// Ends the tenure: nothing is claimed or settled afterwards.
    pub(super) fn end(&self) {
        self.ended.send_replace(true);
    }

    /// Waits for what is being written, and ends the tenure.
    pub(super) async fn finish(&self) {
        let (answer, answered) = oneshot::channel();
        if self.commits.send(Commit { changes: Vec::new(), answer }).await.is_ok() {
            let _ = answered.await;
        }
        self.end();
    }

    /// Waits until the end of the tenure was noticed. Without a timer: many wait.
    async fn was_ended(&self) {
        let mut ended = self.ended.subscribe();
        // The sender lives as long as `self`.
        let _ = ended.wait_for(|ended| *ended).await;
    }

    /// Waits for the end of the tenure.
    pub(super) async fn ended(&self) {
        let mut ended = self.ended.subscribe();
        tokio::select! {
            () = self.tenancy.ended() => {}
            // The sender lives as long as `self`.
            _ = ended.wait_for(|ended| *ended) => {}
        }
    }

    /// Waits until the shard is to be handed over, and then until nothing is in flight, and tells the tenancy.
    pub(super) async fn drain(&self) {
        self.tenancy.closing().await;
        while self.state().in_flight() > 0 {
            tokio::time::sleep(DRAIN_LOOK).await;
        }
        self.tenancy.drained();
    }

    /// Makes changes durable, and applies them.
    async fn commit(&self, changes: Vec<Change>) -> Result<()> {
        if changes.is_empty() {
            return Ok(());
        }
        let (answer, answered) = oneshot::channel();
        let lost = || JournalError::Unavailable("another replica has taken the shard over".into());
        self.commits.send(Commit { changes, answer }).await.map_err(|_| lost())?;
        answered.await.unwrap_or_else(|_| Err(lost()))
    }

    /// Has the log name incarnations that began with an event. Without room in the queue, the next entry does.
    fn record_begun(&self) {
        let (answer, _) = oneshot::channel();
        let _ = self.commits.try_send(Commit { changes: Vec::new(), answer });
    }

    /// Takes events into the index that this replica has appended, ascending.
    pub(super) fn appended(&self, events: Vec<(Head, Bytes)>) {
        let Some(last) = events.last().map(|(head, _)| head.sequence) else { return };
        let (tail, has_begun) = {
            let mut state = self.state.lock();
            let mut ahead = self.ahead.lock();
            for (head, row) in events {
                let sequence = head.sequence;
                if sequence == state.tail() + 1 {
                    self.index(&mut state, &head, row);
                } else if sequence > state.tail() && ahead.len() < NATS_EVENTS_AHEAD {
                    ahead.insert(sequence, (head, row));
                }
            }
            self.index_ahead(&mut state, &mut ahead);
            (state.tail(), state.has_begun())
        };
        self.reached(tail);
        if has_begun {
            self.record_begun();
        }
        if tail < last {
            self.newest.send_modify(|newest| newest.own = newest.own.max(last));
        }
    }

    /// Publishes that the index has reached a sequence. What is published never decreases.
    fn reached(&self, tail: Sequence) {
        self.indexed.send_if_modified(|indexed| {
            let is_later = *indexed < tail;
            *indexed = tail.max(*indexed);
            is_later
        });
    }

    /// Waits a moment until the index has reached a sequence. After that the event is found a little later, like the
    /// events of other replicas.
    pub(super) async fn visible(&self, sequence: Sequence) {
        let mut indexed = self.indexed.subscribe();
        let visible = async { indexed.wait_for(|indexed| *indexed >= sequence).await.is_ok() };
        let _ = tokio::time::timeout(VISIBLE, visible).await;
    }

    fn index(&self, state: &mut ShardState, head: &Head, row: Bytes) {
        state.index(head);
        self.recent.lock().insert(head.sequence, row);
    }

    /// Indexes appended events that follow the last one indexed.
    fn index_ahead(&self, state: &mut ShardState, ahead: &mut BTreeMap<Sequence, (Head, Bytes)>) {
        while let Some(entry) = ahead.first_entry() {
            let sequence = *entry.key();
            if sequence > state.tail() + 1 {
                return;
            }
            let (head, row) = entry.remove();
            if sequence == state.tail() + 1 {
                self.index(state, &head, row);
            }
        }
    }
}
