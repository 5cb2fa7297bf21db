//! Outcomes: invariant 11.

use std::time::Duration;

use grapnel_journal::{
    DeliveryRecord, DeliveryState, Exchange, Failure, Outcome, RedeliveryStep, Selection, Settlement, SkipReason, Start,
};

use super::{
    arrivals::{at, dead, delivered, exchange, failure, file, retry, skipped},
    session::{ALL, Engine, Session, keep},
};

/// A failure that differs from one second to the next.
fn failed(second: i64) -> Failure {
    Failure {
        time: at(second),
        reason: "timeout".into(),
        status: None,
        took: Duration::from_millis(second as u64),
        message: format!("attempt {second}").into(),
    }
}

fn summary(record: &DeliveryRecord) -> (u64, DeliveryState, Outcome, u32) {
    (record.event.sequence(), record.state, record.outcome, record.attempts)
}

/// Of a delivered event the number of its attempts, the last one, and the last failure are known.
pub(crate) async fn deliveries_say_how_they_went(engine: &dyn Engine) {
    let mut session = Session::attached(engine, Start::Now).await;
    session.append(&["a", "b"], 0).await;
    session.claim(ALL, 0).await;
    session.settle(2, delivered(3)).await;
    for second in 1..=5 {
        session.settle(1, Settlement::Retry { due: at(second), failure: failed(second) }).await;
        let record = session.record(1).await;
        assert_eq!(summary(&record), (1, DeliveryState::Retrying, Outcome::Retrying, second as u32));
        assert_eq!((record.due, record.failure), (Some(at(second)), Some(failed(second))));
        let last = Exchange { time: at(second), status: None, took: Duration::from_millis(second as u64) };
        assert_eq!(record.last, Some(last));
        if second == 3 {
            session.reopen();
        }
        assert_eq!(session.claim(ALL, second).await, [(1, second as u32 + 1)]);
        // What is decided does not change while it is in flight.
        let record = session.record(1).await;
        assert_eq!(summary(&record), (1, DeliveryState::InFlight, Outcome::Retrying, second as u32));
        assert_eq!((record.due, record.last, record.failure), (None, Some(last), Some(failed(second))));
    }
    session.settle(1, Settlement::Delivered(exchange(7, 204))).await;
    for _ in 0..2 {
        let record = session.record(1).await;
        assert_eq!(summary(&record), (1, DeliveryState::Settled, Outcome::Delivered, 6));
        assert_eq!((record.due, record.last, record.failure), (None, Some(exchange(7, 204)), Some(failed(5))));
        let record = session.record(2).await;
        assert_eq!(summary(&record), (2, DeliveryState::Settled, Outcome::Delivered, 1));
        assert_eq!((record.due, record.last, record.failure), (None, Some(exchange(3, 202)), None));
        session.reopen();
    }
}

/// Every outcome, also after a restart, and while other consumers have others of the same events.
pub(crate) async fn every_outcome_is_known(engine: &dyn Engine) {
    let mut session = Session::attached(engine, Start::Now).await;
    session.attach(&file("other"), &file("in"), Start::Now).await.unwrap();
    session.append(&["a", "b", "c", "d", "e", "f", "g"], 0).await;
    session.claim(6, 0).await;
    let filtered = Settlement::Skipped { reason: SkipReason::Filter, time: at(4) };
    let ends = vec![(1, filtered), (2, skipped(5)), (3, dead(6)), (4, retry(20)), (5, delivered(7))];
    session.settle_all(ends).await;
    let expected = |flying| {
        [
            (1, DeliveryState::Settled, Outcome::Skipped(SkipReason::Filter), 0),
            (2, DeliveryState::Settled, Outcome::Skipped(SkipReason::Type), 0),
            (3, DeliveryState::DeadLettered, Outcome::Dead, 1),
            (4, DeliveryState::Retrying, Outcome::Retrying, 1),
            (5, DeliveryState::Settled, Outcome::Delivered, 1),
            (6, flying, Outcome::Pending, 0),
            (7, DeliveryState::Pending, Outcome::Pending, 0),
        ]
    };
    let moment = |second| Some(Exchange { time: at(second), status: None, took: Duration::ZERO });
    for flying in [DeliveryState::InFlight, DeliveryState::Pending] {
        let records = session.records(None).await;
        assert_eq!(records.iter().map(summary).collect::<Vec<_>>(), expected(flying));
        let lasts: Vec<_> = records.iter().map(|record| record.last).collect();
        let failed = |second| Some(exchange(second, 500));
        assert_eq!(lasts, [moment(4), moment(5), failed(6), failed(19), Some(exchange(7, 202)), None, None]);
        let failures: Vec<_> = records.iter().map(|record| record.failure.clone()).collect();
        assert_eq!(failures, [None, None, Some(failure(6)), Some(failure(19)), None, None, None]);
        let other = grapnel_journal::DeliveryQuery { limit: ALL, ..Default::default() };
        let other = session.try_records(&file("other"), other).await.unwrap();
        assert!(other.iter().all(|record| record.outcome == Outcome::Pending && record.attempts == 0));
        session.reopen();
    }
}

