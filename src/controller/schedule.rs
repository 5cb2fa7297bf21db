//! When each object is written: what is urgent at once, the rest within a budget, and failed writes after a pause.
//!
//! There is no I/O and no clock here. [`Schedule::next`] names the object that may be written now, and the result of the
//! write decides when the object is due again. These rules bound the load on the API server:
//!
//! - All objects together write their counters within a budget, the longest due first. If more objects are busy than the
//!   budget allows within an interval, every interval becomes longer by the same factor.
//! - The conditions of one object are written at once, but only a few times in a row: an object that flaps waits.
//! - A failed write is repeated after a pause that doubles.
//! - Objects of one kind in one namespace are a lane. If a right is missing, or if different objects of a lane fail one
//!   after the other, the lane is refused. All refused lanes together make one write at a time, each in turn, after
//!   pauses that double too, until one succeeds. They delay no other lane.
//! - If objects of different lanes fail one after the other and none succeeds in between, all other lanes are suspected:
//!   they are probed like refused ones, but before them.
//! - Nothing is written during a pause that the API server requests.

mod lane;
mod order;
mod pacer;
mod results;

use std::{
    collections::{HashMap, HashSet},
    hash::Hash,
    time::{Duration, Instant},
};

pub(super) use self::results::Refusal;
use self::{
    lane::{Lane, Standing},
    order::{Order, Turn},
    pacer::Pacer,
};
use super::write_budget::WriteBudget;
use crate::controller::limits;

/// The schedule of the objects `K` in the lanes `L`.
pub(super) struct Schedule<K, L> {
    /// Minimum time between two writes of one object's counters.
    interval: Duration,
    /// The budget of counters.
    budget: WriteBudget,
    objects: HashMap<K, Entry>,
    lanes: HashMap<L, Lane<K>>,
    /// The lane of an object.
    lane_of: fn(&K) -> L,
    order: Order<L>,
    /// Bounds writes of lanes that were never written, so that new namespaces wait for no refused ones.
    new: Pacer,
    /// Bounds writes of suspected and refused lanes.
    refused: Pacer,
    /// Lanes that have failed since the last success of any.
    failed: HashSet<L>,
    /// The end of the pause that the API server has requested.
    pause: Option<Instant>,
    in_flight: usize,
}

/// What is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Due {
    /// Conditions that have changed, or another urgent write.
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
    has_counters: bool,
}

impl<K: Clone + Ord + Hash, L: Clone + Ord + Hash> Schedule<K, L> {
    /// A schedule without objects that writes the counters of each at most once in an `interval`, and those of all
    /// within the budget. `lane_of` returns the lane of an object.
    pub(super) fn new(interval: Duration, budget: WriteBudget, lane_of: fn(&K) -> L) -> Self {
        Self {
            interval,
            budget,
            objects: HashMap::new(),
            lanes: HashMap::new(),
            lane_of,
            order: Order::new(),
            new: Pacer::of_new(),
            refused: Pacer::of_refused(),
            failed: HashSet::new(),
            pause: None,
            in_flight: 0,
        }
    }

    /// Adds an object, unless it is known.
    pub(super) fn add(&mut self, key: &K) {
        if !self.objects.contains_key(key) {
            self.objects.insert(key.clone(), Entry::default());
            let name = (self.lane_of)(key);
            self.lanes.entry(name).or_insert_with_key(|name| Lane::new(name)).objects += 1;
        }
    }

    /// Adds an object with counters, which are due, unless it is known.
    pub(super) fn add_with_counters(&mut self, key: &K, now: Instant) {
        self.add(key);
        if let Some(entry) = self.objects.get_mut(key).filter(|entry| !entry.has_counters) {
            entry.has_counters = true;
            self.requeue_counters(key, now);
        }
    }

    /// Removes an object.
    pub(super) fn remove(&mut self, key: &K) {
        self.land(key);
        let Some(mut entry) = self.objects.remove(key) else { return };
        let name = (self.lane_of)(key);
        let Some(lane) = self.lanes.get_mut(&name) else { return };
        lane.unqueue(key, &mut entry);
        lane.objects -= 1;
        let is_empty = lane.objects == 0;
        self.reorder(&name);
        if is_empty {
            self.lanes.remove(&name);
            self.failed.remove(&name);
        }
    }

    /// Schedules the conditions of an object, no earlier than `at`. Ignored while the object is being written: the
    /// caller compares again after the write.
    pub(super) fn conditions_changed(&mut self, key: &K, at: Instant) {
        let name = (self.lane_of)(key);
        let Some(lane) = self.lanes.get_mut(&name) else { return };
        let Some(entry) = self.objects.get_mut(key).filter(|entry| entry.flight.is_none()) else { return };
        let at = at.max(entry.conditions_from().unwrap_or(at)).max(entry.held.unwrap_or(at));
        if entry.conditions.is_some_and(|scheduled| scheduled <= at) {
            return;
        }
        if let Some(later) = entry.conditions.replace(at) {
            lane.conditions.remove(&(later, key.clone()));
        }
        lane.conditions.insert((at, key.clone()));
        self.reorder(&name);
    }

