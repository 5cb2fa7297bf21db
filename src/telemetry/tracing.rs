//! Logs: one line an event outcome, as text or JSON, filtered by `RUST_LOG`.

use std::io::IsTerminal;

use tracing_subscriber::{EnvFilter, fmt, util::TryInitError};

/// Format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object for each line.
    Json,
}

/// What is logged when `RUST_LOG` does not say.
const DEFAULT_FILTER: &str = "info";

/// Of these only warnings are logged, unless `RUST_LOG` names a module of theirs more exactly: they tell every host that
/// is called, and that of a target may be a secret (`urlFrom`).
const DISCREET: [&str; 2] = ["hyper_util::client=warn", "rustls=warn"];

/// Starts logging to standard error. `RUST_LOG` chooses what is logged; when it is not set or makes no
/// sense, that is `info`.
///
/// # Errors
/// When a subscriber is installed already.
pub fn start(format: LogFormat) -> Result<(), TryInitError> {
    use tracing_subscriber::util::SubscriberInitExt;

    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(DEFAULT_FILTER));
    let discreet = DISCREET.iter().filter_map(|directive| directive.parse().ok());
    let filter = discreet.fold(filter, EnvFilter::add_directive);
    let lines = fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    match format {
        LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).finish().try_init(),
        LogFormat::Json => lines.json().flatten_event(true).finish().try_init(),
    }
}
