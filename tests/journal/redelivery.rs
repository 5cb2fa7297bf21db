//! Redelivery: invariant 9.

use grapnel_journal::{
    Claim, DeliveryState, JournalError, Progress, Redelivered, RedeliveryStep, Selection, Settlement, Start, Swept,
};
use jiff::Timestamp;

use super::{
    arrivals::{arrival, at, dead, delivered, file, key, object, retry},
    session::{ALL, Engine, Session, keep},
};

fn step(second: i64) -> RedeliveryStep {
    RedeliveryStep { from: None, limit: ALL, dry_run: false, now: at(second) }
}

fn dry(second: i64) -> RedeliveryStep {
    RedeliveryStep { dry_run: true, ..step(second) }
}

fn ids(ids: &[&str]) -> Selection {
    Selection::Events(ids.iter().map(|id| Box::from(*id)).collect())
}

fn span(since: Option<i64>, until: Option<i64>) -> Selection {
    Selection::Received { since: since.map(at), until: until.map(at) }
}

fn queued(queued: u64, skipped: u64) -> Redelivered {
    Redelivered { queued, skipped, ..Default::default() }
}

fn hastened(queued: u64, hastened: u64, skipped: u64) -> Redelivered {
    Redelivered { queued, hastened, skipped, ..Default::default() }
}

/// Dead letters start again at attempt 1, under their ids, for that consumer alone.
pub(crate) async fn dead_letters_come_again(engine: &dyn Engine) {
    let session = Session::attached(engine, Start::Now).await;
    session.attach(&file("other"), &file("in"), Start::Now).await.unwrap();
    session.append(&["a", "b", "c", "d"], 0).await;
    session.claim(ALL, 0).await;
    session.settle(1, retry(5)).await;
    session.settle(2, dead(3)).await;
    session.settle(3, delivered(3)).await;
    session.claim(ALL, 5).await;
    session.settle(1, dead(6)).await;

    let before = session.progress();
    assert_eq!(before, Progress { in_flight: 1, dead: 2, delivered: 1, ..Default::default() });
    assert_eq!(session.redeliver(&Selection::DeadLettered, dry(7)).await, queued(2, 0));
    assert_eq!(session.progress(), before);
    assert!(session.claim(ALL, 100).await.is_empty());

    assert_eq!(session.redeliver(&Selection::DeadLettered, step(7)).await, queued(2, 0));
    let expected = Progress { pending: 2, in_flight: 1, delivered: 1, ..Default::default() };
    assert_eq!(session.progress(), expected);
    // A command repeated because its answer was lost does nothing more.
    assert_eq!(session.redeliver(&Selection::DeadLettered, step(8)).await, queued(0, 0));
    assert_eq!(session.progress(), expected);
    let pending = [(1, DeliveryState::Pending, 0), (2, DeliveryState::Pending, 0)];
    assert_eq!(session.deliveries(Some(DeliveryState::Pending)).await, pending);
    assert!(session.deliveries(Some(DeliveryState::Retrying)).await.is_empty());
    assert!(session.deliveries(Some(DeliveryState::DeadLettered)).await.is_empty());

    session.journal().ready(&file("out")).await;
    let claim = Claim::new(ALL, at(8));
    let claimed = session.try_claim(&file("out"), claim).await.unwrap().0;
    assert_eq!(claimed, [(1, "a".into(), 1), (2, "b".into(), 1)]);
    assert_eq!(session.progress(), Progress { in_flight: 3, delivered: 1, ..Default::default() });
    session.settle(1, retry(20)).await;
    session.settle(2, delivered(9)).await;
    session.settle(4, delivered(9)).await;
    assert_eq!(session.progress(), Progress { retrying: 1, delivered: 3, ..Default::default() });
    assert!(session.claim(ALL, 19).await.is_empty());
    assert_eq!(session.claim(ALL, 20).await, [(1, 2)]);
    let other = session.journal().progress(&file("other")).unwrap();
    assert_eq!(other, Progress { pending: 4, ..Default::default() });
}

