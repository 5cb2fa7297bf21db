//! Opening of the engine that `--journal` names.
//!
//! ```
//! use grapnel_journal::factory::Engine;
//!
//! assert_eq!("embedded".parse(), Ok(Engine::Embedded));
//! assert!(matches!("nats://nats:4222".parse(), Ok(Engine::Nats(_))));
//! assert!("postgres://db".parse::<Engine>().is_err());
//! ```

use std::{fmt, path::PathBuf, str::FromStr, sync::Arc};

use super::{
    Journal,
    embedded::{self, EmbeddedJournal, EmbeddedOptions},
    nats::{NatsJournal, NatsOpenError, NatsOptions, NatsServers, NatsSettings, ServersError},
};

/// The engine that `--journal` names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Engine {
    /// A log in a local directory: one process, no other service.
    #[default]
    Embedded,
    /// Streams of NATS servers: any number of processes.
    Nats(NatsServers),
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
    /// Settings of the engine on NATS.
    pub nats: NatsSettings,
}

/// The text does not name an engine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnknownEngine {
    /// URLs of NATS servers, of which one is invalid.
    #[error(transparent)]
    Servers(#[from] ServersError),
    /// An unknown engine.
    #[error("unknown journal engine {0:?}: use embedded, or nats://HOST[:PORT][,HOST[:PORT]…]")]
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
    /// The engine on NATS cannot be opened.
    #[error("the journal on {servers} cannot be opened")]
    Nats {
        /// Its servers.
        servers: NatsServers,
        /// The cause.
        #[source]
        source: NatsOpenError,
    },
    /// The thread that opens the journal ended early.
    #[error("opening the journal was interrupted")]
    Interrupted(#[source] tokio::task::JoinError),
}

impl FromStr for Engine {
    type Err = UnknownEngine;

    fn from_str(text: &str) -> Result<Self, UnknownEngine> {
        match text.split_once("://") {
            None if text == "embedded" => Ok(Self::Embedded),
            Some(("nats" | "tls", _)) => Ok(Self::Nats(text.parse()?)),
            // A URL may hold a password: only its scheme is shown.
            Some((scheme, _)) => {
                Err(UnknownEngine::Unknown(format!("{}://…", scheme.chars().take(40).collect::<String>())))
            }
            None if text.contains('@') => Err(UnknownEngine::Unknown("…@…".into())),
            None => Err(UnknownEngine::Unknown(text.chars().take(40).collect())),
        }
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Embedded => f.write_str("embedded"),
            Self::Nats(servers) => servers.fmt(f),
        }
    }
}

/// Opens the journal with everything that was acknowledged. Takes milliseconds, or a few seconds when much has to be
/// recovered. Must be called in a runtime of tokio.
///
/// # Errors
///
/// When the engine cannot be opened; see [`JournalOpenError`].
pub async fn open(options: JournalOptions) -> Result<Arc<dyn Journal>, JournalOpenError> {
    let JournalOptions { engine, directory, max_bytes, namespace_share, strict, nats } = options;
    match engine {
        Engine::Embedded => {
            let options = EmbeddedOptions { directory: directory.clone(), max_bytes, namespace_share, strict };
            let opened = tokio::task::spawn_blocking(move || EmbeddedJournal::open(options)).await;
            let journal = opened
                .map_err(JournalOpenError::Interrupted)?
                .map_err(|source| JournalOpenError::Embedded { directory, source })?;
            Ok(Arc::new(journal))
        }
        Engine::Nats(servers) => {
            let options = NatsOptions {
                servers: servers.clone(),
                credentials: nats.credentials,
                ca: nats.ca,
                certificate: nats.certificate,
                key: nats.key,
                monitors: nats.monitors.iter().map(ToString::to_string).collect(),
                trust_sync: nats.trust_sync,
                name: nats.name.to_string(),
                shards: nats.shards,
                replicas: nats.replicas,
                replica: nats.replica,
                max_bytes,
                namespace_share,
            };
            let journal =
                NatsJournal::open(options).await.map_err(|source| JournalOpenError::Nats { servers, source })?;
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
        let nats: Engine = "nats://a,b:1".parse().unwrap();
        assert_eq!(nats.to_string(), "nats://a:4222,b:1");
        for (wrong, says) in [
            ("", "use embedded"),
            ("memory", "use embedded"),
            ("redis://user:secret@host", "unknown journal engine \"redis://…\""),
            ("nats://user:secret@host:4222", "--nats-creds"),
            ("nats://host:x", "is not a port"),
            ("user:secret@host:4222", "unknown journal engine"),
        ] {
            let error = wrong.parse::<Engine>().unwrap_err().to_string();
            assert!(error.contains(says) && !error.contains("secret"), "{error}");
        }
    }
}
