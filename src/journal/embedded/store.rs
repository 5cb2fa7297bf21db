//! The files: opening, the version, the lock, and how failures of `fjall` become ours.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Write},
    path::{Path, PathBuf},
};

use bytes::Bytes;
use fjall::{
    CompressionType, Database, Keyspace, KeyspaceCreateOptions, KvSeparationOptions, OwnedWriteBatch, PersistMode,
    config::{BloomConstructionPolicy, CompressionPolicy, FilterPolicy, FilterPolicyEntry, PartitioningPolicy},
};

use super::tail;
use crate::{
    journal::{
        JournalError, Result,
        record::{FORMAT_VERSION, RecordError},
    },
    rules::limits::{
        EVENT_WRITE_BUFFER_BYTES, INDEX_WRITE_BUFFER_BYTES, JOURNAL_CACHE_BYTES, JOURNAL_LOG_BYTES, JOURNAL_OPEN_FILES,
        JOURNAL_PROBE_BYTES, STATE_WRITE_BUFFER_BYTES,
    },
};

const FORMAT_NAME: &str = "grapnel-journal";

/// Bodies from this size on lie in files of their own, which compaction does not rewrite and which
/// are dropped whole when every event in them is gone. Smaller ones are cheaper inside the tree.
const SEPARATE_BYTES: u32 = 512;

/// The directory of a journal, held against other processes.
pub(super) struct Directory {
    path: PathBuf,
    /// The lock goes with the file.
    _lock: File,
}

/// The volume that a journal lies on, in bytes.
pub(super) struct Volume {
    /// What this process may still write.
    pub(super) free: u64,
    pub(super) size: u64,
}

/// The open database.
pub(super) struct Store {
    db: Database,
    /// Event rows.
    pub(super) events: Keyspace,
    /// Ids of events.
    pub(super) index: Keyspace,
    /// Everything small.
    pub(super) state: Keyspace,
}

impl Directory {
    /// Makes the directory if need be, locks it and checks its version.
    pub(super) fn open(path: &Path) -> Result<Self> {
        fs::create_dir_all(path).map_err(|e| unusable(path, e))?;
        let lock = path.join("LOCK");
        let lock =
            OpenOptions::new().create(true).truncate(false).write(true).open(&lock).map_err(|e| unusable(&lock, e))?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => JournalError::Locked(path.display().to_string()),
            TryLockError::Error(e) => unusable(path, e),
        })?;
        let directory = Self { path: path.to_owned(), _lock: lock };
        directory.check_format()?;
        Ok(directory)
    }

    fn check_format(&self) -> Result<()> {
        let path = self.path.join("FORMAT");
        match fs::read_to_string(&path) {
            Ok(text) => {
                let version = text.trim().strip_prefix(FORMAT_NAME).and_then(|rest| rest.trim().parse::<u32>().ok());
                match version {
                    Some(found) if found > FORMAT_VERSION => {
                        Err(JournalError::NewerFormat { found, known: FORMAT_VERSION })
                    }
                    Some(_) => Ok(()),
                    None => Err(JournalError::Corrupt(format!("{} does not name a journal format", path.display()))),
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if is_there(&self.log())? {
                    return Err(JournalError::Corrupt(format!("{} is missing beside a log", path.display())));
                }
                // Renamed into place, so that it is there whole or not at all.
                let new = self.path.join("FORMAT.new");
                let write = || -> io::Result<()> {
                    let mut file = File::create(&new)?;
                    writeln!(file, "{FORMAT_NAME} {FORMAT_VERSION}")?;
                    file.sync_all()?;
                    fs::rename(&new, &path)?;
                    File::open(&self.path)?.sync_all()
                };
                write().map_err(|e| unusable(&path, e))
            }
            Err(error) => Err(unusable(&path, error)),
        }
    }

    /// Writes, syncs and removes a file, as large as an event may be, so that opening the log again is not tried in vain
    /// on a full or failing disk.
    pub(super) fn probe(&self) -> Result<()> {
        let path = self.path.join("PROBE");
        let write = || -> io::Result<()> {
            let mut file = File::create(&path)?;
            file.write_all(&vec![0; JOURNAL_PROBE_BYTES])?;
            file.sync_all()
        };
        let written = write();
        let removed = fs::remove_file(&path);
        written.and(removed).map_err(|e| unusable(&path, e))
    }

    pub(super) fn volume(&self) -> Result<Volume> {
        let stat = rustix::fs::statvfs(&self.path).map_err(|e| unusable(&self.path, e.into()))?;
        Ok(Volume {
            free: stat.f_bavail.saturating_mul(stat.f_frsize),
            size: stat.f_blocks.saturating_mul(stat.f_frsize),
        })
    }

    fn log(&self) -> PathBuf {
        self.path.join("log")
    }

    /// Opens the database, with everything that was acknowledged.
    pub(super) fn open_store(&self) -> Result<Store> {
        let log = self.log();
        // `fjall` writes this file, synced, last: without it, or with less in it, the process ended
        // while the database was made for the first time, nothing has been acknowledged, and `fjall`
        // would trip over the rest.
        let version = log.join("version");
        if is_there(&log)? && is_half_made(&version)? {
            if !tail::is_empty(&log)? || has_tables(&log)? {
                let version = version.display();
                return Err(JournalError::Corrupt(format!("{version} is missing or broken beside a log with events")));
            }
            fs::remove_dir_all(&log).map_err(|e| unusable(&log, e))?;
        }
        tail::mend(&log)?;
        let db = Database::builder(&log)
            .cache_size(JOURNAL_CACHE_BYTES)
            .max_cached_files(Some(JOURNAL_OPEN_FILES))
            .max_journaling_size(JOURNAL_LOG_BYTES)
            // Webhook bodies are small and mostly new; the time goes better into the sync.
            .journal_compression(CompressionType::None)
            .worker_threads(1)
            .open()
            .map_err(from_fjall)?;
        let events = db
            .keyspace("events", || {
                keyspace(EVENT_WRITE_BUFFER_BYTES).expect_point_read_hits(true).with_kv_separation(Some(
                    KvSeparationOptions::default()
                        .compression(CompressionType::None)
                        .separation_threshold(SEPARATE_BYTES),
                ))
            })
            .map_err(from_fjall)?;
        let index = db
            .keyspace("index", || {
                keyspace(INDEX_WRITE_BUFFER_BYTES)
                    // Nearly every lookup is for an id that is not there: a filter on every level.
                    .filter_policy(FilterPolicy::all(FilterPolicyEntry::Bloom(BloomConstructionPolicy::BitsPerKey(
                        10.0,
                    ))))
            })
            .map_err(from_fjall)?;
        let state = db.keyspace("state", || keyspace(STATE_WRITE_BUFFER_BYTES)).map_err(from_fjall)?;
        Ok(Store { db, events, index, state })
    }
}

