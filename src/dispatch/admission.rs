//! When a subscription may claim events and begin attempts: a state machine without sockets, tasks or clocks.
//!
//! The worker asks before every step and passes the time and its load. An attempt may begin if nothing is in its way:
//! the subscription is parked, its attempts in flight or its unsettled ends are at their bound, the receiver has asked
//! for a pause with `Retry-After`, its circuit is open, or the rate limit has no permit. Claims are bounded in the same
//! way, and by the bytes in memory.

#[cfg(test)]
mod tests;

use std::time::Duration;

use grapnel_delivery::breaker::{Breaker, BreakerPolicy, CircuitState, OpenCircuit, Permit};
use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use crate::dispatch::limits;

/// What the configuration of a subscription allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct AdmissionSettings {
    /// Nothing may be sent.
    pub(super) parked: bool,
    /// Nothing is sent, though attempts begin and end.
    pub(super) shadow: bool,
    /// One event at a time.
    pub(super) ordered: bool,
    /// Maximum attempts in flight, at least one.
    pub(super) max_in_flight: usize,
    /// Longest pause that a receiver can ask for.
    pub(super) max_pause: Duration,
    pub(super) breaker: BreakerPolicy,
}

/// What a worker holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Load {
    /// Deliveries that are claimed and not begun.
    pub(super) waiting: usize,
    /// Attempts in flight.
    pub(super) in_flight: usize,
    /// Ended attempts that are not being settled yet.
    pub(super) ended: usize,
    /// Whether ended attempts are being settled.
    pub(super) settling: bool,
    /// Bytes of everything waiting and in flight.
    pub(super) bytes: usize,
}

/// The time by both clocks: timestamps for what outlasts a process, instants for short waits.
#[derive(Debug, Clone, Copy)]
pub(super) struct AdmissionTime {
    pub(super) clock: Timestamp,
    pub(super) instant: Instant,
}

/// Whether the next attempt may begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AttemptDecision {
    /// It begins now. The permit is returned with its end.
    Start(Permit),
    /// Not before this time.
    WaitUntil(Wake),
    /// Not before an attempt has ended or ended attempts are being settled.
    WaitForRelease,
    /// Not before the configuration changes.
    Parked,
}

/// When to ask again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wake {
    Clock(Timestamp),
    Instant(Instant),
}

/// Decides when attempts begin and events are claimed.
#[derive(Debug)]
pub(super) struct DeliveryAdmission {
    settings: AdmissionSettings,
    breaker: Breaker,
    /// The pause that the receiver has asked for.
    pause: Option<ReceiverPause>,
    /// No attempt begins before this, by the rate limit.
    rate_pause: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
struct ReceiverPause {
    until: Timestamp,
    length: Duration,
}

/// What stands between the subscription and its receiver.
enum Gate {
    /// Nothing.
    Clear,
    /// One attempt may begin.
    Probe,
    /// No attempt may begin before this time; `None` while a probe is in flight.
    Shut(Option<Timestamp>),
}

impl DeliveryAdmission {
    pub(super) fn new(settings: AdmissionSettings) -> Self {
        Self { settings, breaker: Breaker::new(settings.breaker), pause: None, rate_pause: None }
    }

    pub(super) fn settings(&self) -> AdmissionSettings {
        self.settings
    }

    /// Applies a new configuration. The circuit is kept unless its policy has changed. A changed target may work now: it
    /// is not the one that asked for a pause, and its circuit is probed at once. In mode Shadow there is no receiver.
    pub(super) fn reconfigure(&mut self, settings: AdmissionSettings, target_changed: bool, now: Timestamp) {
        let mode_changed = self.settings.shadow != settings.shadow;
        if mode_changed || self.settings.breaker != settings.breaker {
            self.breaker.renew(settings.breaker);
        } else if target_changed {
            self.breaker.hurry(now);
        }
        if target_changed || mode_changed {
            self.pause = None;
        } else if let Some(ReceiverPause { until, length }) = &mut self.pause {
            *length = settings.max_pause.min(*length);
            *until = (*until).min(later(now, *length));
        }
        self.rate_pause = None;
        self.settings = settings;
    }

    /// Ends all pauses: the receiver is asked at `now`.
    pub(super) fn probe_now(&mut self, now: Timestamp) {
        self.breaker.hurry(now);
        self.pause = None;
    }

    /// Whether the next waiting delivery may begin. `rate` takes a permit of the rate limit, or returns the time to wait
    /// for one; it is called only if nothing else is in the way.
    pub(super) fn decide(
        &mut self,
        load: Load,
        now: AdmissionTime,
        rate: impl FnOnce() -> Result<(), Duration>,
    ) -> AttemptDecision {
        if self.settings.parked {
            return AttemptDecision::Parked;
        }
        if load.in_flight >= self.max_in_flight() || load.ended >= limits::UNSETTLED {
            return AttemptDecision::WaitForRelease;
        }
        match self.gate(now.clock) {
            Gate::Shut(Some(until)) => return AttemptDecision::WaitUntil(Wake::Clock(until)),
            Gate::Shut(None) => return AttemptDecision::WaitForRelease,
            Gate::Clear | Gate::Probe => {}
        }
        if let Err(until) = self.take_rate_permit(now.instant, rate) {
            return AttemptDecision::WaitUntil(Wake::Instant(until));
        }
        match self.breaker.acquire(now.clock) {
            Some(permit) => AttemptDecision::Start(permit),
            None => AttemptDecision::WaitForRelease,
        }
    }

