//! The index of a complete segment: a file of blocks with four sections.
//!
//! | section | row |
//! |---|---|
//! | parts | endpoint u64, first u64, last u64, count u64, bytes u64, oldest i64, newest i64; ascending by endpoint |
//! | events | sequence u64, offset u32, len u32, received i64; in the order of the parts, ascending by sequence |
//! | consumers | consumer u64, first row u64, rows u64, lowest sequence u64, highest sequence u64; ascending by consumer |
//! | outcomes | sequence u64, offset u32, zero u32; in the order of the consumers, ascending by sequence and offset |
//!
//! The parts and consumers are kept in memory; the other sections are read as needed. The first number of the file's tag is the
//! length of the log that it describes.

use std::{
    io,
    path::{Path, PathBuf},
};

use super::{OutcomeRow, Part, Position};
use crate::{
    Sequence,
    embedded::blocks::{BlockFile, BlockWriter, Seed, Table, invalid, number},
    machine::Micros,
};

const PARTS: Table = Table { at: 0, row: 56 };
const EVENTS: Table = Table { at: 1, row: 24 };
const CONSUMERS: Table = Table { at: 2, row: 40 };
const OUTCOMES: Table = Table { at: 3, row: 16 };

/// The index of a complete segment.
#[derive(Debug)]
pub(in crate::embedded) struct SealedIndex {
    path: PathBuf,
    seed: Seed,
    parts: Vec<Part>,
    /// The first row of each part in the events section.
    first_rows: Vec<u64>,
    /// Ascending by consumer.
    consumers: Vec<ConsumerRows>,
    len: u64,
}

/// Where the outcomes of one consumer are.
#[derive(Debug, Clone, Copy)]
struct ConsumerRows {
    consumer: u32,
    /// Its rows in the outcomes section.
    first: u64,
    end: u64,
    lowest: Sequence,
    highest: Sequence,
}

pub(super) fn write<'a>(
    path: &Path,
    seed: Seed,
    log_len: u64,
    parts: &[Part],
    events: impl Iterator<Item = &'a Position>,
    outcomes: &[OutcomeRow],
) -> io::Result<u64> {
    let mut writer = BlockWriter::create(path, seed)?;
    writer.section(PARTS)?;
    for part in parts {
        let (oldest, newest) = (part.oldest.0 as u64, part.newest.0 as u64);
        let numbers = [part.endpoint.into(), part.first, part.last, part.count, part.bytes, oldest, newest];
        writer.row(&row::<{ PARTS.row }>(&numbers))?;
    }
    writer.section(EVENTS)?;
    for event in events {
        let place = u64::from(event.offset) | u64::from(event.len) << 32;
        writer.row(&row::<{ EVENTS.row }>(&[event.sequence, place, event.received.0 as u64]))?;
    }
    writer.section(CONSUMERS)?;
    let mut first = 0;
    for consumer in outcomes.chunk_by(|a, b| a.consumer == b.consumer) {
        let (Some(lowest), Some(highest)) = (consumer.first(), consumer.last()) else { continue };
        let rows = consumer.len() as u64;
        writer.row(&row::<{ CONSUMERS.row }>(&[
            lowest.consumer.into(),
            first,
            rows,
            lowest.sequence,
            highest.sequence,
        ]))?;
        first += rows;
    }
    writer.section(OUTCOMES)?;
    for outcome in outcomes {
        writer.row(&row::<{ OUTCOMES.row }>(&[outcome.sequence, outcome.offset.into()]))?;
    }
    writer.finish([log_len, 0, 0, 0])
}

impl SealedIndex {
    /// Opens the index of a log of that length.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::InvalidData`] if the file is damaged or describes another log.
    pub(in crate::embedded) fn open(path: PathBuf, seed: Seed, log_len: u64) -> io::Result<Self> {
        let file = BlockFile::open(&path, seed)?;
        if file.tag.first() != Some(&log_len) {
            return Err(invalid("the index of a shorter or longer log"));
        }
        let (parts, first_rows) = read_parts(&file)?;
        let (consumers, len) = (read_consumers(&file)?, file.len()?);
        Ok(Self { path, seed, parts, first_rows, consumers, len })
    }

