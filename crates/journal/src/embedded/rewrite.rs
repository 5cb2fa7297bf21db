//! Rewriting of sparsely used segments into one that holds only what is kept.
//!
//! The new segment has the id of the first one it replaces, with a generation above those of all of them, and its head
//! names the last one. It is valid once its last record is `End`: until then, including at the next start, the old
//! segments count. `End` is written only after everything that the copy relies on is durable.

use std::{io, sync::Arc};

use super::{
    Engine,
    batch::OpenSegment,
    entry::{self, SegmentHead},
    error::from_io,
    frame::Kind,
    index::{Index, Position},
    outcomes, sealing,
    segment::Record,
    segment_name::SegmentName,
    segments::{Segment, decode_event, index_outcomes, scan},
    task::{Rewritten, Task},
};
use crate::{
    Result,
    limits::{REWRITE_SEGMENTS, SEGMENT_OUTCOMES},
    machine::Micros,
};

/// Bytes of records that are written together.
const WRITE_BYTES: u64 = 1 << 20;

/// Returns neighbouring segments that together fit into one, and of which at most half is kept; oldest first. Segments
/// without kept events are left to [`eventless`](super::eventless).
pub(super) fn choose(engine: &Engine, full: &[Arc<Segment>]) -> Result<Option<Vec<Arc<Segment>>>> {
    let segment_bytes = engine.limits.segment_bytes;
    let (mut group, mut copy) = (Vec::<Arc<Segment>>::new(), CopySize::default());
    let saves = |group: &[Arc<Segment>]| {
        let (len, live) = group.iter().fold((0, 0), |(len, live), s| (len + s.len(), live + s.live_bytes()));
        !group.is_empty() && live * 2 < len && len - live > segment_bytes / 4
    };
    for segment in full {
        let sparse = segment.live_bytes() * 2 < segment.len() && can_shrink(engine, segment)?;
        let with = copy.with(segment);
        if sparse && with.fits(segment_bytes) {
            copy = with;
        } else {
            if saves(&group) {
                return Ok(Some(group));
            }
            group.clear();
            copy = if sparse { CopySize::default().with(segment) } else { CopySize::default() };
        }
        if sparse {
            group.push(Arc::clone(segment));
        }
    }
    Ok(saves(&group).then_some(group))
}

/// Upper bounds of what is copied from segments. The offsets and the index in memory of a copy have limits.
#[derive(Debug, Clone, Copy, Default)]
struct CopySize {
    /// Bytes of the kept events.
    live: u64,
    /// Bytes of all that is copied.
    bytes: u64,
    outcomes: u64,
}

impl CopySize {
    fn with(self, segment: &Segment) -> Self {
        let (events, outcomes) = segment.index(|index| {
            let events: u64 = index.parts().iter().map(|part| part.bytes).sum();
            (events, index.outcome_count())
        });
        let live = segment.live_bytes();
        Self {
            live: self.live + live,
            bytes: self.bytes + segment.len().saturating_sub(events.saturating_sub(live)),
            outcomes: self.outcomes + outcomes,
        }
    }

    fn fits(self, segment_bytes: u64) -> bool {
        self.live <= segment_bytes
            && self.bytes <= REWRITE_SEGMENTS * segment_bytes
            && self.outcomes <= REWRITE_SEGMENTS * SEGMENT_OUTCOMES as u64
    }
}

/// Returns whether rewriting frees space. A rewritten segment without removed events and with few stale outcomes consists
/// of what was kept; rewriting it again and again would free nothing.
fn can_shrink(engine: &Engine, segment: &Segment) -> Result<bool> {
    let live = segment.live_events();
    if !segment.is_sealed() || live == 0 {
        return Ok(false);
    }
    let stored = segment.index(Index::parts).iter().map(|part| part.count).sum::<u64>();
    Ok(segment.name.generation == 0 || live < stored || outcomes::are_mostly_stale(engine, segment)?)
}

/// Writes the kept data of the segments into one. `None` when there is nothing to write or the journal is closing.
pub(super) fn rewrite(engine: &Arc<Engine>, group: &[Arc<Segment>]) -> Result<Option<Rewritten>> {
    let (Some(first), Some(last)) = (group.first(), group.last()) else { return Ok(None) };
    let newest = group.iter().map(|segment| segment.name.generation).max().unwrap_or_default();
    let name = SegmentName { id: first.name.id, generation: newest + 1 };
    let written = write(engine, group, name, last.last, first.begun);
    if !matches!(written, Ok(Some(_))) {
        // It would take space until the next attempt.
        let _ = std::fs::remove_file(engine.layout.log_file(name));
    }
    Ok(written?.map(|segment| Rewritten { segment, replaced: group.to_vec() }))
}

fn write(
    engine: &Arc<Engine>,
    group: &[Arc<Segment>],
    name: SegmentName,
    last: u64,
    begun: Micros,
) -> Result<Option<Arc<Segment>>> {
    let layout = &engine.layout;
    let failed = |error| from_io(layout.log_file(name).display(), error);
    let head = SegmentHead { last, time: begun, previous: 0, previous_end: 0 };
    let mut log = OpenSegment::create(layout, name, head).map_err(failed)?;
    let segment = Arc::clone(&log.segment);
    log.record(Kind::Segment, 0, &head.encode());
    for source in group {
        if engine.is_closing() {
            return Ok(None);
        }
        sealing::seal_waiting(engine).map_err(failed)?;
        copy_all(engine, source, &mut log).map_err(failed)?;
    }
    // The copy lacks events whose removal may not be durable yet. It must not count before it is: after a power cut, these
    // events would be kept, but be nowhere.
    sealing::ask(engine, Task::Sync)?;
    let finish = |log: &mut OpenSegment| {
        log.record(Kind::End, 0, &[]);
        log.write(true)?;
        layout.sync_log_directory()?;
        segment.seal(layout)
    };
    finish(&mut log).map_err(failed)?;
    Ok(Some(segment))
}

/// Copies the records of a segment, as far as they are still kept.
fn copy_all(engine: &Engine, source: &Segment, log: &mut OpenSegment) -> io::Result<()> {
    let segment = Arc::clone(&log.segment);
    let mut written = Ok(());
    scan(&source.reader()?, source.len(), &mut |record, _| {
        copy(engine, &segment, log, record);
        if written.is_ok() && log.end() - log.position() > WRITE_BYTES {
            written = log.write(false);
        }
    })?;
    written
}

/// Copies the parts of a record that are still kept.
fn copy(engine: &Engine, segment: &Segment, log: &mut OpenSegment, record: &Record) {
    let number = record.frame.number;
    match record.frame.kind {
        Kind::Event => {
            let Some(endpoint) = engine.endpoint_numbered(number) else { return };
            let sequence = record.frame.sequence;
            if endpoint.state.lock().removed.contains(sequence) {
                return;
            }
            let Some((event, _)) = decode_event(record) else { return };
            let offset = log.push(record.frame, &record.payload);
            let position = Position::new(sequence, offset, record.frame.total(), Micros::floor(event.received));
            segment.extend(|index| index.event(number, position));
        }
        Kind::Ended | Kind::Outcomes => {
            let Some(consumer) = engine.consumer_numbered(number) else { return };
            let mut ends = entry::decode_ends(record.payload.clone()).unwrap_or_default();
            {
                let state = consumer.endpoint.state.lock();
                ends.retain(|ended| !state.removed.contains(ended.sequence));
            }
            if !ends.is_empty() {
                let offset = log.record(Kind::Outcomes, number, &entry::encode_ends(&ends));
                index_outcomes(segment, number, &ends, offset);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests;
