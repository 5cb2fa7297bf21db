//! One function an invariant, over any engine.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use futures_util::future::join_all;
use grapnel::journal::{
    Appended, DeliveryQuery, DeliveryState, EventQuery, Journal, JournalError, Progress, Retention, Settlement, Start,
    Swept,
};

use super::arrivals::{arrival, at, dead, failure, key, retry};

/// An engine under test.
pub(crate) trait Engine {
    /// Opens the journal, always the same one.
    fn open(&self) -> Arc<dyn Journal>;
}

pub(crate) const ALL: usize = 1000;

pub(crate) async fn append(journal: &Arc<dyn Journal>, ids: &[&str], second: i64) -> Vec<Appended> {
    let endpoint = key("in");
    journal.append(ids.iter().map(|id| arrival(&endpoint, id, second)).collect()).await.unwrap()
}

pub(crate) async fn claim(journal: &Arc<dyn Journal>, limit: usize, second: i64) -> Vec<(u64, u32)> {
    let claimed = journal.claim(&key("out"), limit, at(second)).await.unwrap();
    claimed.deliveries.iter().map(|d| (d.event.sequence, d.attempt)).collect()
}

pub(crate) async fn settle(journal: &Arc<dyn Journal>, sequence: u64, settlement: Settlement) {
    journal.settle(&key("out"), vec![(sequence, settlement)]).await.unwrap();
}

pub(crate) fn progress(journal: &Arc<dyn Journal>) -> Progress {
    journal.progress(&key("out")).unwrap()
}

pub(crate) async fn attached(engine: &dyn Engine, start: Start) -> Arc<dyn Journal> {
    let journal = engine.open();
    journal.attach(&key("out"), &key("in"), start).await.unwrap();
    journal
}

pub(crate) async fn deliveries(
    journal: &Arc<dyn Journal>,
    state: Option<DeliveryState>,
) -> Vec<(u64, DeliveryState, u32)> {
    let query = DeliveryQuery { state, after: 0, limit: ALL };
    let found = journal.deliveries(&key("out"), query).await.unwrap();
    found.iter().map(|d| (d.event.sequence, d.state, d.attempts)).collect()
}

pub(crate) fn keep(endpoint: u64, letters: u64) -> Retention {
    Retention {
        endpoints: vec![(key("in"), Duration::from_secs(endpoint))],
        consumers: vec![(key("out"), Duration::from_secs(letters))],
    }
}

/// Invariants 1 and 2: what was acknowledged is there after a crash, under its sequence.
pub(crate) async fn acknowledged_events_survive(engine: &dyn Engine) {
    let journal = engine.open();
    assert_eq!(append(&journal, &["a", "b"], 0).await, [Appended::Stored(1), Appended::Stored(2)]);
    let before = journal.events(&key("in"), EventQuery { limit: ALL, ..Default::default() }).await.unwrap();
    drop(journal);
    let journal = engine.open();
    let after = journal.events(&key("in"), EventQuery { limit: ALL, ..Default::default() }).await.unwrap();
    assert_eq!(before, after);
    let event = journal.event(&key("in"), "b").await.unwrap().unwrap();
    assert_eq!((event.sequence, &*event.kind, &event.body[..]), (2, "order.created", &b"{\"id\":\"b\"}"[..]));
    assert_eq!(event.headers, arrival(&key("in"), "b", 0).headers);
    assert_eq!((event.received, event.remote), (at(0), Some([192, 0, 2, 7].into())));
    assert_eq!(append(&journal, &["c"], 0).await, [Appended::Stored(3)]);
    assert!(journal.event(&key("elsewhere"), "b").await.unwrap().is_none());
}

/// Invariant 2: also after everything has been removed.
pub(crate) async fn sequences_are_not_reused(engine: &dyn Engine) {
    let journal = engine.open();
    append(&journal, &["a", "b", "c"], 0).await;
    assert_eq!(journal.sweep(keep(0, 0), at(1)).await.unwrap().events, 3);
    assert!(journal.event(&key("in"), "a").await.unwrap().is_none());
    drop(journal);
    let journal = engine.open();
    assert_eq!(append(&journal, &["d"], 1).await, [Appended::Stored(4)]);
}

