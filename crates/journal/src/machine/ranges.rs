//! A set of sequences, stored as disjoint ranges.

use std::{collections::BTreeMap, ops::RangeInclusive};

use crate::Sequence;

/// A set of sequences. Memory grows with the number of ranges, not of sequences; every operation is logarithmic in the
/// number of ranges, plus the ranges that it touches.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct RangeSet {
    /// First to last sequence of each range: disjoint and not adjacent.
    ranges: BTreeMap<Sequence, Sequence>,
}

impl RangeSet {
    /// Creates the set of all sequences up to and including `last`.
    pub(crate) fn up_to(last: Sequence) -> Self {
        Self { ranges: BTreeMap::from([(0, last)]) }
    }

    /// Adds a range; an empty one (`last < first`) changes nothing. Returns the number of sequences added.
    pub(crate) fn insert(&mut self, first: Sequence, last: Sequence) -> u64 {
        if last < first {
            return 0;
        }
        let (mut low, mut high, mut known) = (first, last, 0);
        // A range that begins before `first` and overlaps it, or ends right before it.
        if let Some((&f, &l)) = self.ranges.range(..first).next_back()
            && l >= first.saturating_sub(1)
        {
            low = f;
            high = high.max(l);
            known += l.min(last).checked_sub(first).map_or(0, |more| more + 1);
            self.ranges.remove(&f);
        }
        while let Some((&f, &l)) = self.ranges.range(first..=last.saturating_add(1)).next() {
            high = high.max(l);
            known += l.min(last).checked_sub(f).map_or(0, |more| more + 1);
            self.ranges.remove(&f);
        }
        self.ranges.insert(low, high);
        last - first + 1 - known
    }

    /// Removes a range.
    pub(crate) fn remove(&mut self, first: Sequence, last: Sequence) {
        if last < first {
            return;
        }
        let touched: Vec<_> = self.within(first, last).collect();
        for inner in touched {
            let Some((f, l)) = self.range_of(*inner.start()) else { continue };
            self.ranges.remove(&f);
            if f < *inner.start() {
                self.ranges.insert(f, inner.start() - 1);
            }
            if l > *inner.end() {
                self.ranges.insert(inner.end() + 1, l);
            }
        }
    }

    /// Returns whether the sequence is in the set.
    pub(crate) fn contains(&self, sequence: Sequence) -> bool {
        self.range_of(sequence).is_some()
    }

    /// Returns the first sequence at or after `from` that is not in the set.
    pub(crate) fn next_outside(&self, from: Sequence) -> Sequence {
        self.range_of(from).map_or(from, |(_, last)| last.saturating_add(1))
    }

    /// Returns the last sequence at or before `from` that is not in the set; `None` if all of them are.
    pub(crate) fn previous_outside(&self, from: Sequence) -> Option<Sequence> {
        self.range_of(from).map_or(Some(from), |(first, _)| first.checked_sub(1))
    }

    /// Returns the first sequence at or after `from` that is in the set.
    pub(crate) fn next_inside(&self, from: Sequence) -> Option<Sequence> {
        let next = || self.ranges.range(from..).next().map(|(first, _)| *first);
        if self.contains(from) { Some(from) } else { next() }
    }

    /// Returns the last sequence at or before `from` that is in the set.
    pub(crate) fn previous_inside(&self, from: Sequence) -> Option<Sequence> {
        self.ranges.range(..=from).next_back().map(|(_, last)| (*last).min(from))
    }

    /// Returns the parts of the set between `first` and `last`.
    pub(crate) fn within(
        &self,
        first: Sequence,
        last: Sequence,
    ) -> impl Iterator<Item = RangeInclusive<Sequence>> + '_ {
        let begin = self.range_of(first).map_or(first, |(f, _)| f);
        // `range` panics on a range that ends before it begins.
        let end = last.max(begin);
        self.ranges
            .range(begin..=end)
            .map(move |(f, l)| (*f).max(first)..=(*l).min(last))
            .filter(|range| range.start() <= range.end())
    }

    /// Returns the gaps of the set between `first` and `last`.
    pub(crate) fn outside(&self, first: Sequence, last: Sequence) -> Vec<RangeInclusive<Sequence>> {
        let mut gaps = Vec::new();
        let mut next = first;
        for range in self.within(first, last) {
            if next < *range.start() {
                gaps.push(next..=range.start() - 1);
            }
            next = range.end().saturating_add(1);
        }
        if next <= last {
            gaps.push(next..=last);
        }
        gaps
    }

    /// Returns how many sequences between `first` and `last` are in the set.
    pub(crate) fn count(&self, first: Sequence, last: Sequence) -> u64 {
        self.within(first, last).map(|range| range.end() - range.start() + 1).sum()
    }

    /// Iterates over the ranges, ascending.
    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = (Sequence, Sequence)> + '_ {
        self.ranges.iter().map(|(first, last)| (*first, *last))
    }

    fn range_of(&self, sequence: Sequence) -> Option<(Sequence, Sequence)> {
        let (first, last) = self.ranges.range(..=sequence).next_back()?;
        (*last >= sequence).then_some((*first, *last))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Compares with a plain set of numbers.
        #[test]
        fn agrees_with_a_plain_set(ops in prop::collection::vec((any::<bool>(), 0u64..60, 0u64..8), 0..60)) {
            let mut set = RangeSet::default();
            let mut plain = BTreeSet::new();
            for (insert, first, more) in ops {
                let last = first + more;
                if insert {
                    let new = (first..=last).filter(|n| plain.insert(*n)).count() as u64;
                    prop_assert_eq!(set.insert(first, last), new);
                } else {
                    set.remove(first, last);
                    plain.retain(|n| !(first..=last).contains(n));
                }
                for n in 0..70 {
                    prop_assert_eq!(set.contains(n), plain.contains(&n));
                    prop_assert_eq!(set.next_outside(n), (n..).find(|n| !plain.contains(n)).unwrap());
                    prop_assert_eq!(set.previous_outside(n), (0..=n).rev().find(|n| !plain.contains(n)));
                    prop_assert_eq!(set.next_inside(n), plain.range(n..).next().copied());
                    prop_assert_eq!(set.previous_inside(n), plain.range(..=n).next_back().copied());
                }
                let inside: Vec<u64> = set.within(5, 50).flatten().collect();
                prop_assert_eq!(&inside, &plain.range(5..=50).copied().collect::<Vec<_>>());
                let outside: Vec<u64> = set.outside(5, 50).into_iter().flatten().collect();
                prop_assert_eq!(outside, (5..=50).filter(|n| !plain.contains(n)).collect::<Vec<_>>());
                prop_assert_eq!(set.count(5, 50), inside.len() as u64);
                let mut before = None;
                for (first, last) in set.iter() {
                    prop_assert!(first <= last && before.is_none_or(|before| first > before + 1));
                    before = Some(last);
                }
            }
        }
    }
}
