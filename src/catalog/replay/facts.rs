//! The progress of a replay, as the status has it.

use std::{sync::Arc, time::Duration};

use grapnel_api::{ConditionType, Reason, ReplayPosition, WebhookReplayStatus};
use grapnel_journal::RedeliveryPosition;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use parking_lot::Mutex;

use super::Sequences;
use crate::catalog::observed::{Rival, Since};

/// The progress of a replay since it began, across restarts.
#[derive(Debug, Default)]
pub struct ReplayFacts {
    reading: Mutex<ReplayReading>,
    /// How long the object stays after the end; `None` for ever.
    ttl: Mutex<Option<Duration>>,
    /// Transition times of its conditions.
    pub since: Since,
    /// Another writer of its status.
    pub rival: Rival,
}

/// Counts of events; see [`WebhookReplayStatus`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReplayCounts {
    /// Selected events for which the filter is true.
    pub matched: u64,
    /// Matched events that were queued, or that waited already.
    pub queued: u64,
    /// Of those, the events that waited already.
    pub already_queued: u64,
    /// Queued events that have been delivered.
    pub delivered: u64,
    /// Queued events that have become dead letters.
    pub failed: u64,
    /// Queued events that the subscription does not deliver.
    pub skipped: u64,
    /// Selected events that were removed by retention.
    pub gone: u64,
    /// Selected events for which the filter failed.
    pub filter_errors: u64,
}

/// A reading of [`ReplayFacts`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReplayReading {
    /// Counts of events.
    pub counts: ReplayCounts,
    /// When it began.
    pub started: Option<Timestamp>,
    /// When and how it ended.
    pub ended: Option<(Timestamp, ReplayEnd)>,
    /// Why nothing is queued or delivered now. Not part of the status.
    pub hold: Option<ReplayHold>,
    /// The uid of the subscription when it began.
    pub subscription_uid: Arc<str>,
    /// Digest of the part of the spec that cannot be changed, when it began.
    pub digest: Arc<str>,
    /// Where the journal continues; `None` at the beginning and at the end.
    pub next: Option<RedeliveryPosition>,
    /// Whether every selected event has been examined.
    pub examined: bool,
    /// Whether nothing was selected and the endpoint has events from before the start of the subscription.
    pub earlier_events: bool,
    /// Matched events that are not queued yet.
    pub unqueued: Sequences,
    /// Queued events that are not settled yet.
    pub waiting: Sequences,
}

/// How a replay ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplayEnd {
    /// Every event has been delivered, or has become a dead letter.
    Completed,
    /// The subscription was deleted.
    SubscriptionDeleted,
}

/// Why a replay that has not ended queues nothing, or why what it queues is not delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReplayHold {
    /// Its own `spec.suspend`.
    Suspended,
    /// The subscription is not in use.
    SubscriptionNotReady,
    /// The subscription is suspended.
    SubscriptionSuspended,
    /// The journal cannot be used now.
    Journal(Arc<str>),
}

/// The parts of a [`ReplayReading`] that determine conditions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplayPhase {
    started: bool,
    ended: Option<ReplayEnd>,
    hold: Option<ReplayHold>,
}

impl ReplayFacts {
    /// The current progress.
    pub fn read(&self) -> ReplayReading {
        self.reading.lock().clone()
    }

    /// The inputs of the conditions.
    pub fn phase(&self) -> ReplayPhase {
        let reading = self.reading.lock();
        ReplayPhase {
            started: reading.started.is_some(),
            ended: reading.ended.map(|(_, end)| end),
            hold: reading.hold.clone(),
        }
    }

    /// Records progress.
    pub fn set(&self, reading: ReplayReading) {
        *self.reading.lock() = reading;
    }

    /// Resumes from an earlier status, unless this process is further.
    pub fn resume(&self, earlier: ReplayReading) {
        let mut reading = self.reading.lock();
        if earlier.progress() > reading.progress() {
            *reading = ReplayReading { hold: reading.hold.take(), ..earlier };
        }
    }

    /// How long the object stays after its end, if it does not stay for ever.
    pub fn ttl(&self) -> Option<Duration> {
        *self.ttl.lock()
    }

    /// Sets how long the object stays after its end.
    pub fn set_ttl(&self, ttl: Option<Duration>) {
        *self.ttl.lock() = ttl;
    }
}