/// Invariant 3, concurrently and within one batch.
pub(crate) async fn one_of_many_equal_arrivals_is_stored(engine: &dyn Engine) {
    let journal = engine.open();
    for round in 0..20 {
        let id = format!("same-{round}");
        let arrivals = (0..16).map(|_| journal.append(vec![arrival(&key("in"), &id, 0), arrival(&key("in"), &id, 0)]));
        let outcomes: Vec<Appended> = join_all(arrivals).await.into_iter().flat_map(Result::unwrap).collect();
        let stored: Vec<u64> =
            outcomes.iter().filter_map(|a| if let Appended::Stored(s) = a { Some(*s) } else { None }).collect();
        assert_eq!(stored.len(), 1, "{outcomes:?}");
        let duplicates = outcomes.iter().filter(|a| **a == Appended::Duplicate(stored[0])).count();
        assert_eq!(duplicates, outcomes.len() - 1);
    }
}

/// Invariant 3 across restarts, and what ends the window.
pub(crate) async fn duplicates_are_known_for_the_window(engine: &dyn Engine) {
    let journal = engine.open();
    append(&journal, &["a"], 0).await;
    drop(journal);
    let journal = engine.open();
    assert_eq!(append(&journal, &["a"], 3599).await, [Appended::Duplicate(1)]);
    assert_eq!(append(&journal, &["a"], 3600).await, [Appended::Stored(2)]);
    assert_eq!(append(&journal, &["a"], 3601).await, [Appended::Duplicate(2)]);
    // Another endpoint's ids are other ids; without a window nothing is a duplicate.
    let elsewhere = journal.append(vec![arrival(&key("other"), "a", 0)]).await.unwrap();
    assert_eq!(elsewhere, [Appended::Stored(1)]);
    let mut open = arrival(&key("in"), "a", 3601);
    open.window = None;
    assert_eq!(journal.append(vec![open]).await.unwrap(), [Appended::Stored(3)]);
    // Long ids, which differ only at the end.
    let long = "x".repeat(5000);
    assert_eq!(append(&journal, &[&long], 0).await, [Appended::Stored(4)]);
    assert_eq!(append(&journal, &[&format!("{long}y"), &long], 0).await, [Appended::Stored(5), Appended::Duplicate(4)]);
    assert_eq!(journal.event(&key("in"), &long).await.unwrap().unwrap().sequence, 4);
}

/// Invariants 3 and 7: the window outlives the event.
pub(crate) async fn duplicates_are_known_after_removal(engine: &dyn Engine) {
    let journal = engine.open();
    append(&journal, &["a"], 0).await;
    assert_eq!(journal.sweep(keep(60, 60), at(60)).await.unwrap().events, 1);
    drop(journal);
    let journal = engine.open();
    assert_eq!(append(&journal, &["a"], 3599).await, [Appended::Duplicate(1)]);
    assert!(journal.event(&key("in"), "a").await.unwrap().is_none());
    journal.sweep(keep(60, 60), at(3600)).await.unwrap();
    assert_eq!(append(&journal, &["a"], 3600).await, [Appended::Stored(2)]);
    // The later event's id is not forgotten with the earlier one's.
    journal.sweep(keep(86400, 60), at(7000)).await.unwrap();
    assert_eq!(append(&journal, &["a"], 7100).await, [Appended::Duplicate(2)]);
}

/// Invariant 4, while running.
pub(crate) async fn nothing_is_in_flight_twice(engine: &dyn Engine) {
    let journal = attached(engine, Start::Now).await;
    let ids: Vec<String> = (0..200).map(|n| n.to_string()).collect();
    append(&journal, &ids.iter().map(String::as_str).collect::<Vec<_>>(), 0).await;
    let claims = join_all((0..40).map(|_| claim(&journal, 7, 0))).await;
    let all: Vec<(u64, u32)> = claims.into_iter().flatten().collect();
    let distinct: BTreeSet<u64> = all.iter().map(|(sequence, _)| *sequence).collect();
    assert_eq!((all.len(), distinct), (200, (1..=200).collect()));
    assert_eq!(progress(&journal), Progress { in_flight: 200, ..Default::default() });
    assert!(claim(&journal, ALL, 0).await.is_empty());
}

