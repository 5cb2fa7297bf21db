//! A consumer in memory: its cursor, what is in flight, and who waits for it.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use jiff::Timestamp;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;

use super::{
    cursor::Cursor,
    due::{DueKey, DueWindow},
    endpoint::Endpoint,
};
use crate::{
    api::ObjectKey,
    journal::{Progress, Sequence, record::QUEUED_ATTEMPT},
};

/// One subscription's consumer.
pub(super) struct Consumer {
    pub(super) key: ObjectKey,
    pub(super) number: u32,
    pub(super) endpoint: Arc<Endpoint>,
    state: Mutex<State>,
    /// Wakes [`Consumer::ready`].
    pub(super) notify: Notify,
    /// Held by a claim, across its reads from disk: claims of one consumer come one after another.
    pub(super) claiming: tokio::sync::Mutex<()>,
}

/// An attempt under way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Flight {
    pub(super) attempt: u32,
    /// Its place in the due-time order, if this is a retry or the event was queued once more.
    pub(super) due: Option<Timestamp>,
}

impl Flight {
    /// The first attempt at an event that was queued once more.
    pub(super) fn is_queued_again(&self) -> bool {
        self.due.is_some() && self.attempt == QUEUED_ATTEMPT
    }
}

/// What changes; held only for moments, never across a read or a write of the disk.
pub(super) struct State {
    pub(super) cursor: Cursor,
    pub(super) flights: HashMap<Sequence, Flight>,
    /// Flights of new events.
    first_flights: u64,
    /// No first attempt has been claimed from here on.
    next: Sequence,
    /// Claimed before, and given back unattempted.
    returned: BTreeSet<Sequence>,
    pub(super) due: DueWindow,
    /// A retry has been given back, or an event been queued once more, since the last claim.
    released: bool,
    /// The last claim was in order and stopped at what is not due or in flight: new events have to wait.
    held_up: bool,
    /// A redelivery failed, but may be on disk.
    pub(super) doubtful: bool,
    pub(super) detached: bool,
}

/// An event taken for delivery, not loaded yet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Taken {
    pub(super) sequence: Sequence,
    pub(super) flight: Flight,
}

