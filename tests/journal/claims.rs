//! Claiming: order, attempts, due times, and waiting.

use std::{collections::BTreeSet, time::Duration};

use futures_util::future::join_all;
use grapnel_journal::{Claim, DeliveryState, Progress, Settlement, Start, limits::CLAIM_BYTES};

use super::{
    arrivals::{at, dead, delivered, file, retry, sized, skipped},
    session::{ALL, Engine, Session, keep},
};

/// Invariant 4, while running.
pub(crate) async fn nothing_is_in_flight_twice(engine: &dyn Engine) {
    let session = Session::attached(engine, Start::Now).await;
    let ids: Vec<String> = (0..200).map(|n| n.to_string()).collect();
    session.append(&ids.iter().map(String::as_str).collect::<Vec<_>>(), 0).await;
    let claims = join_all((0..40).map(|_| session.claim(7, 0))).await;
    let all: Vec<(u64, u32)> = claims.into_iter().flatten().collect();
    let distinct: BTreeSet<u64> = all.iter().map(|(ordinal, _)| *ordinal).collect();
    assert_eq!((all.len(), distinct), (200, (1..=200).collect()));
    assert_eq!(session.progress(), Progress { in_flight: 200, ..Default::default() });
    assert!(session.claim(ALL, 0).await.is_empty());
}

/// Invariant 4, across restarts, with out-of-order settlements.
pub(crate) async fn unsettled_events_come_again(engine: &dyn Engine) {
    let mut session = Session::attached(engine, Start::Now).await;
    session.append(&["a", "b", "c", "d", "e"], 0).await;
    assert_eq!(session.claim(4, 0).await, [(1, 1), (2, 1), (3, 1), (4, 1)]);
    session.settle(2, delivered(1)).await;
    session.settle(4, skipped(1)).await;
    session.settle(3, retry(10)).await;
    assert_eq!(session.claim(1, 10).await, [(3, 2)]);
    let expected = Progress { pending: 1, in_flight: 2, retrying: 0, dead: 0, delivered: 1 };
    assert_eq!(session.progress(), expected);
    session.reopen();
    let expected = Progress { pending: 2, in_flight: 0, retrying: 1, dead: 0, delivered: 1 };
    assert_eq!(session.progress(), expected);
    assert_eq!(session.claim(ALL, 10).await, [(3, 2), (1, 1), (5, 1)]);
}

/// Invariant 4: an event that is released comes again at once, under the same number.
pub(crate) async fn released_events_come_again(engine: &dyn Engine) {
    let session = Session::attached(engine, Start::Now).await;
    session.append(&["a", "b"], 0).await;
    assert_eq!(session.claim(ALL, 0).await, [(1, 1), (2, 1)]);
    session.settle(1, Settlement::Released).await;
    assert_eq!(session.progress(), Progress { pending: 1, in_flight: 1, ..Default::default() });
    session.journal().ready(&file("out")).await;
    assert_eq!(session.claim(ALL, 0).await, [(1, 1)]);
    session.settle(1, retry(5)).await;
    assert_eq!(session.claim(ALL, 5).await, [(1, 2)]);
    session.settle(1, Settlement::Released).await;
    session.journal().ready(&file("out")).await;
    assert_eq!(session.claim(ALL, 5).await, [(1, 2)]);
    // Twice in one call, the first counts; not in flight, nothing does.
    session.settle_all(vec![(1, delivered(6)), (1, dead(6)), (9, delivered(6))]).await;
    session.settle(1, dead(6)).await;
    assert_eq!(session.progress(), Progress { in_flight: 1, delivered: 1, ..Default::default() });
}

/// Invariant 5.
pub(crate) async fn retries_come_when_due(engine: &dyn Engine) {
    let mut session = Session::attached(engine, Start::Now).await;
    session.append(&["a", "b", "c", "d"], 0).await;
    session.claim(3, 0).await;
    session.settle_all(vec![(1, retry(30)), (2, retry(10)), (3, retry(20))]).await;
    assert_eq!(session.progress(), Progress { pending: 1, retrying: 3, ..Default::default() });
    assert_eq!(session.claim_as(&file("out"), Claim::new(0, at(9))).await, (vec![], Some(10)));
    session.reopen();
    // Due ones first, the earliest first, then new ones.
    assert_eq!(session.claim(ALL, 29).await, [(2, 2), (3, 2), (4, 1)]);
    assert_eq!(session.claim_as(&file("out"), Claim::new(ALL, at(29))).await, (vec![], Some(30)));
    session.settle(2, retry(30)).await;
    assert_eq!(session.claim(ALL, 30).await, [(1, 2), (2, 3)]);
    // Due at the very same moment again.
    session.settle(2, retry(30)).await;
    session.reopen();
    assert_eq!(session.claim(ALL, 30).await, [(3, 2), (1, 2), (2, 4), (4, 1)]);
    session.settle(2, delivered(31)).await;
    session.reopen();
    assert_eq!(session.claim(ALL, 30).await, [(3, 2), (1, 2), (4, 1)]);
}