    /// How many events to claim now, if any. Some are claimed ahead, so that a freed permit finds its event in memory.
    /// `scanning` means that the last claim found only events that are not delivered.
    pub(super) fn claim_limit(&mut self, load: Load, scanning: bool, now: Timestamp) -> Option<usize> {
        if self.settings.parked || load.ended >= limits::UNSETTLED {
            return None;
        }
        let scan = if scanning { limits::CLAIM_SCAN } else { 1 };
        let gate = self.gate(now);
        if matches!(gate, Gate::Shut(_)) {
            return None;
        }
        if self.settings.ordered {
            let holds_nothing = !load.settling && load.ended + load.in_flight + load.waiting == 0;
            return holds_nothing.then_some(scan);
        }
        if matches!(gate, Gate::Probe) {
            return (load.waiting == 0).then_some(scan);
        }
        let most = self.settings.max_in_flight;
        let ahead = most.min(limits::CLAIM_AHEAD);
        if load.waiting > ahead / 2 || load.bytes >= limits::HELD_BYTES {
            return None;
        }
        let room = (most + ahead).saturating_sub(load.waiting + load.in_flight);
        let limit = if scanning { room.max(scan) } else { room };
        (limit > 0).then_some(limit)
    }

    /// How many waiting deliveries to keep; the others are released, so that they can be claimed when they may begin.
    pub(super) fn kept(&mut self, now: Timestamp) -> usize {
        match self.gate(now) {
            _ if self.settings.parked => 0,
            Gate::Shut(_) => 0,
            Gate::Probe => 1,
            Gate::Clear if self.settings.ordered => 1,
            Gate::Clear => usize::MAX,
        }
    }

    /// When something changes that no event announces: the end of a pause of the receiver or of its circuit.
    pub(super) fn gate_opens(&mut self, now: Timestamp) -> Option<Timestamp> {
        match self.gate(now) {
            Gate::Shut(until) => until,
            Gate::Clear | Gate::Probe => None,
        }
    }

    /// When the rate limit has a permit again, if it had none.
    pub(super) fn rate_pause(&self) -> Option<Instant> {
        self.rate_pause
    }

    /// Records that an attempt which was sent has ended, successfully or not.
    pub(super) fn ended(&mut self, permit: Permit, failed: bool, now: Timestamp) {
        if failed {
            self.breaker.failed(permit, now);
        } else {
            self.breaker.succeeded(permit);
        }
    }

    /// Returns the permit of an attempt that was not sent, or was released before its end.
    pub(super) fn released(&mut self, permit: Permit) {
        self.breaker.released(permit);
    }

    /// Begins the pause that the receiver has asked for at `now`. A longer pause that it has asked for before stays.
    /// Returns whether a pause begins, rather than becomes longer.
    pub(super) fn pause(&mut self, length: Duration, now: Timestamp) -> bool {
        let before = self.paused_until(now);
        let length = length.min(self.settings.max_pause);
        let until = later(now, length);
        if until > now && before.is_none_or(|before| before < until) {
            self.pause = Some(ReceiverPause { until, length });
        }
        before.is_none() && self.pause.is_some()
    }

    /// The circuit while it is not closed.
    pub(super) fn circuit(&self) -> Option<OpenCircuit> {
        self.breaker.circuit()
    }

    fn max_in_flight(&self) -> usize {
        if self.settings.ordered { 1 } else { self.settings.max_in_flight }
    }

    fn gate(&mut self, now: Timestamp) -> Gate {
        let paused = self.paused_until(now);
        match (paused, self.breaker.circuit_state(now)) {
            (None, CircuitState::Closed) => Gate::Clear,
            (None, CircuitState::HalfOpen) => Gate::Probe,
            (None, CircuitState::Open(until)) => Gate::Shut(until),
            (Some(paused), CircuitState::Open(Some(until))) => Gate::Shut(Some(paused.max(until))),
            (Some(paused), _) => Gate::Shut(Some(paused)),
        }
    }

    /// The end of the receiver's pause. A clock that was set back does not lengthen it.
    pub(super) fn paused_until(&mut self, now: Timestamp) -> Option<Timestamp> {
        let ReceiverPause { until, length } = self.pause.as_mut()?;
        *until = (*until).min(later(now, *length));
        let until = *until;
        if until <= now {
            self.pause = None;
        }
        (until > now).then_some(until)
    }

    fn take_rate_permit(&mut self, now: Instant, rate: impl FnOnce() -> Result<(), Duration>) -> Result<(), Instant> {
        if let Some(until) = self.rate_pause.filter(|until| now < *until) {
            return Err(until);
        }
        self.rate_pause = None;
        rate().map_err(|wait| {
            let until = now + wait.clamp(Duration::from_millis(1), limits::DUE_CHECK);
            self.rate_pause = Some(until);
            until
        })
    }
}

fn later(now: Timestamp, by: Duration) -> Timestamp {
    let by = SignedDuration::try_from(by).unwrap_or(SignedDuration::MAX);
    now.checked_add(by).unwrap_or(Timestamp::MAX)
}
