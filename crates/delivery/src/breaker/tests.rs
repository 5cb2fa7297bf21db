use proptest::{prelude::*, sample::Index};

use super::*;

fn policy(failures: u32, cooldown: u64, max_cooldown: u64) -> BreakerPolicy {
    BreakerPolicy {
        failures: NonZeroU32::new(failures).unwrap(),
        cooldown: Duration::from_secs(cooldown),
        max_cooldown: Duration::from_secs(max_cooldown),
    }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// Begins an attempt and lets it fail.
fn fail(breaker: &mut Breaker, second: i64) {
    let permit = breaker.acquire(at(second)).unwrap();
    breaker.failed(permit, at(second));
}

#[test]
fn opens_probes_doubles_and_closes() {
    let mut breaker = Breaker::new(policy(3, 30, 100));
    fail(&mut breaker, 0);
    fail(&mut breaker, 1);
    assert_eq!((breaker.circuit_state(at(1)), breaker.circuit()), (CircuitState::Closed, None));
    fail(&mut breaker, 2);
    assert_eq!(breaker.circuit(), Some(OpenCircuit { since: at(2), failures: 3, next_probe: at(32) }));
    assert_eq!(breaker.acquire(at(31)), None);
    assert_eq!(breaker.circuit_state(at(32)), CircuitState::HalfOpen);
    let probe = breaker.acquire(at(32)).unwrap();
    assert_eq!(
        (breaker.circuit_state(at(999)), breaker.acquire(at(999))),
        (CircuitState::Open(None), None),
        "one at a time"
    );
    breaker.failed(probe, at(40));
    assert_eq!(breaker.circuit(), Some(OpenCircuit { since: at(2), failures: 4, next_probe: at(100) }));
    fail(&mut breaker, 100);
    assert_eq!(breaker.circuit_state(at(100)), CircuitState::Open(Some(at(200))), "no longer than the longest");
    fail(&mut breaker, 200);
    let probe = breaker.acquire(at(300)).unwrap();
    breaker.succeeded(probe);
    assert_eq!((breaker.circuit_state(at(300)), breaker.circuit()), (CircuitState::Closed, None));
    fail(&mut breaker, 301);
    fail(&mut breaker, 301);
    assert_eq!(breaker.circuit(), None, "counted anew");
    fail(&mut breaker, 302);
    assert_eq!(breaker.circuit_state(at(302)), CircuitState::Open(Some(at(332))), "as short as the first time");
}

#[test]
fn a_success_in_between_starts_the_count_again() {
    let mut breaker = Breaker::new(policy(2, 30, 30));
    for second in 0..50 {
        fail(&mut breaker, second);
        let permit = breaker.acquire(at(second)).unwrap();
        breaker.succeeded(permit);
    }
    assert_eq!(breaker.circuit(), None);
}

#[test]
fn attempts_from_before_neither_lengthen_a_pause_nor_open_again() {
    let mut breaker = Breaker::new(policy(2, 30, 300));
    let permits: Vec<_> = (0..6).map(|_| breaker.acquire(at(0)).unwrap()).collect();
    for permit in &permits[..4] {
        breaker.failed(*permit, at(10));
    }
    assert_eq!(breaker.circuit().unwrap().next_probe, at(40));
    let probe = breaker.acquire(at(40)).unwrap();
    breaker.failed(permits[4], at(41));
    assert_eq!(breaker.circuit_state(at(41)), CircuitState::Open(None), "the probe decides");
    breaker.succeeded(probe);
    breaker.failed(permits[5], at(42));
    fail(&mut breaker, 43);
    assert_eq!(breaker.circuit(), None, "one failure of two");
}

#[test]
fn a_late_success_closes() {
    let mut breaker = Breaker::new(policy(1, 30, 300));
    let late = breaker.acquire(at(0)).unwrap();
    fail(&mut breaker, 0);
    assert!(breaker.circuit().is_some());
    breaker.succeeded(late);
    assert_eq!(breaker.circuit_state(at(1)), CircuitState::Closed);
}

#[test]
fn a_probe_that_is_given_back_is_made_again() {
    let mut breaker = Breaker::new(policy(1, 30, 300));
    fail(&mut breaker, 0);
    let probe = breaker.acquire(at(30)).unwrap();
    breaker.released(probe);
    assert_eq!(breaker.circuit_state(at(30)), CircuitState::HalfOpen);
    let again = breaker.acquire(at(30)).unwrap();
    breaker.released(probe);
    assert_eq!(breaker.circuit_state(at(30)), CircuitState::Open(None), "only by who holds it");
    breaker.failed(again, at(31));
    assert_eq!(breaker.circuit_state(at(31)), CircuitState::Open(Some(at(91))));
}

#[test]
fn a_clock_that_is_set_back_makes_no_pause_longer() {
    let mut breaker = Breaker::new(policy(1, 30, 300));
    fail(&mut breaker, 100_000);
    assert_eq!(breaker.circuit_state(at(50)), CircuitState::Open(Some(at(80))));
    assert_eq!(breaker.circuit_state(at(80)), CircuitState::HalfOpen);
    let mut breaker = Breaker::new(BreakerPolicy { cooldown: Duration::MAX, ..policy(1, 1, 1) });
    fail(&mut breaker, 0);
    assert_eq!(breaker.circuit_state(at(0)), CircuitState::Open(Some(Timestamp::MAX)));
}

#[test]
fn hurrying_probes_at_once_and_begins_with_the_shortest_pause() {
    let mut breaker = Breaker::new(policy(1, 30, 300));
    breaker.hurry(at(0));
    fail(&mut breaker, 0);
    fail(&mut breaker, 30);
    assert_eq!(breaker.circuit_state(at(30)), CircuitState::Open(Some(at(90))));
    breaker.hurry(at(31));
    assert_eq!(breaker.circuit_state(at(31)), CircuitState::HalfOpen);
    fail(&mut breaker, 31);
    assert_eq!(breaker.circuit_state(at(31)), CircuitState::Open(Some(at(61))));
    let probe = breaker.acquire(at(61)).unwrap();
    breaker.hurry(at(62));
    assert_eq!(breaker.circuit_state(at(62)), CircuitState::Open(None));
    breaker.failed(probe, at(63));
    assert_eq!(breaker.circuit_state(at(63)), CircuitState::Open(Some(at(93))));
}

#[test]
fn other_settings_close_it_and_forget_what_was_in_flight() {
    let mut breaker = Breaker::new(policy(1, 30, 300));
    let late = breaker.acquire(at(0)).unwrap();
    fail(&mut breaker, 0);
    breaker.renew(policy(1, 10, 10));
    assert_eq!((breaker.circuit_state(at(0)), breaker.circuit()), (CircuitState::Closed, None));
    breaker.failed(late, at(1));
    assert_eq!(breaker.circuit(), None);
    fail(&mut breaker, 2);
    assert_eq!(breaker.circuit_state(at(2)), CircuitState::Open(Some(at(12))));
}

#[derive(Debug, Clone, Copy)]
enum Op {
    Advance(i64),
    Begin,
    Succeed(Index),
    Fail(Index),
    Release(Index),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        2 => (0i64..200).prop_map(Op::Advance),
        6 => Just(Op::Begin),
        1 => any::<Index>().prop_map(Op::Succeed),
        6 => any::<Index>().prop_map(Op::Fail),
        1 => any::<Index>().prop_map(Op::Release),
    ]
}

