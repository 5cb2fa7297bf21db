//! The segment being written, and the records to write with one call.
//!
//! Marks stand between the records. A mark says how far the log was durable when it was written, so that damage behind
//! that offset is known to be an unfinished write. It also names the newest sequence of every endpoint that has an
//! event in the [`MARK_REACH`] bytes before it, so that the events lost with a page are known.

use std::{
    collections::{BTreeMap, VecDeque},
    fs::{File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::Path,
    sync::Arc,
};

use super::{
    entry::{self, SegmentHead},
    files::Layout,
    frame::{Frame, Kind, RecordLocation},
    index::{ActiveIndex, Index},
    segment_name::SegmentName,
    segments::Segment,
};
use crate::{
    Sequence,
    limits::{MARK_EVERY, MARK_REACH},
};

/// The segment being written.
pub(super) struct OpenSegment {
    pub(super) segment: Arc<Segment>,
    file: File,
    place: RecordLocation,
    /// Offset of the next record: the end of what was written.
    position: u64,
    /// Everything before this offset is on stable storage.
    durable: u64,
    /// End of the state at the segment's head.
    head: u64,
    /// Offset of the last mark.
    marked: u64,
    /// Events in the last [`MARK_REACH`] bytes: end offset, endpoint and sequence.
    recent: VecDeque<(u64, u32, Sequence)>,
    /// Records to write.
    buffer: Vec<u8>,
    copy: Option<Copy>,
}

/// The copy of a segment's records of endpoints and consumers. The loss of one of these records would cost more than
/// the record itself, so they are stored in two files.
struct Copy {
    file: File,
    place: RecordLocation,
    position: u64,
    buffer: Vec<u8>,
}

impl OpenSegment {
    /// Creates the file of a segment.
    pub(super) fn create(layout: &Layout, name: SegmentName, head: SegmentHead) -> io::Result<Self> {
        Ok(Self {
            file: create(&layout.log_file(name))?,
            segment: Arc::new(Segment::new(layout, name, head, 0, Index::Active(ActiveIndex::default()))),
            place: RecordLocation { salt: layout.salt, segment: name, offset: 0 },
            position: 0,
            durable: 0,
            head: 0,
            marked: 0,
            recent: VecDeque::new(),
            buffer: Vec::new(),
            copy: None,
        })
    }

    /// Creates the copy file beside the segment. From then on, records of endpoints and consumers are also written to
    /// it.
    pub(super) fn create_copy(&mut self, layout: &Layout) -> io::Result<()> {
        let name = self.place.segment;
        let place = RecordLocation { segment: name.copy(), offset: 0, ..self.place };
        self.copy = Some(Copy { file: create(&layout.copy_file(name))?, place, position: 0, buffer: Vec::new() });
        Ok(())
    }

    /// Returns the offset of the next record, behind those still to be written.
    pub(super) fn end(&self) -> u64 {
        self.position + self.buffer.len() as u64
    }

    /// Returns the end of what has been written.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// Records that the state at the head is complete.
    pub(super) fn end_of_head(&mut self) {
        (self.head, self.marked) = (self.position, self.position);
    }

    /// Returns the size of the state at the head in bytes.
    pub(super) fn head_bytes(&self) -> u64 {
        self.head
    }

    pub(super) fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// Adds a record and returns its offset.
    pub(super) fn push(&mut self, frame: Frame, payload: &[u8]) -> u64 {
        let offset = self.end();
        self.buffer.extend_from_slice(&frame.encode(self.place.at(offset)));
        self.buffer.extend_from_slice(payload);
        offset
    }

    /// Adds a record that is not an event and returns its offset.
    pub(super) fn record(&mut self, kind: Kind, number: u32, payload: &[u8]) -> u64 {
        self.push(Frame::of(kind, number, payload), payload)
    }

    /// Adds a record of an endpoint or a consumer.
    pub(super) fn identity(&mut self, kind: Kind, number: u32, payload: &[u8]) {
        let frame = Frame::of(kind, number, payload);
        self.push(frame, payload);
        if let Some(copy) = &mut self.copy {
            let offset = copy.position + copy.buffer.len() as u64;
            copy.buffer.extend_from_slice(&frame.encode(copy.place.at(offset)));
            copy.buffer.extend_from_slice(payload);
        }
    }

    /// Adds an event and returns its offset.
    pub(super) fn event(&mut self, frame: Frame, payload: &[u8]) -> u64 {
        if self.end() - self.marked >= MARK_EVERY {
            self.mark();
        }
        let offset = self.push(frame, payload);
        self.recent.push_back((self.end(), frame.number, frame.sequence));
        offset
    }

    /// Adds the final mark, which says that everything before it is durable (true once this write is), and the end
    /// record.
    pub(super) fn close(&mut self) {
        let end = self.end();
        let mark = entry::Mark { durable: end, heads: self.newest() };
        // Also written to the copy, so that the contents are known if the last page is lost.
        self.identity(Kind::Mark, 0, &mark.encode());
        self.record(Kind::End, 0, &[]);
    }

    /// Adds a mark.
    pub(super) fn mark(&mut self) {
        let end = self.end();
        let mark = entry::Mark { durable: self.durable, heads: self.newest() };
        self.record(Kind::Mark, 0, &mark.encode());
        self.marked = end;
    }

    /// Returns the newest sequence of every endpoint with an event in the last [`MARK_REACH`] bytes.
    fn newest(&mut self) -> Vec<(u32, Sequence)> {
        let end = self.end();
        while self.recent.front().is_some_and(|(at, ..)| at + MARK_REACH < end) {
            self.recent.pop_front();
        }
        let newest: BTreeMap<_, _> = self.recent.iter().map(|(_, endpoint, sequence)| (*endpoint, *sequence)).collect();
        newest.into_iter().collect()
    }

    /// Writes the records, and syncs the file if they have to be durable. After an error nothing more may be written to
    /// this segment, because it is unknown what reached the disk.
    pub(super) fn write(&mut self, durable: bool) -> io::Result<()> {
        if let Some(copy) = self.copy.as_mut().filter(|copy| !copy.buffer.is_empty()) {
            copy.file.write_all_at(&copy.buffer, copy.position)?;
            copy.position += copy.buffer.len() as u64;
            copy.buffer.clear();
            if durable {
                copy.file.sync_data()?;
            }
        }
        self.file.write_all_at(&self.buffer, self.position)?;
        self.position = self.end();
        self.buffer.clear();
        // Large rounds are rare: release the memory.
        self.buffer.shrink_to(1 << 20);
        if durable {
            self.sync()?;
        }
        self.segment.set_len(self.position);
        Ok(())
    }

    /// Syncs what has been written.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        if self.durable < self.position {
            self.file.sync_data()?;
            self.durable = self.position;
        }
        Ok(())
    }

    /// Discards the records not yet written.
    pub(super) fn discard(&mut self) {
        self.buffer.clear();
        if let Some(copy) = &mut self.copy {
            copy.buffer.clear();
        }
    }

    /// Discards the records not yet written, and truncates what may have been written of them, as far as possible.
    pub(super) fn abandon(&mut self) {
        self.discard();
        let _ = self.file.set_len(self.segment.len());
    }
}

fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).truncate(true).read(true).write(true).open(path)
}
