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

use super::{
    Engine,
    consumer::Consumer,
    endpoint::Endpoint,
    read::find,
    received,
    task::{Redeliver, Task},
};
use crate::{
    DeliveryState, JournalError, Redelivered, RedeliveryPosition, RedeliveryStep, Result, Selection, Sequence,
    limits::{REDELIVERY_SCAN, REDELIVERY_STEP},
    machine::{Chosen, Micros, ReceiptRange},
};

/// Carries out one step of a redelivery.
pub(super) async fn redeliver(
    engine: &Arc<Engine>,
    consumer: &Arc<Consumer>,
    selection: &Selection,
    step: RedeliveryStep,
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
        counts.sequences = sequences;
        return Ok(counts);
    }
}

/// Returns the selection without the ids that this step does not look up.
fn part(selection: &Selection, from: Option<RedeliveryPosition>) -> Selection {
    let Selection::Events(ids) = selection else { return selection.clone() };
    let done = from.map_or(0, |from| usize::try_from(from.after).unwrap_or(usize::MAX));
    // One more shows whether there is another step.
    Selection::Events(ids.iter().skip(done).take(REDELIVERY_STEP + 1).cloned().collect())
}

fn choose(engine: &Arc<Engine>, consumer: &Consumer, selection: &Selection, step: RedeliveryStep) -> Result<Chosen> {
    let limit = step.limit.clamp(1, REDELIVERY_STEP);
    let head = consumer.endpoint.head();
    let start = consumer.state().start();
    let last = step.from.map_or(head, |from| from.last.min(head));
    let after = step.from.map_or(start, |from| from.after.max(start));
    match selection {
        Selection::DeadLettered => Ok(in_state(consumer, DeliveryState::DeadLettered, after, last, limit)),
        Selection::Retrying => Ok(in_state(consumer, DeliveryState::Retrying, after, last, limit)),
        Selection::Events(ids) => by_id(engine, &consumer.endpoint, ids, start, step.from, limit),
        Selection::Sequences(sequences) => {
            Ok(by_sequence(&consumer.endpoint, sequences, start, step.from.map_or(0, |from| from.after), limit))
        }
        Selection::Received { since, until } => {
            let range = ReceiptRange { since: since.map(Micros::ceil), until: until.map(Micros::ceil) };
            let after = match range.since.filter(|_| step.from.is_none()) {
                Some(since) => received::begin(engine, &consumer.endpoint, since, after, last)?,
                None => after,
            };
            received::choose(engine, &consumer.endpoint, range, RedeliveryPosition { after, last }, limit, step.now)
        }
    }
}

fn in_state(consumer: &Consumer, wanted: DeliveryState, after: Sequence, last: Sequence, limit: usize) -> Chosen {
    let (mut chosen, mut after) = (Chosen::default(), after);
    let state = consumer.state();
    for _ in 0..REDELIVERY_SCAN {
        let next = state.next_candidate(Some(wanted), after.saturating_add(1));
        let Some(sequence) = next.filter(|sequence| *sequence <= last) else { return chosen };
        if chosen.sequences.len() >= limit {
            break;
        }
        if state.state_of(sequence).0 == wanted {
            chosen.sequences.push(sequence);
        }
        after = sequence;
    }
    chosen.counts.next = (after < last).then_some(RedeliveryPosition { after, last });
    chosen
}

fn by_sequence(endpoint: &Endpoint, all: &[Sequence], start: Sequence, after: Sequence, limit: usize) -> Chosen {
    let (mut chosen, head) = (Chosen::default(), endpoint.head());
    let mut left = all.iter().copied().filter(|sequence| *sequence > after).peekable();
    for sequence in left.by_ref().take(limit) {
        if sequence > head || !endpoint.keeps(sequence) {
            chosen.counts.gone += 1;
        } else if sequence <= start {
            chosen.counts.skipped += 1;
        } else {
            chosen.sequences.push(sequence);
        }
        chosen.counts.next = Some(RedeliveryPosition { after: sequence, last: Sequence::MAX });
    }
    chosen.counts.next = chosen.counts.next.filter(|_| left.peek().is_some());
    chosen
}

fn by_id(
    engine: &Arc<Engine>,
    endpoint: &Arc<Endpoint>,
    ids: &[Box<str>],
    start: Sequence,
    from: Option<RedeliveryPosition>,
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
        chosen.counts.next = Some(RedeliveryPosition { after: done.saturating_add(limit as u64), last: Sequence::MAX });
    }
    Ok(chosen)
}
