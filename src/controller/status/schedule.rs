//! When each status is written: changed conditions at once, counters within a budget, and failed writes after a pause.
//!
//! There is no I/O and no clock here. [`Schedule::next`] names the object that may be written now, and the result of the
//! write decides when the object is due again. Three rules bound the load on the API server:
//!
//! - All objects together write their counters at a fixed rate, the longest due first. If more objects are busy than the
//!   rate allows within an interval, every interval becomes longer by the same factor.
//! - The conditions of one object are written at once, but only a few times in a row: an object that flaps waits.
//! - A failed write is repeated after a pause that doubles. If different objects of a kind fail one after the other, the
//!   cause is not the object: then one write at a time probes the API server, after a pause that doubles too, until one
//!   succeeds.

use std::{
    collections::{BTreeSet, HashMap},
    hash::Hash,
    time::{Duration, Instant},
};

use super::gate::Gate;
use crate::controller::limits;

/// The schedule of the objects `K`.
pub(super) struct Schedule<K> {
    /// Minimum time between two writes of one object's counters.
    interval: Duration,
    /// Minimum time between two writes of any counters.
    spacing: Duration,
    objects: HashMap<K, Entry>,
    /// One for each kind, since the right to write may be missing for one of them.
    lanes: [Lane<K>; LANES],
    /// The lane of an object.
    lane_of: fn(&K) -> usize,
    /// When the next counters may be written.
    counters_from: Option<Instant>,
}

/// Number of kinds.
pub(super) const LANES: usize = 3;

/// The objects of one kind.
struct Lane<K> {
    /// Objects whose conditions have changed, by the time at which they may be written.
    conditions: BTreeSet<(Instant, K)>,
    /// All objects that are not being written, by the time at which their counters are due.
    counters: BTreeSet<(Instant, K)>,
    gate: Gate<K>,
    in_flight: usize,
}

/// What is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    /// Conditions that have changed.
    Conditions,
    /// Counters, if they have changed.
    Counters,
}

/// An object.
#[derive(Default)]
struct Entry {
    conditions: Option<Instant>,
    counters: Option<Instant>,
    /// Nothing is written before this time: after a failure, or while another writer is contested.
    held: Option<Instant>,
    /// Failures in a row.
    failures: u32,
    /// The time by which the conditions written so far are used up (generic cell rate algorithm).
    conditions_paid: Option<Instant>,
    flight: Option<Due>,
}

impl<K: Clone + Ord + Hash> Schedule<K> {
    /// A schedule without objects that writes the counters of each at most once in an `interval`, and those of all
    /// objects at most `per_second` times a second. `lane_of` returns the lane of an object, less than [`LANES`].
    pub(super) fn new(interval: Duration, per_second: u32, lane_of: fn(&K) -> usize) -> Self {
        let spacing = Duration::from_secs(1) / per_second.max(1);
        let lanes = std::array::from_fn(|_| Lane::new());
        Self { interval, spacing, objects: HashMap::new(), lanes, lane_of, counters_from: None }
    }

    /// Adds an object whose counters are due, unless it is known.
    pub(super) fn add(&mut self, key: &K, now: Instant) {
        if !self.objects.contains_key(key) {
            self.objects.insert(key.clone(), Entry::default());
            self.requeue_counters(key, now);
        }
    }

    /// Removes an object.
    pub(super) fn remove(&mut self, key: &K) {
        let Some(mut entry) = self.objects.remove(key) else { return };
        if let Some(lane) = self.lanes.get_mut((self.lane_of)(key)) {
            lane.unqueue(key, &mut entry);
            lane.in_flight -= usize::from(entry.flight.is_some());
        }
    }

    /// Schedules the conditions of an object, no earlier than `at`. Ignored while the object is being written: the
    /// caller compares again after the write.
    pub(super) fn conditions_changed(&mut self, key: &K, at: Instant) {
        let Some(lane) = self.lanes.get_mut((self.lane_of)(key)) else { return };
        let Some(entry) = self.objects.get_mut(key).filter(|entry| entry.flight.is_none()) else { return };
        let at = at.max(entry.conditions_from().unwrap_or(at)).max(entry.held.unwrap_or(at));
        if entry.conditions.is_some_and(|scheduled| scheduled <= at) {
            return;
        }
        if let Some(later) = entry.conditions.replace(at) {
            lane.conditions.remove(&(later, key.clone()));
        }
        lane.conditions.insert((at, key.clone()));
    }

    /// Makes the counters of an object due at `at`, and writes nothing of it before.
    pub(super) fn hold(&mut self, key: &K, at: Instant) {
        let Some(lane) = self.lanes.get_mut((self.lane_of)(key)) else { return };
        let Some(entry) = self.objects.get_mut(key) else { return };
        entry.held = Some(at);
        if entry.flight.is_some() {
            return;
        }
        if let Some(due) = entry.conditions.take() {
            lane.conditions.remove(&(due, key.clone()));
            entry.conditions = Some(due.max(at));
            lane.conditions.insert((due.max(at), key.clone()));
        }
        self.requeue_counters(key, at);
    }

