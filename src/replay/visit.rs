//! One replay: a bounded part of its work at a time.

use std::sync::Arc;

use grapnel_api::Incarnation;
use grapnel_journal::{
    DeliveryQuery, EventQuery, Journal, JournalError, Redelivered, RedeliveryStep, Selection, Sequence,
    limits::REDELIVERY_STEP,
};
use jiff::Timestamp;

use super::{
    dead_letters::still_dead,
    limits,
    matching::{Matching, matching},
    outcomes::Outcomes,
};
use crate::catalog::{
    Replay, ReplayFacts, ReplayReading, Snapshot, Subscription,
    replay::{ReplayCounts, ReplayEnd, ReplayHold},
};

/// The state of a replay that is not kept: after a restart it begins anew.
pub(super) struct Visit {
    facts: Arc<ReplayFacts>,
    /// Events that the rate allows to queue.
    permits: usize,
    outcomes: Outcomes,
    /// Whether a failure of the filter was logged.
    has_warned: bool,
}

/// When to continue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Continuation {
    /// There is more to do now.
    AtOnce,
    /// When the rate allows more, or deliveries have ended.
    Soon,
    /// When something else has changed.
    Later,
}

/// What a replay works with.
struct Work<'a> {
    replay: &'a Replay,
    subscription: &'a Subscription,
    consumer: &'a Incarnation,
    journal: &'a dyn Journal,
    now: Timestamp,
}

impl Visit {
    /// The first visit of a replay.
    pub(super) fn new(replay: &Replay) -> Self {
        let facts = Arc::clone(&replay.facts);
        Self { facts, permits: 0, outcomes: Outcomes::default(), has_warned: false }
    }

    /// Whether this is a version of the object that was visited.
    pub(super) fn is_of(&self, replay: &Replay) -> bool {
        Arc::ptr_eq(&self.facts, &replay.facts)
    }

    /// Does a bounded part of the work, and records it in `reading`.
    pub(super) async fn advance(
        &mut self,
        replay: &Replay,
        snapshot: &Snapshot,
        journal: &dyn Journal,
        now: Timestamp,
        reading: &mut ReplayReading,
    ) -> Continuation {
        let Some(consumer) = subscription(replay, snapshot, reading) else {
            if reading.started.is_some() {
                end(replay, reading, now, ReplayEnd::SubscriptionDeleted);
            }
            return Continuation::Later;
        };
        let subscription = snapshot.subscription(&consumer.key);
        let hold = match subscription {
            _ if replay.suspended => Some(ReplayHold::Suspended),
            None => Some(ReplayHold::SubscriptionNotReady),
            Some(subscription) if subscription.suspended => Some(ReplayHold::SubscriptionSuspended),
            Some(_) => None,
        };
        let is_held = matches!(hold, Some(ReplayHold::Suspended | ReplayHold::SubscriptionNotReady));
        reading.hold = hold;
        if reading.started.is_none() {
            if is_held {
                return Continuation::Later;
            }
            begin(replay, &consumer, reading, now);
        }
        let done = match subscription.filter(|_| !is_held) {
            Some(subscription) => {
                let work = Work { replay, subscription, consumer: &consumer, journal, now };
                self.work(&work, reading).await
            }
            None => self.outcomes.follow(journal, &consumer, reading).await.map(|()| Continuation::Soon),
        };
        match done {
            Ok(_) if reading.is_done() => {
                if let Some(subscription) = subscription.filter(|_| reading.counts == ReplayCounts::default()) {
                    reading.earlier_events = has_earlier_events(journal, &consumer, &subscription.endpoint).await;
                }
                end(replay, reading, now, ReplayEnd::Completed);
                Continuation::Later
            }
            Ok(next) => next,
            Err(error) => {
                reading.hold = Some(match error {
                    JournalError::UnknownConsumer(_) => ReplayHold::SubscriptionNotReady,
                    error => ReplayHold::Journal(error.to_string().into()),
                });
                Continuation::Later
            }
        }
    }

    async fn work(&mut self, work: &Work<'_>, reading: &mut ReplayReading) -> Result<Continuation, JournalError> {
        self.outcomes.follow(work.journal, work.consumer, reading).await?;
        if reading.unqueued.is_empty() && !reading.examined {
            self.examine(work, reading).await?;
        }
        let queued = self.queue(work, reading).await?;
        Ok(match (queued, reading.unqueued.is_empty(), reading.examined) {
            // A dry run queues nothing.
            (_, true, false) => Continuation::AtOnce,
            (true, false, _) if reading.waiting.room() > 0 => Continuation::AtOnce,
            _ => Continuation::Soon,
        })
    }

