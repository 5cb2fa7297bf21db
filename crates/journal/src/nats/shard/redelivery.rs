//! Redelivery of settled and dead events, and acceleration of retries.

use grapnel_api::Incarnation;

use super::{Change, ShardState, consumer::ShardConsumer, endpoint::ShardEndpoint, received};
use crate::{
    DeliveryState, Redelivered, RedeliveryPosition, RedeliveryStep, Result, Selection, Sequence,
    limits::{REDELIVERY_SCAN, REDELIVERY_STEP},
    machine::{Chosen, Micros, ReceiptRange},
};

impl ShardState {
    /// Returns the ids that the caller has to look up for a step.
    pub(crate) fn ids_of_step<'a>(selection: &'a Selection, step: &RedeliveryStep) -> &'a [Box<str>] {
        let Selection::Events(ids) = selection else { return &[] };
        let rest = ids.get(done(step)..).unwrap_or_default();
        rest.get(..limit(step)).unwrap_or(rest)
    }

    /// Returns the changes of one step of a redelivery, and its result. `found` has the sequence of the newest event of
    /// each of [`ids_of_step`](Self::ids_of_step), in that order; `None` for one that is not kept. Until the changes are
    /// applied or [aborted](Self::abort_redeliver), their events are not removed.
    ///
    /// # Errors
    ///
    /// [`JournalError::UnknownConsumer`](crate::JournalError::UnknownConsumer).
    pub(crate) fn begin_redeliver(
        &mut self,
        consumer: &Incarnation,
        selection: &Selection,
        found: &[Option<Sequence>],
        step: RedeliveryStep,
    ) -> Result<(Vec<Change>, Redelivered)> {
        let Chosen { sequences, mut counts } = self.choose(consumer, selection, found, &step)?;
        let due = Micros::floor(step.now);
        let known = self.consumer(consumer)?;
        let machine = &known.machine;
        let mut changes = Vec::new();
        for sequence in sequences.iter().copied() {
            let consumer = || consumer.clone();
            if known.holds.contains_key(&sequence) {
                // Another redelivery queues it.
                counts.skipped += 1;
            } else if machine.can_redeliver(sequence) {
                counts.queued += 1;
                changes.push(Change::Queued { consumer: consumer(), sequence, due });
            } else if machine.can_hasten(sequence, due) {
                counts.hastened += 1;
                changes.push(Change::Hastened { consumer: consumer(), sequence, due });
            } else {
                counts.skipped += 1;
            }
        }
        counts.sequences = sequences;
        if step.dry_run {
            changes.clear();
        }
        for change in &changes {
            if let Change::Queued { sequence, .. } = change {
                *self.consumer_mut(consumer)?.0.holds.entry(*sequence).or_default() += 1;
                self.pin_one(consumer, *sequence, 1);
            }
        }
        Ok((changes, counts))
    }

    /// Reverts [`begin_redeliver`](Self::begin_redeliver), because the changes did not become durable.
    pub(crate) fn abort_redeliver(&mut self, changes: &[Change]) {
        for change in changes {
            if let Change::Queued { consumer, sequence, .. } = change {
                self.drop_hold(consumer, *sequence);
            }
        }
    }

    /// Ends one hold of an event whose redelivery was written, if there is one.
    pub(super) fn drop_hold(&mut self, consumer: &Incarnation, sequence: Sequence) {
        let Ok((found, _)) = self.consumer_mut(consumer) else { return };
        let Some(holds) = found.holds.get_mut(&sequence) else { return };
        *holds -= 1;
        if *holds == 0 {
            found.holds.remove(&sequence);
        }
        self.pin_one(consumer, sequence, -1);
    }

    fn choose(
        &self,
        consumer: &Incarnation,
        selection: &Selection,
        found: &[Option<Sequence>],
        step: &RedeliveryStep,
    ) -> Result<Chosen> {
        let consumer = self.consumer(consumer)?;
        let Some(log) = self.log_of(consumer) else { return Ok(Chosen::default()) };
        let start = consumer.machine.start();
        let last = step.from.map_or(self.tail(), |from| from.last.min(self.tail()));
        let from = RedeliveryPosition { after: step.from.map_or(start, |from| from.after.max(start)), last };
        Ok(match selection {
            Selection::DeadLettered => in_state(consumer, DeliveryState::DeadLettered, from, limit(step)),
            Selection::Retrying => in_state(consumer, DeliveryState::Retrying, from, limit(step)),
            Selection::Received { since, until } => {
                let range = ReceiptRange { since: since.map(Micros::ceil), until: until.map(Micros::ceil) };
                received::choose(log, consumer, range, from, limit(step), Micros::floor(step.now))
            }
            Selection::Sequences(all) => {
                by_sequence(log, consumer, all, step.from.map_or(0, |from| from.after), limit(step))
            }
            Selection::Events(ids) => {
                let is_kept = |sequence: &Sequence| log.rows.contains(*sequence);
                let found = found.iter().map(|found| found.filter(is_kept));
                let step_ids = Self::ids_of_step(selection, step);
                let mut chosen = by_id(step_ids.iter().zip(found), |sequence| {
                    log.rows.get(sequence).is_some_and(|row| consumer.reads(row))
                });
                let done = done(step).saturating_add(limit(step));
                if done < ids.len() {
                    chosen.counts.next = Some(RedeliveryPosition { after: done as u64, last: Sequence::MAX });
                }
                chosen
            }
        })
    }
}

