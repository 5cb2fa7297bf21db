//! Endpoints that are deleted and created again under the same name: invariant 10.

use std::time::Duration;

use grapnel_api::Incarnation;
use grapnel_journal::{
    Appended, Attached, Claim, DeliveryState, EndpointUsage, EventQuery, JournalError, Progress, Redelivered,
    RedeliveryStep, Retention, Selection, Start,
};

use super::{
    arrivals::{arrival, at, dead, delivered, file, key, object, retry},
    session::{ALL, Engine, Session},
};

fn first() -> Incarnation {
    object("in", "first")
}

fn second() -> Incarnation {
    object("in", "second")
}

/// The consumer `shop/out`, attached to the first one with an event delivered, one dead, one to retry, one in flight and
/// one new, before the second one takes in an event.
async fn replaced<'a>(engine: &'a dyn Engine) -> Session<'a> {
    let session = Session::open(engine);
    session.attach(&file("out"), &first(), Start::Now).await.unwrap();
    session.append_to(&first(), &["a", "b", "c", "d", "e"], 0).await;
    session.claim(4, 0).await;
    session.settle_all(vec![(1, delivered(1)), (2, dead(1)), (3, retry(9))]).await;
    // Its sequences continue, which `Session` asserts.
    assert_eq!(session.append_to(&second(), &["a"], 1).await, [Appended::Stored(6)]);
    session
}

async fn refuses_the_first(session: &Session<'_>) {
    let refused = session.try_append(vec![arrival(&first(), "late", 2)]).await.unwrap_err();
    assert!(matches!(&refused, JournalError::EndpointReplaced(name) if *name == key("in")), "{refused}");
    let refused = session.attach(&file("late"), &first(), Start::Now).await.unwrap_err();
    assert!(matches!(&refused, JournalError::EndpointReplaced(name) if *name == key("in")), "{refused}");
    assert!(session.journal().progress(&file("late")).is_none());
}

/// A new endpoint has an empty log and no memory of ids.
pub(crate) async fn a_new_endpoint_has_an_empty_log(engine: &dyn Engine) {
    let mut session = replaced(engine).await;
    for _ in 0..2 {
        assert_eq!(session.kept_in(&second()).await, [6]);
        assert!(session.kept_in(&first()).await.is_empty());
        assert_eq!(session.find(&second(), "b").await, None);
        assert_eq!(session.find(&first(), "b").await, None);
        assert_eq!(session.find(&second(), "a").await, Some((6, at(1))));
        refuses_the_first(&session).await;
        session.reopen();
    }
    // A consumer that comes now sees none of the earlier events.
    let late = file("late");
    session.attach(&late, &second(), Start::Earliest).await.unwrap();
    assert_eq!(session.journal().progress(&late), Some(Progress { pending: 1, ..Default::default() }));
    assert_eq!(session.append_to(&second(), &["a", "b"], 2).await, [Appended::Duplicate(6), Appended::Stored(7)]);
    session.reopen();
    assert_eq!(session.claim_as(&late, Claim::new(ALL, at(9))).await.0, [(6, 1), (7, 1)]);
    let all = Selection::Received { since: None, until: None };
    let step = RedeliveryStep { from: None, limit: ALL, dry_run: true, now: at(9) };
    let mut done = session.journal().redeliver(&late, &all, step).await.unwrap();
    done.sequences = session.ordinals(&late, &done.sequences);
    assert_eq!(done, Redelivered { skipped: 2, sequences: vec![6, 7], ..Default::default() });
}