/// Invariant 5: a retry that is due later than any policy can ask for, because the clock was ahead, is due at once.
pub(crate) async fn retries_of_a_clock_that_was_ahead_are_due(engine: &dyn Engine) {
    let mut session = Session::attached(engine, Start::Now).await;
    session.append(&["a", "b", "c"], 0).await;
    session.claim(ALL, 0).await;
    session.settle_all(vec![(1, retry(1_000_000)), (2, retry(3610)), (3, retry(3611))]).await;
    let claim = |limit, second| Claim { longest_delay: Duration::from_secs(3600), ..Claim::new(limit, at(second)) };
    assert_eq!(session.claim_as(&file("out"), Claim::new(ALL, at(10))).await, (vec![], Some(3610)));
    session.reopen();
    // The longest delay itself is not too long.
    let (mut claimed, next_due) = session.claim_as(&file("out"), claim(ALL, 10)).await;
    claimed.sort_unstable();
    assert_eq!((claimed, next_due), (vec![(1, 2), (3, 2)], Some(3610)));
    session.settle_all(vec![(1, retry(1_000_000)), (3, retry(500))]).await;
    assert_eq!(session.claim_as(&file("out"), claim(ALL, 10).in_order()).await, (vec![(1, 3)], Some(3610)));
    session.settle(1, delivered(10)).await;
    assert_eq!(session.claim_as(&file("out"), claim(ALL, 11)).await, (vec![], Some(500)));
    assert_eq!(
        session.claim_as(&file("out"), claim(ALL, 0)).await,
        (vec![(2, 2)], Some(500)),
        "the clock was set back"
    );
}

/// More retries than any window in memory holds, in due-time order after a restart too.
pub(crate) async fn many_retries_come_in_order(engine: &dyn Engine) {
    const MANY: u64 = 3000;
    let mut session = Session::attached(engine, Start::Now).await;
    let ids: Vec<String> = (0..MANY).map(|n| n.to_string()).collect();
    session.append(&ids.iter().map(String::as_str).collect::<Vec<_>>(), 0).await;
    let due = |ordinal: u64| ((ordinal * 7919) % MANY) as i64;
    let all = session.claim(MANY as usize, 0).await;
    assert_eq!(all.len(), MANY as usize);
    for part in all.chunks(100) {
        session.settle_all(part.iter().map(|(ordinal, _)| (*ordinal, retry(due(*ordinal)))).collect()).await;
    }
    let mut expected: Vec<u64> = (1..=MANY).collect();
    expected.sort_by_key(|ordinal| (due(*ordinal), *ordinal));
    let (first, rest) = expected.split_at(1000);
    let mut got = Vec::new();
    while got.len() < first.len() {
        let part = session.claim(250, MANY as i64).await;
        assert_eq!(part.len(), 250);
        got.extend(part.into_iter().map(|(ordinal, _)| ordinal));
    }
    assert_eq!(got, first);
    session.settle_all(got.iter().map(|ordinal| (*ordinal, delivered(1))).collect()).await;
    session.reopen();
    assert_eq!(session.progress(), Progress { retrying: MANY - 1000, delivered: 1000, ..Default::default() });
    let got: Vec<u64> = session.claim(ALL * 10, MANY as i64).await.into_iter().map(|(ordinal, _)| ordinal).collect();
    assert_eq!(got, rest);
    assert_eq!(session.progress(), Progress { in_flight: MANY - 1000, delivered: 1000, ..Default::default() });
}

