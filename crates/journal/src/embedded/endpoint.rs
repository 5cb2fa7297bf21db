//! An endpoint's log in memory: its end, the kept events, its consumers, and its newest events.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use grapnel_api::{Incarnation, ObjectKey};
use parking_lot::{Mutex, RwLock};

use super::{
    consumer_machine::ConsumerMachine,
    entry::{self, Former},
};
use crate::{
    JournalError, Result, Sequence, ShareExhausted,
    limits::{FORMER_UIDS, RECENT_EVENTS_BYTES},
    machine::{Micros, RangeSet, Upcoming},
};

/// One endpoint's log, over all incarnations of the endpoint.
pub(super) struct Endpoint {
    pub(super) key: ObjectKey,
    pub(super) number: u32,
    /// Newest durable sequence.
    head: AtomicU64,
    /// Changes with every attached consumer, every removal and every redelivery, which invalidate earlier decisions of
    /// a sweep or a redelivery.
    epoch: AtomicU64,
    pub(super) state: Mutex<State>,
    pub(super) consumers: RwLock<Vec<Arc<ConsumerMachine>>>,
    recent: Mutex<VecDeque<(Sequence, Bytes)>>,
}

/// Number and size of kept events.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) events: u64,
    pub(super) bytes: u64,
}

impl Kept {
    pub(super) fn add(&mut self, more: Self) {
        self.events += more.events;
        self.bytes += more.bytes;
    }

    pub(super) fn subtract(&mut self, less: Self) {
        self.events = self.events.saturating_sub(less.events);
        self.bytes = self.bytes.saturating_sub(less.bytes);
    }
}

/// The events of one incarnation.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    pub(super) first: Sequence,
    pub(super) last: Sequence,
    pub(super) retention: Option<Duration>,
}

/// The mutable state of an endpoint's log. Only the writer changes it.
#[derive(Debug)]
pub(super) struct State {
    pub(super) uid: Arc<str>,
    pub(super) incarnation: u32,
    /// First sequence of the current incarnation.
    pub(super) begin: Sequence,
    /// Earlier incarnations, newest last.
    pub(super) former: VecDeque<Former>,
    /// Number of events ever stored.
    pub(super) appended: u64,
    /// Kept events of this incarnation.
    pub(super) own: Kept,
    /// Kept events of earlier incarnations.
    pub(super) earlier: Kept,
    /// The last known retention of this incarnation.
    pub(super) retention: Option<Duration>,
    /// When the last deduplication window of its ids ends.
    pub(super) ids_until: Micros,
    /// Sequences without a kept event.
    pub(super) removed: RangeSet,
    /// Sequences whose events cannot be read.
    pub(super) damaged: RangeSet,
    /// Why events are rejected, if the share is exhausted.
    pub(super) exhausted: Option<ShareExhausted>,
}

impl State {
    /// Marks events as removed, and drops what was known of damage to them.
    pub(super) fn remove(&mut self, first: Sequence, last: Sequence) {
        self.removed.insert(first, last);
        self.damaged.remove(first, last);
    }
}

impl Endpoint {
    /// Creates a log without events, whose first sequence is `begin`.
    pub(super) fn new(endpoint: &Incarnation, number: u32, incarnation: u32, begin: Sequence) -> Self {
        let state = State {
            uid: Arc::clone(&endpoint.uid),
            incarnation,
            begin,
            former: VecDeque::new(),
            appended: 0,
            own: Kept::default(),
            earlier: Kept::default(),
            retention: None,
            ids_until: Micros(0),
            removed: RangeSet::up_to(begin.saturating_sub(1)),
            damaged: RangeSet::default(),
            exhausted: None,
        };
        Self::of(endpoint.key.clone(), number, begin.saturating_sub(1), state)
    }

    fn of(key: ObjectKey, number: u32, head: Sequence, state: State) -> Self {
        Self {
            key,
            number,
            head: AtomicU64::new(head),
            epoch: AtomicU64::new(0),
            state: Mutex::new(state),
            consumers: RwLock::new(Vec::new()),
            recent: Mutex::new(VecDeque::new()),
        }
    }

