//! The journal directory: layout, format version, lock.
//!
//! ```text
//! FORMAT      one line: `grapnel-journal 3 <salt, 16 hex digits>`
//! LOCK        held by the process that has the journal open
//! log/        the segments of the log (*.jnl): the truth; beside the newest, a copy of its records of endpoints and
//!             consumers (*.copy)
//! index/      derived files: an index for each segment (*.idx), ids (*.ids)
//! ```

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Write},
    path::{Path, PathBuf},
};

use super::{
    error::{OpenError, from_io},
    segment_name::SegmentName,
};
use crate::{Result, limits::JOURNAL_PROBE_BYTES};

const FORMAT_NAME: &str = "grapnel-journal";

/// The newest version of the directory format that this build reads and writes.
pub const FORMAT_VERSION: u32 = 3;

/// The paths of a journal's files.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    root: PathBuf,
    /// A random secret that is part of every checksum.
    pub(super) salt: u64,
}

/// The directory of a journal, locked against other processes.
#[derive(Debug)]
pub(super) struct Directory {
    pub(super) layout: Layout,
    /// Closing the file releases the lock.
    _lock: File,
}

/// The volume that holds the journal, in bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Volume {
    /// Bytes that this process may still write.
    pub(super) free: u64,
    pub(super) size: u64,
}

impl Directory {
    /// Creates the directory if necessary, locks it and checks its version.
    pub(super) fn open(root: &Path) -> Result<Self, OpenError> {
        fs::create_dir_all(root).map_err(|error| unusable(root, error))?;
        let lock = root.join("LOCK");
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&lock)
            .map_err(|error| unusable(&lock, error))?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => OpenError::Locked,
            TryLockError::Error(error) => unusable(root, error),
        })?;
        let salt = salt(root)?;
        let layout = Layout { root: root.to_owned(), salt };
        for directory in [layout.log(), layout.index()] {
            fs::create_dir_all(&directory).map_err(|error| unusable(&directory, error))?;
        }
        Ok(Self { layout, _lock: lock })
    }
}

/// Returns the salt of the journal in a directory after checking its version; a new salt for an empty directory.
fn salt(root: &Path) -> Result<u64, OpenError> {
    let path = root.join("FORMAT");
    match fs::read_to_string(&path) {
        Ok(text) => {
            let mut words = text.split_whitespace();
            let name = words.next();
            let version = words.next().and_then(|word| word.parse::<u32>().ok());
            let salt = words.next().and_then(|word| u64::from_str_radix(word, 16).ok());
            match (name, version, salt) {
                (Some(FORMAT_NAME), Some(found), _) if found > FORMAT_VERSION => {
                    Err(OpenError::NewerFormat { found, known: FORMAT_VERSION })
                }
                (Some(FORMAT_NAME), Some(found), _) if found < FORMAT_VERSION => {
                    Err(OpenError::OlderFormat { found, known: FORMAT_VERSION })
                }
                (Some(FORMAT_NAME), Some(_), Some(salt)) => Ok(salt),
                _ => Err(OpenError::NotAJournal(path)),
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let log = root.join("log");
            if fs::read_dir(&log).is_ok_and(|mut files| files.next().is_some()) {
                return Err(OpenError::NotAJournal(path));
            }
            let mut bytes = [0; 8];
            getrandom::fill(&mut bytes).map_err(|error| unusable(&path, io::Error::other(error.to_string())))?;
            let salt = u64::from_le_bytes(bytes);
            // Renamed into place, so that the file exists either completely or not at all.
            let fresh = root.join("FORMAT.new");
            let write = || -> io::Result<()> {
                let mut file = File::create(&fresh)?;
                writeln!(file, "{FORMAT_NAME} {FORMAT_VERSION} {salt:016x}")?;
                file.sync_all()?;
                fs::rename(&fresh, &path)?;
                File::open(root)?.sync_all()
            };
            write().map_err(|error| unusable(&path, error))?;
            Ok(salt)
        }
        Err(error) => Err(unusable(&path, error)),
    }
}

fn unusable(path: &Path, error: io::Error) -> OpenError {
    OpenError::Unusable { path: path.to_owned(), source: error }
}

impl Layout {
    pub(super) fn log(&self) -> PathBuf {
        self.root.join("log")
    }

    pub(super) fn index(&self) -> PathBuf {
        self.root.join("index")
    }

    pub(super) fn log_file(&self, name: SegmentName) -> PathBuf {
        self.log().join(name.log_file())
    }

    pub(super) fn copy_file(&self, name: SegmentName) -> PathBuf {
        self.log().join(name.copy_file())
    }

    pub(super) fn index_file(&self, name: SegmentName) -> PathBuf {
        self.index().join(name.index_file())
    }

    /// Writes a temporary file and renames it to `path`, so that the file exists either completely or not at all.
    pub(super) fn replace(&self, path: &Path, write: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
        let fresh = path.with_extension("new");
        write(&fresh)?;
        fs::rename(&fresh, path)
    }

    /// Deletes the files of a segment.
    pub(super) fn remove(&self, name: SegmentName) -> io::Result<()> {
        for path in [self.log_file(name), self.copy_file(name), self.index_file(name)] {
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// Makes the names of the log files durable.
    pub(super) fn sync_log_directory(&self) -> io::Result<()> {
        File::open(self.log())?.sync_all()
    }

    /// Lists the files of a directory by name, and removes temporary files.
    pub(super) fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for file in fs::read_dir(directory)? {
            let file = file?;
            let Ok(name) = file.file_name().into_string() else { continue };
            if name.ends_with(".new") {
                fs::remove_file(file.path())?;
            } else {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    /// Writes, syncs and removes a file of the default maximum event size, to find out whether the disk accepts writes.
    pub(super) fn probe(&self) -> Result<()> {
        let path = self.root.join("PROBE");
        let write = || -> io::Result<()> {
            let mut file = File::create(&path)?;
            file.write_all(&vec![0; JOURNAL_PROBE_BYTES])?;
            file.sync_all()
        };
        let written = write();
        let removed = fs::remove_file(&path);
        written.and(removed).map_err(|error| from_io(path.display(), error))
    }

    pub(super) fn volume(&self) -> Result<Volume> {
        let stat = rustix::fs::statvfs(&self.root).map_err(|error| from_io(self.root.display(), error.into()))?;
        Ok(Volume {
            free: stat.f_bavail.saturating_mul(stat.f_frsize),
            size: stat.f_blocks.saturating_mul(stat.f_frsize),
        })
    }
}
