//! What the naive engine does not have: late events, events that vanish, and logs that are damaged.

use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;

use super::{
    super::*,
    harness::{Shard, at, dead, delivered, failure, object, retry},
};
use crate::{
    Claim, DeliveryQuery, DeliveryState, Exchange, JournalError, Outcome, Progress, Redelivered, RedeliveryStep,
    Retention, Selection, Sequence, SkipReason, Start,
    limits::{CLAIM_BYTES, FORMER_UIDS},
    machine::{End, Ended, Micros},
};

const ALL: usize = 1000;

fn claimed(shard: &mut Shard, consumer: &grapnel_api::Incarnation, second: i64) -> Vec<Sequence> {
    let (taken, _) = shard.claim(consumer, &Claim::new(ALL, at(second))).unwrap();
    taken.into_iter().map(|(sequence, _)| sequence).collect()
}

fn pending(pending: u64) -> Option<Progress> {
    Some(Progress { pending, ..Progress::default() })
}

/// A late event of an earlier endpoint reaches only the consumers that were attached to it.
#[test]
fn late_events_are_those_of_earlier_consumers() {
    let (first, second) = (object("in", "first"), object("in", "second"));
    let (early, late) = (object("early", ""), object("late", ""));
    let mut shard = Shard::new();
    shard.append(&first, 0, 100);
    shard.attach(&early, &first, Start::Now).unwrap();
    let own = shard.append(&second, 0, 100);
    shard.attach(&late, &second, Start::Earliest).unwrap();
    let events = [shard.append(&first, 1, 100), shard.append(&second, 1, 100), shard.append(&first, 2, 100)];
    for _ in 0..2 {
        shard.check();
        assert_eq!(shard.state.progress(&early), pending(4));
        assert_eq!(shard.state.progress(&late), pending(2));
        assert!(matches!(shard.state.endpoint_changes(&first), Err(JournalError::EndpointReplaced(_))));
        assert_eq!(shard.state.endpoint_changes(&second).unwrap(), None);
        assert_eq!(shard.deliveries(&late, &DeliveryQuery::default()).unwrap().len(), 2);
        assert_eq!(shard.list(&second, false).len(), 2);
        assert!(shard.list(&first, false).is_empty());
        shard.restart();
    }
    assert_eq!(claimed(&mut shard, &late, 3).len(), 2);
    assert!(!shard.state.is_ready(&late), "the newest event is not its own");
    let all: Vec<_> = claimed(&mut shard, &early, 3);
    assert_eq!((all.len(), &all[1..]), (4, &events[..]));
    let settled = all.iter().map(|sequence| (*sequence, delivered(3))).collect();
    shard.settle(&early, settled).unwrap();
    // The other one does not pin what it does not read, and cannot have it.
    let received = Selection::Received { since: None, until: None };
    let step = RedeliveryStep { from: None, limit: ALL, dry_run: false, now: at(4) };
    let done = shard.redeliver(&late, &received, step, |_| None).unwrap();
    assert_eq!(done, Redelivered { skipped: 2, sequences: vec![own, events[1]], ..Redelivered::default() });
    let ids = Selection::Events(vec!["x".into()]);
    let done = shard.redeliver(&late, &ids, step, |_| Some(events[0])).unwrap();
    assert_eq!(done, Redelivered { skipped: 1, ..Redelivered::default() });
    let none = Retention { endpoints: vec![(second, Duration::ZERO), (first, Duration::ZERO)], consumers: Vec::new() };
    assert_eq!(shard.sweep(none, 1_000_000, 9).events, 3);
    shard.check();
}