    /// Examines the next selected events.
    async fn examine(&mut self, work: &Work<'_>, reading: &mut ReplayReading) -> Result<(), JournalError> {
        let Work { replay, consumer, journal, now, .. } = *work;
        let limit = match &replay.filter {
            Some(_) => limits::REPLAY_FILTER_STEP,
            // Not many more than can be queued: what another replay queues meanwhile need not be queued again.
            None if replay.rate.is_some() && !replay.dry_run => self.permits(replay, REDELIVERY_STEP).max(1),
            None => REDELIVERY_STEP,
        };
        let step = RedeliveryStep { from: reading.next, limit, dry_run: true, now };
        let found = journal.redeliver(consumer, &replay.selection, step).await?;
        let matching = match &replay.filter {
            Some(filter) => matching(journal, consumer, work.subscription, filter, &found.sequences).await?,
            None => Matching { matched: found.sequences, ..Matching::default() },
        };
        if let Some(error) = matching.error.filter(|_| !std::mem::replace(&mut self.has_warned, true)) {
            tracing::warn!(
                namespace = %replay.key.namespace, replay = %replay.key.name, %error,
                "the filter of the replay fails; such events are left out"
            );
        }
        let counts = &mut reading.counts;
        counts.matched += matching.matched.len() as u64;
        counts.gone += found.gone + matching.gone;
        counts.filter_errors += matching.failed;
        (reading.next, reading.examined) = (found.next, found.next.is_none());
        if !replay.dry_run {
            for sequence in matching.matched {
                reading.unqueued.insert(sequence);
            }
        }
        Ok(())
    }

    /// Queues matched events, as many as the rate and the room for waiting events allow. Returns whether there were any.
    async fn queue(&mut self, work: &Work<'_>, reading: &mut ReplayReading) -> Result<bool, JournalError> {
        let Work { replay, consumer, journal, now, .. } = *work;
        let most = reading.unqueued.len().min(reading.waiting.room()).min(REDELIVERY_STEP);
        let most = self.permits(replay, most);
        if most == 0 {
            return Ok(false);
        }
        let part: Vec<Sequence> = reading.unqueued.from(0).take(most).collect();
        let wanted = match replay.selection {
            Selection::DeadLettered => still_dead(journal, consumer, &part).await?,
            _ => part.clone(),
        };
        let done = match wanted.is_empty() {
            true => Redelivered::default(),
            false => {
                let step = RedeliveryStep { from: None, limit: REDELIVERY_STEP, dry_run: false, now };
                journal.redeliver(consumer, &Selection::Sequences(wanted.clone()), step).await?
            }
        };
        self.permits = self.permits.saturating_sub(wanted.len());
        self.outcomes.again();
        let queued = done.sequences.len() as u64;
        reading.counts.queued += queued;
        reading.counts.already_queued += queued.saturating_sub(done.queued + done.hastened);
        reading.counts.gone += done.gone;
        for sequence in done.sequences {
            reading.waiting.insert(sequence);
        }
        for sequence in part {
            reading.unqueued.remove(sequence);
            // Queued meanwhile, and perhaps delivered: its outcome is counted as if it still waited.
            if wanted.binary_search(&sequence).is_err() {
                reading.counts.queued += 1;
                reading.counts.already_queued += 1;
                reading.waiting.insert(sequence);
            }
        }
        Ok(true)
    }

    /// How many of `most` events the rate allows to queue now.
    fn permits(&mut self, replay: &Replay, most: usize) -> usize {
        let Some(rate) = &replay.rate else { return most };
        while self.permits < most && rate.try_acquire().is_ok() {
            self.permits += 1;
        }
        self.permits.min(most)
    }
}

/// The subscription object, if it exists and is the one with which the replay began.
fn subscription(replay: &Replay, snapshot: &Snapshot, reading: &ReplayReading) -> Option<Incarnation> {
    let known = snapshot.known(&replay.subscription)?;
    (reading.started.is_none() || known.uid == reading.subscription_uid).then_some(known)
}

/// Whether an endpoint has events from before the start of a subscription. `false` if that cannot be read.
async fn has_earlier_events(journal: &dyn Journal, consumer: &Incarnation, endpoint: &Incarnation) -> bool {
    let oldest = journal.events(endpoint, EventQuery { limit: 1, ..EventQuery::default() }).await;
    let oldest = oldest.ok().and_then(|page| page.events.first().map(|event| event.sequence()));
    let Some(oldest) = oldest else { return false };
    let query = DeliveryQuery { state: None, after: oldest.saturating_sub(1), newest_first: false, limit: 1 };
    let first = journal.deliveries(consumer, query).await;
    first.is_ok_and(|page| page.deliveries.first().is_none_or(|delivery| delivery.event.sequence() > oldest))
}

fn begin(replay: &Replay, consumer: &Incarnation, reading: &mut ReplayReading, now: Timestamp) {
    reading.started = Some(now);
    reading.subscription_uid = Arc::clone(&consumer.uid);
    reading.digest = Arc::clone(&replay.digest);
    tracing::info!(
        namespace = %replay.key.namespace, replay = %replay.key.name, subscription = %consumer.key.name,
        dry_run = replay.dry_run, "replay begins"
    );
}

fn end(replay: &Replay, reading: &mut ReplayReading, now: Timestamp, end: ReplayEnd) {
    reading.ended = Some((now, end));
    reading.hold = None;
    let counts = reading.counts;
    tracing::info!(
        namespace = %replay.key.namespace, replay = %replay.key.name, matched = counts.matched, queued = counts.queued,
        delivered = counts.delivered, failed = counts.failed, gone = counts.gone, complete = end == ReplayEnd::Completed,
        "replay has ended"
    );
}
