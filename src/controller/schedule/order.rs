//! The order in which lanes are served: the one that has been due longest first.

use std::{collections::BTreeSet, time::Instant};

use super::{
    Due,
    lane::{Place, Standing},
};

/// A lane, with the time at which it is due and its rank among those that are due at the same time.
pub(super) type Turn<L> = (Instant, u64, L);

/// The lanes `L` that have room for another write.
pub(super) struct Order<L> {
    turns: [[BTreeSet<Turn<L>>; 2]; Standing::ALL.len()],
}

impl<L: Clone + Ord> Order<L> {
    pub(super) fn new() -> Self {
        Self { turns: std::array::from_fn(|_| std::array::from_fn(|_| BTreeSet::new())) }
    }

    /// Moves a lane.
    pub(super) fn set(&mut self, lane: &L, rank: u64, from: Place, to: Place) {
        self.each(lane, rank, from, |turns, turn| {
            turns.remove(&turn);
        });
        self.each(lane, rank, to, |turns, turn| {
            turns.insert(turn);
        });
    }

    fn each(&mut self, lane: &L, rank: u64, place: Place, change: impl Fn(&mut BTreeSet<Turn<L>>, Turn<L>)) {
        for (due, at) in [(Due::Conditions, place.conditions), (Due::Counters, place.counters)] {
            let turns = self.turns.get_mut(place.standing as usize).and_then(|turns| turns.get_mut(due as usize));
            if let (Some(turns), Some(at)) = (turns, at) {
                change(turns, (at, rank, lane.clone()));
            }
        }
    }

    /// The lane that has been due longest.
    pub(super) fn first(&self, standing: Standing, due: Due) -> Option<&Turn<L>> {
        self.turns.get(standing as usize)?.get(due as usize)?.first()
    }
}
