//! What became of queued events: read from the journal's list of deliveries, in bounded parts.

use std::time::Instant;

use grapnel_api::Incarnation;
use grapnel_journal::{
    DeliveryQuery, DeliveryRecord, DeliveryState, EventEntry, Journal, JournalError, Outcome, Progress, Sequence,
};

use super::limits;
use crate::catalog::{ReplayReading, replay::ReplayCounts};

/// Follows the queued events of one replay.
#[derive(Debug, Default)]
pub(super) struct Outcomes {
    /// The counts of the subscription when all queued events were last looked at, and when.
    seen: Option<(Progress, Instant)>,
    /// Where to continue, if not all queued events have been looked at.
    next: Sequence,
}

impl Outcomes {
    /// Looks at queued events, and counts those that are settled.
    pub(super) async fn follow(
        &mut self,
        journal: &dyn Journal,
        consumer: &Incarnation,
        reading: &mut ReplayReading,
    ) -> Result<(), JournalError> {
        if reading.waiting.is_empty() {
            return Ok(());
        }
        // Read before the deliveries, so that nothing settled meanwhile is missed.
        let progress = journal.progress(consumer).unwrap_or_default();
        if self.next == 0 {
            let is_known = |(seen, time): &(Progress, Instant)| {
                *seen == progress && time.elapsed() < limits::REPLAY_OUTCOMES_ANYWAY
            };
            if self.seen.as_ref().is_some_and(is_known) {
                return Ok(());
            }
            self.seen = Some((progress, Instant::now()));
        }
        for _ in 0..limits::REPLAY_OUTCOME_READS {
            let Some((first, rows)) = part(reading, self.next) else {
                self.next = 0;
                return Ok(());
            };
            let query = DeliveryQuery { after: first.saturating_sub(1), limit: rows, ..DeliveryQuery::default() };
            let page = journal.deliveries(consumer, query).await?;
            // Everything up to here was looked at.
            let last = page.next.unwrap_or(Sequence::MAX);
            settle(reading, first, last, &page.deliveries);
            self.next = last.saturating_add(1).max(first + 1);
        }
        Ok(())
    }

    /// Looks at everything again, because events were queued.
    pub(super) fn again(&mut self) {
        self.seen = None;
    }
}

/// The first queued event from this sequence on, and how many rows of the list it takes to see it and the queued events
/// right after it.
fn part(reading: &ReplayReading, from: Sequence) -> Option<(Sequence, usize)> {
    let mut waiting = reading.waiting.from(from);
    let first = waiting.next()?;
    let near = waiting.take_while(|sequence| sequence - first < limits::REPLAY_OUTCOME_ROWS as u64).last();
    Some((first, usize::try_from(near.map_or(0, |last| last - first)).unwrap_or_default() + 1))
}

/// Counts the queued events from `first` to `last` that are settled, or no longer in the list.
fn settle(reading: &mut ReplayReading, first: Sequence, last: Sequence, listed: &[DeliveryRecord]) {
    let mut listed = listed.iter().peekable();
    let waiting: Vec<_> = reading.waiting.from(first).take_while(|sequence| *sequence <= last).collect();
    for sequence in waiting {
        while listed.next_if(|record| record.event.sequence() < sequence).is_some() {}
        let record = listed.next_if(|record| record.event.sequence() == sequence);
        if let Some(count) = record.map_or(Some(gone as Count), ended) {
            *count(&mut reading.counts) += 1;
            reading.waiting.remove(sequence);
        }
    }
}

type Count = fn(&mut ReplayCounts) -> &mut u64;

fn gone(counts: &mut ReplayCounts) -> &mut u64 {
    &mut counts.gone
}

/// The count of a delivery that has ended.
fn ended(record: &DeliveryRecord) -> Option<Count> {
    match (record.state, record.outcome) {
        (DeliveryState::Pending | DeliveryState::InFlight | DeliveryState::Retrying, _) => None,
        (DeliveryState::DeadLettered, _) => Some(|counts| &mut counts.failed),
        (DeliveryState::Settled, _) if matches!(record.event, EventEntry::Damaged(_)) => {
            Some(|counts| &mut counts.failed)
        }
        (DeliveryState::Settled, Outcome::Skipped(_)) => Some(|counts| &mut counts.skipped),
        (DeliveryState::Settled, Outcome::Unknown) => Some(gone),
        (DeliveryState::Settled, _) => Some(|counts| &mut counts.delivered),
    }
}
