//! Ending attempts: many calls, one batch, no sync.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use fjall::OwnedWriteBatch;
use tokio::sync::OwnedSemaphorePermit;

use super::{
    commit::{Answer, Committer},
    consumer::{Consumer, Flight},
    cursor::Cursor,
    due::DueKey,
    store::Store,
    trouble::again,
};
use crate::journal::{
    JournalError, Result, Sequence, Settlement,
    record::{EMPTY_ROW, ExceptionRow, ExceptionState, encode_u32, key},
};

/// One call of `settle`.
pub(super) struct Settle {
    pub(super) consumer: Arc<Consumer>,
    pub(super) ends: Vec<(Sequence, End)>,
    /// Sequences of which no event exists any more, none of them in flight.
    pub(super) gap: Option<(Sequence, Sequence)>,
    pub(super) answer: Answer<()>,
}

/// How a flight ends.
pub(super) enum End {
    /// As the worker says.
    Settled(Settlement),
    /// The event is not there any more.
    Gone,
}

/// What will be true of one consumer once the batch is written.
struct Plan {
    consumer: Arc<Consumer>,
    cursor: Cursor,
    /// Every flight that ends, however.
    ended: HashSet<Sequence>,
    released: Vec<Sequence>,
    due: Vec<(DueKey, u32)>,
    changed: bool,
}

impl Committer {
    /// Writes these settlements and answers them. Drains the list.
    pub(super) fn settle(&mut self, settles: &mut Vec<(Settle, OwnedSemaphorePermit)>) {
        if settles.is_empty() {
            return;
        }
        let mut plans: HashMap<u32, Plan> = HashMap::new();
        let mut answers = Vec::with_capacity(settles.len());
        let outcome = self.write(|store| {
            let mut batch = store.batch(4 * settles.len());
            for (settle, permit) in settles.drain(..) {
                let plan = plans.entry(settle.consumer.number).or_insert_with(|| Plan::new(settle.consumer));
                if plan.consumer.state().detached {
                    let _ = settle.answer.send(Err(JournalError::UnknownConsumer(plan.consumer.key.clone())));
                    continue;
                }
                plan.add(store, &mut batch, settle.ends, settle.gap);
                answers.push((settle.answer, permit));
            }
            for plan in plans.values().filter(|plan| plan.changed) {
                let consumer = &plan.consumer;
                let row = plan.cursor.to_row(&consumer.key.namespace, &consumer.key.name, consumer.endpoint.number);
                batch.insert(&store.state, key::numbered(key::CONSUMERS, consumer.number), row.encode());
            }
            if batch.is_empty() { Ok(()) } else { store.commit_lazily(batch) }
        });
        if outcome.is_ok() {
            let settled = plans.values().any(|plan| plan.changed);
            plans.into_values().for_each(Plan::apply);
            if settled {
                self.reclaim.something_settled();
            }
        } else {
            // Giving back needs no disk.
            for plan in plans.into_values() {
                plan.consumer.give_back(plan.released);
            }
        }
        // What could not even be planned is refused with the same error.
        for (settle, permit) in settles.drain(..) {
            let released = settle.ends.into_iter().filter(|(_, end)| matches!(end, End::Settled(Settlement::Released)));
            settle.consumer.give_back(released.map(|(sequence, _)| sequence));
            answers.push((settle.answer, permit));
        }
        for (answer, _) in answers {
            let _ = answer.send(match &outcome {
                Ok(()) => Ok(()),
                Err(error) => Err(again(error)),
            });
        }
    }
}

impl Plan {
    fn new(consumer: Arc<Consumer>) -> Self {
        let cursor = consumer.state().cursor.clone();
        Self { consumer, cursor, ended: HashSet::new(), released: Vec::new(), due: Vec::new(), changed: false }
    }

    fn add(
        &mut self,
        store: &Store,
        batch: &mut OwnedWriteBatch,
        ends: Vec<(Sequence, End)>,
        gap: Option<(Sequence, Sequence)>,
    ) {
        if let Some((first, last)) = gap {
            let gone = self.cursor.mark(first, last);
            self.cursor.missing = self.cursor.missing.saturating_sub(gone);
            self.changed |= gone > 0;
        }
        let flights: Vec<_> = {
            let state = self.consumer.state();
            ends.into_iter()
                .filter_map(|(sequence, end)| Some((sequence, *state.flights.get(&sequence)?, end)))
                .collect()
        };
        for (sequence, flight, end) in flights {
            if self.ended.insert(sequence) {
                self.end(store, batch, sequence, flight, end);
            }
        }
    }

    fn end(&mut self, store: &Store, batch: &mut OwnedWriteBatch, sequence: Sequence, flight: Flight, end: End) {
        if let End::Settled(Settlement::Released) = end {
            self.released.push(sequence);
            return;
        }
        self.changed = true;
        let number = self.consumer.number;
        match flight.due {
            None => {
                self.cursor.mark(sequence, sequence);
            }
            Some(due) => {
                // One batch must not name a key twice: due at the same time again, the row is replaced.
                if !matches!(&end, End::Settled(Settlement::Retry { due: next, .. }) if *next == due) {
                    batch.remove(&store.state, key::timed(key::DUE, number, due, sequence));
                }
                self.cursor.retrying = self.cursor.retrying.saturating_sub(1);
                if flight.is_queued_again() {
                    self.cursor.queued = self.cursor.queued.saturating_sub(1);
                }
            }
        }
        let (state, attempt, time, failure) = match end {
            End::Settled(Settlement::Retry { due, failure }) => {
                let attempt = flight.attempt.saturating_add(1);
                self.cursor.retrying += 1;
                self.due.push(((due, sequence), attempt));
                batch.insert(&store.state, key::timed(key::DUE, number, due, sequence), encode_u32(attempt));
                (ExceptionState::Retrying, attempt, due, failure)
            }
            End::Settled(Settlement::Dead { failure }) => {
                self.cursor.dead += 1;
                batch.insert(&store.state, key::timed(key::DEATHS, number, failure.time, sequence), EMPTY_ROW);
                (ExceptionState::Dead, flight.attempt, failure.time, failure)
            }
            End::Settled(Settlement::Delivered | Settlement::Skipped | Settlement::Released) | End::Gone => {
                match end {
                    End::Settled(Settlement::Delivered) => self.cursor.delivered += 1,
                    End::Gone if flight.due.is_none() => self.cursor.missing = self.cursor.missing.saturating_sub(1),
                    _ => {}
                }
                if flight.due.is_some() {
                    batch.remove(&store.state, key::exception(number, sequence));
                }
                return;
            }
        };
        let row = ExceptionRow { state, attempt, due: time, failure };
        batch.insert(&store.state, key::exception(number, sequence), row.encode());
    }

    /// It has been written: make it so.
    fn apply(self) {
        let mut state = self.consumer.state();
        state.cursor = self.cursor;
        let released = self.released;
        for sequence in &released {
            state.release(*sequence);
        }
        // Those just released are in flight no more.
        for sequence in self.ended {
            state.land(sequence);
        }
        for (due, attempt) in self.due {
            state.due.insert(due, attempt);
        }
        let goes_on = state.go_on();
        drop(state);
        if goes_on || !released.is_empty() {
            self.consumer.notify.notify_waiters();
        }
    }
}

/// Decodes the row of an exception.
pub(super) fn exception(store: &Store, consumer: u32, sequence: Sequence) -> Result<Option<ExceptionRow>> {
    let row = Store::get(&store.state, key::exception(consumer, sequence))?;
    Ok(row.map(ExceptionRow::decode).transpose()?)
}
