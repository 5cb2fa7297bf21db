//! The public HTTP server: how an event comes in.
//!
//! `server` takes connections and bounds them, [`accept`](self) is the walk of one request, `reject` is every way in
//! which it can end early. The path of an endpoint is `{prefix}/{namespace}/{path}`, compared byte by byte: nothing is
//! percent-decoded (paths consist of characters that need no encoding), a slash at the end is another path and hence
//! not found, and the query is no part of it.

mod accept;
pub mod address;
mod body;
mod cloudevents;
mod handshake;
mod headers;
pub mod limits;
mod reject;
mod response;
mod server;
mod stream;
mod tenants;
pub mod tls;
mod token_review;
mod trace;
mod verification_context;

use std::{sync::Arc, time::Duration};

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

/// What the server works with.
pub struct Ingress {
    /// What is served at the moment.
    pub snapshot: watch::Receiver<Arc<Snapshot>>,
    /// Where events go.
    pub journal: Arc<dyn Journal>,
    /// Who knows callers inside the cluster; without a cluster nobody does.
    pub callers: Option<Arc<dyn Callers>>,
    /// Who knows public keys of senders that are fetched.
    pub keys: Option<Arc<dyn RemoteKeys>>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The process's metrics.
    pub metrics: Metrics,
    /// Where the spans of receipts are begun.
    pub spans: Spans,
    /// How it serves.
    pub options: IngressOptions,
}

/// How the server serves.
#[derive(Debug, Clone)]
pub struct IngressOptions {
    /// Path before `/{namespace}/{path}`: `/`, or `/hooks`.
    pub path_prefix: String,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// `--public-url`, under which senders call this server, for those that sign the URL.
    pub public_url: Option<Url>,
    /// Whether TLS is spoken, and the URL hence `https`, where neither that nor a proxy says so.
    pub tls: bool,
    /// Most connections open at once, see [`limits::MAX_CONNECTIONS`].
    pub max_connections: usize,
    /// Time for a TLS handshake and for the head of a request, see [`limits::HEAD_TIMEOUT`].
    pub head_timeout: Duration,
    /// How long a connection may stay open without a request.
    pub idle_timeout: Duration,
    /// How long requests under way may take to end at shutdown.
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

/// Why the server cannot serve.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IngressError {
    /// The prefix is no path.
    #[error("path prefix {0:?} is not a path: write / or, for example, /hooks, of letters, digits and -._~/")]
    PathPrefix(String),
    /// Nobody could connect.
    #[error("--max-connections must be at least 1")]
    NoConnections,
}