    /// Restores a log from the state in a segment's head.
    pub(super) fn restore(number: u32, stored: entry::EndpointState) -> Self {
        let ranges = |ranges: Vec<(Sequence, Sequence)>| {
            let mut set = RangeSet::default();
            for (first, last) in ranges {
                set.insert(first, last);
            }
            set
        };
        let state = State {
            uid: Arc::from(stored.uid),
            incarnation: stored.incarnation,
            begin: stored.begin,
            former: stored.former.into(),
            appended: stored.appended,
            own: Kept::default(),
            earlier: Kept::default(),
            retention: stored.retention,
            ids_until: stored.ids_until,
            removed: ranges(stored.removed),
            damaged: ranges(stored.damaged),
            exhausted: None,
        };
        Self::of(stored.key, number, stored.head, state)
    }

    /// Returns the state to store in a segment's head.
    pub(super) fn stored(&self) -> entry::EndpointState {
        let state = self.state.lock();
        entry::EndpointState {
            key: self.key.clone(),
            uid: Box::from(&*state.uid),
            incarnation: state.incarnation,
            begin: state.begin,
            head: self.head(),
            appended: state.appended,
            retention: state.retention,
            ids_until: state.ids_until,
            former: state.former.iter().cloned().collect(),
            removed: state.removed.iter().collect(),
            damaged: state.damaged.iter().collect(),
        }
    }

    pub(super) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// Invalidates earlier decisions of sweeps and redeliveries.
    pub(super) fn next_epoch(&self) {
        self.epoch.fetch_add(1, Ordering::AcqRel);
    }

    pub(super) fn head(&self) -> Sequence {
        self.head.load(Ordering::Acquire)
    }

    /// Sets the newest sequence without waking consumers, while the log is replayed.
    pub(super) fn set_head(&self, head: Sequence) {
        self.head.store(head, Ordering::Release);
    }

    /// Makes durable events visible, and wakes the consumers that wait for them.
    pub(super) fn publish(&self, head: Sequence) {
        self.set_head(head);
        for consumer in self.consumers.read().iter() {
            consumer.notify.notify_waiters();
        }
    }

    /// Returns the number of the incarnation with this uid; `Ok(None)` for an unknown uid.
    ///
    /// # Errors
    ///
    /// [`JournalError::EndpointReplaced`] for an earlier incarnation.
    pub(super) fn incarnation_of(&self, uid: &str) -> Result<Option<u32>> {
        let state = self.state.lock();
        if *state.uid == *uid && state.incarnation > 0 {
            return Ok(Some(state.incarnation));
        }
        if state.former.iter().any(|former| *former.uid == *uid) {
            return Err(JournalError::EndpointReplaced(self.key.clone()));
        }
        Ok(None)
    }

    /// Returns the number of the current incarnation.
    pub(super) fn present_incarnation(&self) -> u32 {
        self.state.lock().incarnation
    }

    /// Returns whether no event is kept, no id is remembered, and no consumer reads it.
    pub(super) fn is_forgettable(&self, now: Micros) -> bool {
        let state = self.state.lock();
        state.own.events + state.earlier.events == 0
            && state.appended > 0
            && state.ids_until <= now
            && self.consumers.read().is_empty()
    }

    /// Marks the endpoint as removed from the table: holders of a reference must look it up again.
    pub(super) fn forget(&self) {
        self.state.lock().incarnation = 0;
    }

    /// Returns where the current incarnation begins, if `uid` is that incarnation.
    pub(super) fn begin_of(&self, uid: &str) -> Option<Sequence> {
        let state = self.state.lock();
        (*state.uid == *uid).then_some(state.begin)
    }

