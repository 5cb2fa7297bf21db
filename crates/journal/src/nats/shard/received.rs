//! Selection of a redelivery by time of receipt, with the count of the events that are no longer kept.
//!
//! A gap of removed events counts if all of them were received in the time range, and is reported as uncertain if only
//! some of them may have been.

use super::{consumer::ShardConsumer, endpoint::ShardEndpoint, gaps::Gap, rows::Row};
use crate::{
    RedeliveryPosition, Sequence,
    limits::REDELIVERY_SCAN,
    machine::{Chosen, Micros, Overlap, ReceiptRange},
};

/// Returns the events of the range in one step.
pub(super) fn choose(
    log: &ShardEndpoint,
    consumer: &ShardConsumer,
    range: ReceiptRange,
    RedeliveryPosition { after, last }: RedeliveryPosition,
    limit: usize,
    now: Micros,
) -> Chosen {
    let mut chosen = Chosen::default();
    let Some(first) = after.checked_add(1) else { return chosen };
    let rows = log.rows.ascending(first).take_while(|row| row.sequence <= last).filter(|row| consumer.reads(row));
    let mut gaps = log.gaps.ending_at(first).take_while(|gap| gap.first <= last).peekable();
    let mut before_row = |chosen: &mut Chosen, row: Option<&Row>| {
        let (sequence, received) = row.map_or((Sequence::MAX, now), |row| (row.sequence, row.received));
        while let Some(gap) = gaps.next_if(|gap| gap.last < sequence) {
            count(chosen, gap, range, first..=last, received);
        }
    };
    for (examined, row) in rows.enumerate() {
        before_row(&mut chosen, Some(row));
        if range.holds(row.received) {
            chosen.sequences.push(row.sequence);
        }
        if chosen.sequences.len() >= limit || examined + 1 >= REDELIVERY_SCAN {
            let after = row.sequence;
            chosen.counts.next = (after < last).then_some(RedeliveryPosition { after, last });
            return chosen;
        }
    }
    // The newest events may have been removed as well.
    before_row(&mut chosen, None);
    chosen
}

/// Counts a gap, which ends right before an event received at `received`. Events outside of `span` do not count.
fn count(
    chosen: &mut Chosen,
    gap: &Gap,
    range: ReceiptRange,
    span: std::ops::RangeInclusive<Sequence>,
    received: Micros,
) {
    let is_inside = span.contains(&gap.first) && span.contains(&gap.last);
    match range.overlap(gap.earliest, gap.latest) {
        Overlap::All if is_inside => chosen.counts.gone += gap.events,
        Overlap::All | Overlap::Some => {
            chosen.counts.gone_before.get_or_insert(received.timestamp());
        }
        Overlap::None => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(since: Option<i64>, until: Option<i64>) -> ReceiptRange {
        ReceiptRange { since: since.map(Micros), until: until.map(Micros) }
    }

    #[test]
    fn gaps_count_if_they_are_inside() {
        let gap = Gap { first: 5, last: 9, events: 3, earliest: Micros(10), latest: Micros(20) };
        let counted = |range: ReceiptRange, span| {
            let mut chosen = Chosen::default();
            count(&mut chosen, &gap, range, span, Micros(77));
            (chosen.counts.gone, chosen.counts.gone_before.map(Micros::floor))
        };
        assert_eq!(counted(range(Some(10), Some(21)), 5..=9), (3, None));
        assert_eq!(counted(range(Some(10), Some(20)), 5..=9), (0, Some(Micros(77))));
        assert_eq!(counted(range(Some(11), None), 5..=9), (0, Some(Micros(77))));
        assert_eq!(counted(range(None, None), 6..=9), (0, Some(Micros(77))));
        assert_eq!(counted(range(Some(21), None), 6..=9), (0, None));
    }
}
