//! Flags shared by `grapnel run` and `grapnel standalone`.

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use clap::{Args, ValueEnum};
use grapnel_delivery::{
    egress::EgressPolicy,
    egress_proxy::{EgressProxy, NoProxy},
};
use grapnel_values::{
    duration,
    name::{is_domain, is_label},
};
use ipnet::IpNet;
use url::Url;

use super::{Usage, journal_flags::JournalFlags, open_files};
use crate::{
    catalog::{Class, Namespaces, Options},
    ingress::{limits::MAX_CONNECTIONS, tls::TlsFiles},
    runtime::{DataPlane, limits::SHUTDOWN_DELAY_MAX},
    telemetry::tracing::LogFormat,
};

/// Flags of the data plane.
#[derive(Debug, Args)]
pub(super) struct DataPlaneArgs {
    /// Listen address for webhooks
    #[arg(long, env = "GRAPNEL_LISTEN", value_name = "ADDRESS", default_value = "0.0.0.0:8080")]
    pub(super) listen: SocketAddr,

    #[command(flatten)]
    pub(super) journal: JournalFlags,

    /// Prefix of every webhook path
    #[arg(long, env = "GRAPNEL_PATH_PREFIX", value_name = "PATH", default_value = "/", value_parser = prefix)]
    pub(super) path_prefix: Prefix,

    /// Public URL of this server, for status.url and for providers that sign the URL (Twilio)
    #[arg(long, env = "GRAPNEL_PUBLIC_URL", value_name = "URL", value_parser = public_url)]
    pub(super) public_url: Option<Url>,

    /// Namespaces to watch; may be repeated [default: all]
    #[arg(long, env = "GRAPNEL_WATCH_NAMESPACES", value_name = "NAMESPACE", value_delimiter = ',', value_parser = label)]
    pub(super) watch_namespaces: Vec<String>,

    /// Class of the objects to serve: those with this spec.className [default: objects without a className]
    #[arg(long, env = "GRAPNEL_CLASS", value_name = "NAME", value_parser = label)]
    pub(super) class: Option<String>,

    /// Shortest interval between two writes of the counters in a status; changed conditions are written at once. Not
    /// used without a cluster
    #[arg(long, env = "GRAPNEL_STATUS_INTERVAL", value_name = "DURATION", default_value = "60s", value_parser = interval)]
    pub(super) status_interval: Duration,

    /// Non-public networks that deliveries may call, such as 10.1.0.0/16; may be repeated. Cloud metadata addresses are
    /// allowed only by a network that contains nothing else, such as 169.254.169.254/32
    #[arg(long, env = "GRAPNEL_EGRESS_ALLOW", value_name = "CIDR", value_delimiter = ',')]
    pub(super) egress_allow: Vec<IpNet>,

    /// HTTP proxy through which deliveries reach public addresses: http://[USER:PASSWORD@]HOST[:PORT]. Grapnel resolves
    /// and checks names itself, and asks the proxy for a tunnel (CONNECT) to the address. HTTPS_PROXY and similar
    /// variables are ignored
    #[arg(long, env = "GRAPNEL_EGRESS_PROXY", value_name = "URL", hide_env_values = true, value_parser = proxy)]
    pub(super) egress_proxy: Option<Proxy>,

    /// Proxies whose X-Forwarded-For, -Proto and -Host headers are trusted; may be repeated
    #[arg(long, env = "GRAPNEL_TRUSTED_PROXIES", value_name = "CIDR", value_delimiter = ',')]
    pub(super) trusted_proxies: Vec<IpNet>,

    /// Maximum number of open connections. At the maximum a new connection replaces one that waits for its client, or
    /// waits
    #[arg(long, env = "GRAPNEL_MAX_CONNECTIONS", value_name = "N", default_value_t = MAX_CONNECTIONS)]
    pub(super) max_connections: usize,

    /// Time for which webhooks are still accepted after SIGTERM, while /readyz is already 503: load balancers stop sending
    /// requests before connections are refused. At most 5m
    #[arg(long, env = "GRAPNEL_SHUTDOWN_DELAY", value_name = "DURATION", default_value = "0s", value_parser = shutdown_delay)]
    pub(super) shutdown_delay: Duration,

    /// PEM file with the certificate chain for the webhook listener; reloaded when it changes
    #[arg(long, env = "GRAPNEL_TLS_CERT_FILE", value_name = "FILE", requires = "tls_key_file")]
    pub(super) tls_cert_file: Option<PathBuf>,

    /// PEM file with the private key of --tls-cert-file
    #[arg(long, env = "GRAPNEL_TLS_KEY_FILE", value_name = "FILE", requires = "tls_cert_file")]
    pub(super) tls_key_file: Option<PathBuf>,

    /// File with the bearer token that the admin API requires. Without it, `standalone` accepts local clients only,
    /// and `run` asks the API server
    #[arg(long, env = "GRAPNEL_ADMIN_TOKEN_FILE", value_name = "FILE")]
    pub(super) admin_token_file: Option<PathBuf>,

