//! Delivering again, over any engine.

use std::sync::Arc;

use grapnel::journal::{
    DeliveryState, EventQuery, Journal, JournalError, Progress, Redelivered, Selection, Settlement, Start, Step, Swept,
};
use jiff::Timestamp;

use super::{
    arrivals::{at, dead, key, retry},
    suite::{ALL, Engine, append, attached, claim, claim_in_order, deliveries, keep, progress, settle},
};

fn step(second: i64) -> Step {
    Step { from: None, limit: ALL, dry_run: false, now: at(second) }
}

fn dry(second: i64) -> Step {
    Step { dry_run: true, ..step(second) }
}

fn ids(ids: &[&str]) -> Selection {
    Selection::Events(ids.iter().map(|id| Box::from(*id)).collect())
}

fn span(since: Option<i64>, until: Option<i64>) -> Selection {
    Selection::Received { since: since.map(at), until: until.map(at) }
}

async fn redeliver(journal: &Arc<dyn Journal>, selection: &Selection, step: Step) -> Redelivered {
    journal.redeliver(&key("out"), selection, step).await.unwrap()
}

fn queued(queued: u64, skipped: u64) -> Redelivered {
    Redelivered { queued, skipped, ..Default::default() }
}

/// Dead letters begin anew, under their ids, and no other consumer notices.
pub(crate) async fn dead_letters_come_again(engine: &dyn Engine) {
    let journal = attached(engine, Start::Now).await;
    journal.attach(&key("other"), &key("in"), Start::Now).await.unwrap();
    append(&journal, &["a", "b", "c", "d"], 0).await;
    claim(&journal, ALL, 0).await;
    settle(&journal, 1, retry(5)).await;
    settle(&journal, 2, dead(3)).await;
    settle(&journal, 3, Settlement::Delivered).await;
    claim(&journal, ALL, 5).await;
    settle(&journal, 1, dead(6)).await;

    let before = progress(&journal);
    assert_eq!(before, Progress { in_flight: 1, dead: 2, delivered: 1, ..Default::default() });
    assert_eq!(redeliver(&journal, &Selection::DeadLettered, dry(7)).await, queued(2, 0));
    assert_eq!(progress(&journal), before);
    assert!(claim(&journal, ALL, 100).await.is_empty());

    assert_eq!(redeliver(&journal, &Selection::DeadLettered, step(7)).await, queued(2, 0));
    let expected = Progress { pending: 2, in_flight: 1, delivered: 1, ..Default::default() };
    assert_eq!(progress(&journal), expected);
    // A command repeated because its answer was lost does nothing more.
    assert_eq!(redeliver(&journal, &Selection::DeadLettered, step(8)).await, queued(0, 0));
    assert_eq!(progress(&journal), expected);
    let pending = [(1, DeliveryState::Pending, 0), (2, DeliveryState::Pending, 0)];
    assert_eq!(deliveries(&journal, Some(DeliveryState::Pending)).await, pending);
    assert!(deliveries(&journal, Some(DeliveryState::Retrying)).await.is_empty());
    assert!(deliveries(&journal, Some(DeliveryState::DeadLettered)).await.is_empty());

    journal.ready(&key("out")).await;
    let claimed = journal.claim(&key("out"), ALL, at(8)).await.unwrap();
    let got = claimed.deliveries.iter().map(|d| (d.event.sequence, &*d.event.id, d.attempt)).collect::<Vec<_>>();
    assert_eq!(got, [(1, "a", 1), (2, "b", 1)]);
    assert_eq!(progress(&journal), Progress { in_flight: 3, delivered: 1, ..Default::default() });
    settle(&journal, 1, retry(20)).await;
    settle(&journal, 2, Settlement::Delivered).await;
    settle(&journal, 4, Settlement::Delivered).await;
    assert_eq!(progress(&journal), Progress { retrying: 1, delivered: 3, ..Default::default() });
    assert!(claim(&journal, ALL, 19).await.is_empty());
    assert_eq!(claim(&journal, ALL, 20).await, [(1, 2)]);
    assert_eq!(journal.progress(&key("other")).unwrap(), Progress { pending: 4, ..Default::default() });
}