/// Invariant 4, across restarts, with out-of-order settlements.
pub(crate) async fn unsettled_events_come_again(engine: &dyn Engine) {
    let journal = attached(engine, Start::Now).await;
    append(&journal, &["a", "b", "c", "d", "e"], 0).await;
    assert_eq!(claim(&journal, 4, 0).await, [(1, 1), (2, 1), (3, 1), (4, 1)]);
    settle(&journal, 2, Settlement::Delivered).await;
    settle(&journal, 4, Settlement::Skipped).await;
    settle(&journal, 3, retry(10)).await;
    assert_eq!(claim(&journal, 1, 10).await, [(3, 2)]);
    let expected = Progress { pending: 1, in_flight: 2, retrying: 0, dead: 0, delivered: 1 };
    assert_eq!(progress(&journal), expected);
    drop(journal);
    let journal = engine.open();
    let expected = Progress { pending: 2, in_flight: 0, retrying: 1, dead: 0, delivered: 1 };
    assert_eq!(progress(&journal), expected);
    assert_eq!(claim(&journal, ALL, 10).await, [(3, 2), (1, 1), (5, 1)]);
}

/// Invariant 4: an event given back comes again at once, under the same number.
pub(crate) async fn released_events_come_again(engine: &dyn Engine) {
    let journal = attached(engine, Start::Now).await;
    append(&journal, &["a", "b"], 0).await;
    assert_eq!(claim(&journal, ALL, 0).await, [(1, 1), (2, 1)]);
    settle(&journal, 1, Settlement::Released).await;
    assert_eq!(progress(&journal), Progress { pending: 1, in_flight: 1, ..Default::default() });
    journal.ready(&key("out")).await;
    assert_eq!(claim(&journal, ALL, 0).await, [(1, 1)]);
    settle(&journal, 1, retry(5)).await;
    assert_eq!(claim(&journal, ALL, 5).await, [(1, 2)]);
    settle(&journal, 1, Settlement::Released).await;
    journal.ready(&key("out")).await;
    assert_eq!(claim(&journal, ALL, 5).await, [(1, 2)]);
    // Twice in one call, the first counts; not in flight, nothing does.
    let twice = vec![(1, Settlement::Delivered), (1, dead(6)), (9, Settlement::Delivered)];
    journal.settle(&key("out"), twice).await.unwrap();
    settle(&journal, 1, dead(6)).await;
    assert_eq!(progress(&journal), Progress { in_flight: 1, delivered: 1, ..Default::default() });
}

/// Invariant 5.
pub(crate) async fn retries_come_when_due(engine: &dyn Engine) {
    let journal = attached(engine, Start::Now).await;
    append(&journal, &["a", "b", "c", "d"], 0).await;
    claim(&journal, 3, 0).await;
    let retries = vec![(1, retry(30)), (2, retry(10)), (3, retry(20))];
    journal.settle(&key("out"), retries).await.unwrap();
    assert_eq!(progress(&journal), Progress { pending: 1, retrying: 3, ..Default::default() });
    let claimed = journal.claim(&key("out"), 0, at(9)).await.unwrap();
    assert_eq!((claimed.deliveries.len(), claimed.next_due), (0, Some(at(10))));
    drop(journal);
    let journal = engine.open();
    // Due ones first, the earliest first, then new ones.
    assert_eq!(claim(&journal, ALL, 29).await, [(2, 2), (3, 2), (4, 1)]);
    let claimed = journal.claim(&key("out"), ALL, at(29)).await.unwrap();
    assert_eq!((claimed.deliveries.len(), claimed.next_due), (0, Some(at(30))));
    settle(&journal, 2, retry(30)).await;
    assert_eq!(claim(&journal, ALL, 30).await, [(1, 2), (2, 3)]);
    // Due at the very same moment again.
    settle(&journal, 2, retry(30)).await;
    drop(journal);
    let journal = engine.open();
    assert_eq!(claim(&journal, ALL, 30).await, [(3, 2), (1, 2), (2, 4), (4, 1)]);
    settle(&journal, 2, Settlement::Delivered).await;
    drop(journal);
    let journal = engine.open();
    assert_eq!(claim(&journal, ALL, 30).await, [(3, 2), (1, 2), (4, 1)]);
}

