//! The open segments of the log.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use parking_lot::RwLock;

use super::{
    blocks::Seed,
    entry,
    files::Layout,
    frame::{FRAME, Frame, Kind},
    ids::{ActiveIds, IdHash, KnownId},
    index::{ActiveIndex, Index, Part, Position, SealedIndex, holds_outcomes},
    segment::{Found, Reader, Record, Scan},
    segment_name::SegmentName,
};
use crate::{
    EventSummary, Sequence,
    machine::{Ended, Micros},
    record::{self, codec::get_var},
};

/// One segment of the log.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) name: SegmentName,
    /// The last segment whose contents are in this one; its own id, unless it was rewritten.
    pub(super) last: u64,
    /// When the segment was begun.
    pub(super) begun: Micros,
    path: PathBuf,
    salt: u64,
    /// Bytes of the log file that hold records.
    len: AtomicU64,
    index: RwLock<Index>,
    /// Bytes of the index file, once it exists.
    index_len: AtomicU64,
    /// Number of kept events, and their bytes.
    live_events: AtomicU64,
    live_bytes: AtomicU64,
}

impl Segment {
    pub(super) fn new(layout: &Layout, name: SegmentName, head: entry::SegmentHead, len: u64, index: Index) -> Self {
        let index_len = match &index {
            Index::Active(_) => 0,
            Index::Sealed(sealed) => sealed.len(),
        };
        Self {
            name,
            last: head.last,
            begun: head.time,
            path: layout.log_file(name),
            salt: layout.salt,
            len: AtomicU64::new(len),
            index: RwLock::new(index),
            index_len: AtomicU64::new(index_len),
            live_events: AtomicU64::new(0),
            live_bytes: AtomicU64::new(0),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn len(&self) -> u64 {
        self.len.load(Ordering::Acquire)
    }

    pub(super) fn set_len(&self, len: u64) {
        self.len.store(len, Ordering::Release);
    }

    /// Returns the size of the index file in bytes.
    pub(super) fn index_bytes(&self) -> u64 {
        self.index_len.load(Ordering::Acquire)
    }

    pub(super) fn live_events(&self) -> u64 {
        self.live_events.load(Ordering::Acquire)
    }

    pub(super) fn live_bytes(&self) -> u64 {
        self.live_bytes.load(Ordering::Acquire)
    }

    /// Returns the bytes of the log file that hold nothing that is kept.
    pub(super) fn garbage_bytes(&self) -> u64 {
        self.len().saturating_sub(self.live_bytes())
    }

    /// Adds kept events of that many bytes.
    pub(super) fn add_live(&self, events: u64, bytes: u64) {
        self.live_events.fetch_add(events, Ordering::AcqRel);
        self.live_bytes.fetch_add(bytes, Ordering::AcqRel);
    }

    /// Removes kept events of that many bytes.
    pub(super) fn remove_live(&self, events: u64, bytes: u64) {
        let less = |of: &AtomicU64, n: u64| {
            // Saturating: a count that is too low is corrected at the next start; one that wraps never would be.
            let _ = of.fetch_update(Ordering::AcqRel, Ordering::Acquire, |now| Some(now.saturating_sub(n)));
        };
        less(&self.live_events, events);
        less(&self.live_bytes, bytes);
    }

    pub(super) fn reader(&self) -> io::Result<Reader> {
        Reader::open(&self.path, self.salt, self.name)
    }

    /// Reads the index.
    pub(super) fn index<T>(&self, read: impl FnOnce(&Index) -> T) -> T {
        read(&self.index.read())
    }

    /// Adds to the index of the segment being written.
    pub(super) fn extend<T>(&self, extend: impl FnOnce(&mut ActiveIndex) -> T) -> Option<T> {
        match &mut *self.index.write() {
            Index::Active(active) => Some(extend(active)),
            Index::Sealed(_) => None,
        }
    }

    pub(super) fn is_sealed(&self) -> bool {
        matches!(&*self.index.read(), Index::Sealed(_))
    }

    /// Replaces the index in memory by a file. Blocks.
    pub(super) fn seal(&self, layout: &Layout) -> io::Result<()> {
        let (path, seed, len) = (layout.index_file(self.name), index_seed(layout.salt, self.name), self.len());
        match &*self.index.read() {
            Index::Active(active) => layout.replace(&path, |fresh| active.write(fresh, seed, len).map(drop))?,
            Index::Sealed(_) => return Ok(()),
        }
        let sealed = SealedIndex::open(path, seed, len)?;
        self.index_len.store(sealed.len(), Ordering::Release);
        *self.index.write() = Index::Sealed(sealed);
        Ok(())
    }

    /// Rebuilds the index from the log. Blocks.
    pub(super) fn reindex(&self, layout: &Layout) -> io::Result<()> {
        let scanned = scan(&self.reader()?, self.len(), &mut |_, _| {})?;
        *self.index.write() = Index::Active(scanned.index);
        self.seal(layout)
    }

    /// Returns the part of one endpoint.
    pub(super) fn part(&self, endpoint: u32) -> Option<Part> {
        self.index.read().part(endpoint)
    }
}

/// Returns the seed that distinguishes the blocks of a segment's index from those of another.
pub(super) fn index_seed(salt: u64, name: SegmentName) -> Seed {
    Seed { salt, number: name.id.rotate_left(20) ^ u64::from(name.generation) }
}

/// The result of scanning a segment's log.
#[derive(Debug, Default)]
pub(super) struct Scanned {
    pub(super) index: ActiveIndex,
    pub(super) ids: ActiveIds,
    /// Where the last intact record ends.
    pub(super) end: u64,
    /// Damaged ranges.
    pub(super) damage: Vec<Damage>,
    /// Bytes of the file behind the last intact record.
    pub(super) torn: u64,
    /// How far the log was durable, according to its marks.
    pub(super) durable: u64,
    /// The segment was ended by a close or a rewrite, so that nothing can be missing at its end.
    pub(super) ended: bool,
}

/// A range of a log without an intact record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Damage {
    pub(super) from: u64,
    pub(super) to: u64,
}

impl Damage {
    /// Returns its length.
    pub(super) fn bytes(self) -> u64 {
        self.to - self.from
    }
}

/// Reads a log file up to `end`, and builds its index. Calls `visit` with every intact record and the damage before it.
pub(super) fn scan(reader: &Reader, end: u64, visit: &mut dyn FnMut(&Record, Option<Damage>)) -> io::Result<Scanned> {
    let mut scanned = Scanned::default();
    let mut scan = Scan::new(reader, 0, end);
    let mut damage = None;
    loop {
        match scan.next()? {
            Found::Record(record) => {
                scanned.take(&record);
                visit(&record, damage.take());
                scanned.end = record.end();
            }
            Found::Damage { from, to } => {
                damage = Some(Damage { from, to });
                scanned.damage.push(Damage { from, to });
            }
            Found::End { at, rest } => {
                scanned.end = at;
                scanned.torn = rest;
                return Ok(scanned);
            }
        }
    }
}

impl Scanned {
    fn take(&mut self, record: &Record) {
        self.ended = record.frame.kind == Kind::End;
        let offset = u32::try_from(record.offset).unwrap_or(u32::MAX);
        match record.frame.kind {
            Kind::Event => {
                if let Some((event, window)) = decode_event(record) {
                    let (number, received) = (record.frame.number, Micros::floor(event.received));
                    let sequence = record.frame.sequence;
                    self.index.event(number, Position::new(sequence, record.offset, record.frame.total(), received));
                    let id = IdHash::of(number, record.frame.incarnation, &event.id);
                    let keep_until = window.map_or(received, |window| received.after(window));
                    self.ids.insert(id, KnownId { sequence, received }, keep_until);
                }
            }
            Kind::Mark => {
                if let Ok(mark) = entry::Mark::decode(record.payload.clone()) {
                    self.durable = self.durable.max(mark.durable);
                }
            }
            Kind::End => self.durable = record.offset,
            kind if holds_outcomes(kind) => {
                for ended in entry::decode_ends(record.payload.clone()).unwrap_or_default() {
                    self.index.outcome(record.frame.number, ended.sequence, offset);
                }
            }
            _ => {}
        }
    }
}

/// Decodes the event of a record, with its deduplication window.
pub(super) fn decode_event(record: &Record) -> Option<(crate::StoredEvent, Option<std::time::Duration>)> {
    let mut payload = record.payload.clone();
    let window = get_var(&mut payload, "event").ok()?;
    let window = window.checked_sub(1).map(std::time::Duration::from_micros);
    let event = record::decode_event(record.frame.sequence, payload).ok()?;
    Some((event, window))
}

/// Decodes the start of an event's payload, without the headers and the body. Also returns the number of bytes before
/// the body.
pub(super) fn decode_summary(frame: &Frame, start: Bytes) -> Option<(EventSummary, usize)> {
    let mut row = start.clone();
    get_var(&mut row, "event").ok()?;
    let window = start.len() - row.len();
    let len = (frame.len as usize).checked_sub(window)?;
    let (summary, head) = record::decode_summary(frame.sequence, row, len).ok()?;
    Some((summary, window + head))
}

/// Indexes outcomes stored in the record at `offset`.
pub(super) fn index_outcomes(segment: &Segment, consumer: u32, ends: &[Ended], offset: u64) {
    let offset = u32::try_from(offset).unwrap_or(u32::MAX);
    segment.extend(|index| {
        for ended in ends {
            index.outcome(consumer, ended.sequence, offset);
        }
    });
}

/// Bytes of an event's record in addition to its payload.
pub(super) const EVENT_OVERHEAD: u64 = FRAME as u64;

/// Every segment, ascending; the last one is being written.
#[derive(Default)]
pub(super) struct Segments {
    all: RwLock<Vec<Arc<Segment>>>,
}

impl Segments {
    pub(super) fn all(&self) -> Vec<Arc<Segment>> {
        self.all.read().clone()
    }