    /// Makes the counters of an object due at `at`, and writes nothing of it before.
    pub(super) fn hold(&mut self, key: &K, at: Instant) {
        let Some(lane) = self.lanes.get_mut(&(self.lane_of)(key)) else { return };
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
        if self.pause.is_some_and(|pause| now < pause) || self.in_flight >= limits::STATUS_WRITES_AT_ONCE {
            return None;
        }
        let ((_, _, name), due) = self.probe(now).or_else(|| self.ordinary(now))?;
        let name = name.clone();
        let lane = self.lanes.get_mut(&name)?;
        let key = lane.first(due)?.clone();
        let entry = self.objects.get_mut(&key)?;
        lane.unqueue(&key, entry);
        entry.flight = Some(due);
        lane.in_flight += 1;
        self.in_flight += 1;
        self.reorder(&name);
        Some((key, due))
    }

    /// The lane to probe now: a suspected one before a refused one. What is urgent comes in the same order as counters:
    /// otherwise a lane without anything urgent would never be probed.
    fn probe(&self, now: Instant) -> Option<(&Turn<L>, Due)> {
        self.may_begin(Standing::Refused, now).then_some(())?;
        let first = |standing: Standing| {
            let turns = [Due::Conditions, Due::Counters].into_iter().filter_map(|due| self.turn(standing, due, now));
            turns.min()
        };
        first(Standing::Suspected).or_else(|| first(Standing::Refused))
    }

    /// The lane to write now that is neither suspected nor refused.
    fn ordinary(&self, now: Instant) -> Option<(&Turn<L>, Due)> {
        [Due::Conditions, Due::Counters].into_iter().find_map(|due| {
            let standings = [Standing::New, Standing::Accepted].into_iter();
            standings
                .filter(|standing| self.may_begin(*standing, now))
                .filter_map(|standing| self.turn(standing, due, now))
                .min()
        })
    }

    fn may_begin(&self, standing: Standing, now: Instant) -> bool {
        let is_ready = |pacer: &Pacer| pacer.has_room() && pacer.opens().is_none_or(|opens| opens <= now);
        self.pacer(standing).is_none_or(is_ready)
    }

    /// The first lane, if it is due and within the budget.
    fn turn(&self, standing: Standing, due: Due, now: Instant) -> Option<(&Turn<L>, Due)> {
        let is_within = due == Due::Conditions || self.budget.is_open(now);
        self.order.first(standing, due).filter(|(at, ..)| is_within && *at <= now).map(|turn| (turn, due))
    }

    /// When [`Self::next`] may name an object; `None` if only a result or a change can lead to one.
    pub(super) fn wake(&self) -> Option<Instant> {
        if self.in_flight >= limits::STATUS_WRITES_AT_ONCE {
            return None;
        }
        let counters_from = self.budget.opens();
        let of_standing = |standing: Standing| {
            let pacer = self.pacer(standing);
            if pacer.is_some_and(|pacer| !pacer.has_room()) {
                return None;
            }
            let at = |due: Due| self.order.first(standing, due).map(|(at, ..)| *at);
            let counters = at(Due::Counters).map(|at| at.max(counters_from.unwrap_or(at)));
            let at = at(Due::Conditions).into_iter().chain(counters).min()?;
            let opens = pacer.and_then(Pacer::opens).into_iter().chain(self.pause).max();
            Some(at.max(opens.unwrap_or(at)))
        };
        Standing::ALL.into_iter().filter_map(of_standing).min()
    }

    /// Records that the write of an object begins, which uses up its part of the budget.
    pub(super) fn began(&mut self, key: &K, now: Instant) {
        let Some(entry) = self.objects.get_mut(key) else { return };
        match entry.flight {
            Some(Due::Conditions) => {
                let paid = entry.conditions_paid.unwrap_or(now).max(now);
                entry.conditions_paid = Some(paid + limits::CONDITIONS_PERIOD);
            }
            Some(Due::Counters) => self.budget.take(now),
            None => {}
        }
        if let Some(lane) = self.lanes.get_mut(&(self.lane_of)(key)) {
            let pacer = match lane.standing {
                Standing::New => &mut self.new,
                Standing::Suspected | Standing::Refused => &mut self.refused,
                Standing::Accepted => return,
            };
            lane.trial = Some((key.clone(), lane.standing, pacer.began()));
        }
    }

    fn requeue_counters(&mut self, key: &K, at: Instant) {
        let name = (self.lane_of)(key);
        if let Some(lane) = self.lanes.get_mut(&name)
            && let Some(entry) = self.objects.get_mut(key).filter(|entry| entry.has_counters)
        {
            if let Some(before) = entry.counters.replace(at) {
                lane.counters.remove(&(before, key.clone()));
            }
            lane.counters.insert((at, key.clone()));
        }
        self.reorder(&name);
    }

    /// Moves a lane to its place.
    fn reorder(&mut self, name: &L) {
        if let Some(lane) = self.lanes.get_mut(name) {
            let (from, to) = (lane.place, lane.next_place());
            self.order.set(name, lane.rank, from, to);
            lane.place = to;
        }
    }

    /// What bounds the writes of lanes with this standing.
    fn pacer(&self, standing: Standing) -> Option<&Pacer> {
        match standing {
            Standing::New => Some(&self.new),
            Standing::Suspected | Standing::Refused => Some(&self.refused),
            Standing::Accepted => None,
        }
    }

    fn pacer_mut(&mut self, standing: Standing) -> Option<&mut Pacer> {
        match standing {
            Standing::New => Some(&mut self.new),
            Standing::Suspected | Standing::Refused => Some(&mut self.refused),
            Standing::Accepted => None,
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
