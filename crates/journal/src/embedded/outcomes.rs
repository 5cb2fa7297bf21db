//! Which outcomes in a segment are kept: those of kept events. The others are stale, and take space until the segment is
//! rewritten.

use std::sync::Arc;

use super::{Engine, consumer::Consumer, segments::Segment};
use crate::{Result, Sequence};

/// Returns whether the segment has outcomes of kept events. A segment that is no longer part of the log has none.
pub(super) fn has_kept(engine: &Engine, segment: &Segment) -> Result<bool> {
    let found = engine.read_segment_index(segment, |index| {
        let (mut owners, mut found) = (Owners::new(engine), false);
        index.visit_outcomes(&mut |consumer, sequence| {
            found = owners.keep(consumer, sequence);
            !found
        })?;
        Ok(found)
    })?;
    Ok(found.unwrap_or(false))
}

/// Returns whether at least half of the outcomes in the segment are stale. Rewriting it then halves them, so that the
/// same outcomes are copied only a few times.
pub(super) fn are_mostly_stale(engine: &Engine, segment: &Segment) -> Result<bool> {
    let stale = engine.read_segment_index(segment, |index| {
        let (mut owners, mut all, mut kept) = (Owners::new(engine), 0_u64, 0_u64);
        index.visit_outcomes(&mut |consumer, sequence| {
            all += 1;
            kept += u64::from(owners.keep(consumer, sequence));
            true
        })?;
        Ok(all > 0 && 2 * kept <= all)
    })?;
    Ok(stale.unwrap_or(false))
}

/// Looks up consumers by number; rows of one consumer follow one another.
struct Owners<'a> {
    engine: &'a Engine,
    last: Option<(u32, Option<Arc<Consumer>>)>,
}

impl<'a> Owners<'a> {
    fn new(engine: &'a Engine) -> Self {
        Self { engine, last: None }
    }

    /// Returns whether the outcome that a consumer has of this event is kept.
    fn keep(&mut self, number: u32, sequence: Sequence) -> bool {
        if self.last.as_ref().is_none_or(|(last, _)| *last != number) {
            self.last = Some((number, self.engine.consumer_numbered(number)));
        }
        let consumer = self.last.as_ref().and_then(|(_, consumer)| consumer.as_ref());
        consumer.is_some_and(|consumer| !consumer.endpoint.state.lock().removed.contains(sequence))
    }
}