/// More retries than any window in memory holds, in due-time order after a restart too.
pub(crate) async fn many_retries_come_in_order(engine: &dyn Engine) {
    const MANY: u64 = 3000;
    let journal = attached(engine, Start::Now).await;
    let ids: Vec<String> = (0..MANY).map(|n| n.to_string()).collect();
    append(&journal, &ids.iter().map(String::as_str).collect::<Vec<_>>(), 0).await;
    let due = |sequence: u64| ((sequence * 7919) % MANY) as i64;
    let all = claim(&journal, MANY as usize, 0).await;
    assert_eq!(all.len(), MANY as usize);
    for part in all.chunks(100) {
        let retries = part.iter().map(|(s, _)| (*s, retry(due(*s)))).collect();
        journal.settle(&key("out"), retries).await.unwrap();
    }
    let mut expected: Vec<u64> = (1..=MANY).collect();
    expected.sort_by_key(|sequence| (due(*sequence), *sequence));
    let (first, rest) = expected.split_at(1000);
    let mut got = Vec::new();
    while got.len() < first.len() {
        let part = claim(&journal, 250, MANY as i64).await;
        assert_eq!(part.len(), 250);
        got.extend(part.into_iter().map(|(sequence, _)| sequence));
    }
    assert_eq!(got, first);
    let done = got.iter().map(|s| (*s, Settlement::Delivered)).collect();
    journal.settle(&key("out"), done).await.unwrap();
    drop(journal);
    let journal = engine.open();
    assert_eq!(progress(&journal), Progress { retrying: MANY - 1000, delivered: 1000, ..Default::default() });
    let got: Vec<u64> = claim(&journal, ALL * 10, MANY as i64).await.into_iter().map(|(s, _)| s).collect();
    assert_eq!(got, rest);
    assert_eq!(progress(&journal), Progress { in_flight: MANY - 1000, delivered: 1000, ..Default::default() });
}

pub(crate) async fn claim_in_order(
    journal: &Arc<dyn Journal>,
    limit: usize,
    second: i64,
) -> (Vec<(u64, u32)>, Option<i64>) {
    let claimed = journal.claim_in_order(&key("out"), limit, at(second)).await.unwrap();
    let deliveries = claimed.deliveries.iter().map(|d| (d.event.sequence, d.attempt)).collect();
    (deliveries, claimed.next_due.map(|due| due.as_second() - at(0).as_second()))
}

