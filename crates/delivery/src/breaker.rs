//! Circuit breaker: when deliveries to a receiver pause, and how its recovery is detected.
//!
//! A circuit breaker stands between a subscription and its receiver. While the circuit is *closed*, attempts pass.
//! After the configured number of consecutive failures it *opens*: no attempt begins during a pause. After the pause,
//! one attempt at a time is allowed, the *probe*; a failed probe doubles the pause, a success closes the circuit. A
//! receiver that is down therefore costs its events as many attempts as it takes to notice, and one per pause from then
//! on.
//!
//! # What counts
//!
//! Every failed attempt counts as a failure: refused connections, timeouts, names that do not resolve, TLS errors,
//! forbidden addresses, redirects, 5xx; 429 and 503 because the receiver cannot accept events now; any other 4xx
//! because 401, 403 and 404 mean a target, route or secret that is wrong for every event, which would exhaust every
//! event's attempts before a person has fixed it. A single event that a healthy receiver rejects does not open the
//! circuit, because others succeed in between.
//!
//! Statuses of `stopOn` (410 by default) do not count as failures: they are a working receiver's final response to an
//! event, which no pause can change, and later events would only wait for it. They count as a response, as a success
//! does.
//!
//! ```
//! use std::num::NonZeroU32;
//! use grapnel_delivery::breaker::{Breaker, BreakerPolicy, CircuitState};
//! use jiff::Timestamp;
//!
//! let now = Timestamp::UNIX_EPOCH;
//! let policy = BreakerPolicy { failures: NonZeroU32::MIN, ..BreakerPolicy::default() };
//! let mut breaker = Breaker::new(policy);
//! let attempt = breaker.acquire(now).unwrap();
//! breaker.failed(attempt, now);
//! assert_eq!(breaker.circuit_state(now), CircuitState::Open(Some(now + policy.cooldown)));
//!
//! let probe = breaker.acquire(now + policy.cooldown).unwrap();
//! assert!(breaker.acquire(now + policy.cooldown).is_none(), "one probe at a time");
//! breaker.succeeded(probe);
//! assert_eq!(breaker.circuit_state(now), CircuitState::Closed);
//! ```

use std::{num::NonZeroU32, time::Duration};

use jiff::{SignedDuration, Timestamp};

use super::limits::{DEFAULT_BREAKER_COOLDOWN, DEFAULT_BREAKER_FAILURES, DEFAULT_BREAKER_MAX_COOLDOWN};

/// When the circuit opens, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerPolicy {
    /// Number of consecutive failures that open the circuit.
    pub failures: NonZeroU32,
    /// The first pause.
    pub cooldown: Duration,
    /// The longest pause. A value below `cooldown` counts as `cooldown`.
    pub max_cooldown: Duration,
}

impl Default for BreakerPolicy {
    fn default() -> Self {
        Self {
            failures: DEFAULT_BREAKER_FAILURES,
            cooldown: DEFAULT_BREAKER_COOLDOWN,
            max_cooldown: DEFAULT_BREAKER_MAX_COOLDOWN,
        }
    }
}

/// Which attempts may begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CircuitState {
    /// Any attempt may begin.
    Closed,
    /// The pause is over: one attempt may begin.
    HalfOpen,
    /// No attempt may begin before this time; `None` while a probe is in flight, because its result decides.
    Open(Option<Timestamp>),
}

/// An open circuit, for status reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenCircuit {
    /// When the circuit opened. Failed probes do not change it.
    pub since: Timestamp,
    /// Number of consecutive failures, including failed probes.
    pub failures: u32,
    /// The earliest time of the next probe. It is in the past while no delivery is due that could be the probe, or
    /// while a probe is in flight.
    pub next_probe: Timestamp,
}

/// Permission to begin one attempt, to be returned with its result. It distinguishes attempts that began before the
/// circuit last changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "the end of the attempt has to be told"]
pub struct Permit {
    epoch: u64,
}

/// The circuit breaker of one subscription.
#[derive(Debug, Clone)]
pub struct Breaker {
    policy: BreakerPolicy,
    state: State,
    /// Number of state changes, which shows whether an attempt began in the current state.
    epoch: u64,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Closed { failures: u32 },
    Open(Pause),
    HalfOpen(Pause),
}

#[derive(Debug, Clone, Copy)]
struct Pause {
    since: Timestamp,
    failures: u32,
    until: Timestamp,
    length: Duration,
}

