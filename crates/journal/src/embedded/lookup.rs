//! Lookup of events by id and by sequence.

use std::{collections::VecDeque, io, sync::Arc};

use super::{
    Engine,
    endpoint::Endpoint,
    error::from_io,
    frame::Frame,
    ids::{IdHash, KnownId, Run},
    index::{Index, Position},
    keeper::Work,
    segment::Reader,
    segment_name::SegmentName,
    segments::{Segment, decode_event},
    tasks::Task,
};
use crate::{Result, Sequence, StoredEvent, machine::Micros};

/// Number of positions that are looked up together.
const POSITIONS: usize = 64;

/// One event of a batch to load.
enum Loaded {
    Event(Option<StoredEvent>),
    NoRoom,
}

/// A sequential load of events: the positions of neighbours are looked up together, and each file is opened once.
struct Loading<'a> {
    engine: &'a Arc<Engine>,
    endpoint: &'a Arc<Endpoint>,
    positions: VecDeque<(Arc<Segment>, Position)>,
    source: Option<(SegmentName, Reader)>,
    bytes: usize,
}

impl Loading<'_> {
    fn event(&mut self, sequence: Sequence, last: Sequence, room: usize) -> Result<Loaded> {
        let Some((segment, position)) = self.position(sequence, last)? else {
            self.report(sequence, None);
            return Ok(Loaded::Event(None));
        };
        let len = position.len as usize;
        if self.bytes > 0 && self.bytes + len > room {
            return Ok(Loaded::NoRoom);
        }
        self.bytes += len;
        let io = |error: io::Error| from_io(segment.path().display(), error);
        let record = match &self.source {
            Some((name, reader)) if *name == segment.name => reader.record(position.offset.into(), Some(position.len)),
            _ => match segment.reader() {
                // The segment was rewritten or deleted in the meantime.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    self.positions.clear();
                    return match self.engine.positions(self.endpoint, sequence, sequence, 1)?.first() {
                        Some((other, _)) if other.name != segment.name => self.event(sequence, last, usize::MAX),
                        _ => Ok(Loaded::Event(None)),
                    };
                }
                opened => {
                    let (_, reader) = self.source.insert((segment.name, opened.map_err(io)?));
                    reader.record(position.offset.into(), Some(position.len))
                }
            },
        };
        let record = record.map_err(io)?;
        let mine = |frame: &Frame| frame.number == self.endpoint.number && frame.sequence == sequence;
        let event = record.filter(|record| mine(&record.frame)).and_then(|record| decode_event(&record));
        if event.is_none() {
            self.report(sequence, Some((&segment, &position)));
        }
        Ok(Loaded::Event(event.map(|(event, _)| event)))
    }

    fn position(&mut self, sequence: Sequence, last: Sequence) -> Result<Option<(Arc<Segment>, Position)>> {
        let is_ahead = self.positions.iter().any(|(_, position)| position.sequence == sequence);
        if !is_ahead {
            let last = last.min(sequence.saturating_add(POSITIONS as u64)).max(sequence);
            self.positions = self.engine.positions(self.endpoint, sequence, last, POSITIONS)?.into();
        }
        while let Some((segment, position)) = self.positions.pop_front() {
            if position.sequence == sequence {
                return Ok(Some((segment, position)));
            }
            if position.sequence > sequence {
                self.positions.push_front((segment, position));
                break;
            }
        }
        Ok(None)
    }

    fn report(&self, sequence: Sequence, place: Option<(&Segment, &Position)>) {
        if !self.endpoint.state.lock().removed.contains(sequence) {
            self.engine.report_damage(self.endpoint, sequence, place);
        }
    }
}

impl Engine {
    /// Returns the newest event of an id. Skips files in which every window has ended by `received`; waits for a
    /// damaged file to be rebuilt.
    pub(super) fn known_id(&self, id: &IdHash, received: Option<Micros>) -> Result<Option<KnownId>> {
        let first = match self.look_up(id, received) {
            Ok(known) => return Ok(known),
            Err((run, error)) if error.kind() != io::ErrorKind::InvalidData => {
                return Err(from_io(run.path().display(), error));
            }
            Err((run, _)) => run,
        };
        self.keeper.send(Work::RebuildIds(first.name));
        self.keeper.wait_until(|| !self.ids.read().runs.iter().any(|run| Arc::ptr_eq(run, &first)));
        self.look_up(id, received).map_err(|(run, error)| from_io(run.path().display(), error))
    }