/// Every removed event is counted by a later redelivery, in whichever order removals end.
#[test]
fn removed_events_are_counted_in_any_order() {
    let (endpoint, consumer) = (object("in", ""), object("out", ""));
    let received = Selection::Received { since: None, until: None };
    let step = RedeliveryStep { from: None, limit: ALL, dry_run: true, now: at(4) };
    for together in [true, false] {
        let mut shard = Shard::new();
        shard.attach(&consumer, &endpoint, Start::Now).unwrap();
        let [first, middle, last] = [0; 3].map(|_| shard.append(&endpoint, 1, 100));
        let settled = claimed(&mut shard, &consumer, 2).into_iter().map(|sequence| (sequence, delivered(2)));
        shard.settle(&consumer, settled.collect()).unwrap();
        let mut begin = |sequences: &[Sequence]| shard.state.begin_removals(&endpoint.key, sequences);
        let parts = match together {
            true => vec![begin(&[first, last, middle])],
            // Two callers remove events at the same time.
            false => vec![begin(&[middle]), begin(&[first, last])],
        };
        for removals in parts.iter().rev() {
            let changes = shard.state.finish_removals(removals);
            shard.commit(&changes);
        }
        let done = shard.redeliver(&consumer, &received, step, |_| None).unwrap();
        assert_eq!((done.gone, done.gone_before), (3, None), "together: {together}");
    }
}

/// An event that somebody deleted ends for every consumer, at any stage, and blocks nothing.
#[test]
fn vanished_events_end_for_every_consumer() {
    let (endpoint, one, other) = (object("in", ""), object("one", ""), object("other", ""));
    let mut shard = Shard::new();
    for consumer in [&one, &other] {
        shard.attach(consumer, &endpoint, Start::Now).unwrap();
    }
    let events: Vec<_> = (0..6).map(|second| shard.append(&endpoint, second, 100)).collect();
    let (taken, _) = shard.claim(&one, &Claim::new(5, at(9))).unwrap();
    assert_eq!(taken.len(), 5);
    let settlements = vec![(events[0], delivered(9)), (events[1], dead(9)), (events[2], retry(50))];
    shard.settle(&one, settlements).unwrap();
    shard.state.release(&one, [events[4]]);
    let settling = shard.state.begin_settle(&one, vec![(events[3], retry(60))]).unwrap();
    assert_eq!(
        shard.state.progress(&one),
        Some(Progress { pending: 2, in_flight: 1, retrying: 1, dead: 1, delivered: 1 })
    );
    for sequence in &events {
        shard.events.remove(sequence);
        assert!(shard.state.forget(&endpoint.key, *sequence));
        assert!(!shard.state.forget(&endpoint.key, *sequence));
        shard.check();
    }
    shard.commit(&settling);
    for _ in 0..2 {
        for consumer in [&one, &other] {
            let expected = Progress { delivered: u64::from(consumer == &one), ..Progress::default() };
            assert_eq!(shard.state.progress(consumer), Some(expected));
            assert!(!shard.state.is_ready(consumer));
            assert!(shard.deliveries(consumer, &DeliveryQuery::default()).unwrap().is_empty());
            assert!(claimed(&mut shard, consumer, 100).is_empty());
        }
        shard.check();
        shard.restart();
    }
    let next = shard.append(&endpoint, 7, 100);
    assert_eq!(claimed(&mut shard, &one, 100), [next]);
}

/// What was chosen for redelivery is not removed while that is being written.
#[test]
fn chosen_events_are_not_removed() {
    let (endpoint, consumer) = (object("in", ""), object("out", ""));
    let mut shard = Shard::new();
    shard.attach(&consumer, &endpoint, Start::Now).unwrap();
    let event = shard.append(&endpoint, 0, 100);
    claimed(&mut shard, &consumer, 0);
    shard.settle(&consumer, vec![(event, delivered(0))]).unwrap();
    let received = Selection::Received { since: None, until: None };
    let step = RedeliveryStep { from: None, limit: ALL, dry_run: false, now: at(4) };
    let (changes, done) = shard.state.begin_redeliver(&consumer, &received, &[], step).unwrap();
    assert_eq!((changes.len(), done.queued), (1, 1));
    let again = shard.state.begin_redeliver(&consumer, &received, &[], step).unwrap();
    assert_eq!((again.0.len(), again.1.skipped), (0, 1), "another call queues it");
    let none = Retention { endpoints: vec![(endpoint, Duration::ZERO)], consumers: Vec::new() };
    assert_eq!(shard.sweep(none.clone(), 9, 9).events, 0);
    shard.commit(&changes);
    assert_eq!(shard.sweep(none.clone(), 9, 9).events, 0);
    assert_eq!(claimed(&mut shard, &consumer, 9), [event]);
    shard.settle(&consumer, vec![(event, delivered(9))]).unwrap();
    assert_eq!(shard.sweep(none, 9, 9).events, 1);
}

