//! Logs: one line per event outcome, as text or JSON, filtered by `RUST_LOG`.

use std::io::IsTerminal;

use tracing_subscriber::{EnvFilter, fmt, util::TryInitError};

/// The format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// Text for people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// The filter if `RUST_LOG` is not set.
const DEFAULT_FILTER: &str = "info";

/// Modules of which only warnings or errors are logged, unless `RUST_LOG` names them more specifically. The first two log
/// every host that is called, and the host of a target may be secret (`urlFrom`). The others repeat an error with every
/// try, the last twice a second; `controller::api_access` and the journal report it once.
const DISCREET: [&str; 4] = ["hyper_util::client=warn", "rustls=warn", "kube_runtime::watcher=error", "async_nats=off"];

/// Starts logging to standard error. `RUST_LOG` is the filter; if it is not set or invalid, the filter is `info`.
///
/// # Errors
/// Returns an error if a subscriber is already installed.
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
