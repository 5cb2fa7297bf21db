//! The index of the segment that is written.

use std::{
    collections::{BTreeMap, HashMap},
    io,
    path::Path,
};

use super::{Part, Position, sealed};
use crate::journal::{Sequence, embedded::blocks::Seed, machine::Micros};

/// An outcome in the segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct OutcomeRow {
    pub(super) consumer: u32,
    pub(super) sequence: Sequence,
    pub(super) offset: u32,
}

/// The index of the segment that is written. About 40 bytes an event and 16 an outcome.
#[derive(Debug, Default)]
pub(in crate::journal::embedded) struct ActiveIndex {
    /// Positions of each endpoint's events, ascending.
    events: HashMap<u32, Vec<Position>>,
    outcomes: Vec<OutcomeRow>,
    count: usize,
}

impl ActiveIndex {
    /// Adds an event, whose sequence is greater than that of every event of its endpoint before.
    pub(in crate::journal::embedded) fn event(&mut self, endpoint: u32, position: Position) {
        let positions = self.events.entry(endpoint).or_default();
        if positions.last().is_none_or(|last| last.sequence < position.sequence) {
            positions.push(position);
            self.count += 1;
        }
    }

    /// Adds the outcome of an event, which is in the record at `offset`.
    pub(in crate::journal::embedded) fn outcome(&mut self, consumer: u32, sequence: Sequence, offset: u32) {
        self.outcomes.push(OutcomeRow { consumer, sequence, offset });
    }

    /// How many rows the index has: events and outcomes.
    pub(in crate::journal::embedded) fn rows(&self) -> (usize, usize) {
        (self.count, self.outcomes.len())
    }

    pub(super) fn parts(&self) -> Vec<Part> {
        let sorted: BTreeMap<_, _> = self.events.keys().map(|endpoint| (*endpoint, ())).collect();
        sorted.into_keys().filter_map(|endpoint| self.part(endpoint)).collect()
    }

    pub(super) fn part(&self, endpoint: u32) -> Option<Part> {
        let positions = self.events.get(&endpoint)?;
        Some(Part {
            endpoint,
            first: positions.first()?.sequence,
            last: positions.last()?.sequence,
            count: positions.len() as u64,
            bytes: positions.iter().map(|position| u64::from(position.len)).sum(),
            oldest: positions.iter().map(|position| position.received).min().unwrap_or(Micros(i64::MIN)),
            newest: positions.iter().map(|position| position.received).max().unwrap_or(Micros::MAX),
        })
    }

    pub(super) fn positions(&self, endpoint: u32, first: Sequence, last: Sequence, limit: usize) -> Vec<Position> {
        let Some(positions) = self.events.get(&endpoint) else { return Vec::new() };
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

    /// Writes the index to a file. Returns its length.
    pub(in crate::journal::embedded) fn write(&self, path: &Path, seed: Seed, log_len: u64) -> io::Result<u64> {
        let parts = self.parts();
        let mut outcomes = self.outcomes.clone();
        outcomes.sort_unstable();
        let events = parts.iter().flat_map(|part| self.events.get(&part.endpoint)).flatten();
        sealed::write(path, seed, log_len, &parts, events, &outcomes)
    }
}
