//! Opening of the engine that `--journal` names.
//!
//! ```
//! use grapnel_journal::factory::Engine;
//!
//! assert_eq!("embedded".parse(), Ok(Engine::Embedded));
//! assert!("postgres://db".parse::<Engine>().is_err());
//! ```

use std::{fmt, path::PathBuf, str::FromStr, sync::Arc};

use super::{
    Journal,
    embedded::{self, EmbeddedJournal, EmbeddedOptions},
};

/// The engine that `--journal` names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Engine {
    /// A log in a local directory: one process, no other service.
    #[default]
    Embedded,
}

/// Options of all engines. Each uses those that apply to it.
#[derive(Debug, Clone)]
pub struct JournalOptions {
    /// The engine.
    pub engine: Engine,
    /// The directory of an engine that stores its log on this machine.
    pub directory: PathBuf,
    /// Maximum size of the journal in bytes; 0 for no limit.
    pub max_bytes: u64,
    /// Maximum bytes of the events of one namespace; `None` for half of `max_bytes`.
    pub namespace_share: Option<u64>,
    /// Whether to refuse a journal with damaged records, instead of reporting them and serving the others.
    pub strict: bool,
}

/// The text does not name an engine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnknownEngine {
    /// The replicated engine, which this build does not include.
    #[error("this build does not support {0}://; use embedded")]
    Replicated(String),
    /// An unknown engine.
    #[error("unknown journal engine {0:?}; use embedded")]
    Unknown(String),
}

/// Why a journal cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum JournalOpenError {
    /// The embedded engine cannot be opened.
    #[error("the journal in {} cannot be opened", directory.display())]
    Embedded {
        /// Its directory.
        directory: PathBuf,
        /// The cause.
        #[source]
        source: embedded::OpenError,
    },
}

impl FromStr for Engine {
    type Err = UnknownEngine;

    fn from_str(text: &str) -> Result<Self, UnknownEngine> {
        match text.split_once("://") {
            None if text == "embedded" => Ok(Self::Embedded),
            // A URL may hold a password: only its scheme is shown.
            Some((scheme @ ("nats" | "tls"), _)) => Err(UnknownEngine::Replicated(scheme.into())),
            Some((scheme, _)) => Err(UnknownEngine::Unknown(format!("{scheme}://…"))),
            None => Err(UnknownEngine::Unknown(text.chars().take(40).collect())),
        }
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Embedded => f.write_str("embedded"),
        }
    }
}

/// Opens the journal with everything that was acknowledged. Blocks for milliseconds, or for a few seconds when much has
/// to be recovered.
///
/// # Errors
///
/// When the engine cannot be opened; see [`JournalOpenError`].
pub fn open(options: JournalOptions) -> Result<Arc<dyn Journal>, JournalOpenError> {
    let JournalOptions { engine, directory, max_bytes, namespace_share, strict } = options;
    match engine {
        Engine::Embedded => {
            let options = EmbeddedOptions { directory: directory.clone(), max_bytes, namespace_share, strict };
            let journal =
                EmbeddedJournal::open(options).map_err(|source| JournalOpenError::Embedded { directory, source })?;
            Ok(Arc::new(journal))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_an_engine_or_says_what_to_use() {
        assert_eq!("embedded".parse(), Ok(Engine::Embedded));
        for wrong in ["", "memory", "redis://user:secret@host", "nats://user:secret@host:4222"] {
            let error = wrong.parse::<Engine>().unwrap_err().to_string();
            assert!(error.contains("use embedded") && !error.contains("secret"), "{error}");
        }
    }
}
