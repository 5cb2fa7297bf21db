//! The events of one endpoint that are no longer kept, as far as later redeliveries have to count them.
//!
//! Neighbouring removed events are one gap, so that there are not more gaps than kept events and consumers.

use std::collections::BTreeMap;

use crate::{Sequence, machine::Micros};

/// Removed events that follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Gap {
    pub(super) first: Sequence,
    pub(super) last: Sequence,
    /// Number of the events.
    pub(super) events: u64,
    /// The earliest time of receipt.
    pub(super) earliest: Micros,
    /// The latest time of receipt.
    pub(super) latest: Micros,
}

/// The gaps of an endpoint, by their last sequence. They do not overlap.
#[derive(Debug, Default)]
pub(super) struct Gaps(BTreeMap<Sequence, Gap>);

impl Gap {
    fn merged(self, other: Self) -> Self {
        Self {
            first: self.first.min(other.first),
            last: self.last.max(other.last),
            events: self.events + other.events,
            earliest: self.earliest.min(other.earliest),
            latest: self.latest.max(other.latest),
        }
    }
}

impl Gaps {
    /// Adds a removed event. `is_between` returns whether something separates two positions.
    pub(super) fn add(
        &mut self,
        sequence: Sequence,
        received: Micros,
        is_between: &dyn Fn(Sequence, Sequence) -> bool,
    ) {
        if self.0.range(sequence..).next().is_some_and(|(_, gap)| gap.first <= sequence) {
            return;
        }
        let mut gap = Gap { first: sequence, last: sequence, events: 1, earliest: received, latest: received };
        let before = self.0.range(..sequence).next_back().map(|(_, gap)| *gap);
        if let Some(before) = before.filter(|before| !is_between(before.last, gap.first)) {
            self.0.remove(&before.last);
            gap = before.merged(gap);
        }
        let after = self.0.range(sequence..).next().map(|(_, gap)| *gap);
        if let Some(after) = after.filter(|after| !is_between(gap.last, after.first)) {
            self.0.remove(&after.last);
            gap = gap.merged(after);
        }
        self.0.insert(gap.last, gap);
    }

    /// Adds a gap that is not known.
    pub(super) fn restore(&mut self, gap: Gap) {
        self.0.insert(gap.last, gap);
    }

    /// Merges all gaps between which nothing is.
    pub(super) fn merge(&mut self, is_between: &dyn Fn(Sequence, Sequence) -> bool) {
        let mut merged: Vec<Gap> = Vec::with_capacity(self.0.len());
        for gap in self.0.values() {
            match merged.last_mut().filter(|before| !is_between(before.last, gap.first)) {
                Some(before) => *before = before.merged(*gap),
                None => merged.push(*gap),
            }
        }
        self.0 = merged.into_iter().map(|gap| (gap.last, gap)).collect();
    }

    /// Iterates over the gaps that end at or after `from`, ascending.
    pub(super) fn ending_at(&self, from: Sequence) -> impl Iterator<Item = &Gap> {
        self.0.range(from..).map(|(_, gap)| gap)
    }

    /// Iterates over all gaps, ascending.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Gap> {
        self.0.values()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// In any order of removal, the gaps are the runs of removed events between the kept ones.
        #[test]
        fn gaps_are_runs_of_removed_events(order in Just((1u64..40).collect::<Vec<_>>()).prop_shuffle(), removed in 0usize..40) {
            let received = |sequence: Sequence| Micros((sequence as i64 * 7) % 11);
            let mut kept: BTreeSet<Sequence> = order.iter().copied().collect();
            let mut gaps = Gaps::default();
            let mut late = Gaps::default();
            for sequence in order.iter().take(removed) {
                kept.remove(sequence);
                gaps.add(*sequence, received(*sequence), &|left, right| kept.range(left..=right).next().is_some());
                gaps.add(*sequence, received(*sequence), &|_, _| true);
                late.add(*sequence, received(*sequence), &|_, _| true);
            }
            let is_between = |left, right| kept.range(left..=right).next().is_some();
            late.merge(&is_between);
            prop_assert!(gaps.iter().eq(late.iter()));
            prop_assert_eq!(gaps.iter().map(|gap| gap.events).sum::<u64>(), removed.min(order.len()) as u64);
            for gap in gaps.iter() {
                prop_assert!(!is_between(gap.first, gap.last));
                prop_assert!(gap.first == 1 || kept.contains(&(gap.first - 1)));
                prop_assert!(gap.last == 39 || kept.contains(&(gap.last + 1)));
                prop_assert_eq!(Some(gap.earliest), (gap.first..=gap.last).map(received).min());
                prop_assert_eq!(Some(gap.latest), (gap.first..=gap.last).map(received).max());
            }
        }
    }
}
