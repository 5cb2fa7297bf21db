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
mod tests;
