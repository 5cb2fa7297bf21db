//! Choosing what a step of a redelivery queues, in a bounded number of rows.

use bytes::Bytes;
use jiff::Timestamp;

use super::super::{
    consumer::Consumer,
    endpoint::Endpoint,
    store::{Store, from_fjall},
};
use crate::{
    journal::{
        Position, Redelivered, Result, Selection, Sequence, Step,
        record::{self, ExceptionRow, ExceptionState, IndexRow, key},
    },
    rules::limits::{REDELIVERY_SCAN, REDELIVERY_SKEW, REDELIVERY_STEP},
};

/// What a step selects.
#[derive(Default)]
pub(super) struct Chosen {
    /// Kept, and the consumer's own.
    pub(super) sequences: Vec<Sequence>,
    /// What needs no look at the consumer.
    pub(super) counts: Redelivered,
}

/// The selection without the ids that this step does not look up.
pub(super) fn part(selection: &Selection, from: Option<Position>) -> Selection {
    let Selection::Events(ids) = selection else { return selection.clone() };
    let done = from.map_or(0, |from| usize::try_from(from.after).unwrap_or(usize::MAX));
    // One more tells whether there is another step.
    Selection::Events(ids.iter().skip(done).take(REDELIVERY_STEP + 1).cloned().collect())
}

pub(super) fn choose(store: &Store, consumer: &Consumer, selection: &Selection, step: Step) -> Result<Chosen> {
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

/// `time - span`, at least the beginning of time.
fn earlier(time: Timestamp, span: std::time::Duration) -> Timestamp {
    time.checked_sub(span).unwrap_or(Timestamp::MIN)
}
