//! Which events a redelivery selects, and the result for each.

use grapnel_api::Incarnation;
use jiff::Timestamp;

use super::{
    consumer::{MemoryConsumer, Stage},
    state::{MemoryLog, MemoryState},
};
use crate::{
    DeliveryState, Redelivered, RedeliveryPosition, RedeliveryStep, Result, Selection, Sequence,
    limits::REDELIVERY_STEP, machine::Chosen,
};

impl MemoryState {
    pub(super) fn redeliver(
        &mut self,
        consumer: &Incarnation,
        selection: &Selection,
        step: RedeliveryStep,
    ) -> Result<Redelivered> {
        let known = self.consumer(consumer)?;
        let Some(log) = self.log_of(known) else { return Ok(Redelivered::default()) };
        let Chosen { sequences, mut counts } = choose(known, log, selection, step);
        let consumer = self.consumer_mut(consumer)?;
        for sequence in &sequences {
            let sequence = *sequence;
            let Some(delivery) = consumer.deliveries.get(&sequence) else { continue };
            if matches!(delivery.state(), DeliveryState::Settled | DeliveryState::DeadLettered) {
                counts.queued += 1;
                if !step.dry_run {
                    consumer.queue(sequence, step.now);
                }
            } else if delivery.is_due_later(step.now) {
                counts.hastened += 1;
                if !step.dry_run {
                    consumer.hasten(sequence, step.now);
                }
            } else {
                counts.skipped += 1;
            }
        }
        counts.sequences = sequences;
        Ok(counts)
    }
}

fn choose(consumer: &MemoryConsumer, log: &MemoryLog, selection: &Selection, step: RedeliveryStep) -> Chosen {
    let limit = step.limit.clamp(1, REDELIVERY_STEP);
    let from = step.from.unwrap_or(RedeliveryPosition { after: 0, last: log.head });
    let from = RedeliveryPosition { after: from.after.max(consumer.start), ..from };
    let deliveries = consumer.deliveries.iter();
    match selection {
        Selection::DeadLettered => {
            let dead = deliveries.filter(|(_, delivery)| matches!(delivery.stage, Stage::Dead { .. }));
            bounded(dead.map(|(sequence, _)| *sequence), from, limit)
        }
        Selection::Retrying => {
            let retrying = deliveries.filter(|(_, delivery)| delivery.state() == DeliveryState::Retrying);
            bounded(retrying.map(|(sequence, _)| *sequence), from, limit)
        }
        Selection::Received { since, until } => {
            let holds = |received: &Timestamp| {
                since.is_none_or(|since| *received >= since) && until.is_none_or(|until| *received < until)
            };
            let kept = deliveries.map(|(sequence, _)| *sequence);
            let received = kept.filter(|s| log.events.get(s).is_some_and(|kept| holds(&kept.event.received)));
            let mut chosen = bounded(received, from, limit);
            let last = chosen.counts.next.map_or(from.last, |next| next.after);
            let removed = log.removed.iter().filter(|(s, _)| **s > from.after && **s <= last);
            chosen.counts.gone = removed.filter(|(_, received)| holds(received)).count() as u64;
            chosen
        }
        Selection::Events(ids) => by_id(consumer, log, ids, step.from, limit),
        Selection::Sequences(all) => by_sequence(consumer, log, all, step.from.map_or(0, |from| from.after), limit),
    }
}

/// Returns the first `limit` sequences, ascending, from where the previous step ended.
fn bounded(ascending: impl Iterator<Item = Sequence>, from: RedeliveryPosition, limit: usize) -> Chosen {
    let mut chosen = Chosen::default();
    for sequence in ascending.filter(|sequence| *sequence > from.after && *sequence <= from.last) {
        chosen.sequences.push(sequence);
        if chosen.sequences.len() == limit {
            chosen.counts.next = (sequence < from.last).then_some(RedeliveryPosition { after: sequence, ..from });
            break;
        }
    }
    chosen
}

/// Returns the first `limit` events after those that previous steps examined.
fn by_sequence(consumer: &MemoryConsumer, log: &MemoryLog, all: &[Sequence], after: Sequence, limit: usize) -> Chosen {
    let mut chosen = Chosen::default();
    let left: Vec<_> = all.iter().copied().filter(|sequence| *sequence > after).collect();
    for sequence in left.iter().copied().take(limit) {
        if !log.events.contains_key(&sequence) {
            chosen.counts.gone += 1;
        } else if sequence <= consumer.start {
            chosen.counts.skipped += 1;
        } else {
            chosen.sequences.push(sequence);
        }
        chosen.counts.next = Some(RedeliveryPosition { after: sequence, last: Sequence::MAX });
    }
    chosen.counts.next = chosen.counts.next.filter(|_| left.len() > limit);
    chosen
}

/// Returns the events of the first `limit` ids after those that previous steps looked up.
fn by_id(
    consumer: &MemoryConsumer,
    log: &MemoryLog,
    ids: &[Box<str>],
    from: Option<RedeliveryPosition>,
    limit: usize,
) -> Chosen {
    let mut chosen = Chosen::default();
    let done = from.map_or(0, |from| usize::try_from(from.after).unwrap_or(usize::MAX));
    for id in ids.iter().skip(done).take(limit) {
        let kept = log.ids.get(id).map(|known| known.sequence).filter(|s| log.events.contains_key(s));
        match kept {
            None => {
                chosen.counts.gone += 1;
                chosen.counts.gone_ids.push(id.clone());
            }
            // An id given twice is looked up once.
            Some(sequence) if sequence <= consumer.start || chosen.sequences.contains(&sequence) => {
                chosen.counts.skipped += 1;
            }
            Some(sequence) => chosen.sequences.push(sequence),
        }
    }
    let done = done.saturating_add(limit);
    if done < ids.len() {
        chosen.counts.next = Some(RedeliveryPosition { after: done as u64, last: Sequence::MAX });
    }
    chosen
}
