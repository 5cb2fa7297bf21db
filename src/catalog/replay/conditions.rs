//! The conditions of a replay.

use std::borrow::Cow;

use grapnel_api::{Condition, ConditionStatus, ConditionType, Reason};

use super::{ReplayCounts, ReplayEnd, ReplayHold, ReplayReading};

/// The conditions: `Accepted`, `Complete`, and those that are present only while true. `compiled` are those of the
/// compiler, which do not matter any more when the replay has ended.
pub(in crate::catalog) fn conditions(compiled: &[Condition], reading: &ReplayReading) -> Vec<Condition> {
    let accepted = compiled.iter().find(|condition| condition.kind == ConditionType::Accepted);
    if let Some((_, end)) = reading.ended {
        let accepted = Condition::holds(ConditionType::Accepted, Reason::Accepted, "the spec is valid");
        return [accepted].into_iter().chain(ended(end, reading)).collect();
    }
    let refused = accepted.filter(|accepted| accepted.status == ConditionStatus::False);
    // One that has begun goes on with the spec that it began with.
    if let Some(Condition { reason, message, .. }) = refused.filter(|_| reading.started.is_none()) {
        return accepted.cloned().into_iter().chain(failed(*reason, message.clone())).collect();
    }
    accepted.cloned().into_iter().chain(running(reading)).collect()
}

fn ended(end: ReplayEnd, reading: &ReplayReading) -> Vec<Condition> {
    let counts = &reading.counts;
    match end {
        ReplayEnd::Completed => {
            let message = format!("{}{}", summary(counts), hint(reading));
            vec![Condition::holds(ConditionType::Complete, Reason::Completed, message)]
        }
        ReplayEnd::SubscriptionDeleted => {
            let message = format!("the subscription was deleted before the replay was complete: {}", summary(counts));
            failed(Reason::SubscriptionDeleted, message)
        }
    }
}

fn failed(reason: Reason, message: impl Into<Cow<'static, str>>) -> Vec<Condition> {
    let message = message.into();
    vec![
        Condition::fails(ConditionType::Complete, reason, message.clone()),
        Condition::holds(ConditionType::Failed, reason, message.clone()),
        Condition::holds(ConditionType::Stalled, reason, message),
    ]
}

fn running(reading: &ReplayReading) -> Vec<Condition> {
    let (reason, message) = match &reading.hold {
        None if reading.examined && reading.unqueued.is_empty() => {
            (Reason::Progressing, "every event is queued; waiting for the deliveries".into())
        }
        None => (Reason::Progressing, "events are queued and delivered".into()),
        Some(ReplayHold::Suspended) => {
            (Reason::Suspended, "suspended by spec.suspend; no more events are queued".into())
        }
        Some(ReplayHold::SubscriptionNotReady) => {
            (Reason::SubscriptionNotReady, "the subscription is not ready; its conditions say what to do".into())
        }
        Some(ReplayHold::SubscriptionSuspended) => {
            let message = "the subscription is suspended by its spec.suspend, so nothing is delivered";
            (Reason::SubscriptionSuspended, message.into())
        }
        Some(ReplayHold::Journal(error)) => (Reason::Progressing, format!("waiting for the journal: {error}")),
    };
    let also = match reading.hold {
        Some(ReplayHold::Suspended) => ConditionType::Suspended,
        _ => ConditionType::Reconciling,
    };
    vec![Condition::fails(ConditionType::Complete, reason, message.clone()), Condition::holds(also, reason, message)]
}

/// Why a replay has selected nothing: a subscription that is deleted and created again is another one.
fn hint(reading: &ReplayReading) -> &'static str {
    if !reading.earlier_events || reading.counts != ReplayCounts::default() {
        return "";
    }
    "; the endpoint has events from before the subscription was created, which are not its own, also if an earlier \
     subscription of the same name received them"
}

