//! Segments without kept events.
//!
//! Such a segment is deleted, unless it has outcomes of events that earlier segments keep. Then it is rewritten to only
//! these outcomes, together with neighbours of its kind.
//!
//! The outcomes stay at their place in the log, because place is the only order of outcomes: attempts are counted anew
//! after each redelivery, and clocks can be set back. An outcome that is copied behind a newer one of its event would
//! hide that one.

use std::{ops::Range, sync::Arc};

use super::{
    Engine, index::Index, outcomes, rewrite, sealing::ask, segment_name::SegmentName, segments::Segment, task::Task,
};
use crate::{
    Result,
    limits::{REWRITE_SEGMENTS, SEGMENT_OUTCOMES},
};

/// Deletes segments without kept events, or rewrites them to the outcomes that are kept.
pub(super) fn reduce(engine: &Arc<Engine>) -> Result<()> {
    let segments = engine.segments.all();
    let Some((_, full)) = segments.split_last() else { return Ok(()) };
    let (mut kept, mut contents, mut empty) = (Vec::new(), Vec::new(), Vec::new());
    let mut earlier = false;
    for segment in full {
        let of = Contents::of(engine, segment)?;
        let has_events = matches!(of, Contents::Events);
        if has_events || (earlier && outcomes::has_kept(engine, segment)?) {
            kept.push(Arc::clone(segment));
            contents.push(of);
        } else {
            empty.push(segment.name);
        }
        earlier |= has_events;
    }
    let groups = groups(&contents, engine.limits.segment_bytes);
    if !empty.is_empty() || !groups.is_empty() {
        delete(engine, empty)?;
    }
    for segments in groups.into_iter().filter_map(|group| kept.get(group)) {
        let Some(rewritten) = rewrite::rewrite(engine, segments)? else { return Ok(()) };
        ask(engine, |answer| Task::Replace { rewritten, answer })?;
    }
    Ok(())
}

/// Deletes segments, once it is durable that none of their events are kept.
fn delete(engine: &Arc<Engine>, segments: Vec<SegmentName>) -> Result<()> {
    let deleted = ask(engine, |answer| Task::Drop { segments, answer })?;
    tracing::debug!(segments = deleted, "segments were deleted");
    Ok(())
}

/// What a segment holds that is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Contents {
    /// Events, and possibly outcomes.
    Events,
    /// Outcomes at most.
    Outcomes {
        /// An upper bound of their size.
        bytes: u64,
        /// Their number, stale ones included.
        count: u64,
        /// The index is complete, so that the segment can be rewritten.
        sealed: bool,
        /// The segment was rewritten without any event, and most of its outcomes are still kept.
        reduced: bool,
    },
}

impl Contents {
    fn of(engine: &Engine, segment: &Segment) -> Result<Self> {
        if segment.live_events() > 0 {
            return Ok(Self::Events);
        }
        let parts = segment.index(Index::parts);
        let events: u64 = parts.iter().map(|part| part.bytes).sum();
        let was_reduced = segment.name.generation > 0 && parts.is_empty();
        Ok(Self::Outcomes {
            bytes: segment.len().saturating_sub(events),
            count: segment.index(Index::outcome_count),
            sealed: segment.is_sealed(),
            reduced: was_reduced && !outcomes::are_mostly_stale(engine, segment)?,
        })
    }
}

/// Returns neighbouring segments without kept events that are worth rewriting into one of at most `most` bytes.
fn groups(contents: &[Contents], most: u64) -> Vec<Range<usize>> {
    let mut groups = Vec::new();
    let mut next = 0;
    while next < contents.len() {
        let end = next + group_length(contents.get(next..).unwrap_or_default(), most);
        if is_worth_rewriting(contents.get(next..end).unwrap_or_default()) {
            groups.push(next..end);
        }
        next = end.max(next + 1);
    }
    groups
}

/// Returns how many of the first segments fit into one: at least the first, if it can be rewritten at all.
fn group_length(contents: &[Contents], most: u64) -> usize {
    let (mut bytes, mut outcomes): (u64, u64) = (0, 0);
    let fits = |of: &&Contents| {
        let Contents::Outcomes { bytes: more, count, sealed: true, .. } = of else { return false };
        let first = bytes == 0;
        bytes = bytes.saturating_add(*more);
        outcomes = outcomes.saturating_add(*count);
        first || (bytes <= most && outcomes <= REWRITE_SEGMENTS * SEGMENT_OUTCOMES as u64)
    };
    contents.iter().take_while(fits).count()
}

/// Returns whether rewriting a group saves space or a file. Otherwise, every sweep would rewrite it again.
fn is_worth_rewriting(group: &[Contents]) -> bool {
    group.len() > 1 || matches!(group, [Contents::Outcomes { reduced: false, .. }])
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENTS: Contents = Contents::Events;
    const FRESH: Contents = Contents::Outcomes { bytes: 40, count: 9, sealed: true, reduced: false };
    const REDUCED: Contents = Contents::Outcomes { bytes: 40, count: 9, sealed: true, reduced: true };
    const UNSEALED: Contents = Contents::Outcomes { bytes: 40, count: 9, sealed: false, reduced: false };

    #[test]
    fn neighbours_become_one_segment() {
        assert_eq!(groups(&[EVENTS, FRESH, REDUCED, EVENTS, FRESH], 100), [1..3, 4..5]);
    }

    #[test]
    fn what_cannot_become_smaller_is_not_rewritten() {
        assert!(groups(&[EVENTS, REDUCED, EVENTS, REDUCED], 100).is_empty());
    }

    #[test]
    fn a_group_has_room_in_one_segment() {
        assert_eq!(groups(&[FRESH; 5], 100), [0..2, 2..4, 4..5]);
        assert_eq!(groups(&[FRESH; 2], 30), [0..1, 1..2]);
        assert!(groups(&[REDUCED; 2], 79).is_empty());
        let many = SEGMENT_OUTCOMES as u64;
        let full = Contents::Outcomes { bytes: 4, count: many, sealed: true, reduced: true };
        assert_eq!(groups(&[full; 6], 100), [0..4, 4..6]);
    }

    #[test]
    fn segments_without_a_complete_index_are_not_rewritten() {
        assert_eq!(groups(&[EVENTS, FRESH, UNSEALED, FRESH, UNSEALED], 100), [1..2, 3..4]);
    }
}