/// Claims in order go by sequence whatever is due first, stop at what is not due, and wait for what is in flight; also
/// across restarts and past dead letters.
pub(crate) async fn claims_in_order_go_by_sequence(engine: &dyn Engine) {
    let mut session = Session::attached(engine, Start::Now).await;
    session.append(&["a", "b", "c", "d", "e", "f"], 0).await;
    assert_eq!(session.claim_in_order(4, 0).await, (vec![(1, 1), (2, 1), (3, 1), (4, 1)], None));
    assert_eq!(session.claim_in_order(ALL, 0).await, (vec![], None), "four are in flight");
    session.settle_all(vec![(1, dead(0)), (2, retry(30)), (3, retry(10)), (4, Settlement::Released)]).await;
    assert_eq!(session.claim_in_order(ALL, 29).await, (vec![], Some(30)), "the third is due, but not its turn");
    session.reopen();
    assert_eq!(session.claim_in_order(ALL, 29).await, (vec![], Some(30)));
    assert_eq!(session.claim_in_order(1, 30).await, (vec![(2, 2)], None));
    assert_eq!(session.claim_in_order(1, 30).await, (vec![], None));
    session.settle(2, delivered(30)).await;
    assert_eq!(session.claim_in_order(2, 30).await, (vec![(3, 2), (4, 1)], None));
    session.settle(3, retry(40)).await;
    assert_eq!(session.claim_in_order(ALL, 40).await, (vec![], None), "the fourth is in flight");
    session.settle(4, retry(50)).await;
    assert_eq!(session.claim_in_order(ALL, 40).await, (vec![(3, 3)], Some(50)));
    session.settle(3, dead(40)).await;
    session.reopen();
    assert_eq!(session.claim_in_order(ALL, 50).await, (vec![(4, 2), (5, 1), (6, 1)], None));
    session.settle_all(vec![(4, delivered(50)), (5, skipped(50)), (6, delivered(50))]).await;
    assert_eq!(session.claim_in_order(ALL, 99).await, (vec![], None));
    assert_eq!(session.progress(), Progress { dead: 2, delivered: 3, ..Default::default() });
    // Any claim takes what an ordered one left, and the other way round.
    session.append(&["g", "h", "i"], 50).await;
    assert_eq!(session.claim(ALL, 50).await, [(7, 1), (8, 1), (9, 1)]);
    session.settle_all(vec![(7, retry(90)), (8, retry(70)), (9, retry(60))]).await;
    assert_eq!(session.claim_in_order(2, 90).await, (vec![(7, 2), (8, 2)], None));
    session.settle_all(vec![(7, Settlement::Released), (8, Settlement::Released)]).await;
    assert_eq!(session.claim(ALL, 90).await, [(9, 2), (8, 2), (7, 2)]);
}

/// Events that were removed before the consumer came are no reason to claim less.
pub(crate) async fn claims_in_order_pass_what_has_been_removed(engine: &dyn Engine) {
    let session = Session::open(engine);
    session.attach(&file("early"), &file("in"), Start::Now).await.unwrap();
    session.append(&["a", "b", "c", "d", "e", "f", "g"], 0).await;
    session.claim_as(&file("early"), Claim::new(ALL, at(0))).await;
    let ends = [2, 3, 5].into_iter().map(|ordinal| (ordinal, delivered(0))).collect();
    session.try_settle(&file("early"), ends).await.unwrap();
    assert_eq!(session.sweep(keep(0, 0), 1).await.events, 3);
    session.attach(&file("out"), &file("in"), Start::Earliest).await.unwrap();
    assert_eq!(session.claim_in_order(3, 1).await, (vec![(1, 1), (4, 1), (6, 1)], None));
    session.settle_all(vec![(1, retry(5)), (4, retry(3)), (6, delivered(1))]).await;
    assert_eq!(session.claim_in_order(ALL, 4).await, (vec![], Some(5)));
    assert_eq!(session.claim_in_order(ALL, 5).await, (vec![(1, 2), (4, 2), (7, 1)], None));
}

