//! The standalone side: the same objects from YAML and JSON files, hot-reloaded.
//!
//! A file that cannot be read keeps the last good configuration of what it defined; so does an object that the API would
//! refuse. Both are reported with file and line.

mod document;
mod file;
pub mod limits;
mod notify;
mod object;
mod report;
mod source;
#[cfg(test)]
mod tests;
mod watch;

pub use document::{Document, ParseError};
pub use report::{Place, Report};
pub use source::{Scanned, Source};
pub use watch::{Watch, watch};

/// Why files cannot be read at all.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// A path that was named does not exist or cannot be listed.
    #[error("cannot read {path}: {source}; -f must name an existing file or directory")]
    Unreadable {
        /// The path.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// There is nothing to read.
    #[error("no manifest in {0}; the file name must end in .yaml, .yml or .json")]
    Nothing(String),
}