    /// Returns whether a segment is part of the log.
    pub(super) fn has(&self, name: SegmentName) -> bool {
        self.all.read().iter().any(|segment| segment.name == name)
    }

    pub(super) fn push(&self, segment: Arc<Segment>) {
        self.all.write().push(segment);
    }

    /// Removes a segment from the list. Its files remain.
    pub(super) fn remove(&self, name: SegmentName) {
        self.all.write().retain(|segment| segment.name != name);
    }

    /// Replaces segments by a rewritten one.
    pub(super) fn replace(&self, replaced: &[Arc<Segment>], by: Arc<Segment>) {
        let mut all = self.all.write();
        all.retain(|segment| !replaced.iter().any(|old| old.name == segment.name));
        let at = all.partition_point(|segment| segment.name < by.name);
        all.insert(at, by);
    }

    /// Returns the positions of an endpoint's events between `first` and `last`, ascending, at most `limit`, with their
    /// segments.
    pub(super) fn positions(
        &self,
        endpoint: u32,
        first: Sequence,
        last: Sequence,
        limit: usize,
    ) -> io::Result<Vec<(Arc<Segment>, Position)>> {
        let mut found = Vec::new();
        for segment in self.all.read().iter() {
            let Some(part) = segment.part(endpoint) else { continue };
            if part.last < first {
                continue;
            }
            if part.first > last || found.len() >= limit {
                break;
            }
            let positions = segment.index(|index| index.positions(endpoint, first, last, limit - found.len()))?;
            found.extend(positions.into_iter().map(|position| (Arc::clone(segment), position)));
        }
        Ok(found)
    }
}