    fn look_up(&self, id: &IdHash, received: Option<Micros>) -> Result<Option<KnownId>, (Arc<Run>, io::Error)> {
        let ids = self.ids.read();
        if let Some(known) = ids.active.get(id) {
            return Ok(Some(known));
        }
        if let Some(known) = ids.sealing.iter().rev().find_map(|(_, sealing)| sealing.get(id)) {
            return Ok(Some(known));
        }
        for run in ids.runs.iter().rev() {
            if received.is_some_and(|received| run.keep_until <= received) {
                continue;
            }
            match run.get(id) {
                Ok(None) => {}
                Ok(known) => return Ok(known),
                Err(error) => return Err((Arc::clone(run), error)),
            }
        }
        Ok(None)
    }

    /// Loads events of an endpoint by their ascending sequences: as many as fit in `room` bytes, at least one. `None`
    /// stands for an event that cannot be read; it is recorded as damaged unless it was removed.
    pub(super) fn load(
        self: &Arc<Self>,
        endpoint: &Arc<Endpoint>,
        sequences: &[Sequence],
        room: usize,
    ) -> Result<Vec<(Sequence, Option<StoredEvent>)>> {
        let mut loading = Loading { engine: self, endpoint, positions: VecDeque::new(), source: None, bytes: 0 };
        let mut loaded = Vec::with_capacity(sequences.len());
        for (at, sequence) in sequences.iter().enumerate() {
            let last = sequences.iter().skip(at).take(POSITIONS).max().copied().unwrap_or(*sequence);
            match loading.event(*sequence, last, room)? {
                Loaded::NoRoom => break,
                Loaded::Event(event) => loaded.push((*sequence, event)),
            }
        }
        Ok(loaded)
    }

    /// Returns the positions of an endpoint's events. Rebuilds an unreadable index from the log.
    pub(super) fn positions(
        &self,
        endpoint: &Endpoint,
        first: Sequence,
        last: Sequence,
        limit: usize,
    ) -> Result<Vec<(Arc<Segment>, Position)>> {
        self.read_index(|| self.segments.positions(endpoint.number, first, last, limit))
    }

    /// Returns every outcome of a consumer's events between `first` and `last` in a segment: see
    /// [`Index::outcomes`](super::index::Index::outcomes). Rebuilds an unreadable index from the log.
    pub(super) fn outcome_rows(
        &self,
        segment: &Segment,
        consumer: u32,
        first: Sequence,
        last: Sequence,
    ) -> Result<Vec<(Sequence, u32)>> {
        self.read_index(|| segment.index(|index| index.outcomes(consumer, first, last)))
    }

    fn read_index<T>(&self, read: impl Fn() -> io::Result<T>) -> Result<T> {
        let outcome = match read() {
            Err(error) if matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::NotFound) => {
                self.mend_indexes();
                read()
            }
            other => other,
        };
        outcome.map_err(|error| from_io("the index", error))
    }

    /// Rebuilds every unreadable index from its log.
    fn mend_indexes(&self) {
        for segment in self.segments.all() {
            if segment.index(Index::verify).is_err() {
                tracing::error!(segment = %segment.name, "an index file is damaged and is rebuilt from the log");
                if let Err(error) = segment.reindex(&self.layout) {
                    tracing::error!(segment = %segment.name, %error, "the index file cannot be rebuilt");
                }
            }
        }
    }

    /// Logs once that an event that should be kept cannot be read, and has it recorded as damaged.
    pub(super) fn report_damage(
        &self,
        endpoint: &Arc<Endpoint>,
        sequence: Sequence,
        place: Option<(&Segment, &Position)>,
    ) {
        let mut state = endpoint.state.lock();
        if state.damaged.insert(sequence, sequence) == 0 {
            return;
        }
        drop(state);
        self.damaged_records.fetch_add(1, std::sync::atomic::Ordering::AcqRel);
        let file = place.map(|(segment, _)| segment.path().display().to_string());
        let offset = place.map(|(_, position)| position.offset);
        tracing::error!(
            endpoint = %endpoint.key, sequence, file, offset,
            "an accepted event is damaged; it is listed as damaged, and its deliveries become dead letters"
        );
        self.inbox.offer(Task::Damaged { endpoint: Arc::clone(endpoint), ranges: vec![(sequence, sequence)] });
    }
}
