//! A full journal: what it keeps, and what is known of that, compared with the naive engine, which keeps everything.

use std::collections::BTreeMap;

use grapnel_journal::{DeliveryQuery, DeliveryRecord, RedeliveryStep, Selection, Settlement, Start};
use proptest::{prelude::*, test_runner::TestRunner};

use super::{
    arrivals::{at, dead, delivered, failure, file, retry, sized, skipped},
    embedded::Embedded,
    memory::Memory,
    session::{ALL, Bounds, Ordinal, Session, eventually},
};

/// So small that a segment holds few events.
const MAX_BYTES: u64 = 512 << 10;

#[derive(Debug, Clone)]
enum Op {
    /// Events of that many bytes each.
    Append(Vec<usize>),
    /// Claims at most so many, and settles each by the next end.
    Deliver(usize, Vec<End>),
    RedeliverDead,
    Advance(i64),
    /// With a close before, or without.
    Reopen(bool),
}

#[derive(Debug, Clone, Copy)]
enum End {
    Delivered,
    Skipped,
    Retry(i64),
    Dead,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let end = prop_oneof![
        12 => Just(End::Delivered),
        2 => Just(End::Skipped),
        3 => (0i64..30).prop_map(End::Retry),
        1 => Just(End::Dead),
    ];
    let op = prop_oneof![
        6 => prop::collection::vec(200usize..8000, 1..6).prop_map(Op::Append),
        6 => (1usize..9, prop::collection::vec(end, 1..9)).prop_map(|(limit, ends)| Op::Deliver(limit, ends)),
        1 => Just(Op::RedeliverDead),
        2 => (1i64..20).prop_map(Op::Advance),
        1 => any::<bool>().prop_map(Op::Reopen),
    ];
    prop::collection::vec(op, 100..300)
}

/// Whatever a full journal removes early, it knows every outcome of the events that it keeps (invariant 11), and keeps
/// all that are not settled (invariant 4).
#[test]
fn outcomes_of_kept_events_stay_known() {
    let config = ProptestConfig { cases: 8, failure_persistence: None, ..ProptestConfig::default() };
    let compared = TestRunner::new(config).run(&ops(), |ops| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(check(ops));
        Ok(())
    });
    if let Err(error) = compared {
        panic!("{error}");
    }
}

async fn check(ops: Vec<Op>) {
    let engine = Embedded::new(Bounds { max_bytes: MAX_BYTES, namespace_share: Some(0) });
    let naive = Memory::model();
    let mut pair = Pair {
        full: Session::attached(&engine, Start::Now).await,
        naive: Session::attached(&naive, Start::Now).await,
        now: 0,
        appended: 0,
    };
    for (step, op) in ops.into_iter().enumerate() {
        let what = format!("after step {step}: {op:?}");
        pair.step(op).await;
        pair.compare(&what).await;
    }
}

struct Pair<'a> {
    full: Session<'a>,
    naive: Session<'a>,
    now: i64,
    appended: u64,
}

impl Pair<'_> {
    async fn step(&mut self, op: Op) {
        match op {
            Op::Append(sizes) => {
                for bytes in sizes {
                    let event = || vec![sized(&file("in"), &format!("{:06}", self.appended), bytes)];
                    // It may be full.
                    if self.full.try_append(event()).await.is_ok() {
                        self.naive.try_append(event()).await.unwrap();
                    }
                    self.appended += 1;
                }
            }
            Op::Deliver(limit, ends) => {
                let claimed = self.full.claim(limit, self.now).await;
                assert_eq!(self.naive.claim(limit, self.now).await, claimed);
                let ends = ends.iter().cycle().map(|end| end.at(self.now));
                let settlements: Vec<_> = claimed.into_iter().map(|(ordinal, _)| ordinal).zip(ends).collect();
                self.full.settle_all(settlements.clone()).await;
                self.naive.settle_all(settlements).await;
            }
            Op::RedeliverDead => {
                let step = RedeliveryStep { from: None, limit: ALL, dry_run: false, now: at(self.now) };
                let queued = self.full.redeliver(&Selection::DeadLettered, step).await;
                assert_eq!(self.naive.redeliver(&Selection::DeadLettered, step).await, queued);
            }
            Op::Advance(seconds) => self.now += seconds,
            Op::Reopen(close) => {
                if close {
                    self.full.journal().close().await.unwrap();
                }
                self.full.reopen();
                self.naive.reopen();
            }
        }
    }

    async fn compare(&self, what: &str) {
        let expected = by_ordinal(&self.naive).await;
        let kept = by_ordinal(&self.full).await;
        for (ordinal, record) in &kept {
            assert_eq!(record, &expected[ordinal], "{what}");
        }
        let settled = |record: &DeliveryRecord| record.state == grapnel_journal::DeliveryState::Settled;
        let lost: Vec<_> = expected.iter().filter(|(at, record)| !kept.contains_key(at) && !settled(record)).collect();
        assert!(lost.is_empty(), "{what}: {lost:?}");
    }
}