/// Claims in order take redelivered events by their sequence, before a retry that is not due.
pub(crate) async fn what_comes_again_comes_first_in_an_order(engine: &dyn Engine) {
    let session = Session::attached(engine, Start::Now).await;
    session.append(&["a", "b", "c"], 0).await;
    assert_eq!(session.claim_in_order(2, 0).await, (vec![(1, 1), (2, 1)], None));
    session.settle(1, dead(0)).await;
    session.settle(2, retry(50)).await;
    assert_eq!(session.claim_in_order(ALL, 1).await, (vec![], Some(50)));
    assert_eq!(session.redeliver(&Selection::DeadLettered, step(2)).await, queued(1, 0));
    session.journal().ready(&file("out")).await;
    assert_eq!(session.claim_in_order(ALL, 2).await, (vec![(1, 1)], Some(50)));
    session.settle(1, delivered(2)).await;
    assert_eq!(session.claim_in_order(ALL, 50).await, (vec![(2, 2), (3, 1)], None));
}

/// Every id is counted by what became of its event; ids that are unknown or gone are listed.
pub(crate) async fn ids_say_what_became_of_them(engine: &dyn Engine) {
    let session = Session::open(engine);
    session.append(&["before"], 0).await;
    session.attach(&file("out"), &file("in"), Start::Now).await.unwrap();
    session.append(&["swept"], 0).await;
    session.claim(ALL, 0).await;
    session.settle(2, delivered(0)).await;
    assert_eq!(session.sweep(keep(0, 0), 1).await.events, 2);
    session.append(&["delivered", "dead", "retrying", "in flight", "pending"], 0).await;
    session.claim(4, 0).await;
    session.settle(3, delivered(0)).await;
    session.settle(4, dead(1)).await;
    session.settle(5, retry(50)).await;

    let all = ids(&["pending", "in flight", "retrying", "dead", "delivered", "delivered", "swept", "unknown"]);
    let gone_ids = vec!["swept".into(), "unknown".into()];
    let expected = Redelivered { queued: 2, hastened: 1, skipped: 3, gone: 2, gone_ids, ..Default::default() };
    assert_eq!(session.redeliver(&all, dry(10)).await, expected);
    assert_eq!(session.claim_as(&file("out"), Claim::new(0, at(10))).await.1, Some(50));
    assert_eq!(session.redeliver(&all, step(10)).await, expected);
    let expected = Progress { pending: 3, in_flight: 1, retrying: 1, dead: 0, delivered: 2 };
    assert_eq!(session.progress(), expected);
    assert_eq!(session.claim(ALL, 10).await, [(3, 1), (4, 1), (5, 2), (7, 1)]);
    // Asked twice, delivered twice.
    session.settle(3, delivered(10)).await;
    assert_eq!(session.redeliver(&ids(&["delivered"]), step(49)).await, queued(1, 0));
    assert_eq!(session.claim(ALL, 49).await, [(3, 1)]);
    session.settle(3, delivered(49)).await;
    assert_eq!(session.progress().delivered, 4);
    assert_eq!(session.redeliver(&ids(&[]), step(49)).await, queued(0, 0));
}

/// An id selects the newest of its events.
pub(crate) async fn ids_mean_the_newest_event(engine: &dyn Engine) {
    let session = Session::attached(engine, Start::Now).await;
    session.append(&["a"], 0).await;
    session.append(&["a"], 4000).await;
    session.settle_due(4000, delivered(4000)).await;
    assert_eq!(session.redeliver(&ids(&["a"]), step(4001)).await, queued(1, 0));
    assert_eq!(session.claim(ALL, 4001).await, [(2, 1)]);
}

/// Events from before the consumer's start are not its own.
pub(crate) async fn nothing_from_before_the_start(engine: &dyn Engine) {
    let session = Session::open(engine);
    session.append(&["a", "b"], 0).await;
    session.attach(&file("out"), &file("in"), Start::Now).await.unwrap();
    session.append(&["c"], 0).await;
    session.claim(ALL, 0).await;
    session.settle(3, delivered(0)).await;
    assert_eq!(session.redeliver(&ids(&["a", "c"]), step(1)).await, queued(1, 1));
    assert_eq!(session.claim(ALL, 1).await, [(3, 1)]);
    assert_eq!(session.redeliver(&span(Some(0), None), step(1)).await, queued(0, 1));
}