proptest! {
    /// The rules hold for any events, in whatever order attempts end.
    #[test]
    fn keeps_its_word(
        failures in 1u32..5,
        cooldown in 1u64..60,
        max_cooldown in 1u64..600,
        ops in prop::collection::vec(op(), 0..200),
    ) {
        let mut breaker = Breaker::new(policy(failures, cooldown, max_cooldown));
        let mut now = 0;
        // Attempts in flight, and whether each is a probe.
        let mut under_way: Vec<(Permit, bool)> = Vec::new();
        let mut failed_in_a_row = 0;
        // For the current opening: number of failed probes, and when the pause began.
        let (mut doubled, mut paused_at) = (0, 0);
        for op in ops {
            let was_open = breaker.circuit().is_some();
            match op {
                Op::Advance(by) => now += by,
                Op::Begin => {
                    let pause = (cooldown << doubled.min(20)).min(max_cooldown.max(cooldown));
                    let over = now >= paused_at + i64::try_from(pause).unwrap();
                    let probing = under_way.iter().any(|(_, probe)| *probe);
                    let permit = breaker.acquire(at(now));
                    prop_assert_eq!(permit.is_some(), !was_open || (over && !probing));
                    under_way.extend(permit.map(|permit| (permit, was_open)));
                }
                Op::Succeed(_) | Op::Fail(_) | Op::Release(_) if under_way.is_empty() => {}
                Op::Succeed(index) => {
                    let (permit, _) = under_way.swap_remove(index.index(under_way.len()));
                    breaker.succeeded(permit);
                    failed_in_a_row = 0;
                    prop_assert_eq!(breaker.circuit_state(at(now)), CircuitState::Closed);
                    // A probe that a late success has overtaken is an ordinary attempt.
                    under_way.iter_mut().for_each(|(_, probe)| *probe = false);
                }
                Op::Fail(index) => {
                    let (permit, probe) = under_way.swap_remove(index.index(under_way.len()));
                    let before = breaker.circuit();
                    breaker.failed(permit, at(now));
                    failed_in_a_row += 1;
                    match (before, breaker.circuit()) {
                        (None, None) => {}
                        (None, Some(opened)) => {
                            prop_assert!(failed_in_a_row >= failures, "opened too early");
                            prop_assert_eq!(opened.since, at(now));
                            (doubled, paused_at) = (0, now);
                        }
                        (Some(_), None) => prop_assert!(false, "a failure closes nothing"),
                        (Some(before), Some(after)) if probe => {
                            prop_assert_eq!(after.failures, before.failures + 1);
                            prop_assert_eq!(after.since, before.since);
                            (doubled, paused_at) = (doubled + 1, now);
                        }
                        (Some(before), Some(after)) => prop_assert_eq!(before, after),
                    }
                }
                Op::Release(index) => {
                    let (permit, _) = under_way.swap_remove(index.index(under_way.len()));
                    breaker.released(permit);
                    prop_assert_eq!(breaker.circuit().is_some(), was_open);
                }
            }
            // Never more than one probe.
            prop_assert!(breaker.circuit().is_none() || under_way.iter().filter(|(_, probe)| *probe).count() <= 1);
        }
    }
}