/// What is delivered again is not held up by what is not due, and goes by its sequence among claims in order.
pub(crate) async fn what_comes_again_comes_first_in_an_order(engine: &dyn Engine) {
    let journal = attached(engine, Start::Now).await;
    append(&journal, &["a", "b", "c"], 0).await;
    assert_eq!(claim_in_order(&journal, 2, 0).await, (vec![(1, 1), (2, 1)], None));
    settle(&journal, 1, dead(0)).await;
    settle(&journal, 2, retry(50)).await;
    assert_eq!(claim_in_order(&journal, ALL, 1).await, (vec![], Some(50)));
    assert_eq!(redeliver(&journal, &Selection::DeadLettered, step(2)).await, queued(1, 0));
    journal.ready(&key("out")).await;
    assert_eq!(claim_in_order(&journal, ALL, 2).await, (vec![(1, 1)], Some(50)));
    settle(&journal, 1, Settlement::Delivered).await;
    assert_eq!(claim_in_order(&journal, ALL, 50).await, (vec![(2, 2), (3, 1)], None));
}

/// What is on its way is left alone, what was never there or is gone is named.
pub(crate) async fn ids_say_what_became_of_them(engine: &dyn Engine) {
    let journal = engine.open();
    append(&journal, &["before"], 0).await;
    journal.attach(&key("out"), &key("in"), Start::Now).await.unwrap();
    append(&journal, &["swept"], 0).await;
    claim(&journal, ALL, 0).await;
    settle(&journal, 2, Settlement::Delivered).await;
    assert_eq!(journal.sweep(keep(0, 0), at(1)).await.unwrap().events, 2);
    append(&journal, &["delivered", "dead", "retrying", "in flight", "pending"], 0).await;
    claim(&journal, 4, 0).await;
    settle(&journal, 3, Settlement::Delivered).await;
    settle(&journal, 4, dead(1)).await;
    settle(&journal, 5, retry(50)).await;

    let all = ids(&["pending", "in flight", "retrying", "dead", "delivered", "delivered", "swept", "unknown"]);
    let gone_ids = vec!["swept".into(), "unknown".into()];
    let expected = Redelivered { queued: 2, skipped: 4, gone: 2, gone_ids, ..Default::default() };
    assert_eq!(redeliver(&journal, &all, dry(10)).await, expected);
    assert_eq!(redeliver(&journal, &all, step(10)).await, expected);
    let expected = Progress { pending: 3, in_flight: 1, retrying: 1, dead: 0, delivered: 2 };
    assert_eq!(progress(&journal), expected);
    assert_eq!(claim(&journal, ALL, 49).await, [(3, 1), (4, 1), (7, 1)]);
    // Asked twice, delivered twice.
    settle(&journal, 3, Settlement::Delivered).await;
    assert_eq!(redeliver(&journal, &ids(&["delivered"]), step(49)).await, queued(1, 0));
    assert_eq!(claim(&journal, ALL, 49).await, [(3, 1)]);
    settle(&journal, 3, Settlement::Delivered).await;
    assert_eq!(progress(&journal).delivered, 4);
    assert_eq!(redeliver(&journal, &ids(&[]), step(49)).await, queued(0, 0));
}

/// An event from before the consumer's start is none of its own.
pub(crate) async fn nothing_from_before_the_start(engine: &dyn Engine) {
    let journal = engine.open();
    append(&journal, &["a", "b"], 0).await;
    journal.attach(&key("out"), &key("in"), Start::Now).await.unwrap();
    append(&journal, &["c"], 0).await;
    claim(&journal, ALL, 0).await;
    settle(&journal, 3, Settlement::Delivered).await;
    assert_eq!(redeliver(&journal, &ids(&["a", "c"]), step(1)).await, queued(1, 1));
    assert_eq!(claim(&journal, ALL, 1).await, [(3, 1)]);
    assert_eq!(redeliver(&journal, &span(Some(0), None), step(1)).await, queued(0, 1));
}

