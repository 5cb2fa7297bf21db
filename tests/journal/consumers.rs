//! Consumers: attaching, detaching, and replacement by another object of the same name.

use std::time::Duration;

use grapnel_journal::{
    Attached, AttachedConsumer, Claim, DeliveryQuery, Detached, JournalError, Progress, RedeliveryStep, Retention,
    Selection, Start,
};

use super::{
    arrivals::{at, dead, delivered, file, key, object, retry},
    session::{ALL, Engine, Session},
};

/// Invariant 8, and what attaching promises.
pub(crate) async fn consumers_stay_until_detached(engine: &dyn Engine) {
    let mut session = Session::attached(engine, Start::Now).await;
    session.append(&["a", "b"], 0).await;
    session.claim(1, 0).await;
    session.settle(1, retry(10)).await;
    session.reopen();
    let attached = AttachedConsumer { consumer: file("out"), endpoint: key("in") };
    assert_eq!(session.journal().consumers().await.unwrap(), [attached]);
    // Where it begins has been decided.
    assert_eq!(session.attach(&file("out"), &file("in"), Start::Now).await.unwrap(), Attached::default());
    assert_eq!(session.progress(), Progress { pending: 1, retrying: 1, ..Default::default() });
    let refused = session.attach(&file("out"), &file("other"), Start::Now).await.unwrap_err();
    assert!(matches!(&refused, JournalError::EndpointChanged { endpoint, .. } if *endpoint == key("in")), "{refused}");
    assert!(session.journal().detach(&file("out")).await.unwrap().is_some());
    assert_eq!(session.journal().detach(&file("out")).await.unwrap(), None);
    assert!(session.journal().progress(&file("out")).is_none());
    let refused = session.try_claim(&file("out"), Claim::new(1, at(0))).await.unwrap_err();
    assert!(matches!(refused, JournalError::UnknownConsumer(_)), "{refused}");
    session.reopen();
    assert!(session.journal().consumers().await.unwrap().is_empty());
    // A new consumer of that name inherits nothing.
    session.attach(&file("out"), &file("other"), Start::Earliest).await.unwrap();
    assert_eq!(session.progress(), Progress::default());
    assert!(session.claim(ALL, 100).await.is_empty());
}

/// Where a consumer begins.
pub(crate) async fn start_is_where_it_says(engine: &dyn Engine) {
    let mut session = Session::open(engine);
    session.append(&["a", "b"], 0).await;
    session.attach(&file("now"), &file("in"), Start::Now).await.unwrap();
    session.attach(&file("all"), &file("in"), Start::Earliest).await.unwrap();
    session.append(&["c"], 0).await;
    session.reopen();
    for (consumer, expected) in [("now", vec![(3, 1)]), ("all", vec![(1, 1), (2, 1), (3, 1)])] {
        assert_eq!(session.claim_as(&file(consumer), Claim::new(ALL, at(0))).await.0, expected);
    }
    let attached = ["all", "now"].map(|name| AttachedConsumer { consumer: file(name), endpoint: key("in") });
    assert_eq!(session.journal().consumers().await.unwrap(), attached);
}

/// A consumer that is detached says how many events it leaves undelivered.
pub(crate) async fn detaching_counts_what_is_abandoned(engine: &dyn Engine) {
    let mut session = Session::open(engine);
    session.append(&["before"], 0).await;
    session.attach(&file("out"), &file("in"), Start::Now).await.unwrap();
    assert_eq!(session.journal().detach(&file("out")).await.unwrap(), Some(Detached::default()));
    session.attach(&file("out"), &file("in"), Start::Now).await.unwrap();
    session.append(&["a", "b", "c", "d", "e", "f"], 0).await;
    session.reopen();
    session.claim(5, 0).await;
    // One delivered, one dead, one retrying, one redelivered, one in flight, one new.
    session.settle_all(vec![(2, delivered(1)), (3, dead(1)), (4, retry(9)), (5, dead(1))]).await;
    let step = RedeliveryStep { from: None, limit: 9, dry_run: false, now: at(2) };
    assert_eq!(session.redeliver(&Selection::Events(vec!["d".into()]), step).await.queued, 1);
    assert_eq!(session.journal().detach(&file("out")).await.unwrap(), Some(Detached { abandoned: 4, dead_letters: 1 }));
    assert_eq!(session.journal().detach(&file("out")).await.unwrap(), None);
}

