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

use std::{
    collections::HashSet,
    sync::{Arc, atomic::Ordering},
};

use bytes::Bytes;
use jiff::Timestamp;

use super::{
    Engine,
    commit::{Answer, Committer, Task},
    consumer::Consumer,
    cursor::Cursor,
    endpoint::Endpoint,
    settle::exception,
    store::{Store, from_fjall},
};
use crate::{
    journal::{
        Failure, JournalError, Position, Redelivered, Result, Selection, Sequence, Step,
        record::{self, ExceptionRow, ExceptionState, IndexRow, QUEUED_ATTEMPT, encode_u32, key},
    },
    rules::limits::{REDELIVERY_SCAN, REDELIVERY_SKEW, REDELIVERY_STEP},
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

/// What a step selects.
#[derive(Default)]
struct Chosen {
    /// Kept, and the consumer's own.
    sequences: Vec<Sequence>,
    /// What needs no look at the consumer.
    counts: Redelivered,
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

/// The selection without the ids that this step does not look up.
fn part(selection: &Selection, from: Option<Position>) -> Selection {
    let Selection::Events(ids) = selection else { return selection.clone() };
    let done = from.map_or(0, |from| usize::try_from(from.after).unwrap_or(usize::MAX));
    // One more tells whether there is another step.
    Selection::Events(ids.iter().skip(done).take(REDELIVERY_STEP + 1).cloned().collect())
}

fn choose(store: &Store, consumer: &Consumer, selection: &Selection, step: Step) -> Result<Chosen> {
    let limit = step.limit.clamp(1, REDELIVERY_STEP);
    let head = consumer.endpoint.head();
    let start = consumer.state().cursor.start;
    let last = step.from.map_or(head, |from| from.last.min(head));
    let after = step.from.map_or(start, |from| from.after.max(start));
    match selection {
        Selection::DeadLettered => dead_letters(store, consumer, after, last, limit),
        Selection::Events(ids) => by_id(store, &consumer.endpoint, ids, start, step.from, limit),
        Selection::Received { since, until } => {
            let after = match since {
                Some(since) if step.from.is_none() => {
                    search(store, &consumer.endpoint, after, last, earlier(*since, REDELIVERY_SKEW))?
                }
                _ => after,
            };
            let span = Span { since: *since, until: *until };
            span.events(store, &consumer.endpoint, start, Position { after, last }, limit, step.now)
        }
    }
}

fn dead_letters(store: &Store, consumer: &Consumer, after: Sequence, last: Sequence, limit: usize) -> Result<Chosen> {
    let mut chosen = Chosen::default();
    if after >= last {
        return Ok(chosen);
    }
    let range = key::exception(consumer.number, after + 1)..=key::exception(consumer.number, last);
    for (looked_at, row) in store.state.range(range).enumerate() {
        let (key, row) = row.into_inner().map_err(from_fjall)?;
        let sequence = key::exception_sequence(&key)?;
        if ExceptionRow::decode(Bytes::from(row))?.state == ExceptionState::Dead {
            chosen.sequences.push(sequence);
        }
        if chosen.sequences.len() == limit || looked_at + 1 == REDELIVERY_SCAN {
            chosen.counts.next = (sequence < last).then_some(Position { after: sequence, last });
            break;
        }
    }
    Ok(chosen)
}

fn by_id(
    store: &Store,
    endpoint: &Endpoint,
    ids: &[Box<str>],
    start: Sequence,
    from: Option<Position>,
    limit: usize,
) -> Result<Chosen> {
    let mut chosen = Chosen::default();
    for id in ids.iter().take(limit) {
        let index = Store::get(&store.index, key::index(endpoint.number, id))?.map(IndexRow::decode).transpose()?;
        match index.map(|index| index.sequence) {
            // An index row may outlive its event.
            Some(sequence)
                if store.events.contains_key(key::event(endpoint.number, sequence)).map_err(from_fjall)? =>
            {
                // An id given twice is asked for once.
                if sequence > start && !chosen.sequences.contains(&sequence) {
                    chosen.sequences.push(sequence);
                } else {
                    chosen.counts.skipped += 1;
                }
            }
            _ => {
                chosen.counts.gone += 1;
                chosen.counts.gone_ids.push(id.clone());
            }
        }
    }
    if ids.len() > limit {
        let done = from.map_or(0, |from| from.after);
        chosen.counts.next = Some(Position { after: done.saturating_add(limit as u64), last: Sequence::MAX });
    }
    Ok(chosen)
}

/// The place after which events received at `target` or later begin, found in a few reads because
/// events lie in nearly that order.
fn search(store: &Store, endpoint: &Endpoint, after: Sequence, last: Sequence, target: Timestamp) -> Result<Sequence> {
    let (mut low, mut high) = (after.saturating_add(1), last.saturating_add(1));
    while low < high {
        let middle = low + (high - low) / 2;
        let range = key::event(endpoint.number, middle)..=key::event(endpoint.number, last);
        match store.events.range(range).next() {
            None => high = middle,
            Some(row) => {
                let (key, row) = row.into_inner().map_err(from_fjall)?;
                if record::decode_received(row.into())? < target {
                    low = key::event_sequence(&key)?.saturating_add(1);
                } else {
                    high = middle;
                }
            }
        }
    }
    Ok(low - 1)
}

struct Span {
    since: Option<Timestamp>,
    until: Option<Timestamp>,
}

impl Span {
    fn holds(&self, received: Timestamp) -> bool {
        self.since.is_none_or(|since| received >= since) && self.until.is_none_or(|until| received < until)
    }

    /// Kept events of the span. A hole between two of them is as many events of the span that are
    /// gone; nobody knows how many of a hole before the first one are.
    fn events(
        &self,
        store: &Store,
        endpoint: &Endpoint,
        start: Sequence,
        Position { after, last }: Position,
        limit: usize,
        now: Timestamp,
    ) -> Result<Chosen> {
        let mut chosen = Chosen::default();
        if after >= last {
            return Ok(chosen);
        }
        let end = self.until.map(|until| until.checked_add(REDELIVERY_SKEW).unwrap_or(Timestamp::MAX));
        let mut neighbour = self.neighbour(store, endpoint, start, after)?;
        let range = key::event(endpoint.number, after + 1)..=key::event(endpoint.number, last);
        for (looked_at, row) in store.events.range(range).enumerate() {
            let (key, row) = row.into_inner().map_err(from_fjall)?;
            let (sequence, received) = (key::event_sequence(&key)?, record::decode_received(row.into())?);
            let inside = self.holds(received);
            if inside {
                self.hole(&mut chosen.counts, neighbour, sequence, received);
                chosen.sequences.push(sequence);
            } else if end.is_some_and(|end| received >= end) {
                return Ok(chosen);
            }
            neighbour = (sequence, inside);
            if chosen.sequences.len() == limit || looked_at + 1 == REDELIVERY_SCAN {
                chosen.counts.next = (sequence < last).then_some(Position { after: sequence, last });
                return Ok(chosen);
            }
        }
        // The newest events may be gone too.
        if self.until.is_none_or(|until| until > now) {
            self.hole(&mut chosen.counts, neighbour, last + 1, now);
        }
        Ok(chosen)
    }

    /// The kept event at or before `after`, and whether it is in the span; the consumer's start when there is none.
    fn neighbour(
        &self,
        store: &Store,
        endpoint: &Endpoint,
        start: Sequence,
        after: Sequence,
    ) -> Result<(Sequence, bool)> {
        if after > start {
            let range = key::event(endpoint.number, start + 1)..=key::event(endpoint.number, after);
            if let Some(row) = store.events.range(range).next_back() {
                let (key, row) = row.into_inner().map_err(from_fjall)?;
                return Ok((key::event_sequence(&key)?, self.holds(record::decode_received(row.into())?)));
            }
        }
        Ok((start, self.since.is_none()))
    }

    fn hole(&self, counts: &mut Redelivered, before: (Sequence, bool), at: Sequence, received: Timestamp) {
        let missing = at.saturating_sub(before.0).saturating_sub(1);
        if before.1 {
            counts.gone += missing;
        } else if missing > 0 {
            counts.gone_before.get_or_insert(received);
        }
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

/// `time - span`, at least the beginning of time.
fn earlier(time: Timestamp, span: std::time::Duration) -> Timestamp {
    time.checked_sub(span).unwrap_or(Timestamp::MIN)
}
