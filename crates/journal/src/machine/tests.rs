use std::{collections::BTreeSet, time::Duration};

use jiff::Timestamp;
use proptest::prelude::*;

use super::*;
use crate::{DeliveryState, Exchange, Failure, Progress, Sequence, limits::RETRIES_PER_CONSUMER};

/// Returns a log with gaps: events at multiples of three.
fn upcoming(last: Sequence) -> impl Fn(Sequence) -> Option<Upcoming> {
    move |position| {
        let sequence = position / 3 * 3 + 3;
        (sequence <= last).then_some(Upcoming { first: position + 1, sequence })
    }
}

fn take(state: &mut ConsumerState, limit: usize, now: i64, last: Sequence) -> Vec<(Sequence, u32)> {
    let mut taken = Vec::new();
    state.begin_claim();
    state.take_due(&mut taken, limit, Micros(now), Micros::MAX);
    state.take_new(&mut taken, limit, last, &upcoming(last));
    taken.iter().map(|taken| (taken.sequence, taken.flight.attempt)).collect()
}

fn failure() -> Failure {
    Failure {
        time: Timestamp::UNIX_EPOCH,
        reason: "status".into(),
        status: None,
        took: Duration::ZERO,
        message: "".into(),
    }
}

fn end(state: &mut ConsumerState, sequence: Sequence, end: End) {
    let flight = state.begin_settling(sequence).expect("in flight");
    assert_eq!(state.begin_settling(sequence), None, "its end is being written");
    state.apply_ended(&Ended { sequence, first: flight.first, attempt: flight.attempt, end });
}

fn delivered() -> End {
    End::Delivered(Exchange { time: Timestamp::UNIX_EPOCH, status: Some(200), took: Duration::ZERO })
}

fn retry(due: i64) -> End {
    End::Retry { due: Micros(due), failure: failure() }
}

#[test]
fn ranges_merge_over_gaps_of_the_log() {
    let mut state = ConsumerState::new(0, 0);
    assert_eq!(take(&mut state, 10, 0, 12), [(3, 1), (6, 1), (9, 1), (12, 1)]);
    for sequence in [9, 3, 12, 6] {
        end(&mut state, sequence, delivered());
    }
    assert_eq!(state.durable().attempted, [(0, 12)]);
    assert_eq!(state.progress(4), Progress { delivered: 4, ..Progress::default() });
    assert!(state.pinned(1, 12).is_empty());
    assert_eq!(state.pinned(10, 20), [13..=20]);
}

#[test]
fn a_clock_that_was_ahead_strands_nothing() {
    let mut state = ConsumerState::new(0, 0);
    take(&mut state, 1, 0, 3);
    end(&mut state, 3, retry(1_000_000));
    let mut taken = Vec::new();
    state.take_due(&mut taken, 9, Micros(5), Micros(2_000_000));
    assert!(taken.is_empty());
    state.take_due(&mut taken, 9, Micros(5), Micros(999_999));
    assert_eq!(taken.len(), 1, "it is due later than any delay allows");
    state.release(3);
    let stopped = state.take_in_order(&mut taken, 9, Micros(5), Micros(2_000_000), 3, &upcoming(3));
    assert_eq!(stopped, Some(Micros(1_000_000)));
    assert_eq!(state.take_in_order(&mut taken, 9, Micros(5), Micros(999_999), 3, &upcoming(3)), None);
    assert_eq!(taken.len(), 2);
}

#[test]
fn a_consumer_with_many_retries_takes_no_new_events() {
    let most = RETRIES_PER_CONSUMER as u64;
    let mut state = ConsumerState::new(0, 0);
    let last = 3 * (most + 50);
    while state.retries() < RETRIES_PER_CONSUMER {
        let taken = take(&mut state, 1000, 0, last);
        assert!(!taken.is_empty());
        for (sequence, _) in taken {
            end(&mut state, sequence, retry(100));
        }
    }
    assert_eq!(state.retries(), RETRIES_PER_CONSUMER);
    assert!(take(&mut state, 1000, 0, last).is_empty() && !state.is_ready(last), "backlogged");
    let due = take(&mut state, 1, 100, last);
    assert_eq!(due, [(3, 2)]);
    end(&mut state, 3, delivered());
    assert!(state.unblock() && state.is_ready(last));
    assert_eq!(take(&mut state, 2, 0, last).len(), 1);
}