    /// Returns the length of the file in bytes.
    pub(in crate::embedded) fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn parts(&self) -> &[Part] {
        &self.parts
    }

    pub(super) fn part(&self, endpoint: u32) -> Option<Part> {
        let at = self.parts.binary_search_by_key(&endpoint, |part| part.endpoint).ok()?;
        self.parts.get(at).copied()
    }

    pub(super) fn positions(
        &self,
        endpoint: u32,
        first: Sequence,
        last: Sequence,
        limit: usize,
    ) -> io::Result<Vec<Position>> {
        let mut found = Vec::new();
        let Ok(at) = self.parts.binary_search_by_key(&endpoint, |part| part.endpoint) else { return Ok(found) };
        let (Some(part), Some(rows)) = (self.parts.get(at), self.first_rows.get(at)) else { return Ok(found) };
        if part.last < first || part.first > last || limit == 0 {
            return Ok(found);
        }
        let file = self.file()?;
        let section = file.section(EVENTS)?;
        let end = rows.saturating_add(part.count);
        // Sequences in a part have few gaps: the row is where it would be without gaps, or before.
        let guess = rows.saturating_add(first.saturating_sub(part.first)).min(end);
        let from = file.partition_point(section, *rows, guess, |row| number(row, 0) < first)?;
        let from =
            if from == guess { file.partition_point(section, guess, end, |row| number(row, 0) < first)? } else { from };
        file.visit(section, from, |at, row| {
            let sequence = number(row, 0);
            if at >= end || sequence > last {
                return false;
            }
            let place = number(row, 1);
            found.push(Position {
                sequence,
                offset: place as u32,
                len: (place >> 32) as u32,
                received: Micros(number(row, 2) as i64),
            });
            found.len() < limit
        })?;
        Ok(found)
    }

    pub(super) fn outcomes(&self, consumer: u32, first: Sequence, last: Sequence) -> io::Result<Vec<(Sequence, u32)>> {
        let mut found = Vec::new();
        let at = self.consumers.binary_search_by_key(&consumer, |rows| rows.consumer);
        let rows = at.ok().and_then(|at| self.consumers.get(at));
        let Some(rows) = rows.filter(|rows| rows.lowest <= last && rows.highest >= first) else { return Ok(found) };
        let file = self.file()?;
        let section = file.section(OUTCOMES)?;
        let from = file.partition_point(section, rows.first, rows.end, |row| number(row, 0) < first)?;
        file.visit(section, from, |at, row| {
            let sequence = number(row, 0);
            let inside = at < rows.end && sequence <= last;
            if inside {
                found.push((sequence, number(row, 1) as u32));
            }
            inside
        })?;
        Ok(found)
    }

    pub(super) fn outcome_count(&self) -> u64 {
        self.consumers.last().map_or(0, |rows| rows.end)
    }

    pub(super) fn visit_outcomes(&self, visit: &mut dyn FnMut(u32, Sequence) -> bool) -> io::Result<()> {
        let file = self.file()?;
        let mut consumers = self.consumers.iter().peekable();
        file.visit(file.section(OUTCOMES)?, 0, |at, row| {
            while consumers.next_if(|rows| rows.end <= at).is_some() {}
            consumers.peek().is_some_and(|rows| visit(rows.consumer, number(row, 0)))
        })
    }

    /// Reads the whole file to verify its checksums.
    pub(in crate::embedded) fn verify(&self) -> io::Result<()> {
        let file = self.file()?;
        for section in [PARTS, EVENTS, CONSUMERS, OUTCOMES] {
            file.visit(file.section(section)?, 0, |_, _| true)?;
        }
        Ok(())
    }

    fn file(&self) -> io::Result<BlockFile> {
        BlockFile::open(&self.path, self.seed)
    }
}

fn row<const N: usize>(numbers: &[u64]) -> [u8; N] {
    let mut row = [0; N];
    for (bytes, number) in row.chunks_exact_mut(8).zip(numbers) {
        bytes.copy_from_slice(&number.to_le_bytes());
    }
    row
}