    /// Who may read metrics, which contain the names of objects of all namespaces
    #[arg(long, env = "GRAPNEL_METRICS_ACCESS", value_name = "ACCESS", value_enum, default_value = "open")]
    pub(super) metrics_access: MetricsAccess,

    /// Format of log lines
    #[arg(long, env = "GRAPNEL_LOG_FORMAT", value_name = "FORMAT", value_enum, default_value = "text")]
    pub(super) log_format: Log,
}

/// Who may read metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum MetricsAccess {
    /// Anyone who can reach the admin port
    Open,
    /// Clients with a token, as for the admin API. In a cluster the token's user needs the verb get on the path
    /// /metrics
    Authorized,
}

/// Log formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Log {
    /// For people
    Text,
    /// One JSON object for each line
    Json,
}

impl From<Log> for LogFormat {
    fn from(format: Log) -> Self {
        match format {
            Log::Text => Self::Text,
            Log::Json => Self::Json,
        }
    }
}

/// A path prefix: empty for `/`, otherwise with a leading and without a trailing slash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Prefix(String);

/// Parses a path prefix.
///
/// # Errors
/// Returns an error if it does not consist of plain segments.
pub(super) fn prefix(text: &str) -> Result<Prefix, String> {
    let trimmed = text.trim_matches('/');
    let plain = |segment: &str| {
        // Clients and proxies normalize `.` and `..` to other paths.
        segment.bytes().any(|byte| byte != b'.')
            && segment.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte))
    };
    if trimmed.is_empty() {
        Ok(Prefix(String::new()))
    } else if trimmed.split('/').all(plain) {
        Ok(Prefix(format!("/{trimmed}")))
    } else {
        Err("must consist of letters, digits and -._~ between slashes".into())
    }
}

/// A proxy as given. An invalid one is rejected after parsing: clap would print the value, including a password.
#[derive(Debug, Clone)]
pub(super) struct Proxy(Result<EgressProxy, NoProxy>);

fn proxy(text: &str) -> Result<Proxy, std::convert::Infallible> {
    Ok(Proxy(EgressProxy::parse(text)))
}

pub(super) fn public_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| error.to_string())?;
    if matches!(url.scheme(), "http" | "https") && url.query().is_none() && url.fragment().is_none() {
        Ok(url)
    } else {
        Err("must be an http or https URL without query and fragment".into())
    }
}

/// Parses a DNS label (RFC 1123), such as the name of a namespace.
///
/// # Errors
/// Returns an error if it is not a DNS label.
pub(super) fn label(text: &str) -> Result<String, String> {
    if is_label(text) {
        Ok(text.into())
    } else {
        Err("must have at most 63 lowercase letters, digits and hyphens (RFC 1123)".into())
    }
}

/// Parses dot-separated DNS labels. A trailing dot, as in fully qualified names, is removed.
///
/// # Errors
/// Returns an error if it is not a domain name.
pub(super) fn domain(text: &str) -> Result<String, String> {
    let text = text.trim_matches('.');
    if is_domain(text) {
        Ok(text.into())
    } else {
        Err("must be a DNS name of lowercase letters, digits, hyphens and dots".into())
    }
}

fn interval(text: &str) -> Result<Duration, String> {
    let interval = duration::parse(text).map_err(|error| error.to_string())?;
    if interval < Duration::from_secs(1) { Err("must be at least 1s".into()) } else { Ok(interval) }
}

fn shutdown_delay(text: &str) -> Result<Duration, String> {
    let delay = duration::parse(text).map_err(|error| error.to_string())?;
    if delay > SHUTDOWN_DELAY_MAX { Err("must be at most 5m".into()) } else { Ok(delay) }
}

impl DataPlaneArgs {
    /// The compile options of these flags.
    pub(super) fn compile(&self, egress: EgressPolicy) -> Options {
        Options {
            path_prefix: self.path_prefix.0.clone(),
            public_url: self.public_url.clone(),
            egress: egress.allowing(self.egress_allow.clone()),
            class: Class::Only(self.class.as_deref().map(Arc::from)),
            ..Options::default()
        }
    }

    /// The data plane options of these flags, for the replica of this name.
    ///
    /// # Errors
    /// Returns an error if a flag of the journal or the proxy is invalid.
    pub(super) fn data_plane(
        self,
        replica: String,
        admin_listen: SocketAddr,
        compile: Options,
    ) -> anyhow::Result<DataPlane> {
        let proxy = self.egress_proxy.map(|Proxy(given)| given).transpose();
        Ok(DataPlane {
            compile,
            namespaces: Namespaces::of(self.watch_namespaces),
            listen: self.listen,
            admin_listen,
            admin_token_file: self.admin_token_file,
            guarded_metrics: self.metrics_access == MetricsAccess::Authorized,
            journal: self.journal.options(replica)?,
            trusted_proxies: self.trusted_proxies,
            max_connections: open_files::connections(self.max_connections),
            egress_proxy: proxy.map_err(|error| Usage::error(format!("--egress-proxy: {error}")))?,
            tls: self.tls_cert_file.zip(self.tls_key_file).map(|(cert, key)| TlsFiles::new(cert, key)),
            await_sync: false,
            shutdown_delay: self.shutdown_delay,
        })
    }
}
