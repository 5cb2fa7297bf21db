//! The file source of standalone mode: the same objects from YAML and JSON files, reloaded when they change.
//!
//! While a file cannot be read, the last good configuration that it defined stays in use; the same holds for an object
//! that the API would reject. Both are reported with file and line.

mod defined;
mod document;
mod file;
mod file_order;
mod kind;
pub mod limits;
mod lines;
mod node;
mod notify;
mod object;
mod parse_error;
mod report;
mod source;
mod spelling;
#[cfg(test)]
mod tests;
mod watch;

pub use document::Document;
pub use parse_error::ParseError;
pub use report::{FileLocation, InUse, LocatedProblem, ObjectName, Severity};
pub use source::{FileSource, SourceScan};
pub use watch::{FileWatch, watch};

/// Why files cannot be read at all.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// A given path does not exist or cannot be listed.
    #[error("cannot read {path}; -f must name an existing file or directory")]
    Unreadable {
        /// The path.
        path: String,
        /// The system's error.
        source: std::io::Error,
    },
    /// There are no files to read.
    #[error("no manifest in {0}; the file name must end in .yaml, .yml or .json")]
    Nothing(String),
}
