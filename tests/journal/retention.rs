//! What a sweep removes, and what it spares.

use std::time::Duration;

use grapnel_journal::{
    Claim, DeliveryQuery, DeliveryState, Outcome, Progress, Retention, Start, Swept,
    limits::{DEFAULT_DEAD_LETTER_RETENTION, DEFAULT_RETENTION},
};

use super::{
    arrivals::{at, dead, delivered, failure, file, key, retry},
    session::{ALL, Engine, Session, keep},
};

/// Invariants 5 and 7: dead letters stay for their retention, and so do their events.
pub(crate) async fn dead_letters_stay_listed(engine: &dyn Engine) {
    let mut session = Session::attached(engine, Start::Now).await;
    session.append(&["a", "b"], 0).await;
    session.claim(ALL, 0).await;
    session.settle(1, retry(5)).await;
    session.settle(2, dead(3)).await;
    session.claim(ALL, 5).await;
    session.settle(1, dead(10)).await;
    session.reopen();
    assert_eq!(session.progress(), Progress { dead: 2, ..Default::default() });
    assert!(session.claim(ALL, 100_000).await.is_empty());
    let expected = [(1, DeliveryState::DeadLettered, 2), (2, DeliveryState::DeadLettered, 1)];
    assert_eq!(session.deliveries(Some(DeliveryState::DeadLettered)).await, expected);
    let after = session.sequence(1);
    let query = DeliveryQuery { state: Some(DeliveryState::DeadLettered), after, limit: ALL, ..Default::default() };
    let listed = session.try_records(&file("out"), query).await.unwrap();
    assert_eq!((listed.len(), listed[0].failure.clone()), (1, Some(failure(3))));
    assert_eq!(session.sweep(keep(0, 100), 102).await, Swept::default());
    assert_eq!(session.sweep(keep(0, 100), 103).await, Swept { events: 1, dead_letters: 1 });
    assert_eq!(session.progress(), Progress { dead: 1, ..Default::default() });
    assert_eq!(session.sweep(keep(200, 100), 110).await, Swept { events: 0, dead_letters: 1 });
    // It is not a dead letter any more, but its outcome is known for as long as the event is kept: invariant 11.
    for _ in 0..2 {
        assert_eq!(session.deliveries(None).await, [(1, DeliveryState::Settled, 2)]);
        assert_eq!(session.record(1).await.outcome, Outcome::Dead);
        session.reopen();
    }
}

/// Invariant 7: every attached consumer pins what it has not settled, also in the middle.
pub(crate) async fn sweeping_spares_what_is_not_settled(engine: &dyn Engine) {
    let mut session = Session::attached(engine, Start::Now).await;
    session.attach(&file("slow"), &file("in"), Start::Now).await.unwrap();
    session.append(&["a", "b", "c", "d"], 0).await;
    session.claim(ALL, 0).await;
    session.settle(1, delivered(1)).await;
    session.settle(3, delivered(1)).await;
    session.settle(4, retry(50)).await;
    assert_eq!(session.sweep(keep(0, 0), 1000).await, Swept::default());
    session.journal().detach(&file("slow")).await.unwrap();
    assert_eq!(session.sweep(keep(2000, 0), 1000).await, Swept::default());
    assert_eq!(session.sweep(keep(0, 0), 1000).await.events, 2);
    assert_eq!(session.kept().await, [2, 4]);
    session.reopen();
    assert_eq!(session.claim(ALL, 1000).await, [(4, 2), (2, 1)]);
    // A consumer that comes now skips what is gone, and its counts are right.
    let late = file("late");
    session.attach(&late, &file("in"), Start::Earliest).await.unwrap();
    assert_eq!(session.journal().progress(&late).unwrap(), Progress { pending: 2, ..Default::default() });
    assert_eq!(session.claim_as(&late, Claim::new(ALL, at(1000))).await.0, [(2, 1), (4, 1)]);
    assert_eq!(session.journal().progress(&late).unwrap(), Progress { in_flight: 2, ..Default::default() });
}

/// A log with more holes than a step of any sweep or claim.
pub(crate) async fn large_holes_are_skipped(engine: &dyn Engine) {
    let session = Session::attached(engine, Start::Now).await;
    let ids: Vec<String> = (1..=2000).map(|n| n.to_string()).collect();
    session.append(&ids.iter().map(String::as_str).collect::<Vec<_>>(), 0).await;
    let kept = [1, 700, 1999];
    let claimed = session.claim(5000, 0).await;
    let settled = claimed.iter().filter(|(n, _)| !kept.contains(n)).map(|(n, _)| (*n, delivered(1)));
    session.settle_all(settled.collect()).await;
    assert_eq!(session.sweep(keep(0, 0), 1).await.events, 1997);
    assert_eq!(session.kept().await, kept);
    let late = file("late");
    session.attach(&late, &file("in"), Start::Earliest).await.unwrap();
    session.append(&["new"], 0).await;
    let mut got = Vec::new();
    for left in [3, 2, 1, 0] {
        got.extend(session.claim_as(&late, Claim::new(1, at(0))).await.0);
        assert_eq!(session.journal().progress(&late).unwrap().pending, left);
    }
    assert_eq!(got, [(1, 1), (700, 1), (1999, 1), (2001, 1)]);
}

/// An endpoint that is no longer listed keeps its retention, and one that was never listed has the default.
pub(crate) async fn endpoints_that_are_not_listed_keep_their_retention(engine: &dyn Engine) {
    let mut session = Session::open(engine);
    session.append(&["a"], 0).await;
    session.append_to(&file("unlisted"), &["a"], 0).await;
    assert_eq!(session.sweep(keep(100, 0), 99).await, Swept::default());
    assert_eq!(session.sweep(Retention::default(), 99).await, Swept::default());
    session.reopen();
    assert_eq!(session.sweep(Retention::default(), 99).await, Swept::default());
    assert_eq!(session.sweep(Retention::default(), 100).await.events, 1);
    assert!(session.kept().await.is_empty());
    // Longer than the default.
    session.append(&["b"], 0).await;
    let default = DEFAULT_RETENTION.as_secs() as i64;
    assert_eq!(session.sweep(keep(DEFAULT_RETENTION.as_secs() + 100, 0), 0).await, Swept::default());
    session.reopen();
    assert_eq!(session.sweep(Retention::default(), default - 1).await, Swept::default());
    assert_eq!(session.sweep(Retention::default(), default + 99).await.events, 1, "that of the one never listed");
    assert_eq!(session.kept().await, [2]);
    assert!(session.kept_in(&file("unlisted")).await.is_empty());
    assert_eq!(session.sweep(Retention::default(), default + 100).await.events, 1);
}

/// Dead letters of a consumer that is not listed stay for the default.
pub(crate) async fn consumers_that_are_not_listed_have_the_default_retention(engine: &dyn Engine) {
    let session = Session::attached(engine, Start::Now).await;
    session.append(&["a", "b"], 0).await;
    session.settle_due(0, dead(10)).await;
    let default = DEFAULT_DEAD_LETTER_RETENTION.as_secs() as i64;
    let events = Retention { endpoints: vec![(file("in"), Duration::ZERO)], consumers: Vec::new() };
    assert_eq!(session.sweep(events.clone(), default + 9).await, Swept::default());
    let others = Retention { consumers: vec![(key("other"), Duration::ZERO)], ..events.clone() };
    assert_eq!(session.sweep(others, default + 9).await, Swept::default());
    assert_eq!(session.sweep(events, default + 10).await, Swept { events: 2, dead_letters: 2 });
}