/// A span includes its beginning and not its end, and reports what is no longer kept.
pub(crate) async fn a_span_of_receipts_comes_again(engine: &dyn Engine) {
    let session = Session::attached(engine, Start::Now).await;
    for second in 0..10 {
        session.append(&[&second.to_string()], second * 100).await;
    }
    let all = session.claim(ALL, 1000).await;
    session.settle_all(all.iter().filter(|(n, _)| *n != 5).map(|(n, _)| (*n, delivered(1000))).collect()).await;
    session.settle(5, dead(1000)).await;
    assert_eq!(session.redeliver(&span(Some(300), Some(600)), dry(1000)).await, queued(3, 0));
    assert_eq!(session.redeliver(&span(Some(800), None), dry(1000)).await, queued(2, 0));
    assert_eq!(session.redeliver(&span(None, Some(200)), dry(1000)).await, queued(2, 0));
    assert_eq!(session.redeliver(&span(Some(5000), None), dry(1000)).await, queued(0, 0));
    assert_eq!(session.redeliver(&span(None, None), dry(1000)).await, queued(10, 0));

    // 1 to 4 and 6 to 8 go; 5 is dead and stays.
    assert_eq!(session.sweep(keep(300, 10_000), 1000).await.events, 7);
    let found = session.redeliver(&span(None, None), dry(1000)).await;
    assert_misses(&found, queued(3, 0), 7);
    let found = session.redeliver(&span(Some(300), None), dry(1000)).await;
    assert_misses(&found, queued(3, 0), 4);
    assert!(found.gone_before.is_none_or(|before| before == at(400)), "{found:?}");
    let found = session.redeliver(&span(Some(500), Some(900)), dry(1000)).await;
    assert_misses(&found, queued(1, 0), 3);
    assert!(found.gone_before.is_none_or(|before| before == at(800)), "{found:?}");
    assert_eq!(session.redeliver(&span(Some(850), None), dry(1000)).await, queued(1, 0));
    assert_misses(&session.redeliver(&span(Some(300), None), step(1000)).await, queued(3, 0), 4);
    assert_eq!(session.claim(ALL, 1000).await, [(5, 1), (9, 1), (10, 1)]);
    // A span in which nothing is kept any more.
    session.settle_all(all.into_iter().map(|(ordinal, _)| (ordinal, delivered(1000))).collect()).await;
    assert_eq!(session.sweep(keep(0, 0), 2000).await.events, 3);
    assert_misses(&session.redeliver(&span(Some(300), None), step(2000)).await, queued(0, 0), 7);
}

/// What is gone counts by its own receipt, not by those of its neighbours in the log: the clocks of receipts differ.
pub(crate) async fn gone_events_count_by_their_own_receipt(engine: &dyn Engine) {
    let session = Session::attached(engine, Start::Now).await;
    for (second, id) in [(0, "a"), (18, "b"), (0, "c"), (30, "d"), (2, "e")] {
        session.append(&[id], second).await;
    }
    session.claim(ALL, 38).await;
    session.settle(3, delivered(38)).await;
    assert_eq!(session.sweep(keep(35, 100), 38).await.events, 1);
    // 3 was received before, although 2 was not.
    assert_misses(&session.redeliver(&span(Some(5), None), step(74)).await, queued(0, 2), 0);
    // 3 was received after, although 5 was not.
    session.settle(4, delivered(74)).await;
    assert_eq!(session.sweep(keep(35, 100), 74).await.events, 1);
    assert_misses(&session.redeliver(&span(None, Some(1)), step(74)).await, queued(0, 1), 1);
    assert_misses(&session.redeliver(&span(None, Some(10)), step(74)).await, queued(0, 2), 1);
    // 4 is in the range, and neither of its neighbours is.
    assert_misses(&session.redeliver(&span(Some(20), None), step(74)).await, queued(0, 0), 1);
    assert_misses(&session.redeliver(&span(Some(5), None), step(74)).await, queued(0, 1), 1);
    // At the end of the log.
    session.settle_all(vec![(2, delivered(74)), (5, delivered(74))]).await;
    assert_eq!(session.sweep(keep(35, 100), 74).await.events, 2);
    assert_misses(&session.redeliver(&span(Some(5), None), step(74)).await, queued(0, 0), 2);
    assert_misses(&session.redeliver(&span(None, None), step(74)).await, queued(0, 1), 4);
}

