//! The state of one consumer: its cursor, its exceptions, and its deliveries in flight.

mod known;

use std::collections::BTreeMap;

use super::{
    Micros, QUEUED_ATTEMPT, RangeSet, Retry,
    attempt::{End, Ended, Flight, Taken, Upcoming},
    retries::Retries,
};
use crate::{Progress, Sequence, limits::RETRIES_PER_CONSUMER};

/// More ends than one call of `settle` has. A consumer that is below the bound by less than this may have been at the
/// bound before the call.
const BACKLOG_MARGIN: usize = 4096;

/// The state of one consumer. All of it is durable except the [`Flight`]s and what follows, which are lost when the
/// process ends.
#[derive(Debug, Clone)]
pub(crate) struct ConsumerState {
    /// The consumer's first event is the one after this sequence.
    start: Sequence,
    /// Sequences that were attempted or skipped, including everything up to `start`.
    attempted: RangeSet,
    /// Number of events after `start` that have been attempted.
    attempts_begun: u64,
    /// Number of events that the endpoint had stored before the first event of this consumer.
    appended_before: u64,
    delivered: u64,
    retries: Retries,
    /// Dead letters and their time of death.
    dead: BTreeMap<Sequence, Micros>,
    /// A lower bound of the times of death.
    oldest_death: Micros,

    flights: BTreeMap<Sequence, Flight>,
    /// Number of flights of new events.
    first_flights: u64,
    /// New events have been taken up to this sequence.
    next: Sequence,
    /// New events that were taken and released: sequence to the first sequence that they cover.
    returned: BTreeMap<Sequence, Sequence>,
    /// A retry was released or an event redelivered since the last claim.
    released: bool,
    /// The last claim was in order and stopped at an event that is not due or in flight: new events have to wait.
    held_up: bool,
    detached: bool,
}

impl ConsumerState {
    /// Creates a consumer whose first event is the one after `start`, of an endpoint that has stored `appended_before`
    /// events before that one.
    pub(crate) fn new(start: Sequence, appended_before: u64) -> Self {
        Self {
            start,
            attempted: RangeSet::up_to(start),
            attempts_begun: 0,
            appended_before,
            delivered: 0,
            retries: Retries::default(),
            dead: BTreeMap::new(),
            oldest_death: Micros::MAX,
            flights: BTreeMap::new(),
            first_flights: 0,
            next: start,
            returned: BTreeMap::new(),
            released: false,
            held_up: false,
            detached: false,
        }
    }

    /// Restores the state from its [`durable`](Self::durable) part.
    pub(crate) fn restore(durable: Durable) -> Self {
        let Durable { start, appended_before, attempts_begun, delivered, attempted, retries, dead } = durable;
        let mut state = Self::new(start, appended_before);
        state.attempts_begun = attempts_begun;
        state.delivered = delivered;
        for (first, last) in attempted {
            state.attempted.insert(first, last);
        }
        for (sequence, retry) in retries {
            state.retries.insert(sequence, retry);
        }
        for (sequence, time) in dead {
            state.oldest_death = state.oldest_death.min(time);
            state.dead.insert(sequence, time);
        }
        state
    }

    /// Returns the durable part of the state.
    pub(crate) fn durable(&self) -> Durable {
        Durable {
            start: self.start,
            appended_before: self.appended_before,
            attempts_begun: self.attempts_begun,
            delivered: self.delivered,
            attempted: self.attempted.iter().collect(),
            retries: self.retries.iter().collect(),
            dead: self.dead.iter().map(|(sequence, time)| (*sequence, *time)).collect(),
        }
    }

    pub(crate) fn start(&self) -> Sequence {
        self.start
    }

    pub(crate) fn is_detached(&self) -> bool {
        self.detached
    }

    /// Prevents further claims and settlements.
    pub(crate) fn detach(&mut self) {
        self.detached = true;
    }

    /// Returns the counts, given that the endpoint has stored `appended` events in all.
    pub(crate) fn progress(&self, appended: u64) -> Progress {
        let known = self.appended_before + self.attempts_begun + self.first_flights;
        let queued = self.retries.waiting_queued();
        Progress {
            pending: appended.saturating_sub(known) + queued,
            in_flight: self.flights.len() as u64,
            retrying: self.retries.waiting() - queued,
            dead: self.dead.len() as u64,
            delivered: self.delivered,
        }
    }

    /// Sets the counts of an endpoint that has stored `appended` events as far as the engine counts: `pending` of them have
    /// not been attempted by this consumer, which has nothing in flight.
    pub(crate) fn rebase(&mut self, appended: u64, pending: u64) {
        self.appended_before = appended.saturating_sub(pending);
        self.attempts_begun = 0;
    }

    /// Leaves so many more of the events that the endpoint has stored out of the counts: the consumer does not read them.
    pub(crate) fn exclude(&mut self, events: i64) {
        self.appended_before = self.appended_before.saturating_add_signed(events);
    }

