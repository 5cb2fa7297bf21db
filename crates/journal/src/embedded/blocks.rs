//! Files of fixed-size rows in checksummed blocks, of which the index consists.
//!
//! A block is [`BLOCK`] bytes: rows, and in the last four bytes a CRC-32 of the journal's salt, the file's own number,
//! the block's number and the rows. A row never spans two blocks. Block 0 holds the header: `GRNI`, version, number of
//! sections (u32 each), `tag` (four u64 that the owner chooses), and for each section its first block, its number of
//! rows and the size of a row (u64 each). The sections follow in order.

use std::{
    fs::File,
    io::{self, Write},
    path::Path,
};

use super::segment::read_at;

/// Length of a block.
const BLOCK: usize = 4096;
/// Bytes of a block that hold rows.
pub(super) const BLOCK_DATA: usize = BLOCK - 4;
const MAGIC: [u8; 4] = *b"GRNI";
const VERSION: u32 = 1;
const HEADER: usize = 12 + 4 * 8;

/// Identifies a file: blocks of another file are damage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seed {
    pub(super) salt: u64,
    pub(super) number: u64,
}

impl Seed {
    pub(super) fn checksum(self, block: u64, data: &[u8]) -> u32 {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&self.salt.to_le_bytes());
        hasher.update(&self.number.to_le_bytes());
        hasher.update(&block.to_le_bytes());
        hasher.update(data);
        hasher.finalize()
    }
}

/// The rows of one kind in a file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Table {
    /// Index of its section.
    pub(super) at: usize,
    /// Bytes of a row.
    pub(super) row: usize,
}

/// The location of the rows of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Section {
    first_block: u64,
    pub(super) rows: u64,
    row: usize,
}

impl Section {
    pub(super) fn rows_in_block(self) -> u64 {
        (BLOCK_DATA / self.row.max(1)) as u64
    }

    pub(super) fn blocks(self) -> u64 {
        self.rows.div_ceil(self.rows_in_block())
    }
}

/// Writes a file of blocks.
pub(super) struct BlockWriter {
    file: io::BufWriter<File>,
    seed: Seed,
    block: Vec<u8>,
    blocks: u64,
    sections: Vec<Section>,
}

impl BlockWriter {
    /// Creates the file. It is not valid before [`finish`](Self::finish).
    pub(super) fn create(path: &Path, seed: Seed) -> io::Result<Self> {
        let mut file = io::BufWriter::with_capacity(16 * BLOCK, File::create(path)?);
        file.write_all(&[0; BLOCK])?;
        Ok(Self { file, seed, block: Vec::with_capacity(BLOCK), blocks: 1, sections: Vec::new() })
    }

    /// Begins the section of a table, which must be the next one of the file.
    pub(super) fn section(&mut self, table: Table) -> io::Result<()> {
        self.flush_block()?;
        self.sections.push(Section { first_block: self.blocks, rows: 0, row: table.row });
        Ok(())
    }

    /// Adds a row to the current section.
    pub(super) fn row(&mut self, row: &[u8]) -> io::Result<()> {
        if self.block.len() + row.len() > BLOCK_DATA {
            self.flush_block()?;
        }
        self.block.extend_from_slice(row);
        if let Some(section) = self.sections.last_mut() {
            section.rows += 1;
        }
        Ok(())
    }

    fn flush_block(&mut self) -> io::Result<()> {
        if self.block.is_empty() {
            return Ok(());
        }
        self.block.resize(BLOCK_DATA, 0);
        let checksum = self.seed.checksum(self.blocks, &self.block);
        self.block.extend_from_slice(&checksum.to_le_bytes());
        self.file.write_all(&self.block)?;
        self.block.clear();
        self.blocks += 1;
        Ok(())
    }

    /// Writes the header and syncs the file. Returns its length.
    pub(super) fn finish(mut self, tag: [u64; 4]) -> io::Result<u64> {
        use std::os::unix::fs::FileExt;
        self.flush_block()?;
        let mut header = Vec::with_capacity(BLOCK);
        header.extend_from_slice(&MAGIC);
        header.extend_from_slice(&VERSION.to_le_bytes());
        header.extend_from_slice(&(self.sections.len() as u32).to_le_bytes());
        for number in tag {
            header.extend_from_slice(&number.to_le_bytes());
        }
        for section in &self.sections {
            for number in [section.first_block, section.rows, section.row as u64] {
                header.extend_from_slice(&number.to_le_bytes());
            }
        }
        header.resize(BLOCK_DATA, 0);
        let checksum = self.seed.checksum(0, &header);
        header.extend_from_slice(&checksum.to_le_bytes());
        let file = self.file.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.write_all_at(&header, 0)?;
        file.sync_data()?;
        Ok(self.blocks * BLOCK as u64)
    }
}

