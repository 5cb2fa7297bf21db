//! Selection of a redelivery by time of receipt, with the count of the events that are no longer kept.
//!
//! The index has the times of receipt of removed events until their segment is deleted or rewritten. These events count
//! by their own times. Other removed events are gaps between two rows of the index. The events of a gap were received
//! between [`REDELIVERY_SKEW`] before the row on its left and [`REDELIVERY_SKEW`] after the row on its right. A gap counts
//! if all of that period is in the time range, and is reported as uncertain if only some of it is.

use std::sync::Arc;

use jiff::Timestamp;

use super::{Engine, endpoint::Endpoint, index};
use crate::{
    Redelivered, RedeliveryPosition, Result, Sequence,
    limits::{REDELIVERY_SCAN, REDELIVERY_SKEW},
    machine::Micros,
};

/// The selection of one step of a redelivery.
#[derive(Default)]
pub(super) struct Chosen {
    /// Kept events that belong to the consumer.
    pub(super) sequences: Vec<Sequence>,
    /// Counts that do not depend on the consumer.
    pub(super) counts: Redelivered,
}

/// The time range of a redelivery.
#[derive(Debug, Clone, Copy)]
pub(super) struct ReceiptRange {
    /// Inclusive.
    pub(super) since: Option<Micros>,
    /// Exclusive.
    pub(super) until: Option<Micros>,
}

/// How much of a period is in a time range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Overlap {
    All,
    Some,
    None,
}

impl ReceiptRange {
    /// Returns the position after which events of the range may begin.
    pub(super) fn begin(
        &self,
        engine: &Engine,
        endpoint: &Endpoint,
        after: Sequence,
        last: Sequence,
    ) -> Result<Sequence> {
        let Some(since) = self.since else { return Ok(after) };
        search(engine, endpoint, after, last, since.before(REDELIVERY_SKEW))
    }

    fn holds(&self, received: Micros) -> bool {
        self.overlap(received, received) == Overlap::All
    }

    /// Compares the range with the period from `earliest` to `latest`, both inclusive.
    fn overlap(&self, earliest: Micros, latest: Micros) -> Overlap {
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

    /// Returns whether no event of the range can follow an event received then.
    fn ends_before(&self, received: Micros) -> bool {
        self.until.is_some_and(|until| received >= until.after(REDELIVERY_SKEW))
    }
}

/// Returns the events of the range in one step.
pub(super) fn choose(
    engine: &Engine,
    endpoint: &Arc<Endpoint>,
    range: ReceiptRange,
    RedeliveryPosition { after, last }: RedeliveryPosition,
    limit: usize,
    now: Timestamp,
) -> Result<Chosen> {
    if after >= last {
        return Ok(Chosen::default());
    }
    let before = engine.positions(endpoint, after, after, 1)?;
    let earliest = before.first().map_or(Micros(i64::MIN), |(_, row)| row.received.before(REDELIVERY_SKEW));
    let mut scan = Scan { endpoint, range, after, earliest, rows: 0, chosen: Chosen::default() };
    loop {
        let rows = engine.positions(endpoint, scan.after + 1, last, REDELIVERY_SCAN - scan.rows)?;
        if rows.is_empty() {
            break;
        }
        for (_, row) in rows {
            scan.row(row);
            if range.ends_before(row.received) {
                return Ok(scan.chosen);
            }
            if scan.is_full(limit) {
                return Ok(scan.pause(last));
            }
        }
    }
    // The newest events may have been removed as well.
    scan.gap(last.saturating_add(1), Micros::floor(now));
    Ok(scan.chosen)
}

/// One pass over the rows of the index.
struct Scan<'a> {
    endpoint: &'a Endpoint,
    range: ReceiptRange,
    /// The last sequence examined.
    after: Sequence,
    /// The earliest possible time of receipt of an event after `after`.
    earliest: Micros,
    rows: usize,
    chosen: Chosen,
}

impl Scan<'_> {
    fn row(&mut self, row: index::Position) {
        self.gap(row.sequence, row.received);
        if self.range.holds(row.received) {
            if self.endpoint.state.lock().removed.contains(row.sequence) {
                self.chosen.counts.gone += 1;
            } else {
                self.chosen.sequences.push(row.sequence);
            }
        }
        self.after = row.sequence;
        self.earliest = row.received.before(REDELIVERY_SKEW);
        self.rows += 1;
    }

    /// Counts the removed events between the last row and the one at `next`.
    fn gap(&mut self, next: Sequence, received: Micros) {
        if next <= self.after.saturating_add(1) {
            return;
        }
        let overlap = self.range.overlap(self.earliest, received.after(REDELIVERY_SKEW));
        if overlap == Overlap::None {
            return;
        }
        // Damaged events have no row either, but are kept.
        let removed = self.endpoint.state.lock().removed.count(self.after + 1, next - 1);
        if overlap == Overlap::All {
            self.chosen.counts.gone += removed;
        } else if removed > 0 {
            self.chosen.counts.gone_before.get_or_insert(received.timestamp());
        }
    }

    fn is_full(&self, limit: usize) -> bool {
        self.chosen.sequences.len() >= limit || self.rows >= REDELIVERY_SCAN
    }

    fn pause(mut self, last: Sequence) -> Chosen {
        self.chosen.counts.next = (self.after < last).then_some(RedeliveryPosition { after: self.after, last });
        self.chosen
    }
}

/// Returns the receipt time and sequence of the first kept event after a position.
fn first_after(
    engine: &Engine,
    endpoint: &Endpoint,
    after: Sequence,
    last: Sequence,
) -> Result<Option<(Sequence, Micros)>> {
    let mut after = after;
    loop {
        let next = endpoint.next_kept(after.saturating_add(1));
        let Some(sequence) = next.filter(|sequence| *sequence <= last) else { return Ok(None) };
        let found = engine.positions(endpoint, sequence, sequence, 1)?;
        if let Some((_, position)) = found.first() {
            return Ok(Some((sequence, position.received)));
        }
        // The event is damaged.
        after = sequence;
    }
}

/// Returns the position after which events received at `target` or later begin. Takes few reads, because events are
/// stored in nearly that order.
fn search(engine: &Engine, endpoint: &Endpoint, after: Sequence, last: Sequence, target: Micros) -> Result<Sequence> {
    let (mut low, mut high) = (after.saturating_add(1), last.saturating_add(1));
    while low < high {
        let middle = low + (high - low) / 2;
        match first_after(engine, endpoint, middle - 1, last)? {
            Some((sequence, received)) if received < target => low = sequence + 1,
            _ => high = middle,
        }
    }
    Ok(low - 1)
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