/// What all keyspaces have in common.
fn keyspace(write_buffer_bytes: u64) -> KeyspaceCreateOptions {
    KeyspaceCreateOptions::default()
        .max_memtable_size(write_buffer_bytes)
        .data_block_compression_policy(CompressionPolicy::disabled())
        // In parts on every level, not only from the fourth on: the whole filter of a table of a million ids is larger than
        // what the cache keeps of one thing, so that every lookup would read and check it from its first byte to its last.
        .filter_block_partitioning_policy(PartitioningPolicy::all(true))
        .index_block_partitioning_policy(PartitioningPolicy::all(true))
}

impl Store {
    /// A batch with room for that many rows.
    pub(super) fn batch(&self, rows: usize) -> OwnedWriteBatch {
        OwnedWriteBatch::with_capacity(self.db.clone(), rows)
    }

    /// Writes a batch so that it survives the end of the process, but not of the machine.
    pub(super) fn commit_lazily(&self, batch: OwnedWriteBatch) -> Result<()> {
        batch.durability(Some(PersistMode::Buffer)).commit().map_err(from_fjall)
    }

    /// Writes a batch, and with it everything written before, to stable storage. The log is
    /// allocated in advance, but a batch may go past that, and `fdatasync` covers the length too.
    pub(super) fn commit_durably(&self, batch: OwnedWriteBatch) -> Result<()> {
        batch.durability(Some(PersistMode::SyncData)).commit().map_err(from_fjall)
    }

    /// Brings everything written so far to stable storage.
    pub(super) fn sync(&self) -> Result<()> {
        self.db.persist(PersistMode::SyncAll).map_err(from_fjall)
    }

    pub(super) fn get(keyspace: &Keyspace, key: impl AsRef<[u8]>) -> Result<Option<Bytes>> {
        Ok(keyspace.get(key).map_err(from_fjall)?.map(Bytes::from))
    }
}

fn is_there(path: &Path) -> Result<bool> {
    path.try_exists().map_err(|e| unusable(path, e))
}

/// The file is not there, or not what `fjall` writes: `FJL` and a number. A file that cannot be read is an error, and
/// nothing is concluded from it.
fn is_half_made(path: &Path) -> Result<bool> {
    match fs::read(path) {
        Ok(found) => Ok(found.len() < 4 || !found.starts_with(b"FJL")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(unusable(path, error)),
    }
}

/// Whether rows have been moved out of the log. The library's own keyspace, the first, has a table from the beginning.
fn has_tables(log: &Path) -> Result<bool> {
    let entries = |path: &Path| match fs::read_dir(path) {
        Ok(entries) => entries.collect::<io::Result<Vec<_>>>().map_err(|e| unusable(path, e)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(unusable(path, error)),
    };
    for keyspace in entries(&log.join("keyspaces"))?.iter().filter(|entry| entry.file_name() != "0") {
        if !entries(&keyspace.path().join("tables"))?.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}

fn unusable(path: &Path, error: io::Error) -> JournalError {
    from_io(path.display().to_string(), error)
}

/// A failed operation on `what`.
pub(super) fn from_io(what: String, error: io::Error) -> JournalError {
    if error.kind() == io::ErrorKind::StorageFull || error.kind() == io::ErrorKind::QuotaExceeded {
        JournalError::Full(format!("no space left for {what}"))
    } else {
        JournalError::Io(what, Some(Box::new(error)))
    }
}

/// What a failure inside `fjall` is to us.
pub(super) fn from_fjall(error: fjall::Error) -> JournalError {
    match error {
        fjall::Error::Io(error) | fjall::Error::Storage(fjall::LsmError::Io(error)) => from_io("its log".into(), error),
        fjall::Error::Poisoned => JournalError::Io("an earlier write failed".into(), None),
        fjall::Error::JournalRecovery(_) | fjall::Error::InvalidTrailer | fjall::Error::InvalidTag(_) => {
            JournalError::Corrupt(error.to_string())
        }
        error => JournalError::Io(error.to_string(), Some(Box::new(error))),
    }
}

impl From<RecordError> for JournalError {
    fn from(error: RecordError) -> Self {
        Self::Corrupt(error.to_string())
    }
}
