//! The torn end of the write-ahead log.
//!
//! A batch that the machine died over may be on disk in part: its pages reach the disk in any order,
//! and those that did not read as zeros. `fjall` (3.1) drops a batch that ends too early, but where
//! zeros lie inside a body it finds a wrong checksum and refuses to open the log at all. Such a
//! batch was never acknowledged: the sync that would have been answered for did not return. So
//! before `fjall` reads its newest log file we cut it behind the last whole batch.
//!
//! The same pass makes good a failed sync. After one the pages count as clean although they never
//! reached the disk, so that a later sync succeeds without them; what is read back here is therefore
//! written and synced once more. That happens in place, with the very bytes that are there, so that
//! it needs no room on a disk that may be full, and does no harm when it is broken off.
//!
//! Damage is told from tearing by what follows: the next batch of events is begun only after the
//! sync of the one before. A broken batch with two whole batches of appended events behind it
//! had been synced, so it was broken later, and the journal is not opened over lost events in silence.
//!
//! The format of `<number>.jnl`, as `fjall` 3 writes it without compression (`journal/entry.rs`):
//! start `1`, items u32, batch number u64; item `2`, kind u8, compression u8, keyspace u64, key
//! length u16, value length u32, stored length u32, key, value; clear `4`, keyspace u64; end `3`,
//! XXH3-64 of items and clears u64, `FJL\x03`. Little-endian; zeros follow the last batch, because
//! the file is allocated in advance.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufReader, Read, Seek, Write},
    path::{Path, PathBuf},
};

use xxhash_rust::xxh3::Xxh3;

use super::store::from_io;
use crate::{journal::JournalError, journal::Result, rules::limits::JOURNAL_LOG_BYTES};

const START: u8 = 1;
const ITEM: u8 = 2;
const END: u8 = 3;
const CLEAR: u8 = 4;
const TRAILER: [u8; 4] = *b"FJL\x03";
/// Kind, compression, keyspace, lengths of key, value and stored value.
const ITEM_HEAD: usize = 1 + 1 + 8 + 2 + 4 + 4;
/// How much is read and written at once.
const CHUNK_BYTES: usize = 1 << 18;
/// Length of the key of an event. No row of `state` has a key this long, and rows of `index` are
/// written together with events only.
const EVENT_KEY: u64 = 12;

/// How a batch was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Batch {
    /// Whole; were events appended?
    Whole(bool),
    /// Its parts follow each other, but it is not what was written.
    Broken,
    /// Nothing that looks like a batch.
    None,
}

/// Cuts the newest log file in `log` behind its last whole batch and syncs what is left. Nothing
/// happens when there is no log yet. A newest file with no batch in it was made just before the end,
/// so that the last write may have gone to the one before.
///
/// # Errors
///
/// [`JournalError::Corrupt`] when acknowledged batches are broken; [`JournalError::Io`] or
/// [`JournalError::Full`] when the files cannot be read or written.
pub(super) fn mend(log: &Path) -> Result<()> {
    let files = files(log).map_err(|e| from_io(log.display().to_string(), e))?;
    for (_, file) in files.iter().rev() {
        let whole = whole_bytes(file)?;
        rewrite(file, whole).map_err(|error| from_io(file.display().to_string(), error))?;
        if whole > 0 {
            break;
        }
    }
    Ok(())
}

