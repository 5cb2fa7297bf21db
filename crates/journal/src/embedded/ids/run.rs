//! A sorted file of ids.
//!
//! Sections: rows (id 16 bytes, sequence u64, received i64), fences (the first 8 bytes of the first id of each block of
//! rows, u64), and the filter (blocks of 64 bytes). The file's tag is: first segment, last segment, time in
//! microseconds until which ids are kept.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
};

use super::{
    IdHash, KnownId,
    filter::{self, FILTER_BLOCK},
};
use crate::{
    embedded::{
        blocks::{BLOCK_DATA, BlockFile, BlockWriter, Section, Seed, Table, invalid, number},
        segments::Segment,
    },
    machine::Micros,
};

const ROWS: Table = Table { at: 0, row: ROW };
const FENCES: Table = Table { at: 1, row: 8 };
const FILTER: Table = Table { at: 2, row: FILTER_BLOCK };
const ROW: usize = 32;

/// Names the segments whose ids a run holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::embedded) struct RunName {
    pub(in crate::embedded) first: u64,
    pub(in crate::embedded) last: u64,
}

impl RunName {
    pub(in crate::embedded) fn parse(file: &str) -> Option<Self> {
        let (first, last) = file.strip_suffix(".ids")?.split_once('-')?;
        let name = Self { first: u64::from_str_radix(first, 16).ok()?, last: u64::from_str_radix(last, 16).ok()? };
        (name.to_string() == file && name.first <= name.last).then_some(name)
    }

    /// Returns whether this run covers all segments of `other`.
    pub(in crate::embedded) fn covers(self, other: Self) -> bool {
        self.first <= other.first && other.last <= self.last
    }

    /// Returns whether the run holds ids of the segment.
    pub(in crate::embedded) fn touches(self, segment: &Segment) -> bool {
        segment.name.id <= self.last && self.first <= segment.last
    }

    pub(in crate::embedded) fn seed(self, salt: u64) -> Seed {
        // Distinct from the seeds of segment indexes, which are numbered by segment id.
        Seed { salt: !salt, number: self.first.rotate_left(32) ^ self.last }
    }
}

impl fmt::Display for RunName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{:016x}.ids", self.first, self.last)
    }
}

/// An open, sorted file of ids.
#[derive(Debug)]
pub(in crate::embedded) struct Run {
    pub(in crate::embedded) name: RunName,
    path: PathBuf,
    file: BlockFile,
    rows: Section,
    filter: Section,
    /// The first half of the first id of each block.
    fences: Vec<u64>,
    /// `None` if blocks of the filter are read as needed.
    loaded_filter: Option<Vec<u8>>,
    /// When the last deduplication window of its ids ends.
    pub(in crate::embedded) keep_until: Micros,
    pub(in crate::embedded) len: u64,
}

impl Run {
    /// Writes a run of sorted ids into `directory`, and opens it. Blocks.
    pub(in crate::embedded) fn write(
        directory: &Path,
        salt: u64,
        name: RunName,
        ids: impl Iterator<Item = io::Result<(IdHash, KnownId)>>,
        most: u64,
        keep_until: Micros,
    ) -> io::Result<Self> {
        let path = directory.join(name.to_string());
        let fresh = path.with_extension("new");
        let mut writer = BlockWriter::create(&fresh, name.seed(salt))?;
        writer.section(ROWS)?;
        let filter_blocks = filter::blocks(most);
        let mut filter = vec![0; filter_blocks as usize * FILTER_BLOCK];
        let mut fences = Vec::new();
        let each = BLOCK_DATA / ROW;
        for (at, entry) in ids.enumerate() {
            let (id, known) = entry?;
            if at % each == 0 {
                fences.push(id.high());
            }
            let mut row = [0; ROW];
            let (hash, rest) = row.split_at_mut(16);
            hash.copy_from_slice(id.as_bytes());
            let (sequence, received) = rest.split_at_mut(8);
            sequence.copy_from_slice(&known.sequence.to_le_bytes());
            received.copy_from_slice(&known.received.0.to_le_bytes());
            writer.row(&row)?;
            let block = filter::block_of(id.high(), filter_blocks) as usize * FILTER_BLOCK;
            if let Some(block) = filter.get_mut(block..block + FILTER_BLOCK) {
                filter::mark(block, id.low());
            }
        }
        writer.section(FENCES)?;
        for fence in &fences {
            writer.row(&fence.to_le_bytes())?;
        }
        writer.section(FILTER)?;
        for block in filter.chunks_exact(FILTER_BLOCK) {
            writer.row(block)?;
        }
        writer.finish([name.first, name.last, keep_until.0 as u64, 0])?;
        fs::rename(&fresh, &path)?;
        Self::open(path, salt, name)
    }

