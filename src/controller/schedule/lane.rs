//! Objects that are refused together: those of one kind in one namespace, as a Role grants rights.

use std::{
    collections::{BTreeSet, HashSet},
    hash::{BuildHasher, BuildHasherDefault, DefaultHasher, Hash},
    time::Instant,
};

use super::{Due, Entry};
use crate::controller::limits;

/// Whether the API server accepts writes of a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// Nothing was written yet.
    New,
    /// The last write succeeded, or too few have failed since to tell.
    Accepted,
    /// Writes of other lanes have failed one after the other, so that those of this lane probably fail as well.
    Suspected,
    /// Writes are refused, whatever their object.
    Refused,
}

impl Standing {
    pub(super) const ALL: [Self; 4] = [Self::New, Self::Accepted, Self::Suspected, Self::Refused];

    /// Whether a write is a probe that the pacer of refused lanes bounds.
    pub(super) fn is_doubtful(self) -> bool {
        matches!(self, Self::Suspected | Self::Refused)
    }
}

/// The objects `K` of one lane.
pub(super) struct Lane<K> {
    pub(super) standing: Standing,
    /// Objects whose conditions have changed, by the time at which they may be written.
    pub(super) conditions: BTreeSet<(Instant, K)>,
    /// Objects that are not being written, by the time at which their counters are due.
    pub(super) counters: BTreeSet<(Instant, K)>,
    /// The number of objects.
    pub(super) objects: usize,
    /// The last refusal was for a missing right.
    pub(super) is_right_missing: bool,
    /// Objects that have failed since the last success; at most [`limits::STATUS_FAILING_AFTER`].
    failed: HashSet<K>,
    /// When a write was refused last: lanes are probed in turn.
    refused: Option<Instant>,
    /// The write that shows whether writes are accepted, the standing when it began, and whether it probes.
    pub(super) trial: Option<(K, Standing, bool)>,
    pub(super) in_flight: usize,
    /// Decides between lanes that are due at the same time. It is not the order of their names: otherwise all
    /// namespaces that a naming scheme puts first might be refused before another one has its turn.
    pub(super) rank: u64,
    /// Where the lane is in the order of lanes.
    pub(super) place: Place,
}

/// Where a lane is in the order of lanes, and since when its parts are due.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) standing: Standing,
    pub(super) conditions: Option<Instant>,
    pub(super) counters: Option<Instant>,
}

impl<K: Clone + Ord + Hash> Lane<K> {
    pub(super) fn new(name: &impl Hash) -> Self {
        let standing = Standing::New;
        Self {
            standing,
            conditions: BTreeSet::new(),
            counters: BTreeSet::new(),
            objects: 0,
            is_right_missing: false,
            failed: HashSet::new(),
            refused: None,
            trial: None,
            in_flight: 0,
            rank: BuildHasherDefault::<DefaultHasher>::default().hash_one(name),
            place: Place { standing, conditions: None, counters: None },
        }
    }

    /// Where the lane belongs in the order of lanes.
    pub(super) fn next_place(&self) -> Place {
        let room = match self.standing {
            Standing::Accepted => limits::STATUS_WRITES_AT_ONCE / 2,
            Standing::New | Standing::Suspected | Standing::Refused => 1,
        };
        let has_room = self.in_flight < room;
        let due = |queue: &BTreeSet<(Instant, K)>| {
            let (at, _) = queue.first().filter(|_| has_room)?;
            Some((*at).max(self.refused.unwrap_or(*at)))
        };
        Place { standing: self.standing, conditions: due(&self.conditions), counters: due(&self.counters) }
    }

    pub(super) fn unqueue(&mut self, key: &K, entry: &mut Entry) {
        if let Some(at) = entry.conditions.take() {
            self.conditions.remove(&(at, key.clone()));
        }
        if let Some(at) = entry.counters.take() {
            self.counters.remove(&(at, key.clone()));
        }
    }

    /// The object that has been due longest.
    pub(super) fn first(&self, due: Due) -> Option<&K> {
        let queue = match due {
            Due::Conditions => &self.conditions,
            Due::Counters => &self.counters,
        };
        queue.first().map(|(_, key)| key)
    }

    /// Records a success. `was_trial` says whether it shows that writes are accepted: a write that began before others
    /// were refused does not.
    pub(super) fn succeeded(&mut self, was_trial: bool) {
        self.failed.clear();
        if was_trial {
            (self.standing, self.refused, self.is_right_missing) = (Standing::Accepted, None, false);
        }
    }

    /// Records the failure of a write of accepted objects. Returns whether it concerns all objects: one of them may fail
    /// for a reason of its own.
    pub(super) fn failed(&mut self, key: &K, is_right_missing: bool) -> bool {
        self.failed.insert(key.clone());
        is_right_missing || self.failed.len() >= self.objects.clamp(1, limits::STATUS_FAILING_AFTER)
    }

    /// Records that a write was refused, for a reason that concerns all objects.
    pub(super) fn refuse(&mut self, now: Instant, is_right_missing: bool) {
        (self.standing, self.refused, self.is_right_missing) = (Standing::Refused, Some(now), is_right_missing);
        self.failed.clear();
    }

    /// Records that other lanes are refused. Returns whether this is a change.
    pub(super) fn suspect(&mut self) -> bool {
        let is_change = !self.standing.is_doubtful();
        if is_change {
            self.standing = Standing::Suspected;
            self.failed.clear();
        }
        is_change
    }
}