/// Reads a file of blocks.
#[derive(Debug)]
pub(super) struct BlockFile {
    file: File,
    seed: Seed,
    pub(super) tag: [u64; 4],
    sections: Vec<Section>,
}

impl BlockFile {
    /// Opens a file.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::InvalidData`] if it is incomplete or not the expected file.
    pub(super) fn open(path: &Path, seed: Seed) -> io::Result<Self> {
        let mut opened = Self { file: File::open(path)?, seed, tag: [0; 4], sections: Vec::new() };
        let header = opened.block(0)?;
        let blocks = opened.len()? / BLOCK as u64;
        let word =
            |at: usize| header.get(at..).and_then(|rest| rest.first_chunk()).map(|word| u32::from_le_bytes(*word));
        let long =
            |at: usize| header.get(at..).and_then(|rest| rest.first_chunk()).map(|long| u64::from_le_bytes(*long));
        if !header.starts_with(&MAGIC) || word(4) != Some(VERSION) {
            return Err(invalid("not an index file of this version"));
        }
        for (at, tag) in opened.tag.iter_mut().enumerate() {
            *tag = long(12 + 8 * at).unwrap_or_default();
        }
        for section in 0..word(8).unwrap_or_default() as usize {
            let at = HEADER + 24 * section;
            let (Some(first_block), Some(rows), Some(row)) = (long(at), long(at + 8), long(at + 16)) else {
                return Err(invalid("too many sections"));
            };
            let row = usize::try_from(row).ok().filter(|row| (1..=BLOCK_DATA).contains(row));
            let row = row.ok_or_else(|| invalid("impossible rows"))?;
            let section = Section { first_block, rows, row };
            // The file bounds the number of rows, and with it all work and memory.
            if first_block.checked_add(section.blocks()).is_none_or(|end| end > blocks) {
                return Err(invalid("rows beyond the end"));
            }
            opened.sections.push(section);
        }
        Ok(opened)
    }

    /// Returns the section of a table.
    pub(super) fn section(&self, table: Table) -> io::Result<Section> {
        let section = self.sections.get(table.at).copied().filter(|section| section.row == table.row);
        section.ok_or_else(|| invalid("a section is missing"))
    }

    /// Returns the length of the file in bytes.
    pub(super) fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// Reads the data of one block.
    pub(super) fn block(&self, number: u64) -> io::Result<Vec<u8>> {
        let mut block = vec![0; BLOCK];
        if read_at(&self.file, &mut block, number * BLOCK as u64)? < BLOCK {
            return Err(invalid("a block is missing"));
        }
        let checksum = block.split_off(BLOCK_DATA);
        if checksum != self.seed.checksum(number, &block).to_le_bytes() {
            return Err(invalid("a block is damaged"));
        }
        Ok(block)
    }

    /// Reads the rows of one block of a section. The last block may have fewer.
    pub(super) fn rows_of_block(&self, section: Section, block: u64) -> io::Result<Vec<u8>> {
        let mut data = self.block(section.first_block + block)?;
        let before = block * section.rows_in_block();
        let rows = section.rows_in_block().min(section.rows.saturating_sub(before));
        data.truncate(rows as usize * section.row);
        Ok(data)
    }

    /// Calls `visit` with the number and bytes of each row from `from` on, until it returns false or the section ends.
    pub(super) fn visit(
        &self,
        section: Section,
        from: u64,
        mut visit: impl FnMut(u64, &[u8]) -> bool,
    ) -> io::Result<()> {
        let each = section.rows_in_block();
        let mut row = from;
        while row < section.rows {
            let block = row / each;
            let rows = self.rows_of_block(section, block)?;
            let skip = (row - block * each) as usize;
            for bytes in rows.chunks_exact(section.row).skip(skip) {
                if !visit(row, bytes) {
                    return Ok(());
                }
                row += 1;
            }
            if row < (block + 1) * each && row < section.rows {
                return Err(invalid("a block is short"));
            }
        }
        Ok(())
    }

