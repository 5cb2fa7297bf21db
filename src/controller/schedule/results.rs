//! What the result of a write says about its object, its lane and all lanes.

use std::{
    hash::Hash,
    time::{Duration, Instant},
};

use super::{Schedule, backoff, lane::Standing};
use crate::controller::limits;

/// Why a write failed.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::controller) struct Refusal {
    /// The pause that the API server asks for.
    pub(in crate::controller) retry_after: Option<Duration>,
    /// The operator lacks the right, so that other objects of the lane fail as well.
    pub(in crate::controller) is_right_missing: bool,
}

/// The standing of the lane when a write began that shows whether the lane's writes are accepted, and whether the write
/// probed; `None` for other writes.
type Trial = Option<(Standing, bool)>;

impl<K: Clone + Ord + Hash, L: Clone + Ord + Hash> Schedule<K, L> {
    /// Records that an object in flight needs no write.
    pub(in crate::controller) fn unchanged(&mut self, key: &K, now: Instant) {
        self.land(key);
        self.rest(key, now);
    }

    /// Records that an object was written, or is gone.
    pub(in crate::controller) fn written(&mut self, key: &K, now: Instant) {
        let Some(trial) = self.land(key) else { return };
        self.failed.clear();
        let name = (self.lane_of)(key);
        if let Some(lane) = self.lanes.get_mut(&name) {
            lane.succeeded(trial.is_some());
        }
        if let Some(pacer) = trial.and_then(|(standing, _)| self.pacer_mut(standing)) {
            pacer.succeeded();
        }
        self.reorder(&name);
        self.rest(key, now);
    }

    /// Records that a write failed. `random`, from 0 to 1, spreads the pauses. Returns whether it is known that the cause
    /// is not the object: a right is missing, or nothing is accepted.
    pub(in crate::controller) fn failed(&mut self, key: &K, now: Instant, refusal: Refusal, random: f64) -> bool {
        let Some(trial) = self.land(key) else { return false };
        let name = (self.lane_of)(key);
        self.judge(key, &name, trial, now, refusal, random);
        if let Some(pause) = refusal.retry_after {
            let until = now + pause.min(limits::RETRY_AFTER_MAX);
            self.pause = Some(self.pause.map_or(until, |pause| pause.max(until)));
            self.suspect_all(now, random);
        }
        let is_refused = self.lanes.get(&name).is_some_and(|lane| lane.standing.is_doubtful());
        if let Some(entry) = self.objects.get_mut(key) {
            let pause = if is_refused {
                // The pacer bounds the tries; whose turn it is then is only a matter of order.
                Duration::ZERO
            } else {
                entry.failures = entry.failures.saturating_add(1);
                backoff(limits::STATUS_RETRY, limits::STATUS_RETRY_MAX, entry.failures, random)
            };
            let at = (now + pause).max(entry.held.unwrap_or(now));
            entry.held = Some(at);
            self.requeue_counters(key, at);
        }
        refusal.is_right_missing || self.lanes.values().all(|lane| lane.standing.is_doubtful())
    }

    /// Whether a right is missing in one of these lanes.
    pub(in crate::controller) fn lacks_right(&self, of: impl Fn(&L) -> bool) -> bool {
        self.lanes.iter().any(|(name, lane)| lane.is_right_missing && of(name))
    }

    /// Decides what a failure says about the lane and about all lanes.
    fn judge(&mut self, key: &K, name: &L, trial: Trial, now: Instant, refusal: Refusal, random: f64) {
        let Some(lane) = self.lanes.get_mut(name) else { return };
        let is_general = match trial {
            Some(_) => true,
            // It began before others of the lane were refused.
            None if lane.standing.is_doubtful() => return,
            None => lane.failed(key, refusal.is_right_missing),
        };
        if is_general {
            lane.refuse(now, refusal.is_right_missing);
            self.refused.close(now, random);
            self.reorder(name);
        }
        if let Some((standing, was_probe)) = trial
            && let Some(pacer) = self.pacer_mut(standing)
        {
            pacer.failed(was_probe, now, random);
        }
        // Refused lanes fail again and again, and say nothing about the others.
        let counts = match trial {
            Some((standing, _)) if standing.is_doubtful() => false,
            Some(_) => self.lanes.values().all(|lane| lane.standing != Standing::Accepted),
            None => true,
        };
        if counts {
            self.failed.insert(name.clone());
        }
        if self.failed.len() >= limits::STATUS_FAILING_AFTER {
            self.suspect_all(now, random);
        }
    }

    /// Records that probably nothing is accepted.
    fn suspect_all(&mut self, now: Instant, random: f64) {
        self.failed.clear();
        self.refused.close(now, random);
        let changed = self.lanes.iter_mut().filter_map(|(name, lane)| lane.suspect().then(|| name.clone()));
        let changed: Vec<L> = changed.collect();
        changed.iter().for_each(|name| self.reorder(name));
    }

    /// Ends the flight of an object. Returns what its write shows about its lane; `None` if there is no flight.
    pub(super) fn land(&mut self, key: &K) -> Option<Trial> {
        self.objects.get_mut(key)?.flight.take()?;
        self.in_flight -= 1;
        let name = (self.lane_of)(key);
        let lane = self.lanes.get_mut(&name)?;
        lane.in_flight -= 1;
        let trial = lane.trial.take_if(|(of, ..)| of == key).map(|(_, standing, was_probe)| (standing, was_probe));
        if let Some(pacer) = trial.and_then(|(standing, _)| self.pacer_mut(standing)) {
            pacer.ended();
        }
        self.reorder(&name);
        Some(trial)
    }

    /// Makes the counters of an object due an interval later.
    fn rest(&mut self, key: &K, now: Instant) {
        if let Some(entry) = self.objects.get_mut(key) {
            entry.failures = 0;
            entry.held = entry.held.filter(|at| *at > now);
            let at = (now + self.interval).max(entry.held.unwrap_or(now));
            self.requeue_counters(key, at);
        }
    }
}
