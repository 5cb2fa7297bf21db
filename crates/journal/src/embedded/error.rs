//! Errors of the embedded engine.

use std::{fmt, io, path::PathBuf};

use crate::JournalError;

/// Why the journal directory cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process has it open.
    #[error("it is in use by another process; one process at a time may open it")]
    Locked,
    /// A newer version of Grapnel wrote it.
    #[error("it has format {found}, this build knows format {known}; run a newer Grapnel")]
    NewerFormat {
        /// Format version on disk.
        found: u32,
        /// Format version of this build.
        known: u32,
    },
    /// An older version of Grapnel wrote it, in a format that was never released.
    #[error(
        "it has format {found}, this build knows format {known} and cannot convert it; deliver its events with the build that wrote it, then use an empty directory"
    )]
    OlderFormat {
        /// Format version on disk.
        found: u32,
        /// Format version of this build.
        known: u32,
    },
    /// The directory holds other files.
    #[error("{} is missing or does not name a journal format; use an empty directory, or restore this file", .0.display())]
    NotAJournal(PathBuf),
    /// Records are damaged, and `--journal-strict` requires them to be rejected.
    #[error(
        "{files} of its files are damaged, the first one is {first}; run `grapnel journal check`, or start without \
         --journal-strict to serve all other events"
    )]
    Damaged {
        /// Number of damaged files.
        files: usize,
        /// The first damaged file, and the position of the damage.
        first: String,
    },
    /// A file or directory cannot be used.
    #[error("{} cannot be used: {source}", path.display())]
    Unusable {
        /// Its path.
        path: PathBuf,
        /// The I/O error.
        source: io::Error,
    },
}

/// Converts an I/O error into the matching journal error.
pub(super) fn from_io(what: impl fmt::Display, error: io::Error) -> JournalError {
    if is_full(&error) {
        JournalError::Full(format!("{what}: {error}"))
    } else if error.kind() == io::ErrorKind::InvalidData {
        JournalError::Damaged(format!("{what}: {error}"))
    } else {
        JournalError::Io(format!("{what}: {error}"), Some(Box::new(error)))
    }
}

/// Returns whether an I/O error means that the volume is full.
fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