/// Claims in order go by sequence whatever is due first, stop at what is not due, and wait for what is in flight; also
/// across restarts and past dead letters.
pub(crate) async fn claims_in_order_go_by_sequence(engine: &dyn Engine) {
    let journal = attached(engine, Start::Now).await;
    append(&journal, &["a", "b", "c", "d", "e", "f"], 0).await;
    assert_eq!(claim_in_order(&journal, 4, 0).await, (vec![(1, 1), (2, 1), (3, 1), (4, 1)], None));
    assert_eq!(claim_in_order(&journal, ALL, 0).await, (vec![], None), "four are in flight");
    let ends = vec![(1, dead(0)), (2, retry(30)), (3, retry(10)), (4, Settlement::Released)];
    journal.settle(&key("out"), ends).await.unwrap();
    assert_eq!(claim_in_order(&journal, ALL, 29).await, (vec![], Some(30)), "the third is due, but not its turn");
    drop(journal);
    let journal = engine.open();
    assert_eq!(claim_in_order(&journal, ALL, 29).await, (vec![], Some(30)));
    assert_eq!(claim_in_order(&journal, 1, 30).await, (vec![(2, 2)], None));
    assert_eq!(claim_in_order(&journal, 1, 30).await, (vec![], None));
    settle(&journal, 2, Settlement::Delivered).await;
    assert_eq!(claim_in_order(&journal, 2, 30).await, (vec![(3, 2), (4, 1)], None));
    settle(&journal, 3, retry(40)).await;
    assert_eq!(claim_in_order(&journal, ALL, 40).await, (vec![], None), "the fourth is in flight");
    settle(&journal, 4, retry(50)).await;
    assert_eq!(claim_in_order(&journal, ALL, 40).await, (vec![(3, 3)], Some(50)));
    settle(&journal, 3, dead(40)).await;
    drop(journal);
    let journal = engine.open();
    assert_eq!(claim_in_order(&journal, ALL, 50).await, (vec![(4, 2), (5, 1), (6, 1)], None));
    let all = vec![(4, Settlement::Delivered), (5, Settlement::Skipped), (6, Settlement::Delivered)];
    journal.settle(&key("out"), all).await.unwrap();
    assert_eq!(claim_in_order(&journal, ALL, 99).await, (vec![], None));
    assert_eq!(progress(&journal), Progress { dead: 2, delivered: 3, ..Default::default() });
    // Any claim takes what an ordered one left, and the other way round.
    append(&journal, &["g", "h", "i"], 50).await;
    assert_eq!(claim(&journal, ALL, 50).await, [(7, 1), (8, 1), (9, 1)]);
    let ends = vec![(7, retry(90)), (8, retry(70)), (9, retry(60))];
    journal.settle(&key("out"), ends).await.unwrap();
    assert_eq!(claim_in_order(&journal, 2, 90).await, (vec![(7, 2), (8, 2)], None));
    let ends = vec![(7, Settlement::Released), (8, Settlement::Released)];
    journal.settle(&key("out"), ends).await.unwrap();
    assert_eq!(claim(&journal, ALL, 90).await, [(9, 2), (8, 2), (7, 2)]);
}

/// Events that were removed before the consumer came are no reason to claim less.
pub(crate) async fn claims_in_order_pass_what_has_been_removed(engine: &dyn Engine) {
    let journal = engine.open();
    journal.attach(&key("early"), &key("in"), Start::Now).await.unwrap();
    append(&journal, &["a", "b", "c", "d", "e", "f", "g"], 0).await;
    journal.claim(&key("early"), ALL, at(0)).await.unwrap();
    let ends = [2, 3, 5].into_iter().map(|sequence| (sequence, Settlement::Delivered)).collect();
    journal.settle(&key("early"), ends).await.unwrap();
    assert_eq!(journal.sweep(keep(0, 0), at(1)).await.unwrap().events, 3);
    journal.attach(&key("out"), &key("in"), Start::Earliest).await.unwrap();
    assert_eq!(claim_in_order(&journal, 3, 1).await, (vec![(1, 1), (4, 1), (6, 1)], None));
    let ends = vec![(1, retry(5)), (4, retry(3)), (6, Settlement::Delivered)];
    journal.settle(&key("out"), ends).await.unwrap();
    assert_eq!(claim_in_order(&journal, ALL, 4).await, (vec![], Some(5)));
    assert_eq!(claim_in_order(&journal, ALL, 5).await, (vec![(1, 2), (4, 2), (7, 1)], None));
}

/// New events do not make a consumer ready while one before them holds them up; what is settled does.
pub(crate) async fn what_is_held_up_does_not_wake(engine: &dyn Engine) {
    let journal = attached(engine, Start::Now).await;
    append(&journal, &["a", "b"], 0).await;
    assert_eq!(claim_in_order(&journal, 1, 0).await.0, [(1, 1)]);
    assert_eq!(claim_in_order(&journal, 1, 0).await.0, []);
    let (out, held_up) = (key("out"), "it was ready");
    let mut ready = journal.ready(&out);
    assert!(futures_util::poll!(&mut ready).is_pending(), "{held_up}: in flight");
    settle(&journal, 1, retry(10)).await;
    ready.await;
    assert_eq!(claim_in_order(&journal, 1, 0).await, (vec![], Some(10)));
    let mut ready = journal.ready(&out);
    append(&journal, &["c"], 0).await;
    assert!(futures_util::poll!(&mut ready).is_pending(), "{held_up}: not due");
    assert_eq!(claim_in_order(&journal, 1, 10).await.0, [(1, 2)]);
    settle(&journal, 1, Settlement::Released).await;
    ready.await;
    // A claim that is not in order is not held up.
    assert_eq!(claim_in_order(&journal, 1, 0).await, (vec![], Some(10)));
    assert_eq!(claim(&journal, 1, 0).await, [(2, 1)]);
    journal.ready(&out).await;
}