/// A span takes in its beginning and not its end, and tells what it misses.
pub(crate) async fn a_span_of_receipts_comes_again(engine: &dyn Engine) {
    let journal = attached(engine, Start::Now).await;
    for second in 0..10 {
        append(&journal, &[&second.to_string()], second * 100).await;
    }
    let all = claim(&journal, ALL, 1000).await;
    journal
        .settle(&key("out"), all.iter().filter(|(s, _)| *s != 5).map(|(s, _)| (*s, Settlement::Delivered)).collect())
        .await
        .unwrap();
    settle(&journal, 5, dead(1000)).await;
    assert_eq!(redeliver(&journal, &span(Some(300), Some(600)), dry(1000)).await, queued(3, 0));
    assert_eq!(redeliver(&journal, &span(Some(800), None), dry(1000)).await, queued(2, 0));
    assert_eq!(redeliver(&journal, &span(None, Some(200)), dry(1000)).await, queued(2, 0));
    assert_eq!(redeliver(&journal, &span(Some(5000), None), dry(1000)).await, queued(0, 0));
    assert_eq!(redeliver(&journal, &span(None, None), dry(1000)).await, queued(10, 0));

    // 1 to 4 and 6 to 8 go; 5 is dead and stays.
    assert_eq!(journal.sweep(keep(300, 10_000), at(1000)).await.unwrap().events, 7);
    let found = redeliver(&journal, &span(None, None), dry(1000)).await;
    assert_eq!(found, Redelivered { queued: 3, gone: 7, ..Default::default() });
    let found = redeliver(&journal, &span(Some(300), None), dry(1000)).await;
    let expected = Redelivered { queued: 3, gone: 3, gone_before: Some(at(400)), ..Default::default() };
    assert_eq!(found, expected);
    let found = redeliver(&journal, &span(Some(500), Some(900)), dry(1000)).await;
    assert_eq!(found, Redelivered { queued: 1, gone_before: Some(at(800)), ..Default::default() });
    assert_eq!(redeliver(&journal, &span(Some(850), None), dry(1000)).await, queued(1, 0));
    assert_eq!(redeliver(&journal, &span(Some(300), None), step(1000)).await, expected);
    assert_eq!(claim(&journal, ALL, 1000).await, [(5, 1), (9, 1), (10, 1)]);
    // Nothing is left of a span in which everything is gone, and that is said.
    for (sequence, _) in all {
        settle(&journal, sequence, Settlement::Delivered).await;
    }
    journal.sweep(keep(0, 0), at(2000)).await.unwrap();
    let found = redeliver(&journal, &span(Some(300), None), step(2000)).await;
    assert_eq!(found, Redelivered { gone_before: Some(at(2000)), ..Default::default() });
}

