//! Delivering again what was delivered or is dead.
//!
//! A step is chosen away from the committer, from the rows on disk, and carried out by the
//! committer in one synced batch. What is queued gets a row `X` and a row `D` as a retry has, with
//! attempt 1, so that everything that is true of retries is true of it: it is claimed when due, it
//! comes again after a crash, and it pins its event.
//!
//! Until then a settled event may be swept. So the step carries the endpoint's epoch, which every
//! removal changes, and is chosen again when that is no longer the same; and a step that queues
//! changes the epoch itself, because what a sweep took for settled is not settled any more.

mod choose;

use std::{
    collections::HashSet,
    sync::{Arc, atomic::Ordering},
};

use bytes::Bytes;
use jiff::Timestamp;

use self::choose::{Chosen, choose, part};
use super::{
    Engine,
    commit::{Answer, Committer, Task},
    consumer::Consumer,
    cursor::Cursor,
    settle::exception,
    store::{Store, from_fjall},
};
use crate::journal::{
    Failure, JournalError, Redelivered, Result, Selection, Sequence, Step,
    record::{self, ExceptionRow, ExceptionState, QUEUED_ATTEMPT, encode_u32, key},
};

/// Events to queue; answers how many were, `None` when they have to be chosen again.
pub(super) struct Requeue {
    consumer: Arc<Consumer>,
    epoch: u64,
    sequences: Vec<Sequence>,
    due: Timestamp,
    answer: Answer<Option<u64>>,
}

impl Requeue {
    /// Events that were kept at that epoch.
    pub(super) fn new(
        consumer: Arc<Consumer>,
        epoch: u64,
        sequences: Vec<Sequence>,
        due: Timestamp,
        answer: Answer<Option<u64>>,
    ) -> Self {
        Self { consumer, epoch, sequences, due, answer }
    }
}

/// Where an event stands that can be queued.
enum Ended {
    Settled,
    Dead { since: Timestamp },
}

/// One step of a redelivery.
pub(super) async fn redeliver(
    engine: &Arc<Engine>,
    consumer: &Arc<Consumer>,
    selection: &Selection,
    step: Step,
) -> Result<Redelivered> {
    // One step at a time, so that however many ask, each round of the committer has one more sync at most.
    let _turn = engine.redelivering.lock().await;
    if engine.is_closing() {
        return Err(JournalError::Closed);
    }
    loop {
        let (of, selection) = (consumer.clone(), part(selection, step.from));
        let (epoch, chosen, queued) = engine
            .blocking(move |store| {
                let epoch = of.endpoint.epoch.load(Ordering::Acquire);
                let chosen = choose(store, &of, &selection, step)?;
                let mut queued = 0;
                if step.dry_run {
                    let cursor = of.state().cursor.clone();
                    for sequence in &chosen.sequences {
                        queued += u64::from(ended(store, of.number, &cursor, *sequence)?.is_some());
                    }
                }
                Ok((epoch, chosen, queued))
            })
            .await?;
        let Chosen { sequences, mut counts } = chosen;
        let selected = sequences.len() as u64;
        counts.queued = queued;
        if !step.dry_run && selected > 0 {
            let consumer = consumer.clone();
            let requeue = |answer| Task::Requeue(Requeue::new(consumer, epoch, sequences, step.now, answer));
            let Some(queued) = engine.ask(requeue).await? else { continue };
            counts.queued = queued;
        }
        counts.skipped += selected - counts.queued;
        return Ok(counts);
    }
}

/// Where an event stands; `None` when it is still on its way to the consumer.
fn ended(store: &Store, consumer: u32, cursor: &Cursor, sequence: Sequence) -> Result<Option<Ended>> {
    if !cursor.contains(sequence) {
        return Ok(None);
    }
    Ok(match exception(store, consumer, sequence)? {
        None => Some(Ended::Settled),
        Some(row) if row.state == ExceptionState::Dead => Some(Ended::Dead { since: row.due }),
        Some(_) => None,
    })
}