/// Invariants 5 and 7: dead letters stay for their retention, and so do their events.
pub(crate) async fn dead_letters_stay_listed(engine: &dyn Engine) {
    let journal = attached(engine, Start::Now).await;
    append(&journal, &["a", "b"], 0).await;
    claim(&journal, ALL, 0).await;
    settle(&journal, 1, retry(5)).await;
    settle(&journal, 2, dead(3)).await;
    claim(&journal, ALL, 5).await;
    settle(&journal, 1, dead(10)).await;
    drop(journal);
    let journal = engine.open();
    assert_eq!(progress(&journal), Progress { dead: 2, ..Default::default() });
    assert!(claim(&journal, ALL, 100_000).await.is_empty());
    let expected = [(1, DeliveryState::DeadLettered, 2), (2, DeliveryState::DeadLettered, 1)];
    assert_eq!(deliveries(&journal, Some(DeliveryState::DeadLettered)).await, expected);
    let query = DeliveryQuery { state: Some(DeliveryState::DeadLettered), after: 1, limit: ALL };
    let listed = journal.deliveries(&key("out"), query).await.unwrap();
    assert_eq!(listed[0].failure, Some(failure(3)));
    assert_eq!(journal.sweep(keep(0, 100), at(102)).await.unwrap(), Swept::default());
    let swept = journal.sweep(keep(0, 100), at(103)).await.unwrap();
    assert_eq!(swept, Swept { events: 1, dead_letters: 1 });
    assert_eq!(progress(&journal), Progress { dead: 1, ..Default::default() });
    let swept = journal.sweep(keep(200, 100), at(110)).await.unwrap();
    assert_eq!(swept, Swept { events: 0, dead_letters: 1 });
    assert_eq!(deliveries(&journal, None).await, [(1, DeliveryState::Settled, 0)]);
}

/// Invariant 6: a clean end loses nothing that was settled.
pub(crate) async fn closing_keeps_settlements(engine: &dyn Engine) {
    let journal = attached(engine, Start::Now).await;
    append(&journal, &["a", "b"], 0).await;
    claim(&journal, 1, 0).await;
    settle(&journal, 1, Settlement::Delivered).await;
    journal.close().await.unwrap();
    journal.close().await.unwrap();
    let refused = journal.append(vec![arrival(&key("in"), "c", 0)]).await.unwrap_err();
    assert!(matches!(refused, JournalError::Closed), "{refused}");
    drop(journal);
    let journal = engine.open();
    assert_eq!(progress(&journal), Progress { pending: 1, delivered: 1, ..Default::default() });
    assert_eq!(append(&journal, &["c"], 0).await, [Appended::Stored(3)]);
}

/// Invariant 7: every attached consumer pins what it has not settled, also in the middle.
pub(crate) async fn sweeping_spares_what_is_not_settled(engine: &dyn Engine) {
    let journal = attached(engine, Start::Now).await;
    journal.attach(&key("slow"), &key("in"), Start::Now).await.unwrap();
    append(&journal, &["a", "b", "c", "d"], 0).await;
    claim(&journal, ALL, 0).await;
    settle(&journal, 1, Settlement::Delivered).await;
    settle(&journal, 3, Settlement::Delivered).await;
    settle(&journal, 4, retry(50)).await;
    assert_eq!(journal.sweep(keep(0, 0), at(1000)).await.unwrap(), Swept::default());
    journal.detach(&key("slow")).await.unwrap();
    assert_eq!(journal.sweep(keep(2000, 0), at(1000)).await.unwrap(), Swept::default());
    assert_eq!(journal.sweep(keep(0, 0), at(1000)).await.unwrap().events, 2);
    let left = journal.events(&key("in"), EventQuery { limit: ALL, ..Default::default() }).await.unwrap();
    assert_eq!(left.iter().map(|e| e.sequence).collect::<Vec<_>>(), [2, 4]);
    drop(journal);
    let journal = engine.open();
    assert_eq!(claim(&journal, ALL, 1000).await, [(4, 2), (2, 1)]);
    // A consumer that comes now skips what is gone, and its counts are right.
    journal.attach(&key("late"), &key("in"), Start::Earliest).await.unwrap();
    assert_eq!(journal.progress(&key("late")).unwrap(), Progress { pending: 2, ..Default::default() });
    let claimed = journal.claim(&key("late"), ALL, at(1000)).await.unwrap();
    assert_eq!(claimed.deliveries.iter().map(|d| d.event.sequence).collect::<Vec<_>>(), [2, 4]);
    assert_eq!(journal.progress(&key("late")).unwrap(), Progress { in_flight: 2, ..Default::default() });
}