    /// Begins a new incarnation for another object of the same name: its log begins behind the existing events.
    pub(super) fn reincarnate(&self, uid: &Arc<str>, incarnation: u32, begin: Sequence) {
        let mut state = self.state.lock();
        let former = std::mem::replace(&mut state.uid, Arc::clone(uid));
        let former = Former { uid: Box::from(&*former), begin: state.begin, retention: state.retention.take() };
        state.former.push_back(former);
        if state.former.len() > FORMER_UIDS
            && let Some(oldest) = state.former.pop_front()
            && let Some(next) = state.former.front_mut()
        {
            // Its events stay as long as those of the next incarnation.
            next.begin = oldest.begin;
        }
        let own = std::mem::take(&mut state.own);
        state.earlier.add(own);
        state.exhausted = None;
        state.incarnation = incarnation;
        state.begin = begin;
        let head = self.head();
        if begin > head + 1 {
            state.removed.insert(head + 1, begin - 1);
            self.set_head(begin - 1);
        }
    }

    /// Returns the events of each incarnation, oldest first.
    pub(super) fn spans(&self) -> Vec<Span> {
        let head = self.head();
        let state = self.state.lock();
        let begins = state.former.iter().map(|former| (former.begin, former.retention));
        let begins: Vec<_> = begins.chain([(state.begin, state.retention)]).collect();
        let ends = begins.iter().skip(1).map(|(begin, _)| begin.saturating_sub(1)).chain([head]);
        begins
            .iter()
            .zip(ends)
            .map(|((first, retention), last)| Span { first: *first, last, retention: *retention })
            .collect()
    }

    /// Returns the first kept sequence at or after `from`.
    pub(super) fn next_kept(&self, from: Sequence) -> Option<Sequence> {
        let next = self.state.lock().removed.next_outside(from);
        (next <= self.head()).then_some(next)
    }

    /// Returns the last kept sequence at or before `from`.
    pub(super) fn previous_kept(&self, from: Sequence) -> Option<Sequence> {
        self.state.lock().removed.previous_outside(from.min(self.head()))
    }

    /// Returns whether the event is kept.
    pub(super) fn keeps(&self, sequence: Sequence) -> bool {
        !self.state.lock().removed.contains(sequence)
    }

    /// Returns the first kept event after a position.
    pub(super) fn upcoming(&self, position: Sequence) -> Option<Upcoming> {
        let sequence = self.state.lock().removed.next_outside(position + 1);
        (sequence <= self.head()).then_some(Upcoming { first: position + 1, sequence })
    }

    /// Returns the row of a recently appended event.
    pub(super) fn recent(&self, sequence: Sequence) -> Option<Bytes> {
        let recent = self.recent.lock();
        let first = recent.front()?.0;
        let at = usize::try_from(sequence.checked_sub(first)?).ok()?;
        recent.get(at).filter(|(at, _)| *at == sequence).map(|(_, row)| row.clone())
    }
}

/// The order in which recent events of all endpoints leave memory: together they occupy at most
/// [`RECENT_EVENTS_BYTES`]. Used by the writer only.
#[derive(Default)]
pub(super) struct Recency {
    order: VecDeque<(Arc<Endpoint>, usize)>,
    bytes: usize,
}

impl Recency {
    /// Caches an event's row for consumers without a backlog.
    pub(super) fn push(&mut self, endpoint: &Arc<Endpoint>, sequence: Sequence, row: Bytes) {
        let bytes = row.len();
        {
            let mut recent = endpoint.recent.lock();
            // Sequences in the ring have no gaps: events before a gap are no longer found, and leave in their turn.
            if recent.back().is_some_and(|last| last.0 + 1 != sequence) {
                recent.clear();
            }
            recent.push_back((sequence, row));
        }
        self.order.push_back((Arc::clone(endpoint), bytes));
        self.bytes += bytes;
        while self.bytes > RECENT_EVENTS_BYTES {
            let Some((oldest, bytes)) = self.order.pop_front() else { return };
            oldest.recent.lock().pop_front();
            self.bytes -= bytes;
        }
    }
}