impl Consumer {
    pub(super) fn new(key: ObjectKey, number: u32, endpoint: Arc<Endpoint>, cursor: Cursor) -> Self {
        let due = if cursor.retrying == 0 { DueWindow::complete() } else { DueWindow::default() };
        let state = State {
            next: cursor.next_new(0),
            cursor,
            flights: HashMap::new(),
            first_flights: 0,
            returned: BTreeSet::new(),
            due,
            released: false,
            held_up: false,
            doubtful: false,
            detached: false,
        };
        Self {
            key,
            number,
            endpoint,
            state: Mutex::new(state),
            notify: Notify::new(),
            claiming: tokio::sync::Mutex::new(()),
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    pub(super) fn progress(&self) -> Progress {
        let state = self.state.lock();
        let in_flight = state.flights.len() as u64;
        let new = state.cursor.new_events(self.endpoint.head()).saturating_sub(state.first_flights);
        let again = state.waiting_again();
        Progress {
            pending: new + again,
            in_flight,
            retrying: state.waiting_retries().saturating_sub(again),
            dead: state.cursor.dead,
            delivered: state.cursor.delivered,
        }
    }

    /// Resolves once a claim would find a new event, a retry has been given back, an event has been
    /// queued once more, or the consumer is gone.
    pub(super) async fn ready(&self) {
        loop {
            let notified = self.notify.notified();
            tokio::pin!(notified);
            // Registered before the look, so that nothing is missed in between.
            notified.as_mut().enable();
            if self.state.lock().is_ready(self.endpoint.head()) {
                return;
            }
            notified.await;
        }
    }

    /// Events have been queued once more; `cursor` says so already.
    pub(super) fn queued_again(&self, cursor: Cursor, due: Timestamp, sequences: &HashSet<Sequence>) {
        let mut state = self.state.lock();
        state.cursor = cursor;
        for sequence in sequences {
            // Their rows are on disk for as long as the sync took: a claim may have found one there.
            if !state.flights.contains_key(sequence) {
                state.due.insert((due, *sequence), QUEUED_ATTEMPT);
            }
        }
        state.released = true;
        drop(state);
        self.notify.notify_waiters();
    }

    /// What the rows on disk say, with the events queued once more, some of which memory may not know.
    pub(super) fn recounted(&self, dead: u64, retrying: u64, queued: &[DueKey]) {
        let mut state = self.state.lock();
        state.doubtful = false;
        state.cursor.dead = dead;
        state.cursor.retrying = retrying;
        state.cursor.queued = queued.len() as u64;
        for (due, sequence) in queued {
            if !state.flights.contains_key(sequence) {
                state.due.insert((*due, *sequence), QUEUED_ATTEMPT);
            }
        }
        state.released = true;
        drop(state);
        self.notify.notify_waiters();
    }

    /// Gives flights back that never reached the worker.
    pub(super) fn give_back(&self, sequences: impl IntoIterator<Item = Sequence>) {
        let mut state = self.state.lock();
        let mut any = false;
        for sequence in sequences {
            any |= state.release(sequence);
        }
        drop(state);
        if any {
            self.notify.notify_waiters();
        }
    }
}

impl State {
    fn is_ready(&self, head: Sequence) -> bool {
        let new = || !self.returned.is_empty() || self.cursor.next_new(self.next) <= head;
        self.detached || self.released || (!self.held_up && new())
    }

    /// A claim begins.
    pub(super) fn begin_claim(&mut self) {
        self.released = false;
        self.held_up = false;
    }

    /// Retries, and events queued once more, that wait on disk or in the window.
    pub(super) fn waiting_retries(&self) -> u64 {
        self.cursor.retrying.saturating_sub(self.flights.len() as u64 - self.first_flights)
    }

    /// Events queued once more that wait. Flights are few, see [`crate::rules::limits::CLAIM_AHEAD`].
    fn waiting_again(&self) -> u64 {
        if self.cursor.queued == 0 {
            return 0;
        }
        let in_flight = self.flights.values().filter(|flight| flight.is_queued_again()).count() as u64;
        self.cursor.queued.saturating_sub(in_flight)
    }

    /// Takes due retries until `limit` are taken or the window holds no more.
    pub(super) fn take_due(&mut self, taken: &mut Vec<Taken>, limit: usize, now: Timestamp) {
        while taken.len() < limit {
            let Some(((due, sequence), attempt)) = self.due.take(now) else { return };
            self.begin_retry(taken, (due, sequence), attempt);
        }
    }

    fn begin_retry(&mut self, taken: &mut Vec<Taken>, (due, sequence): DueKey, attempt: u32) {
        let flight = Flight { attempt, due: Some(due) };
        self.flights.insert(sequence, flight);
        taken.push(Taken { sequence, flight });
    }

    /// Takes new events up to `head` until `limit` are taken or none is left.
    pub(super) fn take_new(&mut self, taken: &mut Vec<Taken>, limit: usize, head: Sequence) {
        while taken.len() < limit {
            let sequence = match self.returned.first().copied() {
                Some(sequence) if sequence > head => return,
                Some(sequence) => {
                    self.returned.remove(&sequence);
                    sequence
                }
                None => {
                    let next = self.cursor.next_new(self.next);
                    if next > head {
                        return;
                    }
                    self.next = next + 1;
                    next
                }
            };
            let flight = Flight { attempt: 1, due: None };
            self.flights.insert(sequence, flight);
            self.first_flights += 1;
            taken.push(Taken { sequence, flight });
        }
    }

    /// Whether a claim in order has to wait for what is in flight, which is more than the `held` that it has taken itself.
    pub(super) fn is_held_up(&mut self, held: usize) -> bool {
        self.held_up |= self.flights.len() != held;
        self.held_up
    }

    /// Takes retries and new events ascending by sequence until `limit` are taken, none is left, or one is not due,
    /// whose due time is returned. `retries` are the lowest that wait, ascending; all of them if there are fewer than
    /// `limit`.
    pub(super) fn take_in_order(
        &mut self,
        taken: &mut Vec<Taken>,
        limit: usize,
        head: Sequence,
        retries: &[(DueKey, u32)],
        now: Timestamp,
    ) -> Option<Timestamp> {
        for ((due, sequence), attempt) in retries {
            self.take_new(taken, limit, head.min(sequence.saturating_sub(1)));
            if taken.len() >= limit {
                return None;
            }
            if *due > now {
                self.held_up = true;
                return Some(*due);
            }
            self.due.remove(&(*due, *sequence));
            self.begin_retry(taken, (*due, *sequence), *attempt);
        }
        self.take_new(taken, limit, head);
        None
    }

    /// Something has been settled: what is held up may go on. True if something was.
    pub(super) fn go_on(&mut self) -> bool {
        std::mem::take(&mut self.held_up)
    }

    /// Ends a flight whose event is to be attempted again under the same number.
    pub(super) fn release(&mut self, sequence: Sequence) -> bool {
        let Some(flight) = self.land(sequence) else { return false };
        self.held_up = false;
        match flight.due {
            Some(due) => {
                self.due.insert((due, sequence), flight.attempt);
                self.released = true;
            }
            None => {
                self.returned.insert(sequence);
            }
        }
        true
    }

    /// Ends a flight.
    pub(super) fn land(&mut self, sequence: Sequence) -> Option<Flight> {
        let flight = self.flights.remove(&sequence)?;
        if flight.due.is_none() {
            self.first_flights -= 1;
        }
        Some(flight)
    }
}
