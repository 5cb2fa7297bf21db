//! Claims and settlements.

use grapnel_api::Incarnation;
use jiff::Timestamp;

use super::{Change, ShardState, endpoint::ShardEndpoint};
use crate::{
    Claim, Result, Sequence, Settlement,
    limits::{CLAIM_BYTES, ORDERED_CLAIM},
    machine::{ConsumerState, End, Ended, Micros, Taken},
};

impl ShardState {
    /// Takes due deliveries, and returns when the next retry is due: see [`Claimed`](crate::Claimed). The caller reads
    /// the events. It [forgets](Self::forget) those that are gone, and settles or releases the others.
    ///
    /// # Errors
    ///
    /// [`JournalError::UnknownConsumer`](crate::JournalError::UnknownConsumer).
    pub(crate) fn claim(&mut self, consumer: &Incarnation, claim: &Claim) -> Result<(Vec<Taken>, Option<Timestamp>)> {
        let (found, log) = self.consumer_mut(consumer)?;
        let (now, horizon) = (Micros::floor(claim.now), Micros::ceil(claim.now).after(claim.longest_delay));
        let (start, life) = (found.machine.start(), found.life);
        let upcoming = |position| log.upcoming(position, |row| row.sequence > start && row.life >= life);
        let newest = log.rows.last().map_or(0, |row| row.sequence);
        let machine = &mut found.machine;
        machine.begin_claim();
        let mut taken = Vec::new();
        if !claim.in_order {
            machine.take_due(&mut taken, claim.limit, now, horizon);
            machine.take_new(&mut taken, claim.limit, newest, &upcoming);
            cut(&mut taken, machine, log);
            return Ok((taken, machine.next_due().map(Micros::timestamp)));
        }
        if machine.waits_in_order(0) {
            return Ok((taken, None));
        }
        let limit = claim.limit.min(ORDERED_CLAIM);
        let stopped = machine.take_in_order(&mut taken, limit, now, horizon, newest, &upcoming);
        let is_whole = cut(&mut taken, machine, log);
        Ok((taken, stopped.filter(|_| is_whole).map(Micros::timestamp)))
    }

    /// Ends attempts that did not take place: their events are claimable under the same attempt number.
    pub(crate) fn release(&mut self, consumer: &Incarnation, sequences: impl IntoIterator<Item = Sequence>) {
        let Ok((found, _)) = self.consumer_mut(consumer) else { return };
        let mut any = false;
        for sequence in sequences {
            // An end that is being written cannot be revoked.
            any |= !found.machine.is_settling(sequence) && found.machine.release(sequence);
        }
        if any {
            found.notify.notify_waiters();
        }
    }

    /// Returns whether a wait for something to claim is over. Also true if the consumer is not attached.
    pub(crate) fn is_ready(&self, consumer: &Incarnation) -> bool {
        let Ok(found) = self.consumer(consumer) else { return true };
        let upcoming = |position| self.log_of(found)?.upcoming(position, |row| found.reads(row));
        found.machine.is_ready_in(&upcoming)
    }

    /// Returns the ends of attempts to make durable. Releases are applied at once. Sequences that are not in flight, and
    /// those whose end is being written, are ignored.
    ///
    /// # Errors
    ///
    /// [`JournalError::UnknownConsumer`](crate::JournalError::UnknownConsumer).
    pub(crate) fn begin_settle(
        &mut self,
        consumer: &Incarnation,
        settlements: Vec<(Sequence, Settlement)>,
    ) -> Result<Vec<Change>> {
        self.consumer(consumer)?;
        let mut changes = Vec::with_capacity(settlements.len());
        for (sequence, settlement) in settlements {
            let end = match settlement {
                Settlement::Released => {
                    self.release(consumer, [sequence]);
                    continue;
                }
                Settlement::Delivered(exchange) => End::Delivered(exchange),
                Settlement::Skipped { reason, time } => End::Skipped { reason, time: Micros::floor(time) },
                Settlement::Retry { due, failure } => End::Retry { due: Micros::ceil(due), failure },
                Settlement::Dead { failure } => End::Dead { failure },
            };
            let (found, _) = self.consumer_mut(consumer)?;
            if let Some(flight) = found.machine.begin_settling(sequence) {
                let ended = Ended { sequence, first: flight.first, attempt: flight.attempt, end };
                changes.push(Change::Ended { consumer: consumer.clone(), ended });
            }
        }
        Ok(changes)
    }

    /// Reverts [`begin_settle`](Self::begin_settle), because the ends did not become durable.
    pub(crate) fn abort_settle(&mut self, changes: &[Change]) {
        for change in changes {
            if let Change::Ended { consumer, ended } = change
                && let Ok((found, _)) = self.consumer_mut(consumer)
            {
                found.machine.abort_settling(ended.sequence);
            }
        }
    }
}

/// Releases what exceeds [`CLAIM_BYTES`], except the first. Returns whether that is nothing.
fn cut(taken: &mut Vec<Taken>, machine: &mut ConsumerState, log: &ShardEndpoint) -> bool {
    let mut bytes = 0;
    let is_over = |taken: &Taken| {
        bytes += log.rows.get(taken.sequence).map_or(0, |row| row.bytes as usize);
        bytes > CLAIM_BYTES
    };
    let Some(over) = taken.iter().position(is_over) else { return true };
    let released = taken.split_off(over.max(1));
    for taken in &released {
        machine.release(taken.sequence);
    }
    released.is_empty()
}