/// A consumer that attaches while an event is being deleted has it only if it stays.
#[test]
fn events_that_are_being_deleted_are_not_read() {
    let (endpoint, one, other) = (object("in", ""), object("one", ""), object("other", ""));
    let mut shard = Shard::new();
    let events = [shard.append(&endpoint, 0, 100), shard.append(&endpoint, 0, 100)];
    shard.state.set_tail(100);
    let removals = shard.state.begin_removals(&endpoint.key, &events[1..]);
    shard.attach(&one, &endpoint, Start::Earliest).unwrap();
    assert_eq!(shard.state.progress(&one), pending(1));
    shard.state.abort_removals(&removals);
    shard.check();
    assert_eq!(shard.state.progress(&one), pending(2));
    shard.attach(&other, &endpoint, Start::Earliest).unwrap();
    assert_eq!(claimed(&mut shard, &one, 0), events);
    assert_eq!(claimed(&mut shard, &other, 0), events);
}

/// A claim is bounded by bytes, and has at least one event.
#[test]
fn claims_are_bounded_by_bytes() {
    let (endpoint, consumer) = (object("in", ""), object("out", ""));
    let mut shard = Shard::new();
    shard.attach(&consumer, &endpoint, Start::Now).unwrap();
    let most = CLAIM_BYTES as u32;
    let events: Vec<_> = [2 * most, most / 2, most / 2, 1].map(|bytes| shard.append(&endpoint, 0, bytes)).into();
    assert_eq!(claimed(&mut shard, &consumer, 0), events[..1]);
    assert!(shard.state.is_ready(&consumer));
    assert_eq!(claimed(&mut shard, &consumer, 0), events[1..3]);
    assert_eq!(claimed(&mut shard, &consumer, 0), events[3..]);
    assert!(!shard.state.is_ready(&consumer));
    // In order, nothing is said of what comes after the rest.
    let settled = events.iter().map(|sequence| (*sequence, retry(5))).collect();
    shard.settle(&consumer, settled).unwrap();
    let claim = Claim::new(ALL, at(5)).in_order();
    assert_eq!(shard.claim(&consumer, &claim).unwrap(), (vec![(events[0], 2)], None));
}

/// Only the newest incarnations are remembered without events.
#[test]
fn former_endpoints_are_bounded() {
    let mut shard = Shard::new();
    let consumer = object("out", "");
    shard.append(&object("in", "kept"), 0, 100);
    shard.attach(&consumer, &object("in", "kept"), Start::Earliest).unwrap();
    for n in 0..50 {
        shard.commit(&[Change::Endpoint { endpoint: object("in", &n.to_string()) }]);
        if n % 7 == 0 {
            shard.restart();
        }
    }
    assert_eq!(shard.state.endpoints().len(), FORMER_UIDS + 1);
    for earlier in ["kept", "48"] {
        assert!(shard.state.endpoint_changes(&object("in", earlier)).is_err());
    }
    assert_eq!(shard.state.progress(&consumer), pending(1));
    // The configuration has the last word: an earlier one may become current again.
    shard.commit(&[Change::Endpoint { endpoint: object("in", "kept") }]);
    assert_eq!(shard.list(&object("in", "kept"), false).len(), 1);
    shard.restart();
    assert_eq!(shard.list(&object("in", "kept"), false).len(), 1);
    assert_eq!(shard.state.progress(&consumer), pending(1));
}