impl End {
    fn at(self, now: i64) -> Settlement {
        match self {
            Self::Delivered => delivered(now),
            Self::Skipped => skipped(now),
            Self::Retry(after) => retry(now + after),
            Self::Dead => dead(now),
        }
    }
}

async fn by_ordinal(session: &Session<'_>) -> BTreeMap<Ordinal, DeliveryRecord> {
    let query = DeliveryQuery { limit: ALL, ..Default::default() };
    let records = session.try_records(&file("out"), query).await.unwrap();
    records.into_iter().map(|record| (record.event.sequence(), record)).collect()
}

/// An event that was retried often has outcomes in many segments without other kept events. A full journal keeps the last
/// one for as long as the event, and has room for new events nevertheless.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn outcomes_of_an_old_event_outlast_hundreds_of_new_ones() {
    const MAX_BYTES: u64 = 2 << 20;
    const RETRIES: u32 = 60;
    let engine = Embedded::new(Bounds { max_bytes: MAX_BYTES, namespace_share: Some(0) });
    let session = Session::attached(&engine, Start::Now).await;
    session.append(&["retried"], 0).await;
    for second in 0..300 {
        let attempt = u32::try_from(second + 1).unwrap();
        if attempt <= RETRIES {
            assert_eq!(session.claim(1, second).await, [(1, attempt)]);
            let due = if attempt < RETRIES { second + 1 } else { 1_000_000 };
            session.settle(1, Settlement::Retry { due: at(due), failure: failure(second) }).await;
        }
        let event = || vec![sized(&file("in"), &format!("{second:06}"), 20_000)];
        eventually("there is room", async || session.try_append(event()).await.is_ok()).await;
        let new: Vec<_> = session.claim(ALL, second).await;
        session.settle_all(new.into_iter().map(|(ordinal, _)| (ordinal, delivered(second))).collect()).await;
        let record = session.record(1).await;
        let (attempts, last) = (attempt.min(RETRIES), at(second.min(i64::from(RETRIES) - 1)));
        assert_eq!((record.attempts, record.last.map(|last| last.time)), (attempts, Some(last)), "{second}");
    }
    assert!(session.journal().usage().disk_bytes <= MAX_BYTES);
}

/// A rewritten segment of which every event is kept gives back the space of outcomes whose events are removed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stale_outcomes_in_a_rewritten_segment_are_dropped() {
    let engine = Embedded::new(Bounds { max_bytes: 1 << 20, namespace_share: Some(0) });
    let mut session = Session::attached(&engine, Start::Now).await;
    let many: Vec<_> = (0..200).map(|n| format!("{n}")).collect();
    session.append(&many.iter().map(String::as_str).collect::<Vec<_>>(), 0).await;
    session.journal().close().await.unwrap();
    session.reopen();
    // A segment with one event that stays, and outcomes of many others.
    session.append(&["stays"], 100_000).await;
    for second in 0..3 {
        let claimed = session.claim(200, second).await;
        session.settle_all(claimed.into_iter().map(|(ordinal, _)| (ordinal, retry(second + 1))).collect()).await;
    }
    session.journal().close().await.unwrap();
    session.reopen();
    let bytes_of = |name: &str| engine.log_bytes(name);
    let rewritten = || engine.log_files().into_iter().find(|name| name.starts_with("0000000000000002-"));
    // A full journal compacts whatever frees space.
    let fill = async || {
        let mut n = 0;
        while session.try_append(vec![sized(&file("in"), &format!("fill {n:06}"), 20_000)]).await.is_ok() {
            n += 1;
            assert!(n < 200, "it has no bound");
        }
    };
    fill().await;
    eventually("it is rewritten", async || rewritten().is_some_and(|name| !name.ends_with("-0000.jnl"))).await;
    let before = rewritten().map(|name| bytes_of(&name)).unwrap();
    assert!(before > 10_000, "{before}: the outcomes are kept");
    let claimed = session.claim(200, 50).await;
    session.settle_all(claimed.into_iter().map(|(ordinal, _)| (ordinal, delivered(50))).collect()).await;
    session.sweep(super::session::keep(1000, 1000), 5000).await;
    fill().await;
    eventually("it is rewritten again", async || rewritten().is_some_and(|name| bytes_of(&name) < before / 10)).await;
}