/// Invariants 8 and 10: another uid is another consumer, which replaces the one of its name.
pub(crate) async fn another_consumer_of_the_name_replaces_it(engine: &dyn Engine) {
    let (first, second) = (object("out", "first"), object("out", "second"));
    let mut session = Session::open(engine);
    assert_eq!(session.attach(&first, &file("in"), Start::Now).await.unwrap(), Attached::default());
    session.append(&["a", "b", "c", "d", "e"], 0).await;
    session.claim_as(&first, Claim::new(4, at(0))).await;
    session.try_settle(&first, vec![(1, delivered(1)), (2, retry(9)), (3, dead(1))]).await.unwrap();
    session.reopen();
    assert_eq!(session.claim_as(&first, Claim::new(1, at(1))).await.0, [(4, 1)]);
    // A worker waits for something to do.
    session.claim_as(&first, Claim::new(1, at(1))).await;
    let (old, waiting) = (first.clone(), session.journal().clone());
    let waiter = tokio::spawn(async move { waiting.ready(&old).await });
    tokio::task::yield_now().await;

    let attached = session.attach(&second, &file("in"), Start::Earliest).await.unwrap();
    assert_eq!(attached, Attached { replaced: Some(Detached { abandoned: 3, dead_letters: 1 }) });
    waiter.await.unwrap();
    for _ in 0..2 {
        let attached = AttachedConsumer { consumer: second.clone(), endpoint: key("in") };
        assert_eq!(session.journal().consumers().await.unwrap(), [attached]);
        let progress = session.journal().progress(&second).unwrap();
        assert_eq!(progress, Progress { pending: 5, ..Default::default() });
        // A worker that still holds the earlier one can do nothing.
        let unknown = |error: JournalError| matches!(error, JournalError::UnknownConsumer(name) if name == key("out"));
        assert_eq!(session.journal().progress(&first), None);
        assert!(unknown(session.try_claim(&first, Claim::new(9, at(9))).await.unwrap_err()));
        assert!(unknown(session.try_settle(&first, vec![(4, delivered(9))]).await.unwrap_err()));
        let query = DeliveryQuery { limit: ALL, ..Default::default() };
        assert!(unknown(session.try_records(&first, query).await.unwrap_err()));
        let step = RedeliveryStep { from: None, limit: 9, dry_run: false, now: at(9) };
        let redelivered = session.journal().redeliver(&first, &Selection::DeadLettered, step).await;
        assert!(unknown(redelivered.unwrap_err()));
        assert_eq!(session.journal().detach(&first).await.unwrap(), None);
        session.journal().ready(&first).await;
        session.reopen();
    }
    let all = [(1, 1), (2, 1), (3, 1), (4, 1), (5, 1)];
    assert_eq!(session.claim_as(&second, Claim::new(ALL, at(9))).await.0, all, "attempts start again at 1");
    // The next one may read another endpoint.
    let third = object("out", "third");
    session.append_to(&file("other"), &["x"], 0).await;
    let attached = session.attach(&third, &file("other"), Start::Now).await.unwrap();
    assert_eq!(attached, Attached { replaced: Some(Detached { abandoned: 5, dead_letters: 0 }) });
    assert_eq!(session.journal().progress(&third), Some(Progress::default()));
    // Nothing pins the events of the earlier ones.
    let all = Retention { endpoints: vec![(file("in"), Duration::ZERO)], ..Default::default() };
    assert_eq!(session.sweep(all, 9).await.events, 5);
}

/// A new consumer takes over neither retries nor dead letters of the one that it replaces.
pub(crate) async fn a_new_consumer_begins_at_its_start(engine: &dyn Engine) {
    let (first, second) = (object("out", "first"), object("out", "second"));
    let mut session = Session::open(engine);
    session.attach(&first, &file("in"), Start::Now).await.unwrap();
    session.append(&["a", "b"], 0).await;
    session.claim_as(&first, Claim::new(9, at(0))).await;
    session.try_settle(&first, vec![(1, dead(0)), (2, retry(5))]).await.unwrap();
    let attached = session.attach(&second, &file("in"), Start::Now).await.unwrap();
    assert_eq!(attached, Attached { replaced: Some(Detached { abandoned: 1, dead_letters: 1 }) });
    session.append(&["c"], 0).await;
    session.reopen();
    assert_eq!(session.journal().progress(&second), Some(Progress { pending: 1, ..Default::default() }));
    let query = DeliveryQuery { limit: ALL, ..Default::default() };
    assert_eq!(session.try_records(&second, query).await.unwrap().len(), 1);
    assert_eq!(session.claim_as(&second, Claim::new(9, at(9))).await, (vec![(3, 1)], None));
    let step = RedeliveryStep { from: None, limit: 9, dry_run: false, now: at(9) };
    let done = session.journal().redeliver(&second, &Selection::DeadLettered, step).await.unwrap();
    assert_eq!(done.queued, 0);
}
