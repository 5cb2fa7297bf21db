//! Redelivery of settled and dead events, and acceleration of retries.
//!
//! A step is selected outside the writer, from the state in memory and the positions in the index, and the writer
//! carries it out in one synced round. A queued event becomes a retry with attempt 1, so that everything true of
//! retries is true of it: it is claimed when due, it survives a crash, and it pins its event.
//!
//! Until then a settled event may be removed. The step therefore carries the endpoint's epoch, which every removal
//! changes, and is selected again if the epoch has changed. A step that queues events also changes the epoch, because
//! events that a sweep regarded as settled no longer are.

use std::sync::Arc;

use jiff::Timestamp;

use super::{
    Engine,
    consumer::Consumer,
    endpoint::Endpoint,
    read::{find, kept_after},
    tasks::{Redeliver, Task},
};
use crate::{
    DeliveryState, JournalError, Position, Redelivered, Result, Selection, Sequence, Step,
    limits::{REDELIVERY_SCAN, REDELIVERY_SKEW, REDELIVERY_STEP},
    machine::Micros,
};

/// The selection of one step.
#[derive(Default)]
struct Chosen {
    /// Kept events that belong to the consumer.
    sequences: Vec<Sequence>,
    /// Counts that do not depend on the consumer.
    counts: Redelivered,
}

/// Carries out one step of a redelivery.
pub(super) async fn redeliver(
    engine: &Arc<Engine>,
    consumer: &Arc<Consumer>,
    selection: &Selection,
    step: Step,
) -> Result<Redelivered> {
    // One step at a time, so that concurrent redeliveries add at most one sync to each round of the writer.
    let _turn = engine.redelivering.lock().await;
    if engine.is_closing() {
        return Err(JournalError::Closed);
    }
    let due = Micros::floor(step.now);
    loop {
        let (of, selection) = (Arc::clone(consumer), part(selection, step.from));
        let (epoch, chosen) = engine
            .blocking(move |engine| {
                let epoch = of.endpoint.epoch();
                Ok((epoch, choose(engine, &of, &selection, step)?))
            })
            .await?;
        let Chosen { sequences, mut counts } = chosen;
        let (mut queue, mut hasten) = (Vec::new(), Vec::new());
        {
            let state = consumer.state();
            let damaged = consumer.endpoint.state.lock();
            for sequence in &sequences {
                if damaged.damaged.contains(*sequence) {
                    continue;
                }
                if state.can_redeliver(*sequence) {
                    queue.push(*sequence);
                } else if state.can_hasten(*sequence, due) {
                    hasten.push(*sequence);
                }
            }
        }
        let selected = sequences.len() as u64;
        let (mut queued, mut hastened) = (queue.len() as u64, hasten.len() as u64);
        if !step.dry_run && queued + hastened > 0 {
            let redeliver = Redeliver { consumer: Arc::clone(consumer), epoch, queue, hasten, due };
            let Some(done) = engine.ask(|answer| Task::Redeliver { redeliver, answer }).await? else { continue };
            (queued, hastened) = done;
        }
        (counts.queued, counts.hastened) = (queued, hastened);
        counts.skipped += selected - queued - hastened;
        return Ok(counts);
    }
}

/// Returns the selection without the ids that this step does not look up.
fn part(selection: &Selection, from: Option<Position>) -> Selection {
    let Selection::Events(ids) = selection else { return selection.clone() };
    let done = from.map_or(0, |from| usize::try_from(from.after).unwrap_or(usize::MAX));
    // One more shows whether there is another step.
    Selection::Events(ids.iter().skip(done).take(REDELIVERY_STEP + 1).cloned().collect())
}

fn choose(engine: &Arc<Engine>, consumer: &Consumer, selection: &Selection, step: Step) -> Result<Chosen> {
    let limit = step.limit.clamp(1, REDELIVERY_STEP);
    let head = consumer.endpoint.head();
    let start = consumer.state().start();
    let last = step.from.map_or(head, |from| from.last.min(head));
    let after = step.from.map_or(start, |from| from.after.max(start));
    match selection {
        Selection::DeadLettered => Ok(in_state(consumer, DeliveryState::DeadLettered, after, last, limit)),
        Selection::Retrying => Ok(in_state(consumer, DeliveryState::Retrying, after, last, limit)),
        Selection::Events(ids) => by_id(engine, &consumer.endpoint, ids, start, step.from, limit),
        Selection::Received { since, until } => {
            let after = match since {
                Some(since) if step.from.is_none() => {
                    search(engine, &consumer.endpoint, after, last, Micros::floor(*since).before(REDELIVERY_SKEW))?
                }
                _ => after,
            };
            let span = Span { since: since.map(Micros::ceil), until: until.map(Micros::ceil) };
            span.events(engine, &consumer.endpoint, start, Position { after, last }, limit, step.now)
        }
    }
}

