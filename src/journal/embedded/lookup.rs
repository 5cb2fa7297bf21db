//! Finding events: by id, and by sequence.

use std::{io, sync::Arc};

use super::{
    Engine,
    endpoint::Endpoint,
    error::from_io,
    ids::{IdHash, KnownId},
    index::Position,
    keeper::Work,
    segments::{Segment, decode_event},
    tasks::Task,
};
use crate::journal::{Result, Sequence, StoredEvent, machine::Micros};

impl Engine {
    /// The newest event of an id. Files in which every window is over by `received` are passed over.
    pub(super) fn known_id(&self, id: &IdHash, received: Option<Micros>) -> Result<Option<KnownId>> {
        let ids = self.ids.read();
        if let Some(known) = ids.active.get(id) {
            return Ok(Some(known));
        }
        for (_, sealing) in ids.sealing.iter().rev() {
            if let Some(known) = sealing.get(id) {
                return Ok(Some(known));
            }
        }
        for run in ids.runs.iter().rev() {
            if received.is_some_and(|received| run.keep_until <= received) {
                continue;
            }
            match run.get(id) {
                Ok(None) => {}
                Ok(Some(known)) => return Ok(Some(known)),
                Err(error) => {
                    if error.kind() == io::ErrorKind::InvalidData {
                        self.keeper.send(Work::RebuildIds(run.name));
                    }
                    return Err(from_io(run.path().display(), error));
                }
            }
        }
        Ok(None)
    }

    /// Events of an endpoint by their sequences, ascending: as many as `room` bytes hold, at least one. `None` for an event
    /// that cannot be read, which is then known to be damaged.
    pub(super) fn load(
        self: &Arc<Self>,
        endpoint: &Arc<Endpoint>,
        sequences: &[Sequence],
        room: usize,
    ) -> Result<Vec<(Sequence, Option<StoredEvent>)>> {
        let mut loaded = Vec::with_capacity(sequences.len());
        let mut bytes = 0;
        let mut source: Option<(Arc<Segment>, super::segment::Reader)> = None;
        let mut positions: Vec<(Arc<Segment>, Position)> = Vec::new();
        let mut next = 0;
        for (at, sequence) in sequences.iter().enumerate() {
            // Positions of neighbours are found together.
            let known = positions.get(next..).and_then(|rest| rest.iter().position(|(_, p)| p.sequence == *sequence));
            let found = match known {
                Some(skipped) => positions.get(next + skipped).cloned(),
                None => {
                    let last = sequences.get(at..).and_then(|rest| rest.iter().take(64).max()).unwrap_or(sequence);
                    let limit = 64.max((last - sequence).min(256) as usize);
                    positions = self.positions(endpoint, *sequence, (*last).max(*sequence), limit)?;
                    next = 0;
                    positions.first().filter(|(_, p)| p.sequence == *sequence).cloned()
                }
            };
            let event = match found {
                None => None,
                Some((segment, position)) => {
                    next = positions.iter().position(|(_, p)| p.sequence == *sequence).map_or(0, |at| at + 1);
                    if bytes > 0 && bytes + position.len as usize > room {
                        break;
                    }
                    if source.as_ref().is_none_or(|(open, _)| open.name != segment.name) {
                        let reader = segment.reader().map_err(|error| from_io(segment.path().display(), error))?;
                        source = Some((Arc::clone(&segment), reader));
                    }
                    let Some((_, reader)) = &source else { break };
                    let record = reader.record(position.offset.into(), Some(position.len));
                    let record = record.map_err(|error| from_io(segment.path().display(), error))?;
                    bytes += position.len as usize;
                    let mine = |frame: &super::frame::Frame| frame.number == endpoint.number && frame.sequence == *sequence;
                    record.filter(|record| mine(&record.frame)).and_then(|record| decode_event(&record)).map(|(event, _)| event)
                }
            };
            if event.is_none() && !endpoint.state.lock().removed.contains(*sequence) {
                self.report_damage(endpoint, *sequence, found.as_ref().map(|(segment, position)| (&**segment, position)));
            }
            loaded.push((*sequence, event));
        }
        Ok(loaded)
    }

    /// Positions of an endpoint's events. An index that cannot be read is made again from the log.
    pub(super) fn positions(
        &self,
        endpoint: &Endpoint,
        first: Sequence,
        last: Sequence,
        limit: usize,
    ) -> Result<Vec<(Arc<Segment>, Position)>> {
        match self.segments.positions(endpoint.number, first, last, limit) {
            Err(error) if matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::NotFound) => {
                self.mend_indexes();
                let again = self.segments.positions(endpoint.number, first, last, limit);
                again.map_err(|error| from_io("the index", error))
            }
            other => other.map_err(|error| from_io("the index", error)),
        }
    }

    /// Makes every index that cannot be read again from its log.
    fn mend_indexes(&self) {
        for segment in self.segments.all() {
            let readable = segment.index(|index| {
                index.parts().iter().all(|part| index.positions(part.endpoint, part.first, part.last, usize::MAX).is_ok())
                    && index.outcomes(u32::MAX, 0, u64::MAX).is_ok()
            });
            if !readable {
                tracing::error!(segment = %segment.name, "an index is damaged; it is made again from the log");
                if let Err(error) = segment.reindex(&self.layout) {
                    tracing::error!(segment = %segment.name, %error, "the index cannot be made again");
                }
            }
        }
    }

    /// An event that should be kept cannot be read: says so once, and has it remembered.
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
            "an acknowledged event cannot be read; it is listed as damaged, and its deliveries become dead letters"
        );
        self.inbox.offer(Task::Damaged { endpoint: Arc::clone(endpoint), ranges: vec![(sequence, sequence)] });
    }
}