    /// Returns the number of retries held in memory.
    pub(crate) fn retries(&self) -> usize {
        self.retries.len()
    }

    // Claims.

    /// Begins a claim.
    pub(crate) fn begin_claim(&mut self) {
        self.released = false;
        self.held_up = false;
    }

    /// Returns whether a claim would find new events up to `newest`, or released ones.
    pub(crate) fn is_ready(&self, newest: Sequence) -> bool {
        self.is_ready_with(|| self.attempted.next_outside(self.next + 1) <= newest)
    }

    /// Returns whether a claim would find new events of the log in which `upcoming` finds the first event after a
    /// position, or released ones.
    pub(crate) fn is_ready_in(&self, upcoming: &dyn Fn(Sequence) -> Option<Upcoming>) -> bool {
        self.is_ready_with(|| {
            let mut next = self.next;
            loop {
                let Some(found) = upcoming(self.attempted.next_outside(next + 1) - 1) else { return false };
                if !self.attempted.contains(found.sequence) {
                    return true;
                }
                next = found.sequence;
            }
        })
    }

    fn is_ready_with(&self, new: impl FnOnce() -> bool) -> bool {
        let new = || !self.returned.is_empty() || new();
        self.detached || self.released || (!self.held_up && !self.is_backlogged() && new())
    }

    /// Returns whether so many events wait for a retry that no new event is attempted until some of them are settled.
    pub(crate) fn is_backlogged(&self) -> bool {
        // Each new event in flight may need a retry.
        let first_flights = usize::try_from(self.first_flights).unwrap_or(usize::MAX);
        self.retries.len().saturating_add(first_flights) >= RETRIES_PER_CONSUMER
    }

    /// Takes due retries until `limit` are taken or no more are due.
    pub(crate) fn take_due(&mut self, taken: &mut Vec<Taken>, limit: usize, now: Micros, horizon: Micros) {
        while taken.len() < limit {
            let Some((sequence, retry)) = self.retries.take_due(now, horizon) else { return };
            self.begin_retry(taken, sequence, retry);
        }
    }

    /// Takes new events up to `last` until `limit` are taken or no more are left. `upcoming` finds the first event
    /// after a position.
    pub(crate) fn take_new(
        &mut self,
        taken: &mut Vec<Taken>,
        limit: usize,
        last: Sequence,
        upcoming: &dyn Fn(Sequence) -> Option<Upcoming>,
    ) {
        if !self.is_backlogged() {
            let first_flights = usize::try_from(self.first_flights).unwrap_or(usize::MAX);
            let room = RETRIES_PER_CONSUMER.saturating_sub(self.retries.len().saturating_add(first_flights));
            let limit = limit.min(taken.len().saturating_add(room));
            self.take_next(taken, limit, last, upcoming);
        }
    }

    fn take_next(
        &mut self,
        taken: &mut Vec<Taken>,
        limit: usize,
        last: Sequence,
        upcoming: &dyn Fn(Sequence) -> Option<Upcoming>,
    ) {
        while taken.len() < limit {
            let (first, sequence) = match self.returned.first_key_value() {
                Some((sequence, _)) if *sequence > last => return,
                Some((&sequence, &first)) => {
                    self.returned.remove(&sequence);
                    (first, sequence)
                }
                None => {
                    // Sequences up to this one were attempted in an earlier run.
                    let position = self.attempted.next_outside(self.next + 1) - 1;
                    let Some(next) = upcoming(position).filter(|next| next.sequence <= last) else { return };
                    self.next = next.sequence;
                    if self.attempted.contains(next.sequence) {
                        continue;
                    }
                    (next.first, next.sequence)
                }
            };
            let flight = Flight { attempt: 1, first, retry: false, settling: false };
            self.flights.insert(sequence, flight);
            self.first_flights += 1;
            taken.push(Taken { sequence, flight });
        }
    }

    /// Returns whether a claim in order has to wait: more is in flight than the `held` deliveries that it has taken
    /// itself.
    pub(crate) fn waits_in_order(&mut self, held: usize) -> bool {
        self.held_up |= self.flights.len() != held;
        self.held_up
    }

    /// Takes retries and new events ascending by sequence, regardless of the number of retries, until `limit` are
    /// taken, no more are left, or one is not due. Returns the due time of the latter.
    pub(crate) fn take_in_order(
        &mut self,
        taken: &mut Vec<Taken>,
        limit: usize,
        now: Micros,
        horizon: Micros,
        newest: Sequence,
        upcoming: &dyn Fn(Sequence) -> Option<Upcoming>,
    ) -> Option<Micros> {
        let mut from = 0;
        while taken.len() < limit {
            let Some((sequence, retry)) = self.retries.lowest(from) else {
                self.take_next(taken, limit, newest, upcoming);
                return None;
            };
            from = sequence + 1;
            self.take_next(taken, limit, newest.min(sequence.saturating_sub(1)), upcoming);
            if taken.len() >= limit {
                return None;
            }
            if self.flights.contains_key(&sequence) {
                continue;
            }
            if retry.due > now && retry.due <= horizon {
                self.held_up = true;
                return Some(retry.due);
            }
            if let Some(retry) = self.retries.take(sequence) {
                self.begin_retry(taken, sequence, retry);
            }
        }
        None
    }

