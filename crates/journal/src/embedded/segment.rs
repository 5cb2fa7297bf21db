//! Reading of log files.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use bytes::{Bytes, BytesMut};

use super::{
    frame::{FRAME, Frame, MAGIC, RecordLocation},
    segment_name::SegmentName,
};
use crate::limits::JOURNAL_SCAN_BYTES;

/// An intact record.
#[derive(Debug, Clone)]
pub(super) struct Record {
    /// Offset of its first byte.
    pub(super) offset: u64,
    pub(super) frame: Frame,
    pub(super) payload: Bytes,
}

impl Record {
    /// Returns the offset after its last byte.
    pub(super) fn end(&self) -> u64 {
        self.offset + self.frame.total()
    }
}

/// The next item of a scan.
#[derive(Debug)]
pub(super) enum Found {
    Record(Record),
    /// There is no intact record between `from` and `to`; at `to` one begins.
    Damage {
        from: u64,
        to: u64,
    },
    /// No intact record follows `at`, although the file has `rest` more bytes.
    End {
        at: u64,
        rest: u64,
    },
}

/// A log file open for reading.
#[derive(Debug)]
pub(super) struct Reader {
    file: File,
    place: RecordLocation,
    path: PathBuf,
}

impl Reader {
    /// Opens a log file.
    pub(super) fn open(path: &Path, salt: u64, segment: SegmentName) -> io::Result<Self> {
        let file = File::open(path)?;
        Ok(Self { file, place: RecordLocation { salt, segment, offset: 0 }, path: path.to_owned() })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// Reads the record at `offset`; `None` if no intact one begins there. `expected` is its length with the frame, if
    /// known.
    pub(super) fn record(&self, offset: u64, expected: Option<u32>) -> io::Result<Option<Record>> {
        let first = usize::try_from(expected.unwrap_or(4096)).unwrap_or(4096).max(FRAME);
        let mut bytes = self.read(offset, first)?;
        let Some(frame) = Frame::decode(&bytes, self.place.at(offset)) else { return Ok(None) };
        let Ok(total) = usize::try_from(frame.total()) else { return Ok(None) };
        if bytes.len() < total && bytes.len() == first {
            // Bounded by the file: a length beyond its end is not read.
            if offset.saturating_add(frame.total()) > self.len()? {
                return Ok(None);
            }
            bytes = self.read(offset, total)?;
        }
        if bytes.len() < total {
            return Ok(None);
        }
        let payload = bytes.freeze().slice(FRAME..total);
        if crc32fast::hash(&payload) != frame.checksum {
            return Ok(None);
        }
        Ok(Some(Record { offset, frame, payload }))
    }

    /// Reads the first `len` bytes of the record at `offset`; returns its frame, and as much of its payload. `None` if no
    /// record begins there. The payload is not verified.
    pub(super) fn start(&self, offset: u64, len: usize) -> io::Result<Option<(Frame, Bytes)>> {
        let bytes = self.read(offset, len.max(FRAME))?.freeze();
        let Some(frame) = Frame::decode(&bytes, self.place.at(offset)) else { return Ok(None) };
        let end = usize::try_from(frame.total()).unwrap_or(usize::MAX).min(bytes.len());
        Ok(Some((frame, bytes.slice(FRAME..end))))
    }

    fn read(&self, offset: u64, len: usize) -> io::Result<BytesMut> {
        let mut bytes = BytesMut::zeroed(len);
        let read = read_at(&self.file, &mut bytes, offset)?;
        bytes.truncate(read);
        Ok(bytes)
    }
}

/// Reads until the buffer is full or the file ends.
pub(super) fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Iterates over all records of a log file up to `end`, skipping damage.
pub(super) struct Scan<'a> {
    reader: &'a Reader,
    position: u64,
    end: u64,
    buffer: Bytes,
    /// File offset of the buffer.
    buffered: u64,
}

impl<'a> Scan<'a> {
    pub(super) fn new(reader: &'a Reader, from: u64, end: u64) -> Self {
        Self { reader, position: from, end, buffer: Bytes::new(), buffered: from }
    }

    /// Returns the next record, damage, or the end.
    pub(super) fn next(&mut self) -> io::Result<Found> {
        if let Some(record) = self.record_at(self.position)? {
            self.position = record.end();
            return Ok(Found::Record(record));
        }
        let from = self.position;
        if from >= self.end {
            return Ok(Found::End { at: from, rest: 0 });
        }
        let mut at = from;
        while at < self.end {
            let window = self.window(at)?;
            if window.is_empty() {
                break;
            }
            for candidate in memchr::memmem::find_iter(&window, &MAGIC) {
                let candidate = at + candidate as u64;
                if candidate > from && self.record_at(candidate)?.is_some() {
                    self.position = candidate;
                    return Ok(Found::Damage { from, to: candidate });
                }
            }
            // The magic may span the edge of the window.
            let step = window.len().saturating_sub(MAGIC.len() - 1).max(1);
            at += step as u64;
        }
        self.position = self.end;
        Ok(Found::End { at: from, rest: self.end - from })
    }

    fn record_at(&mut self, offset: u64) -> io::Result<Option<Record>> {
        let window = self.window(offset)?;
        let Some(frame) = Frame::decode(&window, self.reader.place.at(offset)) else { return Ok(None) };
        if offset.saturating_add(frame.total()) > self.end {
            return Ok(None);
        }
        let Ok(total) = usize::try_from(frame.total()) else { return Ok(None) };
        if window.len() < total {
            return self.reader.record(offset, Some(frame.len.saturating_add(FRAME as u32)));
        }
        let payload = window.slice(FRAME..total);
        if crc32fast::hash(&payload) != frame.checksum {
            return Ok(None);
        }
        Ok(Some(Record { offset, frame, payload }))
    }

    /// Returns bytes of the file from `offset` on: at least the length of a frame, unless the file ends.
    fn window(&mut self, offset: u64) -> io::Result<Bytes> {
        let inside = offset.checked_sub(self.buffered).and_then(|at| usize::try_from(at).ok());
        if let Some(window) = inside.filter(|at| *at <= self.buffer.len()).map(|at| self.buffer.slice(at..))
            && (window.len() >= JOURNAL_SCAN_BYTES / 8 || self.buffered + self.buffer.len() as u64 >= self.end)
        {
            return Ok(window);
        }
        let left = usize::try_from(self.end.saturating_sub(offset)).unwrap_or(usize::MAX);
        self.buffer = self.reader.read(offset, JOURNAL_SCAN_BYTES.min(left))?.freeze();
        self.buffered = offset;
        if self.buffer.len() < JOURNAL_SCAN_BYTES.min(left) {
            // The file has become shorter.
            self.end = offset + self.buffer.len() as u64;
        }
        Ok(self.buffer.clone())
    }
}