impl ReplayReading {
    /// The reading in a status that was written before. A position that cannot be read is the beginning.
    pub fn of(status: &WebhookReplayStatus) -> Self {
        let count = |count: Option<u64>| count.unwrap_or_default();
        let position = status.position.clone().unwrap_or_default();
        let text = |text: &Option<String>| Arc::from(text.as_deref().unwrap_or_default());
        let set = |text: &Option<String>| text.as_deref().unwrap_or_default().parse().unwrap_or_default();
        let ended = status.completion_time.as_ref().map(|time| {
            let complete = |it: &&Condition| it.type_ == ConditionType::Complete.as_str();
            let condition = status.conditions.iter().find(complete);
            let deleted = condition.is_some_and(|it| it.reason == Reason::SubscriptionDeleted.as_str());
            (time.0, if deleted { ReplayEnd::SubscriptionDeleted } else { ReplayEnd::Completed })
        });
        Self {
            counts: ReplayCounts {
                matched: count(status.matched),
                queued: count(status.queued),
                already_queued: count(status.already_queued),
                delivered: count(status.delivered),
                failed: count(status.failed),
                skipped: count(status.skipped),
                gone: count(status.gone),
                filter_errors: count(status.filter_errors),
            },
            started: status.start_time.as_ref().map(|time| time.0),
            ended,
            hold: None,
            subscription_uid: text(&position.subscription_uid),
            digest: text(&position.spec_digest),
            next: position.next.as_deref().and_then(|next| next.parse().ok()),
            examined: position.examined,
            earlier_events: position.earlier_events.unwrap_or(false),
            unqueued: set(&position.unqueued),
            waiting: set(&position.waiting),
        }
    }

    /// Writes the progress into a status.
    pub fn write(&self, status: &mut WebhookReplayStatus) {
        let ReplayCounts { matched, queued, already_queued, delivered, failed, skipped, gone, filter_errors } =
            self.counts;
        status.matched = Some(matched);
        status.queued = Some(queued);
        status.already_queued = Some(already_queued);
        status.delivered = Some(delivered);
        status.failed = Some(failed);
        status.skipped = Some(skipped);
        status.gone = Some(gone);
        status.filter_errors = Some(filter_errors);
        status.start_time = self.started.map(Time);
        status.completion_time = self.ended.map(|(time, _)| Time(time));
        let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        status.position = self.started.map(|_| ReplayPosition {
            subscription_uid: text(&self.subscription_uid),
            spec_digest: text(&self.digest),
            next: self.next.map(|next| next.to_string()),
            examined: self.examined,
            earlier_events: self.earlier_events.then_some(true),
            unqueued: text(&self.unqueued.to_string()),
            waiting: text(&self.waiting.to_string()),
        });
    }

    /// Orders the readings of one replay.
    fn progress(&self) -> (bool, bool, u64, u64, u64) {
        let ReplayCounts { matched, queued, delivered, failed, skipped, gone, filter_errors, .. } = self.counts;
        let examined = matched.saturating_add(filter_errors);
        let settled = [delivered, failed, skipped, gone].into_iter().fold(0, u64::saturating_add);
        (self.ended.is_some(), self.started.is_some(), examined, queued, settled)
    }

    /// Whether nothing is left to do.
    pub fn is_done(&self) -> bool {
        self.examined && self.unqueued.is_empty() && self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading() -> ReplayReading {
        ReplayReading {
            counts: ReplayCounts {
                matched: 9,
                queued: 8,
                already_queued: 1,
                delivered: 3,
                failed: 2,
                ..Default::default()
            },
            started: Some("2026-01-31T12:00:00Z".parse().unwrap()),
            subscription_uid: "u".into(),
            digest: "d".into(),
            next: Some("7-12".parse().unwrap()),
            unqueued: "9".parse().unwrap(),
            waiting: "4-6".parse().unwrap(),
            ..ReplayReading::default()
        }
    }

    fn status(reading: &ReplayReading) -> WebhookReplayStatus {
        let mut status = WebhookReplayStatus::default();
        reading.write(&mut status);
        status
    }

    #[test]
    fn a_status_has_the_whole_progress() {
        let ended = Some(("2026-01-31T13:00:00Z".parse().unwrap(), ReplayEnd::Completed));
        let ended = ReplayReading { examined: true, earlier_events: true, ended, ..reading() };
        for reading in [ReplayReading::default(), reading(), ended] {
            assert_eq!(ReplayReading::of(&status(&reading)), reading);
        }
    }

    #[test]
    fn only_a_status_that_is_further_is_resumed_from() {
        let facts = ReplayFacts::default();
        facts.resume(reading());
        assert_eq!(facts.read(), reading());
        let mut behind = reading();
        behind.counts.delivered = 2;
        facts.resume(behind);
        assert_eq!(facts.read(), reading());
        let mut ahead = reading();
        ahead.counts.delivered = 4;
        facts.resume(ahead.clone());
        assert_eq!(facts.read(), ahead);
    }

    #[test]
    fn a_status_that_somebody_has_broken_is_not_trusted() {
        let mut status = status(&reading());
        let position = status.position.as_mut().unwrap();
        (position.next, position.waiting) = (Some("a".into()), Some("0-18446744073709551615".into()));
        let read = ReplayReading::of(&status);
        assert_eq!((read.next, read.waiting.len()), (None, 0));
    }
}