/// The counts that are not zero, in a sentence.
fn summary(counts: &ReplayCounts) -> String {
    let ReplayCounts { matched, queued, already_queued, delivered, failed, skipped, gone, filter_errors } = *counts;
    let mut parts = vec![format!("{matched} {} matched", if matched == 1 { "event" } else { "events" })];
    let others = [
        (queued, "queued"),
        (already_queued, "of them waiting before"),
        (delivered, "delivered"),
        (failed, "dead-lettered"),
        (skipped, "skipped by the subscription"),
        (gone, "no longer retained"),
        (filter_errors, "left out because the filter failed"),
    ];
    parts.extend(others.iter().filter(|(count, _)| *count > 0).map(|(count, text)| format!("{count} {text}")));
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    fn shown(compiled: &[Condition], reading: &ReplayReading) -> Vec<(ConditionType, ConditionStatus, Reason)> {
        conditions(compiled, reading).iter().map(|it| (it.kind, it.status, it.reason)).collect()
    }

    const ACCEPTED: (ConditionType, ConditionStatus, Reason) =
        (ConditionType::Accepted, ConditionStatus::True, Reason::Accepted);

    #[test]
    fn kstatus_sees_progress_completion_and_failure() {
        use ConditionStatus::{False, True};
        use ConditionType::{Complete, Failed, Reconciling, Stalled, Suspended};
        let valid = [Condition::holds(ConditionType::Accepted, Reason::Accepted, "")];
        let mut reading = ReplayReading { started: Some(Timestamp::UNIX_EPOCH), ..ReplayReading::default() };
        let running = [ACCEPTED, (Complete, False, Reason::Progressing), (Reconciling, True, Reason::Progressing)];
        assert_eq!(shown(&valid, &reading), running);
        reading.hold = Some(ReplayHold::Suspended);
        let suspended = [ACCEPTED, (Complete, False, Reason::Suspended), (Suspended, True, Reason::Suspended)];
        assert_eq!(shown(&valid, &reading), suspended);
        reading.ended = Some((Timestamp::UNIX_EPOCH, ReplayEnd::Completed));
        assert_eq!(shown(&valid, &reading), [ACCEPTED, (Complete, True, Reason::Completed)]);
        // The end stays, whatever becomes of the subscription.
        let refused = [Condition::fails(ConditionType::Accepted, Reason::SubscriptionNotFound, "none")];
        assert_eq!(shown(&refused, &reading), [ACCEPTED, (Complete, True, Reason::Completed)]);
        reading.ended = Some((Timestamp::UNIX_EPOCH, ReplayEnd::SubscriptionDeleted));
        let reason = Reason::SubscriptionDeleted;
        let failed = [ACCEPTED, (Complete, False, reason), (Failed, True, reason), (Stalled, True, reason)];
        assert_eq!(shown(&valid, &reading), failed);
        let reason = Reason::SubscriptionNotFound;
        let not_begun = [
            (ConditionType::Accepted, False, reason),
            (Complete, False, reason),
            (Failed, True, reason),
            (Stalled, True, reason),
        ];
        assert_eq!(shown(&refused, &ReplayReading::default()), not_begun);
    }

    #[test]
    fn a_replay_of_nothing_says_which_events_a_subscription_has() {
        let message = |counts, earlier_events| {
            let ended = Some((Timestamp::UNIX_EPOCH, ReplayEnd::Completed));
            let reading = ReplayReading { counts, ended, earlier_events, ..ReplayReading::default() };
            conditions(&[], &reading).into_iter().find(|it| it.kind == ConditionType::Complete).unwrap().message
        };
        let nothing = message(ReplayCounts::default(), true);
        assert!(nothing.starts_with("0 events matched; ") && nothing.contains("was created"), "{nothing}");
        assert_eq!(message(ReplayCounts::default(), false), "0 events matched");
        for counts in [
            ReplayCounts { matched: 1, ..ReplayCounts::default() },
            ReplayCounts { gone: 1, ..ReplayCounts::default() },
            ReplayCounts { filter_errors: 1, ..ReplayCounts::default() },
        ] {
            let something = message(counts, true);
            assert!(!something.contains("created"), "{something}");
        }
    }

    #[test]
    fn a_summary_has_the_counts_that_are_not_zero() {
        assert_eq!(summary(&ReplayCounts::default()), "0 events matched");
        let counts = ReplayCounts { matched: 1, queued: 1, delivered: 1, gone: 2, ..ReplayCounts::default() };
        assert_eq!(summary(&counts), "1 event matched, 1 queued, 1 delivered, 2 no longer retained");
    }
}