fn in_state(consumer: &Consumer, state: DeliveryState, after: Sequence, last: Sequence, limit: usize) -> Chosen {
    let mut chosen = Chosen::default();
    if after >= last {
        return chosen;
    }
    let mut found = consumer.state().in_state(state, after + 1, limit).unwrap_or_default();
    found.retain(|sequence| *sequence <= last);
    if found.len() == limit {
        let after = found.last().copied().unwrap_or(last);
        chosen.counts.next = (after < last).then_some(Position { after, last });
    }
    chosen.sequences = found;
    chosen
}

fn by_id(
    engine: &Arc<Engine>,
    endpoint: &Arc<Endpoint>,
    ids: &[Box<str>],
    start: Sequence,
    from: Option<Position>,
    limit: usize,
) -> Result<Chosen> {
    let mut chosen = Chosen::default();
    for id in ids.iter().take(limit) {
        match find(engine, endpoint, id)? {
            // An id given twice is looked up once.
            Some(sequence) if sequence > start && !chosen.sequences.contains(&sequence) => {
                chosen.sequences.push(sequence);
            }
            Some(_) => chosen.counts.skipped += 1,
            None => {
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

/// Returns the receipt time and sequence of the first kept event after a position.
fn first_after(
    engine: &Engine,
    endpoint: &Endpoint,
    after: Sequence,
    last: Sequence,
) -> Result<Option<(Sequence, Micros)>> {
    let mut after = after;
    loop {
        let Some(sequence) = kept_after(endpoint, after, 1).first().copied().filter(|s| *s <= last) else {
            return Ok(None);
        };
        let found = engine.positions(endpoint, sequence, sequence, 1)?;
        if let Some((_, position)) = found.first() {
            return Ok(Some((sequence, position.received)));
        }
        // The event is damaged.
        after = sequence;
    }
}

/// Returns the position after which events received at `target` or later begin. Takes few reads, because events are
/// stored in nearly that order.
fn search(engine: &Engine, endpoint: &Endpoint, after: Sequence, last: Sequence, target: Micros) -> Result<Sequence> {
    let (mut low, mut high) = (after.saturating_add(1), last.saturating_add(1));
    while low < high {
        let middle = low + (high - low) / 2;
        match first_after(engine, endpoint, middle - 1, last)? {
            Some((sequence, received)) if received < target => low = sequence + 1,
            _ => high = middle,
        }
    }
    Ok(low - 1)
}

struct Span {
    since: Option<Micros>,
    until: Option<Micros>,
}

impl Span {
    fn holds(&self, received: Micros) -> bool {
        self.since.is_none_or(|since| received >= since) && self.until.is_none_or(|until| received < until)
    }

    /// Returns the kept events of the time range. A gap between two of them counts as that many removed events of the
    /// range; how many events of a gap before the first one belong to the range is unknown.
    fn events(
        &self,
        engine: &Arc<Engine>,
        endpoint: &Arc<Endpoint>,
        start: Sequence,
        Position { after, last }: Position,
        limit: usize,
        now: Timestamp,
    ) -> Result<Chosen> {
        let mut chosen = Chosen::default();
        if after >= last {
            return Ok(chosen);
        }
        let end = self.until.map(|until| until.after(REDELIVERY_SKEW));
        let mut neighbour = self.neighbour(engine, endpoint, start, after)?;
        let mut looked_at = 0;
        let mut next = after;
        loop {
            let positions = engine.positions(endpoint, next + 1, last, REDELIVERY_SCAN - looked_at)?;
            let found = positions.len();
            for (_, position) in positions {
                looked_at += 1;
                next = position.sequence;
                if endpoint.state.lock().removed.contains(position.sequence) {
                    continue;
                }
                let inside = self.holds(position.received);
                if inside {
                    self.hole(&mut chosen.counts, neighbour, position.sequence, position.received.timestamp());
                    chosen.sequences.push(position.sequence);
                } else if end.is_some_and(|end| position.received >= end) {
                    return Ok(chosen);
                }
                neighbour = (position.sequence, inside);
                if chosen.sequences.len() == limit {
                    chosen.counts.next = (next < last).then_some(Position { after: next, last });
                    return Ok(chosen);
                }
            }
            if looked_at >= REDELIVERY_SCAN {
                chosen.counts.next = (next < last).then_some(Position { after: next, last });
                return Ok(chosen);
            }
            if found == 0 {
                break;
            }
        }
        // The newest events may have been removed as well.
        if self.until.is_none_or(|until| until > Micros::floor(now)) {
            self.hole(&mut chosen.counts, neighbour, last + 1, now);
        }
        Ok(chosen)
    }

    /// Returns the kept event at or before `after`, and whether it is in the time range; the consumer's start if there
    /// is none.
    fn neighbour(
        &self,
        engine: &Engine,
        endpoint: &Endpoint,
        start: Sequence,
        after: Sequence,
    ) -> Result<(Sequence, bool)> {
        if after > start {
            let kept = endpoint.state.lock().removed.outside(start + 1, after);
            if let Some(range) = kept.last() {
                let found = engine.positions(endpoint, *range.end(), *range.end(), 1)?;
                if let Some((_, position)) = found.first() {
                    return Ok((position.sequence, self.holds(position.received)));
                }
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