/// Skipping an event is not an attempt.
pub(crate) async fn skipping_is_no_attempt(engine: &dyn Engine) {
    let mut session = Session::attached(engine, Start::Now).await;
    session.append(&["a"], 0).await;
    session.claim(ALL, 0).await;
    session.settle(1, retry(2)).await;
    session.claim(ALL, 2).await;
    session.settle(1, skipped(3)).await;
    for _ in 0..2 {
        let record = session.record(1).await;
        assert_eq!(summary(&record), (1, DeliveryState::Settled, Outcome::Skipped(SkipReason::Type), 1));
        assert_eq!(record.last, Some(Exchange { time: at(3), status: None, took: Duration::ZERO }));
        assert_eq!(record.failure, Some(failure(1)));
        session.reopen();
    }
}

/// A release changes no outcome.
pub(crate) async fn releasing_changes_no_outcome(engine: &dyn Engine) {
    let session = Session::attached(engine, Start::Now).await;
    session.append(&["a"], 0).await;
    session.claim(ALL, 0).await;
    session.settle(1, Settlement::Released).await;
    assert_eq!(summary(&session.record(1).await), (1, DeliveryState::Pending, Outcome::Pending, 0));
    session.claim(ALL, 0).await;
    session.settle(1, retry(5)).await;
    let before = session.record(1).await;
    session.claim(ALL, 5).await;
    session.settle(1, Settlement::Released).await;
    assert_eq!(session.record(1).await, before);
}

/// An event that is redelivered is pending, and then has the outcome of its new attempts.
pub(crate) async fn redelivered_events_are_pending_again(engine: &dyn Engine) {
    let mut session = Session::attached(engine, Start::Now).await;
    session.append(&["a", "b", "c"], 0).await;
    session.claim(ALL, 0).await;
    session.settle_all(vec![(1, dead(1)), (2, delivered(1)), (3, skipped(1))]).await;
    let step = RedeliveryStep { from: None, limit: ALL, dry_run: false, now: at(2) };
    let all = Selection::Received { since: None, until: None };
    assert_eq!(session.redeliver(&all, step).await.queued, 3);
    for _ in 0..2 {
        for record in session.records(None).await {
            assert_eq!((record.state, record.outcome, record.attempts), (DeliveryState::Pending, Outcome::Pending, 0));
            assert_eq!((record.due, record.last, record.failure), (None, None, None));
        }
        session.reopen();
    }
    assert_eq!(session.claim(ALL, 2).await, [(1, 1), (2, 1), (3, 1)]);
    session.settle_all(vec![(1, delivered(3)), (2, retry(5)), (3, dead(3))]).await;
    session.reopen();
    let records = session.records(None).await;
    let expected = [
        (1, DeliveryState::Settled, Outcome::Delivered, 1),
        (2, DeliveryState::Retrying, Outcome::Retrying, 1),
        (3, DeliveryState::DeadLettered, Outcome::Dead, 1),
    ];
    assert_eq!(records.iter().map(summary).collect::<Vec<_>>(), expected);
    assert_eq!((records[0].last, records[0].failure.clone()), (Some(exchange(3, 202)), None));
}

/// Outcomes stay for as long as their events, however many come after them and whatever is removed around them.
pub(crate) async fn outcomes_stay_with_their_events(engine: &dyn Engine) {
    let mut session = Session::attached(engine, Start::Now).await;
    let ids: Vec<String> = (1..=600).map(|n| n.to_string()).collect();
    session.append(&ids.iter().map(String::as_str).collect::<Vec<_>>(), 0).await;
    session.append(&["young"], 90).await;
    for (ordinal, _) in session.claim(ALL, 90).await {
        let end = match ordinal % 3 {
            0 => delivered(ordinal as i64),
            1 => skipped(ordinal as i64),
            _ => dead(ordinal as i64),
        };
        session.settle(ordinal, end).await;
    }
    // Dead letters stay, the others go but for the young one.
    assert_eq!(session.sweep(keep(50, 100_000), 100).await, grapnel_journal::Swept { events: 400, dead_letters: 0 });
    session.reopen();
    let records = session.records(None).await;
    assert_eq!(records.len(), 201);
    for record in records {
        let ordinal = record.event.sequence();
        match ordinal {
            601 => assert_eq!(summary(&record), (601, DeliveryState::Settled, Outcome::Skipped(SkipReason::Type), 0)),
            _ => assert_eq!(summary(&record), (ordinal, DeliveryState::DeadLettered, Outcome::Dead, 1)),
        }
        assert_eq!(record.last.map(|last| last.time), Some(at(ordinal as i64)));
    }
}
