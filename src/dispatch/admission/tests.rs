use std::{collections::VecDeque, num::NonZeroU32};

use proptest::prelude::*;

use super::*;

const SETTINGS: AdmissionSettings = AdmissionSettings {
    parked: false,
    shadow: false,
    ordered: false,
    max_in_flight: 4,
    max_pause: Duration::from_secs(60),
    breaker: BreakerPolicy {
        failures: NonZeroU32::MIN,
        cooldown: Duration::from_secs(30),
        max_cooldown: Duration::from_secs(30),
    },
};

const IDLE: Load = Load { waiting: 0, in_flight: 0, ended: 0, settling: false, bytes: 0 };

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn now(second: i64) -> AdmissionTime {
    AdmissionTime { clock: at(second), instant: Instant::now() }
}

/// Decides without a rate limit.
fn decide(admission: &mut DeliveryAdmission, load: Load, second: i64) -> AttemptDecision {
    admission.decide(load, now(second), || Ok(()))
}

fn start(admission: &mut DeliveryAdmission, second: i64) -> Permit {
    match decide(admission, IDLE, second) {
        AttemptDecision::Start(permit) => permit,
        other => panic!("{other:?}"),
    }
}

fn until(second: i64) -> AttemptDecision {
    AttemptDecision::WaitUntil(Wake::Clock(at(second)))
}

#[test]
fn attempts_wait_for_a_release_at_the_bounds() {
    let mut admission = DeliveryAdmission::new(SETTINGS);
    assert!(matches!(decide(&mut admission, Load { in_flight: 3, ..IDLE }, 0), AttemptDecision::Start(_)));
    for full in [Load { in_flight: 4, ..IDLE }, Load { ended: limits::UNSETTLED, ..IDLE }] {
        assert_eq!(decide(&mut admission, full, 0), AttemptDecision::WaitForRelease, "{full:?}");
    }
    let mut ordered = DeliveryAdmission::new(AdmissionSettings { ordered: true, ..SETTINGS });
    assert_eq!(decide(&mut ordered, Load { in_flight: 1, ..IDLE }, 0), AttemptDecision::WaitForRelease);
}

#[test]
fn a_parked_subscription_does_nothing_whatever_else_holds() {
    let mut admission = DeliveryAdmission::new(AdmissionSettings { parked: true, ..SETTINGS });
    assert_eq!(decide(&mut admission, IDLE, 0), AttemptDecision::Parked);
    assert_eq!((admission.claim_limit(IDLE, true, at(0)), admission.kept(at(0))), (None, 0));
    admission.reconfigure(SETTINGS, false, at(0));
    let _ = start(&mut admission, 0);
}

#[test]
fn an_open_circuit_admits_its_probe_only() {
    let mut admission = DeliveryAdmission::new(SETTINGS);
    let permit = start(&mut admission, 0);
    admission.ended(permit, true, at(0));
    assert_eq!(decide(&mut admission, IDLE, 29), until(30));
    assert_eq!((admission.claim_limit(IDLE, true, at(29)), admission.kept(at(29))), (None, 0));
    assert_eq!(admission.gate_opens(at(29)), Some(at(30)));
    assert_eq!((admission.claim_limit(IDLE, false, at(30)), admission.kept(at(30))), (Some(1), 1));
    assert_eq!(admission.claim_limit(Load { waiting: 1, ..IDLE }, false, at(30)), None);
    let probe = start(&mut admission, 30);
    assert_eq!(decide(&mut admission, IDLE, 30), AttemptDecision::WaitForRelease);
    assert_eq!(admission.gate_opens(at(30)), None, "its end decides");
    admission.ended(probe, false, at(31));
    let _ = start(&mut admission, 31);
}

#[test]
fn retry_after_pauses_the_whole_subscription_and_no_longer_than_allowed() {
    let mut admission = DeliveryAdmission::new(SETTINGS);
    assert!(!admission.pause(Duration::ZERO, at(0)));
    let _ = start(&mut admission, 0);
    assert!(admission.pause(seconds(10), at(0)));
    assert_eq!(decide(&mut admission, IDLE, 9), until(10));
    assert_eq!((admission.claim_limit(IDLE, false, at(9)), admission.kept(at(9))), (None, 0));
    assert_eq!(admission.gate_opens(at(9)), Some(at(10)));
    assert!(!admission.pause(seconds(3), at(1)), "a shorter one changes nothing");
    assert_eq!(decide(&mut admission, IDLE, 9), until(10));
    assert!(!admission.pause(seconds(3600), at(9)), "it only becomes longer");
    assert_eq!(decide(&mut admission, IDLE, 9), until(69), "by no more than the policy's longest delay");
    let _ = start(&mut admission, 69);
    assert!(admission.pause(seconds(1), at(69)), "another one");
}

