//! The segment that is written, and the records that are to be written with one call.
//!
//! Between the records stand marks. A mark says how far the log was durable when it was written, so that damage behind that
//! is known to be an unfinished write, and names the newest sequence of every endpoint that has an event in the
//! [`MARK_REACH`] bytes before it, so that after the loss of a page it is known which events were lost.

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
    frame::{Frame, Kind, Place},
    index::{ActiveIndex, Index},
    segment::SegmentName,
    segments::Segment,
};
use crate::{
    Sequence,
    limits::{MARK_EVERY, MARK_REACH},
};

/// The segment that is written.
pub(super) struct OpenSegment {
    pub(super) segment: Arc<Segment>,
    file: File,
    place: Place,
    /// Where the next record goes: the end of what was written.
    position: u64,
    /// Everything before is on stable storage.
    durable: u64,
    /// Where the state at its head ends.
    head: u64,
    /// Where the last mark is.
    marked: u64,
    /// Events in the last [`MARK_REACH`] bytes: where they end, and whose they are.
    recent: VecDeque<(u64, u32, Sequence)>,
    /// Records that are to be written.
    buffer: Vec<u8>,
    copy: Option<Copy>,
}

/// The copy of what a segment says of endpoints and consumers: the loss of one of those records would cost more than
/// itself, so they are in two files.
struct Copy {
    file: File,
    place: Place,
    position: u64,
    buffer: Vec<u8>,
}

impl OpenSegment {
    /// Creates the file of a segment.
    pub(super) fn create(layout: &Layout, name: SegmentName, head: SegmentHead) -> io::Result<Self> {
        Ok(Self {
            file: create(&layout.log_file(name))?,
            segment: Arc::new(Segment::new(layout, name, head, 0, Index::Active(ActiveIndex::default()))),
            place: Place { salt: layout.salt, segment: name, offset: 0 },
            position: 0,
            durable: 0,
            head: 0,
            marked: 0,
            recent: VecDeque::new(),
            buffer: Vec::new(),
            copy: None,
        })
    }

    /// Creates a file beside the segment, and copies from now on what is said of endpoints and consumers to it.
    pub(super) fn create_copy(&mut self, layout: &Layout) -> io::Result<()> {
        let name = self.place.segment;
        let place = Place { segment: name.copy(), offset: 0, ..self.place };
        self.copy = Some(Copy { file: create(&layout.copy_file(name))?, place, position: 0, buffer: Vec::new() });
        Ok(())
    }

    /// Where the next record goes, behind those that are to be written.
    pub(super) fn end(&self) -> u64 {
        self.position + self.buffer.len() as u64
    }

    /// The end of what has been written.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// The state at the head is written.
    pub(super) fn end_of_head(&mut self) {
        (self.head, self.marked) = (self.position, self.position);
    }

    /// Bytes of the state at its head.
    pub(super) fn head_bytes(&self) -> u64 {
        self.head
    }

    pub(super) fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// Adds a record; where it begins.
    pub(super) fn push(&mut self, frame: Frame, payload: &[u8]) -> u64 {
        let offset = self.end();
        self.buffer.extend_from_slice(&frame.encode(self.place.at(offset)));
        self.buffer.extend_from_slice(payload);
        offset
    }

    /// Adds a record that is no event.
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

    /// Adds an event; where it begins.
    pub(super) fn event(&mut self, frame: Frame, payload: &[u8]) -> u64 {
        if self.end() - self.marked >= MARK_EVERY {
            self.mark();
        }
        let offset = self.push(frame, payload);
        self.recent.push_back((self.end(), frame.number, frame.sequence));
        offset
    }

    /// Adds a mark that says that everything before it is durable, which it will be once it is, and the end.
    pub(super) fn close(&mut self) {
        let end = self.end();
        let mark = entry::Mark { durable: end, heads: self.newest() };
        // Also in the copy: if the last page is lost, it is known what was there.
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

    /// The newest sequence of every endpoint with an event in the last [`MARK_REACH`] bytes.
    fn newest(&mut self) -> Vec<(u32, Sequence)> {
        let end = self.end();
        while self.recent.front().is_some_and(|(at, ..)| at + MARK_REACH < end) {
            self.recent.pop_front();
        }
        let newest: BTreeMap<_, _> = self.recent.iter().map(|(_, endpoint, sequence)| (*endpoint, *sequence)).collect();
        newest.into_iter().collect()
    }

    /// Writes the records, and syncs the file if they have to be durable. After an error nothing more may be written to this
    /// segment: nobody knows what of it is on the disk.
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
        // A large round is rare: its memory goes.
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

    /// Forgets the records that were to be written.
    pub(super) fn discard(&mut self) {
        self.buffer.clear();
        if let Some(copy) = &mut self.copy {
            copy.buffer.clear();
        }
    }

    /// Forgets the records that were to be written, and cuts off what may have been written of them, as far as possible.
    pub(super) fn abandon(&mut self) {
        self.discard();
        let _ = self.file.set_len(self.segment.len());
    }
}

fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).truncate(true).read(true).write(true).open(path)
}