impl Committer {
    pub(super) fn requeue(&mut self, requeue: Requeue) {
        let outcome = self.queue_again(&requeue);
        let _ = requeue.answer.send(outcome);
    }

    fn queue_again(&mut self, requeue: &Requeue) -> Result<Option<u64>> {
        let Requeue { consumer, epoch, sequences, due, .. } = requeue;
        let (number, endpoint) = (consumer.number, &consumer.endpoint);
        let mut cursor = {
            let state = consumer.state();
            if state.detached {
                return Err(JournalError::UnknownConsumer(consumer.key.clone()));
            }
            state.cursor.clone()
        };
        if endpoint.epoch.load(Ordering::Acquire) != *epoch {
            return Ok(None);
        }
        let mut queued = HashSet::new();
        let outcome = self.write(|store| {
            let mut batch = store.batch(3 * sequences.len() + 1);
            for sequence in sequences.iter().copied() {
                let Some(ended) = ended(store, number, &cursor, sequence)? else { continue };
                // One batch must not name a key twice.
                if !queued.insert(sequence) {
                    continue;
                }
                if let Ended::Dead { since } = ended {
                    cursor.dead = cursor.dead.saturating_sub(1);
                    batch.remove(&store.state, key::timed(key::DEATHS, number, since, sequence));
                }
                cursor.retrying += 1;
                cursor.queued += 1;
                batch.insert(&store.state, key::exception(number, sequence), queued_row(*due).encode());
                batch.insert(&store.state, key::timed(key::DUE, number, *due, sequence), encode_u32(QUEUED_ATTEMPT));
            }
            if queued.is_empty() {
                return Ok(());
            }
            let row = cursor.to_row(&consumer.key.namespace, &consumer.key.name, endpoint.number);
            batch.insert(&store.state, key::numbered(key::CONSUMERS, number), row.encode());
            store.commit_durably(batch)
        });
        if queued.is_empty() {
            return outcome.map(|()| Some(0));
        }
        // Also after a failure, because what failed may be on disk.
        endpoint.epoch.fetch_add(1, Ordering::AcqRel);
        match outcome {
            Ok(()) => {
                consumer.queued_again(cursor, *due, &queued);
                Ok(Some(queued.len() as u64))
            }
            Err(error) => {
                consumer.state().doubtful = true;
                Err(error)
            }
        }
    }
}

/// The row of an event that is queued once more. It has not failed, not since.
fn queued_row(due: Timestamp) -> ExceptionRow {
    let failure = Failure { time: due, reason: "redelivery".into(), status: None, message: "".into() };
    ExceptionRow { state: ExceptionState::Retrying, attempt: QUEUED_ATTEMPT, due, failure }
}

/// Counts events queued once more, which no row of a consumer does.
pub(super) fn count_queued(store: &Store, consumer: u32) -> Result<u64> {
    let mut queued = 0;
    for row in store.state.prefix(key::numbered(key::DUE, consumer)) {
        let (_, attempt) = row.into_inner().map_err(from_fjall)?;
        queued += u64::from(record::decode_u32(attempt.into())? == QUEUED_ATTEMPT);
    }
    Ok(queued)
}

/// Takes over from disk what a redelivery that failed may have written all the same.
pub(super) fn recount(store: &Store, consumer: &Consumer) -> Result<()> {
    let (mut dead, mut retrying, mut queued) = (0, 0, Vec::new());
    for row in store.state.prefix(key::numbered(key::EXCEPTIONS, consumer.number)) {
        let (key, row) = row.into_inner().map_err(from_fjall)?;
        let row = ExceptionRow::decode(Bytes::from(row))?;
        match row.state {
            ExceptionState::Dead => dead += 1,
            ExceptionState::Retrying => {
                retrying += 1;
                if row.attempt == QUEUED_ATTEMPT {
                    queued.push((row.due, key::exception_sequence(&key)?));
                }
            }
        }
    }
    consumer.recounted(dead, retrying, &queued);
    Ok(())
}