    /// The object that may be written now. It counts as in flight until its result is recorded.
    pub(super) fn next(&mut self, now: Instant) -> Option<(K, Due)> {
        let open = || self.lanes.iter().filter(|lane| lane.has_room() && lane.gate.is_open(now));
        let due = |queue: fn(&Lane<K>) -> &BTreeSet<(Instant, K)>| {
            let first = open().filter_map(|lane| queue(lane).first()).min();
            first.filter(|(at, _)| *at <= now).map(|(_, key)| key.clone())
        };
        let (key, part) = match due(|lane| &lane.conditions) {
            Some(key) => (key, Due::Conditions),
            None if self.counters_from.is_none_or(|from| from <= now) => (due(|lane| &lane.counters)?, Due::Counters),
            None => return None,
        };
        let (entry, lane) = (self.objects.get_mut(&key)?, self.lanes.get_mut((self.lane_of)(&key))?);
        lane.unqueue(&key, entry);
        entry.flight = Some(part);
        lane.in_flight += 1;
        Some((key, part))
    }

    /// When [`Self::next`] may name an object; `None` if only a result or a change can lead to one.
    pub(super) fn wake(&self) -> Option<Instant> {
        let of_lane = |lane: &Lane<K>| {
            let conditions = lane.conditions.first().map(|(at, _)| *at);
            let counters = lane.counters.first().map(|(at, _)| (*at).max(self.counters_from.unwrap_or(*at)));
            let at = conditions.into_iter().chain(counters).min()?;
            Some(at.max(lane.gate.opens().unwrap_or(at)))
        };
        self.lanes.iter().filter(|lane| lane.has_room()).filter_map(of_lane).min()
    }

    /// Records that the write of an object begins, which uses up its part of the budget.
    pub(super) fn began(&mut self, key: &K, now: Instant) {
        let Some(entry) = self.objects.get_mut(key) else { return };
        match entry.flight {
            Some(Due::Conditions) => {
                let paid = entry.conditions_paid.unwrap_or(now).max(now);
                entry.conditions_paid = Some(paid + limits::CONDITIONS_PERIOD);
            }
            Some(Due::Counters) => self.counters_from = Some(now + self.spacing),
            None => {}
        }
        if let Some(lane) = self.lanes.get_mut((self.lane_of)(key)) {
            lane.gate.began(key);
        }
    }

    /// Records that an object in flight needs no write.
    pub(super) fn unchanged(&mut self, key: &K, now: Instant) {
        if let Some(entry) = self.land(key) {
            entry.failures = 0;
            entry.held = entry.held.filter(|at| *at > now);
            let held = entry.held;
            self.requeue_counters(key, (now + self.interval).max(held.unwrap_or(now)));
        }
    }

    /// Records that an object was written, or is gone.
    pub(super) fn written(&mut self, key: &K, now: Instant) {
        self.unchanged(key, now);
        if let Some(lane) = self.lanes.get_mut((self.lane_of)(key)) {
            lane.gate.succeeded(key);
        }
    }

    /// Records that a write failed. `retry_after` is the pause that the API server asks for; `random`, from 0 to 1,
    /// spreads the pauses. Returns whether all writes of its kind fail.
    pub(super) fn failed(&mut self, key: &K, now: Instant, retry_after: Option<Duration>, random: f64) -> bool {
        let Some(lane) = self.lanes.get_mut((self.lane_of)(key)) else { return false };
        let is_general = lane.gate.failed(key, now, retry_after, random);
        let Some(entry) = self.land(key) else { return is_general };
        let pause = if is_general {
            // The gate bounds the tries; whose turn it is then is only a matter of order.
            Duration::ZERO
        } else {
            entry.failures = entry.failures.saturating_add(1);
            backoff(limits::STATUS_RETRY, limits::STATUS_RETRY_MAX, entry.failures, random)
        };
        let at = (now + pause).max(entry.held.unwrap_or(now));
        entry.held = Some(at);
        self.requeue_counters(key, at);
        is_general
    }

    fn land(&mut self, key: &K) -> Option<&mut Entry> {
        let entry = self.objects.get_mut(key)?;
        entry.flight.take()?;
        self.lanes.get_mut((self.lane_of)(key))?.in_flight -= 1;
        Some(entry)
    }

    fn requeue_counters(&mut self, key: &K, at: Instant) {
        let Some(lane) = self.lanes.get_mut((self.lane_of)(key)) else { return };
        let Some(entry) = self.objects.get_mut(key) else { return };
        if let Some(before) = entry.counters.replace(at) {
            lane.counters.remove(&(before, key.clone()));
        }
        lane.counters.insert((at, key.clone()));
    }
}

impl<K: Clone + Ord + Hash> Lane<K> {
    fn new() -> Self {
        Self { conditions: BTreeSet::new(), counters: BTreeSet::new(), gate: Gate::default(), in_flight: 0 }
    }

    fn has_room(&self) -> bool {
        self.in_flight < self.gate.most_in_flight()
    }

    fn unqueue(&mut self, key: &K, entry: &mut Entry) {
        if let Some(at) = entry.conditions.take() {
            self.conditions.remove(&(at, key.clone()));
        }
        if let Some(at) = entry.counters.take() {
            self.counters.remove(&(at, key.clone()));
        }
    }
}

impl Entry {
    /// When the next conditions may be written.
    fn conditions_from(&self) -> Option<Instant> {
        let slack = limits::CONDITIONS_PERIOD * (limits::CONDITIONS_BURST - 1);
        self.conditions_paid?.checked_sub(slack)
    }
}

/// The pause after a number of failures in a row: it doubles from `first` to `most`, and is up to a quarter shorter.
pub(super) fn backoff(first: Duration, most: Duration, failures: u32, random: f64) -> Duration {
    let doubled = first.saturating_mul(1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX));
    doubled.min(most).mul_f64(1.0 - random.clamp(0.0, 1.0) / 4.0)
}

#[cfg(test)]
mod tests;
