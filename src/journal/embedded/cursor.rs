//! What a consumer has attempted: a floor and the ranges above it.

use crate::journal::{Sequence, record::ConsumerRow};

/// The durable part of a consumer. Only the committer makes new ones; everybody else reads them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cursor {
    /// The consumer's first event is the one after this.
    pub(super) start: Sequence,
    /// Everything up to here has been attempted.
    floor: Sequence,
    /// What else has been attempted: disjoint, not adjacent, ascending, above `floor + 1`.
    ranges: Vec<(Sequence, Sequence)>,
    /// How many sequences the ranges hold.
    above: u64,
    pub(super) delivered: u64,
    pub(super) retrying: u64,
    /// How many of the retrying ones are queued once more, for a first attempt: known from their rows.
    pub(super) queued: u64,
    pub(super) dead: u64,
    /// Sequences above the floor, in no range, that had been swept before the consumer came.
    pub(super) missing: u64,
}

impl Cursor {
    /// A new consumer's, whose first event is the one after `start`.
    pub(super) fn new(start: Sequence, missing: u64) -> Self {
        Self {
            start,
            floor: start,
            ranges: Vec::new(),
            above: 0,
            delivered: 0,
            retrying: 0,
            queued: 0,
            dead: 0,
            missing,
        }
    }

    pub(super) fn from_row(row: &ConsumerRow) -> Self {
        let mut cursor = Self {
            delivered: row.delivered,
            retrying: row.retrying,
            dead: row.dead,
            floor: row.floor,
            ..Self::new(row.start, row.missing)
        };
        for (first, last) in &row.ranges {
            cursor.mark(*first, *last);
        }
        cursor
    }

    pub(super) fn to_row(&self, namespace: &str, name: &str, endpoint: u32) -> ConsumerRow {
        ConsumerRow {
            namespace: namespace.into(),
            name: name.into(),
            endpoint,
            start: self.start,
            floor: self.floor,
            delivered: self.delivered,
            retrying: self.retrying,
            dead: self.dead,
            missing: self.missing,
            ranges: self.ranges.clone(),
        }
    }

    /// Marks `first..=last` as attempted and returns how many of them were not before.
    pub(super) fn mark(&mut self, first: Sequence, last: Sequence) -> u64 {
        let first = first.max(self.floor.saturating_add(1));
        if last < first {
            return 0;
        }
        let before = self.floor + self.above;
        // The ranges that touch `first..=last` or lie next to it become one.
        let begin = self.ranges.partition_point(|(_, l)| l.saturating_add(1) < first);
        let end = self.ranges.partition_point(|(f, _)| *f <= last.saturating_add(1));
        let mut merged = (first, last);
        for (f, l) in self.ranges.drain(begin..end.max(begin)) {
            merged = (merged.0.min(f), merged.1.max(l));
            self.above -= l - f + 1;
        }
        if merged.0 == self.floor + 1 {
            self.floor = merged.1;
        } else {
            self.above += merged.1 - merged.0 + 1;
            self.ranges.insert(begin, merged);
        }
        self.floor + self.above - before
    }

    /// Has it been attempted (also true for everything before the consumer's start)?
    pub(super) fn contains(&self, sequence: Sequence) -> bool {
        sequence <= self.floor || self.range_of(sequence).is_some()
    }

    /// The first sequence from `from` on that has not been attempted.
    pub(super) fn next_new(&self, from: Sequence) -> Sequence {
        let from = from.max(self.floor + 1);
        self.range_of(from).map_or(from, |(_, last)| last + 1)
    }

    /// How many sequences up to `head` have not been attempted and still exist.
    pub(super) fn new_events(&self, head: Sequence) -> u64 {
        head.saturating_sub(self.floor).saturating_sub(self.above).saturating_sub(self.missing)
    }

    fn range_of(&self, sequence: Sequence) -> Option<(Sequence, Sequence)> {
        let at = self.ranges.partition_point(|(_, last)| *last < sequence);
        self.ranges.get(at).copied().filter(|(first, _)| *first <= sequence)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Against a plain set of sequences.
        #[test]
        fn marks_what_it_was_told(start in 0u64..5, marks in prop::collection::vec((1u64..60, 0u64..6), 0..40)) {
            let mut cursor = Cursor::new(start, 0);
            let mut set: BTreeSet<u64> = (1..=start).collect();
            for (first, more) in marks {
                let news = (first..=first + more).filter(|s| set.insert(*s)).count() as u64;
                prop_assert_eq!(cursor.mark(first, first + more), news);
                for sequence in 1..70 {
                    prop_assert_eq!(cursor.contains(sequence), set.contains(&sequence));
                    let next = (sequence..).find(|s| !set.contains(s)).unwrap();
                    prop_assert_eq!(cursor.next_new(sequence), next);
                }
                prop_assert_eq!(cursor.new_events(70), 70 - set.len() as u64);
                let again = Cursor::from_row(&cursor.to_row("a", "b", 1));
                prop_assert_eq!(&again, &cursor);
            }
        }
    }
}