/// Sequences select single events, in whichever state they are. A step lists what it has selected.
pub(crate) async fn events_are_selected_by_sequence(engine: &dyn Engine) {
    let session = Session::open(engine);
    session.append(&["before"], 0).await;
    session.attach(&file("out"), &file("in"), Start::Now).await.unwrap();
    session.append(&["swept"], 0).await;
    session.claim(ALL, 0).await;
    session.settle(2, delivered(0)).await;
    assert_eq!(session.sweep(keep(0, 0), 1).await.events, 2);
    session.append(&["delivered", "dead", "retrying", "in flight", "pending", "left out"], 0).await;
    session.claim(4, 0).await;
    session.settle(3, delivered(0)).await;
    session.settle(4, dead(1)).await;
    session.settle(5, retry(50)).await;

    let some = Selection::Sequences([2, 3, 4, 5, 6, 7, 99].map(|ordinal| session.sequence(ordinal)).into());
    let expected = Redelivered { queued: 2, hastened: 1, skipped: 2, gone: 2, ..Default::default() };
    let listed = vec![3, 4, 5, 6, 7];
    assert_eq!(session.redeliver_listed(&some, dry(10)).await, (expected.clone(), listed.clone()));
    let (mut total, mut sequences, mut next) = (Redelivered::default(), Vec::new(), step(10));
    loop {
        let (done, part) = session.redeliver_listed(&some, RedeliveryStep { limit: 2, ..next }).await;
        assert!(part.len() <= 2, "{part:?}");
        total.queued += done.queued;
        total.hastened += done.hastened;
        total.skipped += done.skipped;
        total.gone += done.gone;
        sequences.extend(part);
        match done.next {
            Some(position) => next.from = Some(position.to_string().parse().unwrap()),
            None => break,
        }
    }
    assert_eq!((total, sequences), (expected, listed));
    assert_eq!(session.claim(ALL, 10).await, [(3, 1), (4, 1), (5, 2), (7, 1), (8, 1)]);
    let expected = Redelivered { skipped: 5, gone: 2, ..Default::default() };
    assert_eq!(session.redeliver(&some, step(11)).await, expected);
}

/// Events are read with their bodies in every state, and stay as they are.
pub(crate) async fn events_are_peeked_at_without_a_claim(engine: &dyn Engine) {
    let session = Session::open(engine);
    session.append(&["before"], 0).await;
    session.attach(&file("out"), &file("in"), Start::Now).await.unwrap();
    session.append(&["swept"], 0).await;
    session.claim(ALL, 0).await;
    session.settle(2, delivered(0)).await;
    assert_eq!(session.sweep(keep(0, 0), 1).await.events, 2);
    session.append(&["delivered", "dead", "pending"], 0).await;
    session.claim(2, 0).await;
    session.settle(3, delivered(0)).await;
    session.settle(4, dead(1)).await;
    let before = session.progress();
    let all = [1, 2, 3, 4, 5, 6].map(|ordinal| session.sequence(ordinal));
    let peeked = session.journal().peek(&file("out"), &all).await.unwrap();
    let ids: Vec<_> = peeked.iter().map(|event| event.as_ref().map(|event| &*event.id)).collect();
    assert_eq!(ids, [None, None, Some("delivered"), Some("dead"), Some("pending"), None]);
    let event = session.journal().event(&file("in"), "dead").await.unwrap();
    assert_eq!(peeked[3], event);
    assert_eq!(session.progress(), before);
    let unknown = session.journal().peek(&file("other"), &[1]).await;
    assert!(matches!(unknown, Err(JournalError::UnknownConsumer(_))));
}

/// An engine counts the events that are gone as far as it can, and reports where there may be more.
fn assert_misses(found: &Redelivered, expected: Redelivered, gone: u64) {
    let counts = Redelivered { gone: 0, gone_before: None, ..found.clone() };
    assert_eq!(counts, expected);
    assert!(found.gone == gone || (found.gone < gone && found.gone_before.is_some()), "{found:?} of {gone}");
}