impl Breaker {
    /// Creates a closed circuit.
    pub fn new(policy: BreakerPolicy) -> Self {
        Self { policy, state: State::Closed { failures: 0 }, epoch: 0 }
    }

    /// Returns the policy.
    pub fn policy(&self) -> &BreakerPolicy {
        &self.policy
    }

    /// Closes the circuit and applies a new policy. Attempts in flight do not count, unless they succeed.
    pub fn renew(&mut self, policy: BreakerPolicy) {
        self.policy = policy;
        self.enter(State::Closed { failures: 0 });
    }

    /// Returns which attempts may begin at `now`. A clock that was set back does not lengthen a pause.
    pub fn circuit_state(&mut self, now: Timestamp) -> CircuitState {
        match &mut self.state {
            State::Closed { .. } => CircuitState::Closed,
            State::HalfOpen(_) => CircuitState::Open(None),
            State::Open(pause) => {
                pause.until = pause.until.min(later(now, pause.length));
                if now < pause.until { CircuitState::Open(Some(pause.until)) } else { CircuitState::HalfOpen }
            }
        }
    }

    /// Returns permission to begin an attempt at `now`, unless [`Breaker::circuit_state`] is `Open`. A half-open
    /// circuit grants one.
    pub fn acquire(&mut self, now: Timestamp) -> Option<Permit> {
        match self.circuit_state(now) {
            CircuitState::Closed => {}
            CircuitState::Open(_) => return None,
            CircuitState::HalfOpen => {
                if let State::Open(pause) = self.state {
                    self.enter(State::HalfOpen(pause));
                }
            }
        }
        Some(Permit { epoch: self.epoch })
    }

    /// Records a success. Any success closes the circuit, including that of an attempt from before it opened: the
    /// receiver has just responded.
    pub fn succeeded(&mut self, _permit: Permit) {
        match &mut self.state {
            State::Closed { failures } => *failures = 0,
            State::Open(_) | State::HalfOpen(_) => self.enter(State::Closed { failures: 0 }),
        }
    }

    /// Records a failure at `now`. The failure of an attempt that began before the circuit last changed is ignored,
    /// because it says nothing about the time since: a burst of timeouts neither lengthens a pause nor reopens the
    /// circuit.
    pub fn failed(&mut self, permit: Permit, now: Timestamp) {
        if permit.epoch != self.epoch {
            return;
        }
        match self.state {
            State::Closed { failures } => {
                let failures = failures.saturating_add(1);
                if failures < self.policy.failures.get() {
                    self.state = State::Closed { failures };
                } else {
                    let length = self.policy.cooldown;
                    self.enter(State::Open(Pause { since: now, failures, until: later(now, length), length }));
                }
            }
            State::HalfOpen(Pause { since, failures, length, .. }) => {
                let longest = self.policy.max_cooldown.max(self.policy.cooldown);
                let length = length.saturating_mul(2).clamp(self.policy.cooldown, longest);
                let failures = failures.saturating_add(1);
                self.enter(State::Open(Pause { since, failures, until: later(now, length), length }));
            }
            // No attempt begins in this state.
            State::Open(_) => {}
        }
    }

    /// Returns a permit whose attempt did not complete. A probe may begin again at once.
    pub fn released(&mut self, permit: Permit) {
        if let State::HalfOpen(pause) = self.state
            && permit.epoch == self.epoch
        {
            self.enter(State::Open(pause));
        }
    }

    /// Ends the pause at `now` and resets the next one to the first duration, because a change may have fixed the
    /// target. A closed circuit stays closed, and a probe in flight is awaited.
    pub fn hurry(&mut self, now: Timestamp) {
        match &mut self.state {
            State::Closed { .. } => {}
            State::Open(pause) => {
                pause.until = pause.until.min(now);
                pause.length = Duration::ZERO;
            }
            State::HalfOpen(pause) => pause.length = Duration::ZERO,
        }
    }

    /// Returns the circuit's status while it is not closed.
    pub fn circuit(&self) -> Option<OpenCircuit> {
        match self.state {
            State::Closed { .. } => None,
            State::Open(Pause { since, failures, until, .. })
            | State::HalfOpen(Pause { since, failures, until, .. }) => {
                Some(OpenCircuit { since, failures, next_probe: until })
            }
        }
    }

    fn enter(&mut self, state: State) {
        self.state = state;
        self.epoch += 1;
    }
}

fn later(now: Timestamp, by: Duration) -> Timestamp {
    let by = SignedDuration::try_from(by).unwrap_or(SignedDuration::MAX);
    now.checked_add(by).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
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
}