/// Consumers that were attached before lose nothing, and continue with the new endpoint.
pub(crate) async fn consumers_of_the_earlier_endpoint_lose_nothing(engine: &dyn Engine) {
    let mut session = replaced(engine).await;
    let expected = Progress { pending: 2, in_flight: 1, retrying: 1, dead: 1, delivered: 1 };
    assert_eq!(session.progress(), expected);
    session.reopen();
    assert_eq!(session.attach(&file("out"), &second(), Start::Now).await.unwrap(), Attached::default());
    assert_eq!(session.progress(), Progress { pending: 3, in_flight: 0, ..expected });
    let states = [
        (1, DeliveryState::Settled, 1),
        (2, DeliveryState::DeadLettered, 1),
        (3, DeliveryState::Retrying, 1),
        (4, DeliveryState::Pending, 0),
        (5, DeliveryState::Pending, 0),
        (6, DeliveryState::Pending, 0),
    ];
    assert_eq!(session.deliveries(None).await, states);
    // Also when the endpoint is not listed any more.
    let none = Retention { endpoints: vec![(second(), Duration::ZERO)], ..Default::default() };
    assert_eq!(session.sweep(none, 9).await.events, 0);
    assert_eq!(session.claim_in_order(2, 9).await, (vec![(3, 2), (4, 1)], None));
    session.settle_all(vec![(3, delivered(9)), (4, retry(12))]).await;
    let step = RedeliveryStep { from: None, limit: ALL, dry_run: false, now: at(10) };
    assert_eq!(session.redeliver(&Selection::DeadLettered, step).await.queued, 1);
    session.reopen();
    assert_eq!(session.claim(ALL, 12).await, [(2, 1), (4, 2), (5, 1), (6, 1)]);
    session.settle_all([2, 4, 5, 6].map(|ordinal| (ordinal, delivered(12))).to_vec()).await;
    assert_eq!(session.progress(), Progress { delivered: 6, ..Default::default() });
}

/// Settled events of an earlier endpoint stay for its own retention.
pub(crate) async fn events_of_the_earlier_endpoint_have_its_retention(engine: &dyn Engine) {
    let only = |endpoint: Incarnation, seconds: u64| Retention {
        endpoints: vec![(endpoint, Duration::from_secs(seconds))],
        ..Default::default()
    };
    let mut session = Session::open(engine);
    session.append_to(&first(), &["a"], 0).await;
    assert_eq!(session.sweep(only(first(), 100), 0).await.events, 0);
    session.append_to(&second(), &["a"], 0).await;
    session.reopen();
    assert_eq!(session.sweep(only(second(), 1000), 99).await.events, 0);
    assert_eq!(session.sweep(only(second(), 1000), 100).await.events, 1);
    assert_eq!(session.kept_in(&second()).await, [2]);
    assert_eq!(session.sweep(only(second(), 1000), 1000).await.events, 1);
}

/// Attaching a consumer begins the new incarnation too, before the first append to it.
pub(crate) async fn attaching_begins_a_new_endpoint(engine: &dyn Engine) {
    let mut session = Session::open(engine);
    session.append_to(&first(), &["a", "b"], 0).await;
    session.attach(&file("out"), &second(), Start::Earliest).await.unwrap();
    assert_eq!(session.progress(), Progress::default());
    session.reopen();
    assert!(session.kept_in(&first()).await.is_empty());
    assert!(session.kept_in(&second()).await.is_empty());
    assert_eq!(session.journal().storage(&second()), EndpointUsage::default());
    refuses_the_first(&session).await;
    assert_eq!(session.append_to(&second(), &["a"], 0).await, [Appended::Stored(3)]);
    assert_eq!(session.claim(ALL, 0).await, [(3, 1)]);
    let query = EventQuery { kind: Some("order.created".into()), limit: ALL, ..Default::default() };
    assert_eq!(session.list(&second(), query).await.len(), 1);
}

/// Sequences ascend over many incarnations, and every earlier one is refused.
pub(crate) async fn endpoints_come_and_go(engine: &dyn Engine) {
    let mut session = Session::open(engine);
    for round in 0..5u64 {
        let now = object("in", &round.to_string());
        let first = 2 * round + 1;
        let stored = session.append_to(&now, &["a", "b", "a"], 0).await;
        assert_eq!(stored, [Appended::Stored(first), Appended::Stored(first + 1), Appended::Duplicate(first)]);
        session.attach(&file(&format!("out-{round}")), &now, Start::Earliest).await.unwrap();
        if round % 2 == 1 {
            session.reopen();
        }
        for earlier in 0..round {
            let arrival = arrival(&object("in", &earlier.to_string()), "c", 0);
            let refused = session.try_append(vec![arrival]).await.unwrap_err();
            assert!(matches!(refused, JournalError::EndpointReplaced(_)), "{refused}");
        }
    }
    for round in 0..5u64 {
        let consumer = file(&format!("out-{round}"));
        let expected: Vec<_> = (2 * round + 1..=10).map(|ordinal| (ordinal, 1)).collect();
        assert_eq!(session.claim_as(&consumer, Claim::new(ALL, at(0))).await.0, expected);
    }
}