#[test]
fn a_pause_ends_early_by_a_probe_a_new_target_or_a_clock_that_is_set_back() {
    let paused = || {
        let mut admission = DeliveryAdmission::new(SETTINGS);
        assert!(admission.pause(seconds(60), at(1_000)));
        admission
    };
    let mut probed = paused();
    probed.probe_now(at(1_001));
    let _ = start(&mut probed, 1_001);

    let mut moved = paused();
    moved.reconfigure(SETTINGS, false, at(1_001));
    assert_eq!(decide(&mut moved, IDLE, 1_001), until(1_060), "any other change leaves it as it is");
    moved.reconfigure(AdmissionSettings { max_pause: seconds(5), ..SETTINGS }, false, at(1_001));
    assert_eq!(decide(&mut moved, IDLE, 1_001), until(1_006));
    moved.reconfigure(SETTINGS, true, at(1_001));
    let _ = start(&mut moved, 1_001);

    let mut back = paused();
    assert_eq!(decide(&mut back, IDLE, 0), until(60));
}

#[test]
fn a_pause_delays_the_probe_of_an_open_circuit() {
    let mut admission = DeliveryAdmission::new(SETTINGS);
    let permit = start(&mut admission, 0);
    admission.ended(permit, true, at(0));
    admission.pause(seconds(50), at(0));
    assert_eq!(decide(&mut admission, IDLE, 30), until(50));
    let probe = start(&mut admission, 50);
    admission.ended(probe, true, at(50));
    admission.pause(seconds(5), at(50));
    assert_eq!(decide(&mut admission, IDLE, 51), until(80), "the longer of the two");
}

#[test]
fn the_rate_limit_is_checked_last_and_not_before_its_time() {
    let mut admission = DeliveryAdmission::new(SETTINGS);
    let untouched = || -> Result<(), Duration> { panic!("a permit would be lost") };
    let full = Load { in_flight: 4, ..IDLE };
    assert_eq!(admission.decide(full, now(0), untouched), AttemptDecision::WaitForRelease);
    let began = now(0);
    let wait = Duration::from_millis(100);
    let expected = AttemptDecision::WaitUntil(Wake::Instant(began.instant + wait));
    assert_eq!(admission.decide(IDLE, began, || Err(wait)), expected);
    assert_eq!(admission.decide(IDLE, began, untouched), expected);
    assert_eq!(admission.rate_pause(), Some(began.instant + wait));
    let over = AdmissionTime { instant: began.instant + wait, ..began };
    assert!(matches!(admission.decide(IDLE, over, || Ok(())), AttemptDecision::Start(_)));
    assert_eq!(admission.rate_pause(), None);
    assert!(matches!(
        admission.decide(IDLE, over, || Err(Duration::MAX)),
        AttemptDecision::WaitUntil(Wake::Instant(until)) if until == over.instant + limits::DUE_CHECK
    ));
}

#[test]
fn claims_stay_a_little_ahead_and_within_the_bytes() {
    let mut admission = DeliveryAdmission::new(SETTINGS);
    let mut limit = |load, scanning| admission.claim_limit(load, scanning, at(0));
    assert_eq!(limit(IDLE, false), Some(8), "four in flight, four ahead");
    assert_eq!(limit(Load { in_flight: 4, ..IDLE }, false), Some(4));
    assert_eq!(limit(Load { in_flight: 4, waiting: 3, ..IDLE }, false), None, "not for every single one");
    assert_eq!(limit(Load { bytes: limits::HELD_BYTES, ..IDLE }, false), None);
    assert_eq!(limit(Load { ended: limits::UNSETTLED, ..IDLE }, true), None);
    assert_eq!(limit(IDLE, true), Some(limits::CLAIM_SCAN));
}

#[test]
fn ordered_claims_wait_until_nothing_is_held() {
    let mut admission = DeliveryAdmission::new(AdmissionSettings { ordered: true, ..SETTINGS });
    assert_eq!((admission.claim_limit(IDLE, false, at(0)), admission.kept(at(0))), (Some(1), 1));
    for held in [
        Load { waiting: 1, ..IDLE },
        Load { in_flight: 1, ..IDLE },
        Load { ended: 1, ..IDLE },
        Load { settling: true, ..IDLE },
    ] {
        assert_eq!(admission.claim_limit(held, true, at(0)), None, "{held:?}");
    }
}

/// What happens to a subscription.
#[derive(Debug, Clone)]
enum Step {
    /// Begins as many attempts as may begin; the rate limit has this many permits.
    Begin(u32),
    /// The attempt that began first ends: it failed, and the receiver asked for a pause.
    End(bool, Option<u64>),
    /// So many milliseconds pass, or the clock is set back.
    Pass(i64),
    Probe,
    Park(bool),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..6u32).prop_map(Step::Begin),
        4 => (any::<bool>(), proptest::option::weighted(0.2, 0..100u64)).prop_map(|(failed, pause)| Step::End(failed, pause)),
        4 => (-5_000..60_000i64).prop_map(Step::Pass),
        1 => Just(Step::Probe),
        1 => any::<bool>().prop_map(Step::Park),
    ]
}

