//! Loading of events by sequence: whole, or without their headers and bodies.

use std::{io, ops::RangeInclusive, sync::Arc};

use super::{
    Engine,
    endpoint::Endpoint,
    error::from_io,
    frame::{Frame, head_checksum},
    index::Position,
    segment::{Reader, Record},
    segment_name::SegmentName,
    segments::{Segment, decode_event, decode_summary},
};
use crate::{EventSummary, Result, Sequence, StoredEvent, limits::HEAD_BYTES};

/// Number of sequences whose positions are looked up together.
const NEIGHBOURS: u64 = 64;

/// How often the position of an event is looked up anew because its segment was rewritten in the meantime.
const MOVES: usize = 3;

/// A part of an event that can be read alone.
pub(super) trait Part: Sized {
    /// Returns the bytes that reading it takes at least.
    fn least(position: &Position) -> usize;

    /// Reads it; `None` if it is damaged. Also returns the bytes that were read.
    fn read(reader: &Reader, endpoint: u32, position: &Position) -> io::Result<(Option<Self>, usize)>;
}

impl Part for StoredEvent {
    fn least(position: &Position) -> usize {
        position.len as usize
    }

    fn read(reader: &Reader, endpoint: u32, position: &Position) -> io::Result<(Option<Self>, usize)> {
        let record = reader.record(position.offset.into(), Some(position.len))?;
        let record = record.filter(|record: &Record| is_of(&record.frame, endpoint, position));
        Ok((record.and_then(|record| decode_event(&record)).map(|(event, _)| event), position.len as usize))
    }
}

impl Part for EventSummary {
    fn least(position: &Position) -> usize {
        HEAD_BYTES.min(position.len as usize)
    }

    fn read(reader: &Reader, endpoint: u32, position: &Position) -> io::Result<(Option<Self>, usize)> {
        let (mut len, mut read) = (Self::least(position), 0);
        loop {
            let Some((frame, start)) = reader.start(position.offset.into(), len)? else {
                return Ok((None, read + len));
            };
            read += len;
            if !is_of(&frame, endpoint, position) {
                return Ok((None, read));
            }
            match decode_summary(&frame, start.clone()) {
                Some((summary, head)) => {
                    let checksum = start.get(..head).map(|head| head_checksum(crc32fast::hash(head)));
                    return Ok(((checksum == Some(frame.head)).then_some(summary), read));
                }
                None if len >= position.len as usize => return Ok((None, read)),
                // Its headers are longer.
                None => len = len.saturating_mul(8).min(position.len as usize),
            }
        }
    }
}

fn is_of(frame: &Frame, endpoint: u32, position: &Position) -> bool {
    frame.number == endpoint && frame.sequence == position.sequence
}

/// One event of a list of events to load.
pub(super) enum Loaded<T> {
    /// The event; `None` if it cannot be read. It is then recorded as damaged, unless it was removed.
    Event(Option<T>),
    /// Reading it would exceed the bytes that may be read.
    NoRoom,
}

/// Loads events one after another, in any order: positions of neighbours are looked up together, and each file is opened
/// once.
pub(super) struct Loading<'a> {
    engine: &'a Engine,
    endpoint: &'a Arc<Endpoint>,
    /// The sequences that will be asked for.
    all: RangeInclusive<Sequence>,
    newest_first: bool,
    /// Bytes to read, except that the first event is always read.
    room: usize,
    read: usize,
    /// Sequences whose positions were looked up, and what was found.
    known: RangeInclusive<Sequence>,
    positions: Vec<(Arc<Segment>, Position)>,
    source: Option<(SegmentName, Reader)>,
}

impl<'a> Loading<'a> {
    /// Begins to load some of the events of `sequences`.
    pub(super) fn new(engine: &'a Engine, endpoint: &'a Arc<Endpoint>, sequences: &[Sequence], room: usize) -> Self {
        let (lowest, highest) = (sequences.iter().min().copied(), sequences.iter().max().copied());
        Self {
            engine,
            endpoint,
            all: lowest.unwrap_or(1)..=highest.unwrap_or(0),
            newest_first: sequences.first() > sequences.last(),
            room,
            read: 0,
            known: RangeInclusive::new(1, 0),
            positions: Vec::new(),
            source: None,
        }
    }