/// Steps are bounded, go on where the last one ended, and end where the log ended when they began.
pub(crate) async fn steps_go_through_everything_once(engine: &dyn Engine) {
    const MANY: u64 = 600;
    let journal = attached(engine, Start::Now).await;
    let names: Vec<String> = (1..=MANY).map(|n| n.to_string()).collect();
    append(&journal, &names.iter().map(String::as_str).collect::<Vec<_>>(), 0).await;
    let ends = claim(&journal, 5000, 0).await.into_iter().map(|(s, _)| (s, dead(1))).collect();
    journal.settle(&key("out"), ends).await.unwrap();
    let selections = [
        Selection::DeadLettered,
        Selection::Events(names.iter().map(|name| Box::from(&**name)).collect()),
        span(Some(0), None),
    ];
    for (round, selection) in selections.iter().enumerate() {
        let (mut from, mut total, mut steps) = (None, 0, 0);
        loop {
            let step = Step { from, limit: 100_000, dry_run: false, now: at(2) };
            let done = redeliver(&journal, selection, step).await;
            assert!(done.queued <= 256, "{done:?}");
            total += done.queued;
            steps += 1;
            // They die again at once, and more come.
            let claimed = claim(&journal, 5000, 2).await;
            journal.settle(&key("out"), claimed.into_iter().map(|(s, _)| (s, dead(3))).collect()).await.unwrap();
            append(&journal, &[&format!("more-{round}-{steps}")], 1).await;
            from = match done.next {
                // As a caller elsewhere would hand it back.
                Some(next) => Some(next.to_string().parse().unwrap()),
                None => break,
            };
        }
        assert!((3..=4).contains(&steps), "{steps}");
        // Those that came in the rounds before are dead as well.
        let more = if *selection == selections[1] { 0 } else { progress(&journal).dead - MANY };
        assert!((MANY..=MANY + more).contains(&total), "{total} of {MANY} and {more}");
    }
    // One at a time.
    let mut from = None;
    for _ in 0..3 {
        let step = Step { from, limit: 0, dry_run: false, now: at(9) };
        let done = redeliver(&journal, &Selection::DeadLettered, step).await;
        assert_eq!(done.queued, 1);
        from = done.next;
    }
    assert_eq!(claim(&journal, 3, 9).await, [(1, 1), (2, 1), (3, 1)]);
}

/// Queued is queued, whatever happens to the process; and a crash in mid-attempt costs nothing.
pub(crate) async fn queued_events_survive(engine: &dyn Engine) {
    let journal = attached(engine, Start::Now).await;
    append(&journal, &["a", "b", "c"], 0).await;
    claim(&journal, ALL, 0).await;
    settle(&journal, 1, Settlement::Delivered).await;
    settle(&journal, 2, dead(1)).await;
    settle(&journal, 3, retry(50)).await;
    assert_eq!(redeliver(&journal, &span(None, None), step(2)).await, queued(2, 1));
    drop(journal);
    let journal = engine.open();
    let expected = Progress { pending: 2, retrying: 1, delivered: 1, ..Default::default() };
    assert_eq!(progress(&journal), expected);
    assert_eq!(claim(&journal, 1, 2).await, [(1, 1)]);
    drop(journal);
    let journal = engine.open();
    assert_eq!(progress(&journal), expected);
    assert_eq!(claim(&journal, ALL, 50).await, [(1, 1), (2, 1), (3, 2)]);
    settle(&journal, 1, Settlement::Released).await;
    let expected = Progress { pending: 1, in_flight: 2, delivered: 1, ..Default::default() };
    assert_eq!(progress(&journal), expected);
    journal.ready(&key("out")).await;
    assert_eq!(claim(&journal, ALL, 50).await, [(1, 1)]);
    settle(&journal, 1, Settlement::Delivered).await;
    settle(&journal, 2, retry(60)).await;
    drop(journal);
    let journal = engine.open();
    assert_eq!(progress(&journal), Progress { retrying: 2, delivered: 2, ..Default::default() });
    assert_eq!(claim(&journal, ALL, 60).await, [(3, 2), (2, 2)]);
}

/// By due time among retries, by sequence among themselves, before what is new.
pub(crate) async fn queued_events_come_in_order(engine: &dyn Engine) {
    let journal = attached(engine, Start::Now).await;
    append(&journal, &["a", "b", "c", "d"], 0).await;
    claim(&journal, ALL, 0).await;
    settle(&journal, 1, dead(1)).await;
    settle(&journal, 2, retry(10)).await;
    settle(&journal, 3, dead(1)).await;
    settle(&journal, 4, retry(30)).await;
    append(&journal, &["e"], 1).await;
    assert_eq!(redeliver(&journal, &ids(&["c", "a"]), step(20)).await, queued(2, 0));
    assert_eq!(claim(&journal, ALL, 30).await, [(2, 2), (1, 1), (3, 1), (4, 2), (5, 1)]);
}