/// Reads the parts, and the first row of each in the events section.
fn read_parts(file: &BlockFile) -> io::Result<(Vec<Part>, Vec<u64>)> {
    let (mut parts, mut first_rows, mut next) = (Vec::new(), Vec::new(), 0_u64);
    file.visit(file.section(PARTS)?, 0, |_, row| {
        let part = Part {
            endpoint: number(row, 0) as u32,
            first: number(row, 1),
            last: number(row, 2),
            count: number(row, 3),
            bytes: number(row, 4),
            oldest: Micros(number(row, 5) as i64),
            newest: Micros(number(row, 6) as i64),
        };
        first_rows.push(next);
        next = next.saturating_add(part.count);
        parts.push(part);
        true
    })?;
    Ok((parts, first_rows))
}

fn read_consumers(file: &BlockFile) -> io::Result<Vec<ConsumerRows>> {
    let mut consumers = Vec::new();
    file.visit(file.section(CONSUMERS)?, 0, |_, row| {
        let (consumer, first) = (number(row, 0) as u32, number(row, 1));
        let (lowest, highest) = (number(row, 3), number(row, 4));
        consumers.push(ConsumerRows { consumer, first, end: first.saturating_add(number(row, 2)), lowest, highest });
        true
    })?;
    Ok(consumers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embedded::index::ActiveIndex;

    #[test]
    fn the_file_returns_what_was_in_memory() {
        let directory = tempfile::tempdir().unwrap();
        let (path, seed) = (directory.path().join("idx"), Seed { salt: 1, number: 2 });
        let mut active = ActiveIndex::default();
        for n in 0..1000u64 {
            let endpoint = (n % 7) as u32;
            // With gaps.
            let sequence = 10 + n / 7 + u64::from(n > 500) * 50;
            let received = Micros(n as i64);
            active.event(endpoint, Position { sequence, offset: 100 * n as u32, len: 100, received });
            active.outcome(endpoint * 3, sequence, 7 * n as u32);
            active.outcome(endpoint * 3, sequence, 7 * n as u32 + 1);
        }
        active.write(&path, seed, 4711).unwrap();
        assert!(SealedIndex::open(path.clone(), seed, 4712).is_err());
        let sealed = SealedIndex::open(path, seed, 4711).unwrap();
        assert_eq!(sealed.parts(), active.parts());
        let (mut in_file, mut in_memory) = (Vec::new(), Vec::new());
        sealed
            .visit_outcomes(&mut |consumer, sequence| {
                in_file.push((consumer, sequence));
                in_file.len() < 1500
            })
            .unwrap();
        active.visit_outcomes(&mut |consumer, sequence| {
            in_memory.push((consumer, sequence));
            in_memory.len() < 1500
        });
        assert_eq!((&in_file, in_file.len()), (&in_memory, 1500));
        for endpoint in 0..8 {
            for (first, last, limit) in
                [(0, u64::MAX, 9999), (20, 90, 9999), (81, 82, 9999), (130, 140, 3), (200, 300, 9)]
            {
                let found = sealed.positions(endpoint, first, last, limit).unwrap();
                assert_eq!(found, active.positions(endpoint, first, last, limit), "{endpoint} {first} {last} {limit}");
                let consumer = endpoint * 3;
                assert_eq!(sealed.outcomes(consumer, first, last).unwrap(), active.outcomes(consumer, first, last));
            }
            assert_eq!(sealed.part(endpoint), active.part(endpoint));
            let all = active.positions(endpoint, 0, u64::MAX, usize::MAX);
            let added_up = all.first().zip(all.last()).map(|(first, last)| Part {
                endpoint,
                first: first.sequence,
                last: last.sequence,
                count: all.len() as u64,
                bytes: 100 * all.len() as u64,
                oldest: all.iter().map(|position| position.received).min().unwrap(),
                newest: all.iter().map(|position| position.received).max().unwrap(),
            });
            assert_eq!(active.part(endpoint), added_up);
        }
    }
}