fn limit(step: &RedeliveryStep) -> usize {
    step.limit.clamp(1, REDELIVERY_STEP)
}

/// Returns how many ids earlier steps have looked up.
fn done(step: &RedeliveryStep) -> usize {
    step.from.map_or(0, |from| usize::try_from(from.after).unwrap_or(usize::MAX))
}

fn in_state(
    consumer: &ShardConsumer,
    wanted: DeliveryState,
    RedeliveryPosition { mut after, last }: RedeliveryPosition,
    limit: usize,
) -> Chosen {
    let mut chosen = Chosen::default();
    for _ in 0..REDELIVERY_SCAN {
        let next = consumer.machine.next_candidate(Some(wanted), after.saturating_add(1));
        let Some(sequence) = next.filter(|sequence| *sequence <= last) else { return chosen };
        if chosen.sequences.len() >= limit {
            break;
        }
        if consumer.machine.state_of(sequence).0 == wanted {
            chosen.sequences.push(sequence);
        }
        after = sequence;
    }
    chosen.counts.next = (after < last).then_some(RedeliveryPosition { after, last });
    chosen
}

/// Chooses the first `limit` of the sequences after those that previous steps examined.
fn by_sequence(
    log: &ShardEndpoint,
    consumer: &ShardConsumer,
    all: &[Sequence],
    after: Sequence,
    limit: usize,
) -> Chosen {
    let mut chosen = Chosen::default();
    let mut left = all.iter().copied().filter(|sequence| *sequence > after);
    let mut last = None;
    for sequence in left.by_ref().take(limit) {
        match log.rows.get(sequence) {
            None => chosen.counts.gone += 1,
            Some(row) if consumer.reads(row) => chosen.sequences.push(sequence),
            Some(_) => chosen.counts.skipped += 1,
        }
        last = Some(sequence);
    }
    let rest = left.next();
    chosen.counts.next = last.filter(|_| rest.is_some()).map(|after| RedeliveryPosition { after, last: Sequence::MAX });
    chosen
}

fn by_id<'a>(
    found: impl Iterator<Item = (&'a Box<str>, Option<Sequence>)>,
    reads: impl Fn(Sequence) -> bool,
) -> Chosen {
    let mut chosen = Chosen::default();
    for (id, sequence) in found {
        match sequence {
            // An id given twice is looked up once.
            Some(sequence) if reads(sequence) && !chosen.sequences.contains(&sequence) => {
                chosen.sequences.push(sequence);
            }
            Some(_) => chosen.counts.skipped += 1,
            None => {
                chosen.counts.gone += 1;
                chosen.counts.gone_ids.push(id.clone());
            }
        }
    }
    chosen
}
