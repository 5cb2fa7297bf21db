//! Counts of the kept events in a segment.

use std::io;

use super::{Engine, endpoint::Kept, index::Index, segments::Segment};
use crate::Sequence;

/// The kept events of an endpoint in a segment.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Live {
    pub(super) endpoint: u32,
    /// Kept events of the current incarnation.
    pub(super) own: Kept,
    /// Kept events of earlier incarnations.
    pub(super) former: Kept,
}

/// Returns the kept events of a segment by endpoint.
pub(super) fn live(engine: &Engine, segment: &Segment) -> io::Result<Vec<Live>> {
    let mut all = Vec::new();
    for part in segment.index(Index::parts) {
        let Some(endpoint) = engine.endpoint_numbered(part.endpoint) else { continue };
        let (begin, kept) = {
            let state = endpoint.state.lock();
            (state.begin, state.removed.outside(part.first, part.last))
        };
        let mut live = Live { endpoint: part.endpoint, ..Live::default() };
        let side = |live: &mut Live, sequence: Sequence, kept: Kept| {
            if sequence >= begin { live.own.add(kept) } else { live.former.add(kept) }
        };
        if kept.first() == Some(&(part.first..=part.last)) && (part.first >= begin || part.last < begin) {
            side(&mut live, part.first, Kept { events: part.count, bytes: part.bytes });
            all.push(live);
            continue;
        }
        for range in kept {
            let (first, last) = range.into_inner();
            for position in segment.index(|index| index.positions(part.endpoint, first, last, usize::MAX))? {
                side(&mut live, position.sequence, Kept { events: 1, bytes: position.len.into() });
            }
        }
        if live.own.events + live.former.events > 0 {
            all.push(live);
        }
    }
    Ok(all)
}
