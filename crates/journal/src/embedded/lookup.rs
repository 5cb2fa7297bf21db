//! Lookup in the ids and indexes, which are rebuilt when they are damaged.

use std::{io, sync::Arc};

use super::{
    Engine,
    endpoint::Endpoint,
    error::from_io,
    ids::{IdHash, KnownId, Run},
    index::{Index, Position},
    keeper_inbox::Work,
    segments::Segment,
    task::Task,
};
use crate::{Result, Sequence, machine::Micros};

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

    /// Reads the index of a segment; `None` if the segment has been rewritten or deleted in the meantime. Rebuilds an
    /// unreadable index from the log.
    pub(super) fn read_segment_index<T>(
        &self,
        segment: &Segment,
        read: impl Fn(&Index) -> io::Result<T>,
    ) -> Result<Option<T>> {
        match segment.index(&read) {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.kind() == io::ErrorKind::NotFound && !self.segments.has(segment.name) => Ok(None),
            Err(_) => self.read_index(|| segment.index(&read)).map(Some),
        }
    }

    /// Reads indexes. Rebuilds an unreadable one from the log, and reads again.
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