/// An endpoint of which nothing is left is forgotten with the sweep that does not list it.
#[test]
fn endpoints_are_forgotten() {
    let mut shard = Shard::new();
    let endpoint = object("in", "one");
    shard.append(&endpoint, 0, 100);
    let listed = Retention { endpoints: vec![(endpoint.clone(), Duration::ZERO)], consumers: Vec::new() };
    assert_eq!(shard.sweep(listed, 1, 9).events, 1);
    assert_eq!(shard.state.endpoints().len(), 1);
    shard.sweep(Retention::default(), 1, 9);
    assert_eq!(shard.state.endpoints().len(), 0);
}

/// A checkpoint has everything, whatever follows its first chunk; without its end it is nothing.
#[test]
fn checkpoints_are_whole() {
    let (endpoint, consumer) = (object("in", ""), object("out", "uid"));
    let mut shard = Shard::new();
    shard.attach(&consumer, &endpoint, Start::Now).unwrap();
    for second in 0..8000 {
        shard.append(&endpoint, second, 100);
    }
    for _ in 0..8 {
        let settlement = |n: Sequence| if n.is_multiple_of(2) { dead(n as i64) } else { retry(90_000 + n as i64) };
        let all = claimed(&mut shard, &consumer, 0).into_iter().map(|n| (n, settlement(n))).collect();
        shard.settle(&consumer, all).unwrap();
    }
    let before = shard.deliveries(&consumer, &DeliveryQuery::default()).unwrap();
    let chunks: Vec<_> = shard.state.checkpoint().collect();
    let sizes: Vec<_> = chunks.iter().map(|chunk| chunk.parts.len()).collect();
    assert!(sizes.len() > 1 && sizes.iter().all(|bytes| *bytes <= 256 << 10), "{sizes:?}");
    let first = shard.write(Entry::Checkpoint(chunks[0].clone()));
    let late = object("late", "");
    shard.attach(&late, &endpoint, Start::Earliest).unwrap();
    for chunk in &chunks[1..] {
        shard.write(Entry::Checkpoint(chunk.clone()));
    }
    let unfinished = shard.replay().unwrap();
    assert_eq!(unfinished.consumers().len(), 2);
    let whole = shard.log.clone();
    shard.log = shard.log.split_off(&first);
    assert_eq!(shard.replay().unwrap_err(), ReplayError::Truncated(first));
    shard.log = whole;
    shard.write(Entry::CheckpointEnd { first });
    shard.log = shard.log.split_off(&first);
    shard.restart();
    assert_eq!(shard.state.consumers().len(), 2);
    assert_eq!(shard.state.progress(&late), pending(8000));
    assert_eq!(shard.deliveries(&consumer, &DeliveryQuery::default()).unwrap(), before);
    // A new owner does not complete it.
    let first = shard.write(Entry::Checkpoint(chunks[0].clone()));
    shard.write(Entry::TakenOver { replica: "c".into() });
    let end = shard.write(Entry::CheckpointEnd { first });
    assert_eq!(shard.replay().unwrap_err(), ReplayError::Incomplete(end));
}

/// Without its outcome, a settled event is not said to be pending.
#[test]
fn an_unknown_outcome_is_reported() {
    let (endpoint, consumer) = (object("in", ""), object("out", ""));
    let mut shard = Shard::new();
    shard.attach(&consumer, &endpoint, Start::Now).unwrap();
    let sequence = shard.append(&endpoint, 0, 100);
    claimed(&mut shard, &consumer, 0);
    shard.settle(&consumer, vec![(sequence, delivered(0))]).unwrap();
    shard.state.consumers.get_mut(&consumer.key).unwrap().outcomes.remove(sequence);
    let listed = shard.deliveries(&consumer, &DeliveryQuery::default()).unwrap();
    assert_eq!((listed[0].state, listed[0].outcome), (DeliveryState::Settled, Outcome::Unknown));
}