    /// Returns the position of an event.
    pub(super) fn position(&mut self, sequence: Sequence) -> Result<Option<(Arc<Segment>, Position)>> {
        if !self.known.contains(&sequence) {
            let range = if self.newest_first {
                sequence.saturating_sub(NEIGHBOURS - 1).max(*self.all.start())..=sequence
            } else {
                sequence..=sequence.saturating_add(NEIGHBOURS - 1).min(*self.all.end())
            };
            self.look_up(range)?;
        }
        let at = self.positions.binary_search_by_key(&sequence, |(_, position)| position.sequence);
        Ok(at.ok().and_then(|at| self.positions.get(at)).cloned())
    }

    fn look_up(&mut self, range: RangeInclusive<Sequence>) -> Result<()> {
        self.positions = self.engine.positions(self.endpoint, *range.start(), *range.end(), usize::MAX)?;
        self.known = range;
        Ok(())
    }

    /// Loads a part of an event.
    pub(super) fn load<T: Part>(&mut self, sequence: Sequence) -> Result<Loaded<T>> {
        let number = self.endpoint.number;
        for _ in 0..MOVES {
            let Some((segment, position)) = self.position(sequence)? else {
                self.report(sequence, None);
                return Ok(Loaded::Event(None));
            };
            if self.read > 0 && self.read.saturating_add(T::least(&position)) > self.room {
                return Ok(Loaded::NoRoom);
            }
            let failed = |error: io::Error| from_io(segment.path().display(), error);
            match self.reader(&segment) {
                // The segment was rewritten or deleted in the meantime.
                Err(error) if error.kind() == io::ErrorKind::NotFound => self.look_up(sequence..=sequence)?,
                Err(error) => return Err(failed(error)),
                Ok(reader) => {
                    let (part, read) = T::read(reader, number, &position).map_err(failed)?;
                    self.read += read;
                    if part.is_none() {
                        self.report(sequence, Some((&segment, &position)));
                    }
                    return Ok(Loaded::Event(part));
                }
            }
        }
        Ok(Loaded::Event(None))
    }

    /// Loads an event for a list, which shows all damage that has been noticed.
    pub(super) fn summary(&mut self, sequence: Sequence) -> Result<Loaded<EventSummary>> {
        if self.endpoint.state.lock().damaged.contains(sequence) {
            return Ok(Loaded::Event(None));
        }
        self.load(sequence)
    }

    fn reader(&mut self, segment: &Segment) -> io::Result<&Reader> {
        let (name, reader) = match self.source.take().filter(|(name, _)| *name == segment.name) {
            Some(open) => open,
            None => (segment.name, segment.reader()?),
        };
        Ok(&self.source.insert((name, reader)).1)
    }

    fn report(&self, sequence: Sequence, place: Option<(&Segment, &Position)>) {
        if !self.endpoint.state.lock().removed.contains(sequence) {
            self.engine.report_damage(self.endpoint, sequence, place);
        }
    }
}

impl Engine {
    /// Loads events of an endpoint in the order of their sequences: as many as fit in `room` bytes, at least one. `None`
    /// stands for an event that cannot be read.
    pub(super) fn load(
        &self,
        endpoint: &Arc<Endpoint>,
        sequences: &[Sequence],
        room: usize,
    ) -> Result<Vec<(Sequence, Option<StoredEvent>)>> {
        let mut loading = Loading::new(self, endpoint, sequences, room);
        let mut loaded = Vec::with_capacity(sequences.len());
        for sequence in sequences {
            match loading.load(*sequence)? {
                Loaded::NoRoom => break,
                Loaded::Event(event) => loaded.push((*sequence, event)),
            }
        }
        Ok(loaded)
    }
}