/// A log with more holes than a step of any sweep or claim.
pub(crate) async fn large_holes_are_skipped(engine: &dyn Engine) {
    let journal = attached(engine, Start::Now).await;
    let ids: Vec<String> = (1..=2000).map(|n| n.to_string()).collect();
    append(&journal, &ids.iter().map(String::as_str).collect::<Vec<_>>(), 0).await;
    let kept = [1, 700, 1999];
    let claimed = claim(&journal, 5000, 0).await;
    let settled = claimed.iter().filter(|(s, _)| !kept.contains(s)).map(|(s, _)| (*s, Settlement::Delivered));
    journal.settle(&key("out"), settled.collect()).await.unwrap();
    assert_eq!(journal.sweep(keep(0, 0), at(1)).await.unwrap().events, 1997);
    journal.attach(&key("late"), &key("in"), Start::Earliest).await.unwrap();
    append(&journal, &["new"], 0).await;
    let mut got = Vec::new();
    for left in [3, 2, 1, 0] {
        let claimed = journal.claim(&key("late"), 1, at(0)).await.unwrap();
        got.extend(claimed.deliveries.iter().map(|d| d.event.sequence));
        assert_eq!(journal.progress(&key("late")).unwrap().pending, left);
    }
    assert_eq!(got, [1, 700, 1999, 2001]);
}

/// Invariant 8, and what attaching promises.
pub(crate) async fn consumers_stay_until_detached(engine: &dyn Engine) {
    let journal = attached(engine, Start::Now).await;
    append(&journal, &["a", "b"], 0).await;
    claim(&journal, 1, 0).await;
    settle(&journal, 1, retry(10)).await;
    drop(journal);
    let journal = engine.open();
    assert_eq!(journal.consumers().await.unwrap(), [(key("out"), key("in"))]);
    // Where it begins has been decided.
    journal.attach(&key("out"), &key("in"), Start::Now).await.unwrap();
    assert_eq!(progress(&journal), Progress { pending: 1, retrying: 1, ..Default::default() });
    let refused = journal.attach(&key("out"), &key("other"), Start::Now).await.unwrap_err();
    assert!(matches!(&refused, JournalError::EndpointChanged { endpoint, .. } if *endpoint == key("in")), "{refused}");
    journal.detach(&key("out")).await.unwrap();
    journal.detach(&key("out")).await.unwrap();
    assert!(journal.progress(&key("out")).is_none());
    let refused = journal.claim(&key("out"), 1, at(0)).await.unwrap_err();
    assert!(matches!(refused, JournalError::UnknownConsumer(_)), "{refused}");
    drop(journal);
    let journal = engine.open();
    assert!(journal.consumers().await.unwrap().is_empty());
    // A new one of that name knows nothing of the old one.
    journal.attach(&key("out"), &key("other"), Start::Earliest).await.unwrap();
    assert_eq!(progress(&journal), Progress::default());
    assert!(claim(&journal, ALL, 100).await.is_empty());
}