/// A claim holds few large events, but at least one; together the claims hold all.
pub(crate) async fn large_events_come_in_several_claims(engine: &dyn Engine) {
    let session = Session::attached(engine, Start::Now).await;
    let bytes = CLAIM_BYTES / 2 - 10_000;
    let sizes = [bytes, bytes, bytes, CLAIM_BYTES + 1, 10, 10];
    for (size, id) in sizes.iter().zip(["a", "b", "c", "d", "e", "f"]) {
        session.append_all(vec![sized(&file("in"), id, *size)]).await;
    }
    let check = |claimed: &[(u64, u32)]| {
        let held: usize = claimed.iter().map(|(ordinal, _)| sizes[*ordinal as usize - 1]).sum();
        assert!(held <= CLAIM_BYTES || claimed.len() == 1, "{claimed:?}");
    };
    let mut all = Vec::new();
    while all.len() < sizes.len() {
        let claimed = session.claim(ALL, 0).await;
        assert!(!claimed.is_empty(), "{all:?}");
        check(&claimed);
        all.extend(claimed.into_iter().map(|(ordinal, _)| ordinal));
    }
    assert_eq!(all, [1, 2, 3, 4, 5, 6]);
    session.settle_all(all.drain(..).map(|ordinal| (ordinal, Settlement::Released)).collect()).await;
    while all.len() < sizes.len() {
        let claimed = session.claim_in_order(ALL, 0).await.0;
        assert!(!claimed.is_empty(), "{all:?}");
        check(&claimed);
        session.settle_all(claimed.iter().map(|(ordinal, _)| (*ordinal, delivered(0))).collect()).await;
        all.extend(claimed.into_iter().map(|(ordinal, _)| ordinal));
    }
    assert_eq!(all, [1, 2, 3, 4, 5, 6]);
}

/// New events do not make a consumer ready while one before them holds them up; what is settled does.
pub(crate) async fn what_is_held_up_does_not_wake(engine: &dyn Engine) {
    let session = Session::attached(engine, Start::Now).await;
    session.append(&["a", "b"], 0).await;
    assert_eq!(session.claim_in_order(1, 0).await.0, [(1, 1)]);
    assert_eq!(session.claim_in_order(1, 0).await.0, []);
    let (out, held_up) = (file("out"), "it was ready");
    let mut ready = session.journal().ready(&out);
    assert!(futures_util::poll!(&mut ready).is_pending(), "{held_up}: in flight");
    session.settle(1, retry(10)).await;
    ready.await;
    assert_eq!(session.claim_in_order(1, 0).await, (vec![], Some(10)));
    let mut ready = session.journal().ready(&out);
    session.append(&["c"], 0).await;
    assert!(futures_util::poll!(&mut ready).is_pending(), "{held_up}: not due");
    assert_eq!(session.claim_in_order(1, 10).await.0, [(1, 2)]);
    session.settle(1, Settlement::Released).await;
    ready.await;
    // A claim that is not in order is not held up.
    assert_eq!(session.claim_in_order(1, 0).await, (vec![], Some(10)));
    assert_eq!(session.claim(1, 0).await, [(2, 1)]);
    session.journal().ready(&out).await;
}

/// No wake-up is lost, whichever comes first.
pub(crate) async fn readiness_is_not_missed(engine: &dyn Engine) {
    let session = Session::attached(engine, Start::Now).await;
    for round in 0..50 {
        assert!(session.claim(ALL, 0).await.is_empty());
        let id = round.to_string();
        if round % 2 == 0 {
            session.append(&[&id], 0).await;
            session.journal().ready(&file("out")).await;
        } else {
            let out = file("out");
            let ids = [id.as_str()];
            tokio::join!(session.journal().ready(&out), session.append(&ids, 0));
        }
        let claimed = session.claim(ALL, 0).await;
        assert_eq!(claimed.len(), 1);
        session.settle(claimed[0].0, delivered(1)).await;
    }
    let (out, waiting) = (file("out"), session.journal().clone());
    let waiter = tokio::spawn(async move { waiting.ready(&out).await });
    tokio::task::yield_now().await;
    session.journal().detach(&file("out")).await.unwrap();
    waiter.await.unwrap();
    session.journal().ready(&file("never attached")).await;
}

/// Due retries do not wake a consumer: the claim said when the next one is due.
pub(crate) async fn due_retries_do_not_wake(engine: &dyn Engine) {
    let mut session = Session::attached(engine, Start::Now).await;
    session.append(&["a"], 0).await;
    session.claim(ALL, 0).await;
    session.settle(1, retry(10)).await;
    for _ in 0..2 {
        assert_eq!(session.claim_as(&file("out"), Claim::new(ALL, at(9))).await, (vec![], Some(10)));
        let out = file("out");
        let mut ready = session.journal().ready(&out);
        assert!(futures_util::poll!(&mut ready).is_pending());
        drop(ready);
        session.reopen();
    }
    assert_eq!(session.deliveries(None).await, [(1, DeliveryState::Retrying, 1)]);
}