/// No log file holds a whole batch.
pub(super) fn is_empty(log: &Path) -> Result<bool> {
    for (_, file) in files(log).map_err(|e| from_io(log.display().to_string(), e))? {
        if whole_bytes(&file)? > 0 {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The log files, the newest last.
fn files(log: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut files = Vec::new();
    let entries = match fs::read_dir(log) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(files),
        entries => entries?,
    };
    for entry in entries {
        let path = entry?.path();
        let number = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(".jnl"));
        let Some(number) = number.and_then(|number| number.parse::<u64>().ok()) else { continue };
        files.push((number, path));
    }
    files.sort_unstable();
    Ok(files)
}

fn rewrite(path: &Path, whole: u64) -> io::Result<()> {
    let mut file = OpenOptions::new().read(true).write(true).open(path)?;
    file.set_len(whole)?;
    let mut chunk = Vec::with_capacity(CHUNK_BYTES);
    loop {
        chunk.clear();
        let read = Read::by_ref(&mut file).take(CHUNK_BYTES as u64).read_to_end(&mut chunk)?;
        if read == 0 {
            return file.sync_all();
        }
        file.seek_relative(-(read as i64))?;
        file.write_all(&chunk)?;
    }
}

/// How many bytes of the file are whole batches.
fn whole_bytes(path: &Path) -> Result<u64> {
    let failed = |error| from_io(path.display().to_string(), error);
    let file = File::open(path).map_err(failed)?;
    let mut reader = Reader { file: BufReader::with_capacity(1 << 16, file), read: 0, scratch: Vec::new() };
    let mut whole = 0;
    let mut broken = false;
    let mut events_after = 0;
    loop {
        match reader.batch().map_err(failed)? {
            Batch::Whole(events) if broken => events_after += u32::from(events),
            Batch::Whole(_) => whole = reader.read,
            Batch::Broken => broken = true,
            Batch::None => break,
        }
        if events_after >= 2 {
            return Err(JournalError::Corrupt(format!(
                "{} is damaged at byte {whole}, before events that were acknowledged later; restore it from a backup, \
                 or move the journal's directory away to begin anew",
                path.display()
            )));
        }
    }
    if broken {
        tracing::warn!(file = %path.display(), at = whole, "cut a torn write off the journal; it had not been acknowledged");
    }
    Ok(whole)
}

struct Reader {
    file: BufReader<File>,
    read: u64,
    scratch: Vec<u8>,
}

impl Reader {
    fn batch(&mut self) -> io::Result<Batch> {
        match self.parts() {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(Batch::None),
            outcome => outcome,
        }
    }

    fn parts(&mut self) -> io::Result<Batch> {
        let [START] = self.array()? else { return Ok(Batch::None) };
        let items = u32::from_le_bytes(self.array()?);
        let _number: [u8; 8] = self.array()?;
        let mut hash = Xxh3::new();
        let (mut seen, mut events) = (0u32, false);
        loop {
            let [tag] = self.array()?;
            match tag {
                ITEM => {
                    let head: [u8; ITEM_HEAD] = self.array()?;
                    hash.update(&[ITEM]);
                    hash.update(&head);
                    let [.., k0, k1, _, _, _, _, s0, s1, s2, s3] = head;
                    let key = u64::from(u16::from_le_bytes([k0, k1]));
                    let stored = u64::from(u32::from_le_bytes([s0, s1, s2, s3]));
                    // Longer than the whole log can be: not a length.
                    if stored > JOURNAL_LOG_BYTES {
                        return Ok(Batch::None);
                    }
                    events |= key == EVENT_KEY && stored > 0;
                    self.hash(&mut hash, key + stored)?;
                }
                CLEAR => {
                    let keyspace: [u8; 8] = self.array()?;
                    hash.update(&[CLEAR]);
                    hash.update(&keyspace);
                }
                END => {
                    let expected = u64::from_le_bytes(self.array()?);
                    let trailer: [u8; 4] = self.array()?;
                    let whole = seen == items && expected == hash.digest() && trailer == TRAILER;
                    return Ok(if whole { Batch::Whole(events) } else { Batch::Broken });
                }
                _ => return Ok(Batch::None),
            }
            seen = seen.saturating_add(1);
        }
    }

    fn array<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut array = [0; N];
        self.file.read_exact(&mut array)?;
        self.read += N as u64;
        Ok(array)
    }

    fn hash(&mut self, hash: &mut Xxh3, bytes: u64) -> io::Result<()> {
        self.scratch.clear();
        let read = self.file.by_ref().take(bytes).read_to_end(&mut self.scratch)? as u64;
        if read < bytes {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.read += read;
        hash.update(&self.scratch);
        Ok(())
    }
}