fn change() -> impl Strategy<Value = Change> {
    let named = || ("[a-z]{1,5}", "[a-z.]{1,5}", "[a-z0-9-]{0,9}");
    let incarnation = |(namespace, name, uid): (String, String, String)| {
        grapnel_api::Incarnation::new(grapnel_api::ObjectKey::new(namespace, name), uid)
    };
    let sequence = 0u64..1 << 62;
    let time = -1_000_000_000_000i64..4_000_000_000_000_000;
    let retention = (any::<u64>(), 0u32..1_000_000_000).prop_map(|(seconds, nanos)| Duration::new(seconds, nanos));
    let removed = prop::collection::vec((0u64..1 << 62, any::<i64>().prop_map(Micros)), 0..9);
    (0u8..14, (named(), named()), sequence, any::<u32>(), time, any::<i64>(), retention, removed).prop_map(
        move |(tag, (one, other), sequence, attempt, time, due, retention, events)| {
            let (consumer, endpoint) = (incarnation(one), incarnation(other));
            let due = Micros(due);
            let exchange =
                Exchange { time: Micros(time).timestamp(), status: Some(204), took: Duration::from_micros(9) };
            let end = match tag {
                8 => End::Delivered(exchange),
                9 => End::Skipped { reason: SkipReason::Filter, time: Micros(time) },
                10 => End::Skipped { reason: SkipReason::Type, time: Micros(time) },
                11 => End::Retry { due, failure: failure(time % 1000) },
                12 => End::Dead { failure: failure(time % 1000) },
                _ => End::Gone,
            };
            match tag {
                0 => Change::Endpoint { endpoint },
                1 => Change::Attached { consumer, endpoint, start: sequence },
                2 => Change::Detached { consumer },
                3 => Change::Queued { consumer, sequence, due },
                4 => Change::Hastened { consumer, sequence, due },
                5 => Change::LetterRemoved { consumer, sequence },
                6 => Change::Retention { endpoint, retention },
                7 => Change::Removed { endpoint: endpoint.key, events },
                _ => Change::Ended { consumer, ended: Ended { sequence, first: sequence / 2, attempt, end } },
            }
        },
    )
}

proptest! {
    #[test]
    fn decoding_inverts_encoding(
        mut changes in prop::collection::vec(change(), 0..20),
        numbers in any::<(u64, u64, u64)>(),
        replica in any::<String>(),
    ) {
        // Several of one consumer in a row.
        changes.extend(changes.last().cloned());
        let mut shard = Shard::new();
        let (epoch, nonce, first) = numbers;
        let parts = Bytes::copy_from_slice(replica.as_bytes());
        for entry in [
            Entry::Changes(changes),
            Entry::TakenOver { replica },
            Entry::Checkpoint(CheckpointChunk { number: epoch as u32, parts }),
            Entry::CheckpointEnd { first },
        ] {
            let record = Record { epoch, nonce, entry: entry.clone() };
            prop_assert_eq!(Record::decode(record.encode()).unwrap(), record);
            // Also checks the bound of its size.
            shard.write(entry);
        }
    }

    /// Bytes that no owner wrote are an error or a state, never a panic.
    #[test]
    fn garbage_does_not_panic(
        changes in prop::collection::vec(change(), 0..20),
        garbage in prop::collection::vec(any::<u8>(), 0..200),
        at in any::<prop::sample::Index>(),
    ) {
        let _ = Record::decode(Bytes::from(garbage.clone()));
        let _ = CheckpointChunk { number: 0, parts: Bytes::from(garbage) }.parts();
        // Changes in any order apply to any state.
        let mut shard = Shard::new();
        shard.commit(&changes);
        let mut replay = Replay::new(1);
        for record in shard.log.values() {
            let _ = replay.record(1, Record::decode(record.clone()).unwrap());
            let mut damaged = record.to_vec();
            let at = at.index(damaged.len());
            damaged[at] ^= 0x11;
            let _ = Record::decode(Bytes::from(damaged));
            let _ = Record::decode(record.slice(..at));
        }
        for chunk in shard.state.checkpoint() {
            let mut damaged = chunk.parts.to_vec();
            if !damaged.is_empty() {
                let at = at.index(damaged.len());
                damaged[at] ^= 0x11;
                let _ = CheckpointChunk { number: 0, parts: Bytes::from(damaged) }.parts();
            }
        }
        replay.finish().unwrap().finish_loading();
    }
}
