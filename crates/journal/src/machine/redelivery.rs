//! Which events a redelivery selects: what every engine needs for it.

use super::Micros;
use crate::{Redelivered, Sequence};

/// The selection of one step of a redelivery.
#[derive(Debug, Default)]
pub(crate) struct Chosen {
    /// Kept events that the consumer reads.
    pub(crate) sequences: Vec<Sequence>,
    /// Counts of all other events.
    pub(crate) counts: Redelivered,
}

/// A range of times of receipt.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ReceiptRange {
    /// Inclusive.
    pub(crate) since: Option<Micros>,
    /// Exclusive.
    pub(crate) until: Option<Micros>,
}

/// How much of a period is in a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Overlap {
    All,
    Some,
    None,
}

impl ReceiptRange {
    /// Returns whether the range contains a time.
    pub(crate) fn holds(&self, received: Micros) -> bool {
        self.overlap(received, received) == Overlap::All
    }

    /// Compares the range with the period from `earliest` to `latest`, both inclusive.
    pub(crate) fn overlap(&self, earliest: Micros, latest: Micros) -> Overlap {
        let is_empty = self.since.zip(self.until).is_some_and(|(since, until)| since >= until);
        let is_before = self.since.is_some_and(|since| latest < since);
        let is_after = self.until.is_some_and(|until| earliest >= until);
        let begins_inside = self.since.is_none_or(|since| earliest >= since);
        let ends_inside = self.until.is_none_or(|until| latest < until);
        match (is_empty || is_before || is_after, begins_inside && ends_inside) {
            (true, _) => Overlap::None,
            (false, true) => Overlap::All,
            (false, false) => Overlap::Some,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(since: Option<i64>, until: Option<i64>) -> ReceiptRange {
        ReceiptRange { since: since.map(Micros), until: until.map(Micros) }
    }

    #[test]
    fn a_range_includes_its_beginning_and_not_its_end() {
        let held = |range: ReceiptRange| (0..6).filter(|at| range.holds(Micros(*at))).collect::<Vec<_>>();
        assert_eq!(held(range(Some(2), Some(4))), [2, 3]);
        assert_eq!(held(range(Some(4), None)), [4, 5]);
        assert_eq!(held(range(None, Some(2))), [0, 1]);
        assert_eq!(held(range(None, None)), [0, 1, 2, 3, 4, 5]);
        assert!(held(range(Some(4), Some(2))).is_empty());
    }

    /// A period is compared as its moments are.
    #[test]
    fn periods_overlap_as_their_moments_do() {
        let bounds: Vec<_> = std::iter::once(None).chain((0..6).map(Some)).collect();
        for (since, until) in bounds.iter().flat_map(|since| bounds.iter().map(move |until| (*since, *until))) {
            let range = range(since, until);
            for (earliest, latest) in (0..6).flat_map(|first| (first..6).map(move |last| (first, last))) {
                let held = (earliest..=latest).filter(|at| range.holds(Micros(*at))).count();
                let expected = match held as i64 {
                    0 => Overlap::None,
                    all if all == latest - earliest + 1 => Overlap::All,
                    _ => Overlap::Some,
                };
                assert_eq!(
                    range.overlap(Micros(earliest), Micros(latest)),
                    expected,
                    "{range:?}: {earliest}..={latest}"
                );
            }
        }
    }
}