#[derive(Debug, Clone)]
enum Op {
    Claim(usize),
    End(prop::sample::Index, u8),
    Release(prop::sample::Index),
    Redeliver(prop::sample::Index),
    Restart,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        (1usize..6).prop_map(Op::Claim),
        (any::<prop::sample::Index>(), 0u8..4).prop_map(|(which, how)| Op::End(which, how)),
        any::<prop::sample::Index>().prop_map(Op::Release),
        any::<prop::sample::Index>().prop_map(Op::Redeliver),
        Just(Op::Restart),
    ];
    prop::collection::vec(op, 0..120)
}

const LAST: Sequence = 60;

/// Checks that the candidates of each state include all of its events, in both directions.
fn check_candidates(state: &ConsumerState, all: &[Sequence]) {
    use DeliveryState::{DeadLettered, InFlight, Pending, Retrying, Settled};
    for wanted in [None, Some(Pending), Some(InFlight), Some(Retrying), Some(DeadLettered), Some(Settled)] {
        let is_wanted = |sequence: &Sequence| {
            all.contains(sequence) && wanted.is_none_or(|wanted| state.state_of(*sequence).0 == wanted)
        };
        let mut expected: Vec<_> = all.iter().copied().filter(is_wanted).collect();
        let next = |from: Sequence| state.next_candidate(wanted, from).filter(|next| *next <= LAST);
        let ascending = std::iter::successors(next(0), |sequence| next(sequence + 1));
        assert_eq!(ascending.filter(is_wanted).collect::<Vec<_>>(), expected, "{wanted:?}");
        expected.reverse();
        let previous = |from: Sequence| state.previous_candidate(wanted, from);
        let descending = std::iter::successors(previous(LAST), |sequence| previous(sequence.checked_sub(1)?));
        assert_eq!(descending.filter(is_wanted).collect::<Vec<_>>(), expected, "{wanted:?}");
    }
}

proptest! {
    /// After any operations, every event is in exactly one place, and the durable state is restored.
    #[test]
    fn every_event_is_in_one_place(ops in ops()) {
        let all: Vec<Sequence> = (1..=LAST / 3).map(|n| 3 * n).collect();
        let mut state = ConsumerState::new(0, 0);
        let (mut flights, mut now) = (BTreeSet::new(), 0);
        for op in ops {
            now += 1;
            match op {
                Op::Claim(limit) => {
                    for (sequence, _) in take(&mut state, limit, now, LAST) {
                        prop_assert!(flights.insert(sequence), "in flight twice");
                    }
                }
                Op::End(which, how) if !flights.is_empty() => {
                    let sequence = *which.get(&flights.iter().copied().collect::<Vec<_>>());
                    flights.remove(&sequence);
                    let how = match how {
                        0 => delivered(),
                        1 => retry(now + 3),
                        2 => End::Dead { failure: failure() },
                        _ => End::Gone,
                    };
                    end(&mut state, sequence, how);
                }
                Op::Release(which) if !flights.is_empty() => {
                    let sequence = *which.get(&flights.iter().copied().collect::<Vec<_>>());
                    flights.remove(&sequence);
                    prop_assert!(state.release(sequence) && state.is_ready(LAST));
                }
                Op::Redeliver(which) => {
                    let sequence = *which.get(&all);
                    if state.can_redeliver(sequence) {
                        state.apply_redelivered(sequence, Micros(now));
                    }
                }
                Op::Restart => {
                    let durable = state.durable();
                    state = ConsumerState::restore(durable.clone());
                    prop_assert_eq!(state.durable(), durable);
                    flights.clear();
                }
                Op::End(..) | Op::Release(_) => {}
            }
            let mut counted = Progress { delivered: state.durable().delivered, ..Progress::default() };
            for sequence in &all {
                match state.state_of(*sequence).0 {
                    DeliveryState::Pending => counted.pending += 1,
                    DeliveryState::InFlight => counted.in_flight += 1,
                    DeliveryState::Retrying => counted.retrying += 1,
                    DeliveryState::DeadLettered => counted.dead += 1,
                    DeliveryState::Settled => {}
                }
            }
            prop_assert_eq!(state.progress(all.len() as u64), counted);
            let pinned: BTreeSet<_> = state.pinned(1, LAST).into_iter().flatten().filter(|s| s % 3 == 0).collect();
            let unsettled = all.iter().copied().filter(|s| state.state_of(*s).0 != DeliveryState::Settled);
            prop_assert_eq!(pinned, unsettled.collect::<BTreeSet<_>>());
            check_candidates(&state, &all);
        }
    }
}
