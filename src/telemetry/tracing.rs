//! Logs: one line an event outcome, as text or JSON, filtered by `RUST_LOG`.

use std::io::IsTerminal;

use tracing_subscriber::{EnvFilter, fmt, util::TryInitError};

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// What is logged when `RUST_LOG` does not say. The storage engine tells of its files at `info`.
const DEFAULT_FILTER: &str = "info,fjall=warn,lsm_tree=warn";

/// What is not logged whatever `RUST_LOG` says: the HTTP client names every host that it calls, and that of a target may
/// be a secret (`urlFrom`).
const DISCREET: &str = "hyper_util::client=warn";

/// Starts logging to standard error. `RUST_LOG` chooses what is logged; when it is not set or makes no
/// sense, that is `info`.
///
/// # Errors
/// When a subscriber is installed already.
pub fn start(format: LogFormat) -> Result<(), TryInitError> {
    use tracing_subscriber::util::SubscriberInitExt;

    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(DEFAULT_FILTER));
    let filter = match DISCREET.parse() {
        Ok(directive) => filter.add_directive(directive),
        // It is a constant that parses.
        Err(_) => EnvFilter::new(DEFAULT_FILTER),
    };
    let lines = fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    match format {
        LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).finish().try_init(),
        LogFormat::Json => lines.json().flatten_event(true).finish().try_init(),
    }
}
