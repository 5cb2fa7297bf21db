//! Bounds writes of which it is not known whether the API server accepts them.

use std::time::{Duration, Instant};

use super::backoff;
use crate::controller::limits;

/// Lets such writes through: some at once, and after failures one at a time, with pauses that double up to a maximum. A
/// success ends the pauses.
#[derive(Debug)]
pub(super) struct Pacer {
    /// Writes in flight at once, before there are pauses.
    at_once: usize,
    /// Failures in a row before the first pause.
    free: u32,
    longest: Duration,
    failures: u32,
    until: Option<Instant>,
    in_flight: usize,
}

impl Pacer {
    /// For objects that were never written: new ones are written soon, whatever else is refused.
    pub(super) fn of_new() -> Self {
        let free = limits::STATUS_FAILING_AFTER as u32 - 1;
        Self::new(limits::STATUS_WRITES_AT_ONCE / 2, free, limits::STATUS_NEW_PROBE_MAX)
    }

    /// For objects that were refused.
    pub(super) fn of_refused() -> Self {
        Self::new(1, 0, limits::STATUS_PROBE_MAX)
    }

    fn new(at_once: usize, free: u32, longest: Duration) -> Self {
        Self { at_once, free, longest, failures: 0, until: None, in_flight: 0 }
    }

    /// Whether another write may be in flight.
    pub(super) fn has_room(&self) -> bool {
        self.in_flight < if self.is_pausing() { 1 } else { self.at_once }
    }

    /// When the next write may begin, if there is a pause.
    pub(super) fn opens(&self) -> Option<Instant> {
        self.until
    }

    fn is_pausing(&self) -> bool {
        self.failures > self.free
    }

    /// Records that a write begins. Returns whether it probes, because others have failed.
    pub(super) fn began(&mut self) -> bool {
        self.in_flight += 1;
        self.is_pausing()
    }

    /// Records that a write has ended, whatever its result.
    pub(super) fn ended(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    /// Records a success.
    pub(super) fn succeeded(&mut self) {
        (self.failures, self.until) = (0, None);
    }

    /// Records a failure. Those of writes that began before the first pause do not make it longer.
    pub(super) fn failed(&mut self, was_probe: bool, now: Instant, random: f64) {
        if was_probe || !self.is_pausing() {
            self.failures = self.failures.saturating_add(1);
            self.pause(now, random);
        }
    }

    /// Begins the pauses, unless they have begun.
    pub(super) fn close(&mut self, now: Instant, random: f64) {
        if !self.is_pausing() {
            self.failures = self.free + 1;
            self.pause(now, random);
        }
    }

    fn pause(&mut self, now: Instant, random: f64) {
        let failures = self.failures.saturating_sub(self.free);
        if failures > 0 {
            self.until = Some(now + backoff(limits::STATUS_PROBE, self.longest, failures, random));
        }
    }
}