proptest! {
    /// Whatever happens: bounds hold, nothing begins in a pause, and a wait that is announced ends.
    #[test]
    fn bounds_hold_and_every_wait_ends(
        steps in proptest::collection::vec(step(), 1..100),
        ordered in any::<bool>(),
        max_in_flight in 1..6usize,
    ) {
        let mut settings = AdmissionSettings { ordered, max_in_flight, ..SETTINGS };
        let mut admission = DeliveryAdmission::new(settings);
        let (began, mut clock, mut instant) = (Instant::now(), at(1_000_000), Instant::now());
        let mut in_flight = VecDeque::new();
        // The end of the pause by the clock that is never set back.
        let mut paused = began;
        for step in steps {
            match step {
                Step::Begin(mut permits) => loop {
                    let load = Load { in_flight: in_flight.len(), ..IDLE };
                    let rate = || {
                        permits = permits.checked_sub(1).ok_or(Duration::from_millis(20))?;
                        Ok(())
                    };
                    match admission.decide(load, AdmissionTime { clock, instant }, rate) {
                        AttemptDecision::Start(permit) => {
                            prop_assert!(instant >= paused && !settings.parked);
                            in_flight.push_back(permit);
                            let most = if ordered { 1 } else { max_in_flight };
                            prop_assert!(in_flight.len() <= most);
                        }
                        AttemptDecision::WaitUntil(Wake::Clock(until)) => {
                            prop_assert!(clock < until && until <= later(clock, seconds(60)));
                            prop_assert_eq!(admission.gate_opens(clock), Some(until));
                            prop_assert_eq!(admission.claim_limit(IDLE, true, clock), None);
                            break;
                        }
                        AttemptDecision::WaitUntil(Wake::Instant(until)) => {
                            prop_assert!(instant < until && until <= instant + limits::DUE_CHECK);
                            break;
                        }
                        AttemptDecision::WaitForRelease => {
                            prop_assert!(!in_flight.is_empty(), "nobody would wake it");
                            break;
                        }
                        AttemptDecision::Parked => {
                            prop_assert!(settings.parked);
                            break;
                        }
                    }
                },
                Step::End(failed, pause) => {
                    let Some(permit) = in_flight.pop_front() else { continue };
                    admission.ended(permit, failed, clock);
                    if let Some(pause) = pause {
                        admission.pause(seconds(pause), clock);
                        paused = paused.max(instant + seconds(pause.min(60)));
                    }
                }
                Step::Pass(millis) if millis >= 0 => {
                    let passed = Duration::from_millis(millis.unsigned_abs());
                    (clock, instant) = (later(clock, passed), instant + passed);
                }
                Step::Pass(millis) => {
                    // A pause may then end early or late, but never later than its length from now on.
                    clock = clock.checked_sub(SignedDuration::from_millis(-millis)).unwrap();
                    paused = began;
                }
                Step::Probe => {
                    admission.probe_now(clock);
                    paused = began;
                }
                Step::Park(parked) => {
                    settings.parked = parked;
                    admission.reconfigure(settings, false, clock);
                }
            }
        }
        // When all attempts have ended and all pauses are over, everything goes on.
        for permit in in_flight.drain(..) {
            admission.released(permit);
        }
        settings.parked = false;
        admission.reconfigure(settings, false, clock);
        let after = AdmissionTime { clock: later(clock, seconds(61)), instant: instant + seconds(61) };
        prop_assert!(admission.claim_limit(IDLE, false, after.clock).is_some());
        prop_assert!(matches!(admission.decide(IDLE, after, || Ok(())), AttemptDecision::Start(_)));
    }
}

#[test]
fn a_change_of_the_mode_ends_what_the_receiver_has_caused() {
    let mut admission = DeliveryAdmission::new(SETTINGS);
    let permit = start(&mut admission, 0);
    admission.ended(permit, true, at(0));
    admission.pause(seconds(50), at(0));
    assert_eq!(decide(&mut admission, IDLE, 1), until(50), "the circuit is open, and the receiver wants a pause");
    let shadow = AdmissionSettings { shadow: true, ..SETTINGS };
    admission.reconfigure(shadow, false, at(1));
    assert!(admission.circuit().is_none() && admission.paused_until(at(1)).is_none());
    for _ in 0..3 {
        let permit = start(&mut admission, 2);
        admission.released(permit);
    }
    admission.reconfigure(SETTINGS, false, at(3));
    assert!(matches!(decide(&mut admission, Load { in_flight: 3, ..IDLE }, 3), AttemptDecision::Start(_)));
}