/// Steps are bounded, continue where the last one ended, and end where the log ended when they began.
pub(crate) async fn steps_go_through_everything_once(engine: &dyn Engine) {
    const MANY: u64 = 600;
    let session = Session::attached(engine, Start::Now).await;
    let names: Vec<String> = (1..=MANY).map(|n| n.to_string()).collect();
    session.append(&names.iter().map(String::as_str).collect::<Vec<_>>(), 0).await;
    session.settle_due(0, dead(1)).await;
    let selections = [
        Selection::DeadLettered,
        Selection::Events(names.iter().map(|name| Box::from(&**name)).collect()),
        span(Some(0), None),
    ];
    for (round, selection) in selections.iter().enumerate() {
        let (mut from, mut total, mut steps) = (None, 0, 0);
        loop {
            let step = RedeliveryStep { from, limit: 100_000, dry_run: false, now: at(2) };
            let done = session.redeliver(selection, step).await;
            assert!(done.queued <= 256, "{done:?}");
            total += done.queued;
            steps += 1;
            // They die again at once, and more come.
            session.settle_due(2, dead(3)).await;
            session.append(&[&format!("more-{round}-{steps}")], 1).await;
            from = match done.next {
                // As a caller elsewhere would hand it back.
                Some(next) => Some(next.to_string().parse().unwrap()),
                None => break,
            };
        }
        assert!((3..=4).contains(&steps), "{steps}");
        // Those that came in the rounds before are dead as well.
        let more = if *selection == selections[1] { 0 } else { session.progress().dead - MANY };
        assert!((MANY..=MANY + more).contains(&total), "{total} of {MANY} and {more}");
    }
    // One at a time.
    let mut from = None;
    for _ in 0..3 {
        let step = RedeliveryStep { from, limit: 0, dry_run: false, now: at(9) };
        let done = session.redeliver(&Selection::DeadLettered, step).await;
        assert_eq!(done.queued, 1);
        from = done.next;
    }
    assert_eq!(session.claim(3, 9).await, [(1, 1), (2, 1), (3, 1)]);
}

/// Queued events survive the end of the process, also in the middle of an attempt.
pub(crate) async fn queued_events_survive(engine: &dyn Engine) {
    let mut session = Session::attached(engine, Start::Now).await;
    session.append(&["a", "b", "c"], 0).await;
    session.claim(ALL, 0).await;
    session.settle(1, delivered(1)).await;
    session.settle(2, dead(1)).await;
    session.settle(3, retry(50)).await;
    assert_eq!(session.redeliver(&span(None, None), step(2)).await, hastened(2, 1, 0));
    session.reopen();
    let expected = Progress { pending: 2, retrying: 1, delivered: 1, ..Default::default() };
    assert_eq!(session.progress(), expected);
    assert_eq!(session.claim(1, 2).await, [(1, 1)]);
    session.reopen();
    assert_eq!(session.progress(), expected);
    assert_eq!(session.claim(ALL, 2).await, [(1, 1), (2, 1), (3, 2)]);
    session.settle(1, Settlement::Released).await;
    let expected = Progress { pending: 1, in_flight: 2, delivered: 1, ..Default::default() };
    assert_eq!(session.progress(), expected);
    session.journal().ready(&file("out")).await;
    assert_eq!(session.claim(ALL, 50).await, [(1, 1)]);
    session.settle(1, delivered(50)).await;
    session.settle(2, retry(60)).await;
    session.reopen();
    assert_eq!(session.progress(), Progress { retrying: 2, delivered: 2, ..Default::default() });
    assert_eq!(session.claim(ALL, 60).await, [(3, 2), (2, 2)]);
}

/// Queued events come by due time among retries, by sequence among themselves, and before new events.
pub(crate) async fn queued_events_come_in_order(engine: &dyn Engine) {
    let session = Session::attached(engine, Start::Now).await;
    session.append(&["a", "b", "c", "d"], 0).await;
    session.claim(ALL, 0).await;
    session.settle(1, dead(1)).await;
    session.settle(2, retry(10)).await;
    session.settle(3, dead(1)).await;
    session.settle(4, retry(30)).await;
    session.append(&["e"], 1).await;
    assert_eq!(session.redeliver(&ids(&["c", "a"]), step(20)).await, queued(2, 0));
    assert_eq!(session.claim(ALL, 30).await, [(2, 2), (1, 1), (3, 1), (4, 2), (5, 1)]);
}