/// Where a consumer begins.
pub(crate) async fn start_is_where_it_says(engine: &dyn Engine) {
    let journal = engine.open();
    append(&journal, &["a", "b"], 0).await;
    journal.attach(&key("now"), &key("in"), Start::Now).await.unwrap();
    journal.attach(&key("all"), &key("in"), Start::Earliest).await.unwrap();
    append(&journal, &["c"], 0).await;
    for (consumer, expected) in [("now", vec![3]), ("all", vec![1, 2, 3])] {
        let claimed = journal.claim(&key(consumer), ALL, at(0)).await.unwrap();
        assert_eq!(claimed.deliveries.iter().map(|d| d.event.sequence).collect::<Vec<_>>(), expected);
    }
}

/// No wake-up is lost, whichever comes first.
pub(crate) async fn readiness_is_not_missed(engine: &dyn Engine) {
    let journal = attached(engine, Start::Now).await;
    for round in 0..50 {
        assert!(claim(&journal, ALL, 0).await.is_empty());
        let id = round.to_string();
        if round % 2 == 0 {
            append(&journal, &[&id], 0).await;
            journal.ready(&key("out")).await;
        } else {
            let out = key("out");
            let ids = [id.as_str()];
            tokio::join!(journal.ready(&out), append(&journal, &ids, 0));
        }
        let claimed = claim(&journal, ALL, 0).await;
        assert_eq!(claimed.len(), 1);
        settle(&journal, claimed[0].0, Settlement::Delivered).await;
    }
    let (out, waiting) = (key("out"), journal.clone());
    let waiter = tokio::spawn(async move { waiting.ready(&out).await });
    tokio::task::yield_now().await;
    journal.detach(&key("out")).await.unwrap();
    waiter.await.unwrap();
    journal.ready(&key("never attached")).await;
}

/// What listings show.
pub(crate) async fn listings_show_every_state(engine: &dyn Engine) {
    let journal = engine.open();
    append(&journal, &["before"], 0).await;
    journal.attach(&key("out"), &key("in"), Start::Now).await.unwrap();
    append(&journal, &["a", "b", "c", "d", "e"], 5).await;
    claim(&journal, 4, 5).await;
    settle(&journal, 2, Settlement::Delivered).await;
    settle(&journal, 3, retry(20)).await;
    settle(&journal, 4, dead(7)).await;
    let all = [
        (2, DeliveryState::Settled, 0),
        (3, DeliveryState::Retrying, 1),
        (4, DeliveryState::DeadLettered, 1),
        (5, DeliveryState::InFlight, 0),
        (6, DeliveryState::Pending, 0),
    ];
    assert_eq!(deliveries(&journal, None).await, all);
    for one in all {
        assert_eq!(deliveries(&journal, Some(one.1)).await, [one]);
    }
    let query = DeliveryQuery { state: None, after: 2, limit: 2 };
    let listed = journal.deliveries(&key("out"), query).await.unwrap();
    assert_eq!(listed.iter().map(|d| d.event.sequence).collect::<Vec<_>>(), [3, 4]);
    assert_eq!((listed[0].due, listed[0].failure.clone()), (Some(at(20)), Some(failure(19))));
    let query = EventQuery { since: Some(at(1)), after: 2, limit: 2, ..Default::default() };
    let events = journal.events(&key("in"), query).await.unwrap();
    assert_eq!(events.iter().map(|e| e.sequence).collect::<Vec<_>>(), [3, 4]);
    let query = EventQuery { kind: Some("order.deleted".into()), limit: ALL, ..Default::default() };
    assert!(journal.events(&key("in"), query).await.unwrap().is_empty());
    let query = EventQuery { limit: 0, ..Default::default() };
    assert!(journal.events(&key("in"), query).await.unwrap().is_empty());
    assert!(journal.events(&key("none"), EventQuery { limit: 9, ..Default::default() }).await.unwrap().is_empty());
}

/// A caller's batch may span endpoints and is stored whole.
pub(crate) async fn batches_span_endpoints(engine: &dyn Engine) {
    let journal = engine.open();
    let batch = ["x", "y", "x"].iter().zip(["1", "2", "3"]).map(|(e, id)| arrival(&key(e), id, 0)).collect();
    let expected = [Appended::Stored(1), Appended::Stored(1), Appended::Stored(2)];
    assert_eq!(journal.append(batch).await.unwrap(), expected);
    assert_eq!(journal.append(Vec::new()).await.unwrap(), []);
}