/// A consumer that nobody claims for, as that of a suspended subscription, keeps what is queued for it.
pub(crate) async fn queued_events_pin_their_events(engine: &dyn Engine) {
    let journal = attached(engine, Start::Now).await;
    append(&journal, &["a", "b", "c"], 0).await;
    claim(&journal, ALL, 0).await;
    settle(&journal, 1, Settlement::Delivered).await;
    settle(&journal, 2, Settlement::Delivered).await;
    settle(&journal, 3, dead(1)).await;
    assert_eq!(redeliver(&journal, &ids(&["a", "c"]), step(2)).await, queued(2, 0));
    assert_eq!(journal.sweep(keep(0, 0), at(100_000)).await.unwrap(), Swept { events: 1, dead_letters: 0 });
    drop(journal);
    let journal = engine.open();
    assert_eq!(journal.sweep(keep(0, 0), at(100_000)).await.unwrap(), Swept::default());
    let kept = journal.events(&key("in"), EventQuery { limit: ALL, ..Default::default() }).await.unwrap();
    assert_eq!(kept.iter().map(|e| e.sequence).collect::<Vec<_>>(), [1, 3]);
    assert_eq!(claim(&journal, ALL, 100_000).await, [(1, 1), (3, 1)]);
    settle(&journal, 1, Settlement::Delivered).await;
    // It dies anew, and stays for as long as any dead letter.
    settle(&journal, 3, dead(100_000)).await;
    assert_eq!(journal.sweep(keep(0, 50), at(100_049)).await.unwrap(), Swept { events: 1, dead_letters: 0 });
    assert_eq!(progress(&journal), Progress { dead: 1, delivered: 3, ..Default::default() });
    assert_eq!(journal.sweep(keep(0, 50), at(100_050)).await.unwrap(), Swept { events: 1, dead_letters: 1 });
}

/// Sweeps and redeliveries at the same time: what was counted as queued is delivered.
pub(crate) async fn sweeping_takes_nothing_that_is_queued(engine: &dyn Engine) {
    let journal = attached(engine, Start::Now).await;
    for round in 0..20u64 {
        let names: Vec<String> = (0..300).map(|n| format!("{round}-{n}")).collect();
        append(&journal, &names.iter().map(String::as_str).collect::<Vec<_>>(), 0).await;
        let ends = claim(&journal, ALL, 0).await.into_iter().map(|(s, _)| (s, Settlement::Delivered)).collect();
        journal.settle(&key("out"), ends).await.unwrap();
        let selection = span(None, None);
        let (swept, done) = tokio::join!(journal.sweep(keep(0, 0), at(1)), redeliver(&journal, &selection, step(1)));
        swept.unwrap();
        let claimed = claim(&journal, ALL, 1).await;
        assert_eq!(claimed.len() as u64, done.queued);
        let ends = claimed.into_iter().map(|(s, _)| (s, Settlement::Delivered)).collect();
        journal.settle(&key("out"), ends).await.unwrap();
        journal.sweep(keep(0, 0), at(1)).await.unwrap();
    }
}

/// Nobody to deliver to.
pub(crate) async fn redelivery_needs_a_consumer(engine: &dyn Engine) {
    let journal = attached(engine, Start::Now).await;
    let unknown = journal.redeliver(&key("nobody"), &Selection::DeadLettered, step(0)).await.unwrap_err();
    assert!(matches!(&unknown, JournalError::UnknownConsumer(name) if *name == key("nobody")), "{unknown}");
    assert_eq!(redeliver(&journal, &Selection::DeadLettered, step(0)).await, queued(0, 0));
    let ends = Selection::Received { since: Some(Timestamp::MIN), until: Some(Timestamp::MAX) };
    assert_eq!(redeliver(&journal, &ends, step(0)).await, queued(0, 0));
    append(&journal, &["a"], 0).await;
    claim(&journal, ALL, 0).await;
    settle(&journal, 1, dead(1)).await;
    journal.close().await.unwrap();
    let closed = journal.redeliver(&key("out"), &Selection::DeadLettered, step(1)).await;
    assert!(matches!(closed, Err(JournalError::Closed)), "{closed:?}");
}