/// A consumer that claims nothing, as that of a suspended subscription, keeps what is queued for it.
pub(crate) async fn queued_events_pin_their_events(engine: &dyn Engine) {
    let mut session = Session::attached(engine, Start::Now).await;
    session.append(&["a", "b", "c"], 0).await;
    session.claim(ALL, 0).await;
    session.settle(1, delivered(1)).await;
    session.settle(2, delivered(1)).await;
    session.settle(3, dead(1)).await;
    assert_eq!(session.redeliver(&ids(&["a", "c"]), step(2)).await, queued(2, 0));
    assert_eq!(session.sweep(keep(0, 0), 100_000).await, Swept { events: 1, dead_letters: 0 });
    session.reopen();
    assert_eq!(session.sweep(keep(0, 0), 100_000).await, Swept::default());
    assert_eq!(session.kept().await, [1, 3]);
    assert_eq!(session.claim(ALL, 100_000).await, [(1, 1), (3, 1)]);
    session.settle(1, delivered(100_000)).await;
    // It dies again, and stays for as long as any dead letter.
    session.settle(3, dead(100_000)).await;
    assert_eq!(session.sweep(keep(0, 50), 100_049).await, Swept { events: 1, dead_letters: 0 });
    assert_eq!(session.progress(), Progress { dead: 1, delivered: 3, ..Default::default() });
    assert_eq!(session.sweep(keep(0, 50), 100_050).await, Swept { events: 1, dead_letters: 1 });
}

/// What was counted as queued is delivered, also when a sweep runs at the same time.
pub(crate) async fn sweeping_takes_nothing_that_is_queued(engine: &dyn Engine) {
    let session = Session::attached(engine, Start::Now).await;
    for round in 0..20u64 {
        let names: Vec<String> = (0..300).map(|n| format!("{round}-{n}")).collect();
        session.append(&names.iter().map(String::as_str).collect::<Vec<_>>(), 0).await;
        session.settle_due(0, delivered(0)).await;
        let selection = span(None, None);
        let (_, done) = tokio::join!(session.sweep(keep(0, 0), 1), session.redeliver(&selection, step(1)));
        let claimed = session.claim(ALL, 1).await;
        assert_eq!(claimed.len() as u64, done.queued);
        session.settle_all(claimed.into_iter().map(|(ordinal, _)| (ordinal, delivered(1))).collect()).await;
        session.sweep(keep(0, 0), 1).await;
    }
}

/// Redelivery needs an attached consumer and an open journal.
pub(crate) async fn redelivery_needs_a_consumer(engine: &dyn Engine) {
    let session = Session::attached(engine, Start::Now).await;
    let unknown = session.journal().redeliver(&file("none"), &Selection::DeadLettered, step(0)).await.unwrap_err();
    assert!(matches!(&unknown, JournalError::UnknownConsumer(name) if *name == key("none")), "{unknown}");
    assert_eq!(session.redeliver(&Selection::DeadLettered, step(0)).await, queued(0, 0));
    let ends = Selection::Received { since: Some(Timestamp::MIN), until: Some(Timestamp::MAX) };
    assert_eq!(session.redeliver(&ends, step(0)).await, queued(0, 0));
    session.append(&["a"], 0).await;
    session.claim(ALL, 0).await;
    session.settle(1, dead(1)).await;
    session.journal().close().await.unwrap();
    let closed = session.journal().redeliver(&file("out"), &Selection::DeadLettered, step(1)).await;
    assert!(matches!(closed, Err(JournalError::Closed)), "{closed:?}");
}