    /// Returns the first row between `from` and `to` for which `before` is false, or `to` if there is none. The rows
    /// for which `before` is true must come first in the section.
    pub(super) fn partition_point(
        &self,
        section: Section,
        from: u64,
        to: u64,
        before: impl Fn(&[u8]) -> bool,
    ) -> io::Result<u64> {
        let each = section.rows_in_block();
        let (mut low, mut high) = (from, to.min(section.rows));
        while low < high {
            let middle = low + (high - low) / 2;
            let block = middle / each;
            let rows = self.rows_of_block(section, block)?;
            let first = block * each;
            let bounds = (low.max(first), high.min(first + each));
            let inside = |row: u64| {
                let at = (row - first) as usize * section.row;
                rows.get(at..at + section.row).is_some_and(&before)
            };
            // The result is before this block, after it, or in it.
            if !inside(bounds.0) {
                high = bounds.0;
            } else if inside(bounds.1 - 1) {
                low = bounds.1;
            } else {
                let (mut l, mut h) = bounds;
                while l < h {
                    let m = l + (h - l) / 2;
                    if inside(m) { l = m + 1 } else { h = m }
                }
                return Ok(l);
            }
        }
        Ok(low)
    }
}

/// Returns a number from a row of numbers; zero if the row is too short, which the section's row size rules out.
pub(super) fn number(row: &[u8], at: usize) -> u64 {
    row.get(8 * at..).and_then(|rest| rest.first_chunk()).map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

pub(super) fn invalid(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEED: Seed = Seed { salt: 5, number: 6 };
    const ROWS: Table = Table { at: 0, row: 8 };
    const MORE: Table = Table { at: 1, row: 16 };

    #[test]
    fn rows_are_found_in_any_block() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let mut writer = BlockWriter::create(&path, SEED).unwrap();
        writer.section(ROWS).unwrap();
        for n in 0..3000u64 {
            writer.row(&(2 * n).to_be_bytes()).unwrap();
        }
        writer.section(MORE).unwrap();
        writer.row(&[7; 16]).unwrap();
        let len = writer.finish([1, 2, 3, 4]).unwrap();
        let file = BlockFile::open(&path, SEED).unwrap();
        assert_eq!((file.tag, file.len().unwrap()), ([1, 2, 3, 4], len));
        let section = file.section(ROWS).unwrap();
        for wanted in [0, 1, 2, 1021, 1022, 1023, 3333, 5998, 5999, 6000] {
            let found = file.partition_point(section, 0, 3000, |row| row < wanted_bytes(wanted).as_slice()).unwrap();
            assert_eq!(found, wanted.div_ceil(2).min(3000), "{wanted}");
        }
        let mut seen = Vec::new();
        file.visit(section, 2900, |number, row| {
            seen.push((number, u64::from_be_bytes(row.try_into().unwrap())));
            true
        })
        .unwrap();
        assert_eq!(seen, (2900..3000).map(|n| (n, 2 * n)).collect::<Vec<_>>());
        file.visit(file.section(MORE).unwrap(), 0, |_, row| row == [7; 16]).unwrap();
        assert!(file.section(Table { at: 2, row: 8 }).is_err());
    }

    fn wanted_bytes(wanted: u64) -> [u8; 8] {
        wanted.to_be_bytes()
    }

    #[test]
    fn damage_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let mut writer = BlockWriter::create(&path, SEED).unwrap();
        writer.section(ROWS).unwrap();
        writer.row(&[1; 8]).unwrap();
        writer.finish([0; 4]).unwrap();
        let whole = std::fs::read(&path).unwrap();
        for at in (0..whole.len()).step_by(7) {
            let mut flipped = whole.clone();
            flipped[at] ^= 4;
            std::fs::write(&path, flipped).unwrap();
            let read = BlockFile::open(&path, SEED).and_then(|file| file.rows_of_block(file.section(ROWS)?, 0));
            assert_eq!(read.unwrap_err().kind(), io::ErrorKind::InvalidData, "byte {at}");
        }
        std::fs::write(&path, &whole).unwrap();
        assert!(BlockFile::open(&path, Seed { number: 7, ..SEED }).is_err());
        std::fs::write(&path, &whole[..BLOCK]).unwrap();
        assert!(BlockFile::open(&path, SEED).and_then(|file| file.rows_of_block(file.section(ROWS)?, 0)).is_err());
    }
}
