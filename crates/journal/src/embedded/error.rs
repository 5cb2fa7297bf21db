//! Errors of the embedded engine.

use std::{fmt, io, path::PathBuf};

use super::files::is_full;
use crate::JournalError;

/// Why the directory cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process holds it.
    #[error("it is in use by another process; one process at a time may open it")]
    Locked,
    /// A newer Grapnel wrote it.
    #[error("it has format {found}, this build knows format {known}; run a newer Grapnel")]
    NewerFormat {
        /// Version on disk.
        found: u32,
        /// Version of this build.
        known: u32,
    },
    /// An older Grapnel wrote it, whose format was never released.
    #[error(
        "it has format {found}, this build knows format {known} and cannot convert it; deliver its events with the build that wrote it, then use an empty directory"
    )]
    OlderFormat {
        /// Version on disk.
        found: u32,
        /// Version of this build.
        known: u32,
    },
    /// It holds something else.
    #[error("{} is missing or does not name a journal format; use an empty directory, or restore this file", .0.display())]
    NotAJournal(PathBuf),
    /// Records are damaged, and `--journal-strict` asks to refuse them.
    #[error(
        "{files} of its files are damaged, the first one is {first}; run `grapnel journal check`, or start without \
         --journal-strict to serve all other events"
    )]
    Damaged {
        /// How many files.
        files: usize,
        /// The first file, and where.
        first: String,
    },
    /// A file or directory cannot be used.
    #[error("{} cannot be used: {source}", path.display())]
    Unusable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// A failure to read or write something, by what it means.
pub(super) fn from_io(what: impl fmt::Display, error: io::Error) -> JournalError {
    if is_full(&error) {
        JournalError::Full(format!("{what}: {error}"))
    } else if error.kind() == io::ErrorKind::InvalidData {
        JournalError::Damaged(format!("{what}: {error}"))
    } else {
        JournalError::Io(format!("{what}: {error}"), Some(Box::new(error)))
    }
}
