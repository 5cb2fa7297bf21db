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
    RedeliveryPosition, Result, Sequence,
    limits::{REDELIVERY_SCAN, REDELIVERY_SKEW},
    machine::{Chosen, Micros, Overlap, ReceiptRange},
};

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
            // No event of the range can follow.
            if range.until.is_some_and(|until| row.received >= until.after(REDELIVERY_SKEW)) {
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

/// Returns the position after which events received at `since` or later may begin. Takes few reads, because events are
/// stored in nearly that order.
pub(super) fn begin(
    engine: &Engine,
    endpoint: &Endpoint,
    since: Micros,
    after: Sequence,
    last: Sequence,
) -> Result<Sequence> {
    let target = since.before(REDELIVERY_SKEW);
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