    fn begin_retry(&mut self, taken: &mut Vec<Taken>, sequence: Sequence, retry: Retry) {
        let flight = Flight { attempt: retry.attempt, first: sequence, retry: true, settling: false };
        self.flights.insert(sequence, flight);
        taken.push(Taken { sequence, flight });
    }

    pub(crate) fn next_due(&self) -> Option<Micros> {
        self.retries.next_due()
    }

    /// Ends a flight whose event is to be attempted again under the same number. Returns whether it was in flight.
    pub(crate) fn release(&mut self, sequence: Sequence) -> bool {
        let Some(flight) = self.land(sequence) else { return false };
        self.held_up = false;
        if flight.retry {
            self.retries.release(sequence);
            self.released = true;
        } else {
            self.returned.insert(sequence, flight.first);
        }
        true
    }

    /// Returns the flight whose end is to be written, unless it has ended or its end is already being written.
    pub(crate) fn begin_settling(&mut self, sequence: Sequence) -> Option<Flight> {
        let flight = self.flights.get_mut(&sequence).filter(|flight| !flight.settling)?;
        flight.settling = true;
        Some(*flight)
    }

    /// Returns whether the end of this flight is being written.
    pub(crate) fn is_settling(&self, sequence: Sequence) -> bool {
        self.flights.get(&sequence).is_some_and(|flight| flight.settling)
    }

    /// Reverts `begin_settling`, because the end was not written.
    pub(crate) fn abort_settling(&mut self, sequence: Sequence) {
        if let Some(flight) = self.flights.get_mut(&sequence) {
            flight.settling = false;
        }
    }

    /// Lets a held-up consumer continue after a settlement. Returns whether it was, or may have been, held up.
    pub(crate) fn unblock(&mut self) -> bool {
        // A batch of ends may have brought the number below the bound.
        let was_backlogged = self.retries.len() + BACKLOG_MARGIN >= RETRIES_PER_CONSUMER;
        std::mem::take(&mut self.held_up) || was_backlogged
    }

    fn land(&mut self, sequence: Sequence) -> Option<Flight> {
        let flight = self.flights.remove(&sequence)?;
        if !flight.retry {
            self.first_flights -= 1;
        }
        Some(flight)
    }

    // Durable changes.

    /// Applies the end of an attempt, once it is durable.
    pub(crate) fn apply_ended(&mut self, ended: &Ended) {
        let Ended { sequence, first, attempt, end } = ended;
        self.land(*sequence);
        // Only an event that is gone ends without a flight.
        self.returned.remove(sequence);
        if !self.attempted.contains(*sequence) {
            self.attempts_begun += 1;
        }
        self.attempted.insert((*first).min(*sequence), *sequence);
        self.retries.remove(*sequence);
        match end {
            End::Delivered(_) => self.delivered += 1,
            End::Skipped { .. } | End::Gone => {}
            End::Retry { due, .. } => {
                self.retries.insert(*sequence, Retry { due: *due, attempt: attempt.saturating_add(1) });
            }
            End::Dead { failure } => {
                let time = Micros::floor(failure.time);
                self.oldest_death = self.oldest_death.min(time);
                self.dead.insert(*sequence, time);
            }
        }
    }

    /// Applies the redelivery of an event, once it is durable.
    pub(crate) fn apply_redelivered(&mut self, sequence: Sequence, due: Micros) {
        self.dead.remove(&sequence);
        self.retries.insert(sequence, Retry { due, attempt: QUEUED_ATTEMPT });
        self.released = true;
    }

    /// Applies a new due time of a retry, once it is durable.
    pub(crate) fn apply_hastened(&mut self, sequence: Sequence, due: Micros) {
        if let Some(retry) = self.retries.get(sequence)
            && !self.flights.contains_key(&sequence)
        {
            self.retries.insert(sequence, Retry { due, ..retry });
            self.released = true;
        }
    }

    /// Applies the removal of a dead letter, once it is durable.
    pub(crate) fn apply_purged(&mut self, sequence: Sequence) {
        self.dead.remove(&sequence);
    }
}

/// The durable part of a [`ConsumerState`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Durable {
    pub(crate) start: Sequence,
    pub(crate) appended_before: u64,
    pub(crate) attempts_begun: u64,
    pub(crate) delivered: u64,
    pub(crate) attempted: Vec<(Sequence, Sequence)>,
    pub(crate) retries: Vec<(Sequence, Retry)>,
    pub(crate) dead: Vec<(Sequence, Micros)>,
}
