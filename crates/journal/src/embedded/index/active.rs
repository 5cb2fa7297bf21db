//! The index of the segment being written.

use std::{collections::HashMap, io, path::Path};

use super::{OutcomeRow, Part, Position, sealed};
use crate::{Sequence, embedded::blocks::Seed};

/// The events of one endpoint.
#[derive(Debug)]
struct Events {
    /// The sum of the positions, updated with each event, because it is read far more often than events are added.
    part: Part,
    /// Ascending by sequence, never empty.
    positions: Vec<Position>,
}

/// The index of the segment being written. Takes about 40 bytes per event and 16 per outcome.
#[derive(Debug, Default)]
pub(in crate::embedded) struct ActiveIndex {
    endpoints: HashMap<u32, Events>,
    outcomes: Vec<OutcomeRow>,
    count: usize,
}

impl ActiveIndex {
    /// Adds an event. Its sequence must be greater than that of every earlier event of its endpoint.
    pub(in crate::embedded) fn event(&mut self, endpoint: u32, position: Position) {
        let Position { sequence, len, received, .. } = position;
        let events = self.endpoints.entry(endpoint).or_insert_with(|| Events::before(endpoint, position));
        let part = &mut events.part;
        if part.count > 0 && sequence <= part.last {
            return;
        }
        part.last = sequence;
        part.count += 1;
        part.bytes += u64::from(len);
        part.oldest = part.oldest.min(received);
        part.newest = part.newest.max(received);
        events.positions.push(position);
        self.count += 1;
    }

    /// Adds the outcome of an event, stored in the record at `offset`.
    pub(in crate::embedded) fn outcome(&mut self, consumer: u32, sequence: Sequence, offset: u32) {
        self.outcomes.push(OutcomeRow { consumer, sequence, offset });
    }

    /// Returns the number of events and outcomes.
    pub(in crate::embedded) fn rows(&self) -> (usize, usize) {
        (self.count, self.outcomes.len())
    }

    pub(super) fn parts(&self) -> Vec<Part> {
        let mut parts: Vec<_> = self.endpoints.values().map(|events| events.part).collect();
        parts.sort_unstable_by_key(|part| part.endpoint);
        parts
    }

    pub(super) fn part(&self, endpoint: u32) -> Option<Part> {
        self.endpoints.get(&endpoint).map(|events| events.part)
    }

    pub(super) fn positions(&self, endpoint: u32, first: Sequence, last: Sequence, limit: usize) -> Vec<Position> {
        let Some(Events { positions, .. }) = self.endpoints.get(&endpoint) else { return Vec::new() };
        let from = positions.partition_point(|position| position.sequence < first);
        let inside = positions.iter().skip(from).take_while(|position| position.sequence <= last);
        inside.take(limit).copied().collect()
    }

    pub(super) fn outcomes(&self, consumer: u32, first: Sequence, last: Sequence) -> Vec<(Sequence, u32)> {
        let mine = |row: &&OutcomeRow| row.consumer == consumer && (first..=last).contains(&row.sequence);
        let mut found: Vec<_> = self.outcomes.iter().filter(mine).map(|row| (row.sequence, row.offset)).collect();
        found.sort_unstable();
        found
    }

    pub(super) fn visit_outcomes(&self, visit: &mut dyn FnMut(u32, Sequence) -> bool) {
        let mut rows: Vec<_> = self.outcomes.iter().collect();
        rows.sort_unstable();
        let _ = rows.into_iter().all(|row| visit(row.consumer, row.sequence));
    }

    /// Writes the index to a file. Returns its length.
    pub(in crate::embedded) fn write(&self, path: &Path, seed: Seed, log_len: u64) -> io::Result<u64> {
        let parts = self.parts();
        let mut outcomes = self.outcomes.clone();
        outcomes.sort_unstable();
        let events =
            parts.iter().flat_map(|part| self.endpoints.get(&part.endpoint)).flat_map(|events| &events.positions);
        sealed::write(path, seed, log_len, &parts, events, &outcomes)
    }
}

impl Events {
    /// Creates the summary of an endpoint whose first event is about to be added.
    fn before(endpoint: u32, first: Position) -> Self {
        let Position { sequence, received, .. } = first;
        let part =
            Part { endpoint, first: sequence, last: sequence, count: 0, bytes: 0, oldest: received, newest: received };
        Self { part, positions: Vec::new() }
    }
}