    /// Opens a run.
    pub(in crate::embedded) fn open(path: PathBuf, salt: u64, name: RunName) -> io::Result<Self> {
        let file = BlockFile::open(&path, name.seed(salt))?;
        let [first, last, keep_until, _] = file.tag;
        if (first, last) != (name.first, name.last) {
            return Err(invalid("the ids of other segments"));
        }
        let (rows, filter) = (file.section(ROWS)?, file.section(FILTER)?);
        let section = file.section(FENCES)?;
        if section.rows != rows.blocks() {
            return Err(invalid("a run without all of its fences"));
        }
        let mut fences = Vec::new();
        file.visit(section, 0, |_, row| {
            fences.push(number(row, 0));
            true
        })?;
        let len = file.len()?;
        let keep_until = Micros(keep_until as i64);
        Ok(Self { name, path, file, rows, filter, fences, loaded_filter: None, keep_until, len })
    }

    /// Returns the memory that the loaded filter takes, in bytes.
    pub(in crate::embedded) fn filter_bytes(&self) -> u64 {
        self.filter.rows * FILTER_BLOCK as u64
    }

    /// Loads the filter into memory.
    pub(in crate::embedded) fn load_filter(&mut self) -> io::Result<()> {
        let mut loaded = Vec::with_capacity(usize::try_from(self.filter_bytes()).unwrap_or(0));
        self.file.visit(self.filter, 0, |_, block| {
            loaded.extend_from_slice(block);
            true
        })?;
        self.loaded_filter = Some(loaded);
        Ok(())
    }

    /// Reads the whole file to verify its checksums.
    pub(in crate::embedded) fn verify(&self) -> io::Result<()> {
        for section in [ROWS, FENCES, FILTER] {
            self.file.visit(self.file.section(section)?, 0, |_, _| true)?;
        }
        Ok(())
    }

    /// Returns the number of ids.
    pub(in crate::embedded) fn ids(&self) -> u64 {
        self.rows.rows
    }

    pub(in crate::embedded) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the newest event of an id.
    pub(in crate::embedded) fn get(&self, id: &IdHash) -> io::Result<Option<KnownId>> {
        if !self.may_hold(id)? {
            return Ok(None);
        }
        // Equal first halves may span two blocks.
        let last = self.fences.partition_point(|fence| *fence <= id.high());
        let first = self.fences.partition_point(|fence| *fence < id.high()).saturating_sub(1);
        for block in first..last {
            let rows = self.file.rows_of_block(self.rows, block as u64)?;
            let found = rows.chunks_exact(ROW).find(|row| row.starts_with(id.as_bytes()));
            if let Some(row) = found {
                return Ok(Some(known(row)));
            }
        }
        Ok(None)
    }

    fn may_hold(&self, id: &IdHash) -> io::Result<bool> {
        let block = filter::block_of(id.high(), self.filter.rows);
        if let Some(loaded) = &self.loaded_filter {
            let at = block as usize * FILTER_BLOCK;
            return Ok(loaded.get(at..at + FILTER_BLOCK).is_none_or(|block| filter::may_hold(block, id.low())));
        }
        let each = self.filter.rows_in_block();
        let blocks = self.file.rows_of_block(self.filter, block / each)?;
        let at = (block % each) as usize * FILTER_BLOCK;
        Ok(blocks.get(at..at + FILTER_BLOCK).is_none_or(|block| filter::may_hold(block, id.low())))
    }

    /// Iterates over every id, sorted, reading block by block.
    pub(in crate::embedded) fn iter(&self) -> RunIter<'_> {
        RunIter { run: self, block: 0, rows: Vec::new(), at: 0 }
    }
}

fn known(row: &[u8]) -> KnownId {
    KnownId { sequence: number(row, 2), received: Micros(number(row, 3) as i64) }
}

/// Iterator over the ids of a run.
pub(in crate::embedded) struct RunIter<'a> {
    run: &'a Run,
    block: u64,
    rows: Vec<u8>,
    at: usize,
}

impl Iterator for RunIter<'_> {
    type Item = io::Result<(IdHash, KnownId)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.rows.len() {
            if self.block >= self.run.rows.blocks() {
                return None;
            }
            match self.run.file.rows_of_block(self.run.rows, self.block) {
                Ok(rows) => self.rows = rows,
                Err(error) => {
                    self.block = self.run.rows.blocks();
                    return Some(Err(error));
                }
            }
            self.block += 1;
            self.at = 0;
        }
        let row = self.rows.get(self.at..self.at + ROW)?;
        self.at += ROW;
        Some(Ok((IdHash::from_bytes(row), known(row))))
    }
}
