//! Placeholder while the engine is built.

use std::path::PathBuf;

/// Where and how large.
#[derive(Debug, Clone)]
pub struct EmbeddedOptions {
    /// The journal's own directory; created if it does not exist.
    pub directory: PathBuf,
    /// Bound of what the directory takes, in bytes; 0 for none.
    pub max_bytes: u64,
    /// Bytes that the events of one namespace may take; `None` for half of `max_bytes`.
    pub namespace_share: Option<u64>,
    /// Refuse damaged records instead of reporting them.
    pub strict: bool,
}

/// Why the directory cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The engine is not built yet.
    #[error("the embedded engine is being built")]
    Unfinished,
}
