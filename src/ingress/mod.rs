//! Ingress: the public HTTP server that accepts events.
//!
//! `server` accepts connections and bounds them, [`accept`](self) handles one request, and `reject` lists all
//! rejections. The path of an endpoint is `{prefix}/{namespace}/{path}`, compared byte by byte: it is not
//! percent-decoded (paths consist of characters that need no encoding), a trailing slash makes another path, which is
//! not found, and the query is not part of it.

mod accept;
pub mod address;
mod append;
mod body;
mod cloudevents;
mod confirmation;
mod handshake;
mod headers;
mod inbound;
pub mod limits;
pub mod preview;
mod reject;
mod response;
mod server;
mod stream;
mod tenants;
pub mod tls;
mod token_review;
mod trace;
mod verdict;
mod verification_context;

use std::{sync::Arc, time::Duration};

pub use confirmation::{NotVisited, Visits};
use grapnel_journal::Journal;
pub use grapnel_signature::Review;
use grapnel_values::clock::Clock;
use ipnet::IpNet;
pub use server::serve;
pub use token_review::{Callers, ReviewError};
use tokio::sync::watch;
use url::Url;
pub use verification_context::{KeysUnavailable, RemoteKeys};

use crate::{
    catalog::Snapshot,
    telemetry::{metrics::Metrics, spans::Spans},
};

/// The dependencies and options of the server.
pub struct Ingress {
    /// The live snapshot.
    pub snapshot: watch::Receiver<Arc<Snapshot>>,
    /// The journal that stores events.
    pub journal: Arc<dyn Journal>,
    /// Reviews tokens of callers inside the cluster; `None` without a cluster.
    pub callers: Option<Arc<dyn Callers>>,
    /// Provides the public keys of senders that are fetched.
    pub keys: Option<Arc<dyn RemoteKeys>>,
    /// Visits the URLs by which senders have their subscriptions confirmed.
    pub visits: Option<Arc<dyn Visits>>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// The process's metrics.
    pub metrics: Metrics,
    /// The source of receipt spans.
    pub spans: Spans,
    /// The options.
    pub options: IngressOptions,
}

/// Options of the server.
#[derive(Debug, Clone)]
pub struct IngressOptions {
    /// Path prefix before `/{namespace}/{path}`: `/`, or for example `/hooks`.
    pub path_prefix: String,
    /// Proxies whose `X-Forwarded-For` is trusted.
    pub trusted_proxies: Vec<IpNet>,
    /// `--public-url`, under which senders call this server, for senders that sign the URL.
    pub public_url: Option<Url>,
    /// Whether the server uses TLS, and the URL is hence `https`, unless the public URL or a proxy says otherwise.
    pub tls: bool,
    /// Maximum open connections, see [`limits::MAX_CONNECTIONS`].
    pub max_connections: usize,
    /// Timeout for a TLS handshake and for the head of a request, see [`limits::HEAD_TIMEOUT`].
    pub head_timeout: Duration,
    /// How long a connection may stay idle.
    pub idle_timeout: Duration,
    /// Time for requests in flight to end at shutdown.
    pub shutdown_timeout: Duration,
    /// Memory for bodies, see [`limits::BODY_MEMORY`].
    pub body_memory: usize,
}

impl Default for IngressOptions {
    fn default() -> Self {
        Self {
            path_prefix: "/".to_owned(),
            trusted_proxies: Vec::new(),
            public_url: None,
            tls: false,
            max_connections: limits::MAX_CONNECTIONS,
            head_timeout: limits::HEAD_TIMEOUT,
            idle_timeout: limits::IDLE_TIMEOUT,
            shutdown_timeout: limits::SHUTDOWN_REQUESTS,
            body_memory: limits::BODY_MEMORY,
        }
    }
}

/// Why the server cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IngressError {
    /// The prefix is not a path.
    #[error("path prefix {0:?} is not a path: write / or, for example, /hooks, of letters, digits and -._~/")]
    PathPrefix(String),
    /// No connection is allowed.
    #[error("--max-connections must be at least 1")]
    NoConnections,
}