/// Selected retries become due, under the same attempt number; those that are due or in flight stay as they are.
pub(crate) async fn retries_are_hastened(engine: &dyn Engine) {
    let mut session = Session::attached(engine, Start::Now).await;
    session.append(&["a", "b", "c", "d", "e"], 0).await;
    session.claim(4, 0).await;
    session.settle_all(vec![(1, retry(500)), (2, retry(5)), (3, retry(600)), (4, dead(1))]).await;
    assert_eq!(session.claim(1, 5).await, [(2, 2)]);
    session.settle(2, retry(500)).await;
    assert_eq!(session.claim(ALL, 5).await, [(5, 1)]);
    let before = session.records(None).await;

    assert_eq!(session.redeliver(&Selection::Retrying, dry(10)).await, hastened(0, 3, 0));
    assert_eq!(session.records(None).await, before);
    let out = file("out");
    let mut ready = session.journal().ready(&out);
    assert!(futures_util::poll!(&mut ready).is_pending());
    assert_eq!(session.redeliver(&Selection::Retrying, step(10)).await, hastened(0, 3, 0));
    ready.await;
    assert_eq!(session.redeliver(&Selection::Retrying, step(10)).await.hastened, 0, "they are due already");
    session.reopen();
    let expected = Progress { pending: 1, retrying: 3, dead: 1, ..Default::default() };
    assert_eq!(session.progress(), expected);
    // What is known of them stays.
    for (before, after) in before.iter().zip(session.records(Some(DeliveryState::Retrying)).await) {
        assert_eq!((before.attempts, &before.last, &before.failure), (after.attempts, &after.last, &after.failure));
        assert_eq!(after.due, Some(at(10)));
    }
    assert_eq!(session.claim_as(&out, Claim::new(0, at(9))).await.1, Some(10));
    assert_eq!(session.claim(ALL, 10).await, [(1, 2), (2, 3), (3, 2), (5, 1)]);
    // In flight.
    assert_eq!(session.redeliver(&Selection::Retrying, step(10)).await.hastened, 0);
    assert_eq!(session.redeliver(&ids(&["a", "d"]), step(10)).await, hastened(1, 0, 1));
    session.settle_all(vec![(1, retry(900)), (2, dead(10)), (3, retry(800))]).await;
    assert_eq!(session.redeliver(&span(Some(0), None), step(20)).await, hastened(1, 2, 2));
    assert_eq!(session.claim(ALL, 20).await, [(4, 1), (1, 3), (2, 1), (3, 3)]);
}

/// Each retry is made due once, however often it fails between the steps.
pub(crate) async fn retries_are_hastened_in_steps(engine: &dyn Engine) {
    const MANY: u64 = 300;
    let session = Session::attached(engine, Start::Now).await;
    let names: Vec<String> = (1..=MANY).map(|n| n.to_string()).collect();
    session.append(&names.iter().map(String::as_str).collect::<Vec<_>>(), 0).await;
    session.settle_due(0, retry(1000)).await;
    let (mut from, mut total) = (None, 0);
    loop {
        let done = session.redeliver(&Selection::Retrying, RedeliveryStep { from, limit: 100, ..step(2) }).await;
        assert!(done.hastened <= 100 && done.queued == 0, "{done:?}");
        total += done.hastened;
        session.settle_due(2, retry(2000)).await;
        from = done.next;
        if from.is_none() {
            break;
        }
    }
    assert_eq!(total, MANY);
    let records = session.records(Some(DeliveryState::Retrying)).await;
    assert!(records.len() as u64 == MANY && records.iter().all(|record| record.attempts == 2));
}

/// Events of an earlier endpoint can be redelivered to the consumers that were attached to it.
pub(crate) async fn what_is_left_of_an_earlier_endpoint_comes_again(engine: &dyn Engine) {
    let mut session = Session::attached(engine, Start::Now).await;
    session.append(&["a", "b", "c"], 0).await;
    session.claim(ALL, 0).await;
    session.settle_all(vec![(1, dead(1)), (2, retry(100)), (3, delivered(1))]).await;
    let second = object("in", "second");
    session.append_all(vec![arrival(&second, "a", 0)]).await;
    session.reopen();
    assert_eq!(session.redeliver(&Selection::DeadLettered, step(2)).await, queued(1, 0));
    assert_eq!(session.redeliver(&Selection::Retrying, step(2)).await, hastened(0, 1, 0));
    assert_eq!(session.redeliver(&span(Some(0), None), step(2)).await, queued(1, 3));
    assert_eq!(session.claim(ALL, 2).await, [(1, 1), (2, 2), (3, 1), (4, 1)]);
}
