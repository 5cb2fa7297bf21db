//! The guarded HTTP client: what leaves the process, where it may go, and how long it may take.
//!
//! One exchange is bounded in time (connecting, TLS, headers and body together) and in what is read of the answer.
//! Redirects are not followed, proxies are not taken from the environment, and no address is connected to that the
//! egress policy forbids: addresses written in URLs are checked before sending, those of names after every lookup,
//! just before connecting, so that a name cannot pass the check and then be bound to another address. Services of the
//! cluster have a policy of their own; connections are never shared between the two. Where there is a proxy, it gets
//! addresses that have passed, not names: see [`tunnel`](super::tunnel).

use std::{fmt, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use rustls::{ClientConfig, RootCertStore};
use url::Url;

use super::{
    echo,
    failure::SendError,
    resolver::{GuardedResolver, Names, SystemNames},
    tunnel::Tunnelled,
};
use crate::rules::{
    egress::{EgressPolicy, Reach},
    egress_proxy::EgressProxy,
    limits,
};

/// How to build a [`Client`].
#[derive(Clone)]
pub struct ClientOptions {
    /// Which addresses may be called.
    pub egress: EgressPolicy,
    /// `User-Agent` of requests that have none of their own.
    pub user_agent: String,
    /// Who knows the addresses of names.
    pub names: Arc<dyn Names>,
    /// The way to public addresses that URLs name. Services and what else is not public are called directly.
    pub proxy: Option<EgressProxy>,
}

impl ClientOptions {
    /// Options with the user agent of this build, `grapnel/<version>`, and the system's resolver.
    pub fn new(egress: EgressPolicy) -> Self {
        let user_agent = concat!("grapnel/", env!("CARGO_PKG_VERSION")).to_owned();
        Self { egress, user_agent, names: Arc::new(SystemNames), proxy: None }
    }
}

/// Why a [`Client`] cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// TLS cannot be set up.
    #[error("cannot set up TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// The user agent is not a header value.
    #[error("the user agent is not a header value: {0}")]
    UserAgent(#[from] header::InvalidHeaderValue),
    /// The HTTP client refuses its settings.
    #[error("cannot set up the HTTP client: {0}")]
    Http(#[from] reqwest::Error),
}

/// A request to post.
pub struct Outgoing {
    /// Where.
    pub url: Url,
    /// How that was named, which says where it may be.
    pub reach: Reach,
    /// Headers, complete but for those that framing adds.
    pub headers: HeaderMap,
    /// Body.
    pub body: Bytes,
    /// Time for the whole exchange.
    pub timeout: Duration,
}

impl fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Neither what was signed nor how, and of the URL only what a name server gets to know too.
        f.debug_struct("Outgoing")
            .field("host", &self.url.host_str())
            .field("headers", &self.headers.keys())
            .field("bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

/// What is kept of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// Status.
    pub status: StatusCode,
    /// `Retry-After`, if it is text.
    pub retry_after: Option<String>,
    /// The first [`limits::FAILURE_MESSAGE_BYTES`] of the body, as sent but for the request's secrets.
    pub body_start: Bytes,
}

/// The guarded HTTP client. Cheap to clone; clones share connections.
#[derive(Clone)]
pub struct Client {
    urls: Guarded,
    services: Guarded,
}

/// A pool of connections that were all made under one policy.
#[derive(Clone)]
struct Guarded {
    transport: Transport,
    egress: Arc<EgressPolicy>,
}

/// How connections are made.
#[derive(Clone)]
enum Transport {
    Direct(reqwest::Client),
    Tunnelled(Arc<Tunnelled>),
}

impl Client {
    /// A client with its own pool of connections.
    ///
    /// # Errors
    /// When TLS or the HTTP client cannot be set up.
    pub fn new(options: ClientOptions) -> Result<Self, ClientError> {
        Self::with_roots(options, platform_roots())
    }

    /// A client that trusts the given certificates only.
    ///
    /// # Errors
    /// When TLS or the HTTP client cannot be set up.
    pub fn with_roots(options: ClientOptions, roots: RootCertStore) -> Result<Self, ClientError> {
        let (tls, user_agent) = (tls(roots)?, HeaderValue::from_str(&options.user_agent)?);
        let services = Arc::new(options.egress.for_services());
        let resolver = GuardedResolver::new(Arc::new(options.egress), options.names);
        Ok(Self {
            services: Guarded::new(tls.clone(), user_agent.clone(), resolver.under(services))?,
            urls: match options.proxy {
                Some(proxy) => Guarded::through(proxy, tls, user_agent, resolver),
                None => Guarded::new(tls, user_agent, resolver)?,
            },
        })
    }

    /// Posts a request and reads what is kept of its answer.
    ///
    /// # Errors
    /// When no complete answer came in time, or the target may not be called.
    pub async fn post(&self, request: Outgoing) -> Result<Response, SendError> {
        let guarded = match request.reach {
            Reach::Url => &self.urls,
            Reach::Service => &self.services,
        };
        // A resolver is never asked for an address that is written in the URL.
        guarded.egress.check_url(&request.url).map_err(|refusal| SendError::Forbidden(refusal.to_string()))?;
        let timeout = request.timeout;
        match tokio::time::timeout(timeout, guarded.exchange(request)).await {
            Ok(answer) => answer,
            Err(_) => Err(SendError::Timeout(timeout)),
        }
    }
}

impl Guarded {
    fn new(tls: ClientConfig, user_agent: HeaderValue, resolver: GuardedResolver) -> Result<Self, reqwest::Error> {
        let egress = resolver.policy();
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .user_agent(user_agent)
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .no_proxy()
            // Attempts are counted and timed by the subscription's policy, not behind its back.
            .retry(reqwest::retry::never())
            .dns_resolver(resolver)
            .pool_idle_timeout(limits::POOL_IDLE)
            .pool_max_idle_per_host(limits::POOL_IDLE_PER_HOST)
            .http1_max_headers(limits::RESPONSE_HEADERS)
            .http2_max_header_list_size(limits::RESPONSE_HEADER_BYTES)
            .build()?;
        Ok(Self { transport: Transport::Direct(http), egress })
    }

    fn through(proxy: EgressProxy, tls: ClientConfig, user_agent: HeaderValue, resolver: GuardedResolver) -> Self {
        let egress = resolver.policy();
        Self { transport: Transport::Tunnelled(Arc::new(Tunnelled::new(proxy, tls, user_agent, resolver))), egress }
    }

    async fn exchange(&self, request: Outgoing) -> Result<Response, SendError> {
        let mut posted = reqwest::Request::new(Method::POST, request.url);
        let secrets: Vec<_> = request.headers.values().filter(|value| value.is_sensitive()).cloned().collect();
        *posted.headers_mut() = request.headers;
        if request.body.is_empty() {
            // Not added by itself to a request without content; some servers insist on it (RFC 9110, 8.6).
            posted.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(0));
        }
        *posted.body_mut() = Some(request.body.into());
        let mut answer = match &self.transport {
            Transport::Direct(http) => http.execute(posted).await.map_err(SendError::from_http)?,
            Transport::Tunnelled(http) => http.execute(posted).await?,
        };
        let status = answer.status();
        let retry_after =
            answer.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let mut body_start = read_start(&mut answer).await?;
        if !status.is_success() {
            body_start = echo::redact(body_start, &secrets);
        }
        Ok(Response { status, retry_after, body_start })
    }
}

/// Reads a body to its end, so that the connection can be used again, but no further than the bound; keeps its start.
async fn read_start(answer: &mut reqwest::Response) -> Result<Bytes, SendError> {
    let mut start = BytesMut::new();
    let mut read = 0usize;
    while let Some(chunk) = answer.chunk().await.map_err(SendError::from_http)? {
        let room = limits::FAILURE_MESSAGE_BYTES.saturating_sub(start.len());
        if let Some(kept) = chunk.get(..room.min(chunk.len())) {
            start.extend_from_slice(kept);
        }
        read = read.saturating_add(chunk.len());
        if read >= limits::RESPONSE_BYTES {
            break;
        }
    }
    Ok(start.freeze())
}

/// TLS with HTTP/2 where it is offered, trusting the given certificates.
pub(crate) fn tls(roots: RootCertStore) -> Result<ClientConfig, rustls::Error> {
    // Named here because a process-wide default may not be installed, or be another provider.
    let mut tls = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(tls)
}

/// The platform's certificates; those of Mozilla where an image has none.
pub(crate) fn platform_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    let (_, refused) = roots.add_parsable_certificates(found.certs);
    for error in &found.errors {
        tracing::debug!(%error, "platform certificates could not all be read");
    }
    if refused > 0 {
        tracing::debug!(refused, "some platform certificates do not parse");
    }
    if roots.is_empty() {
        tracing::debug!("the platform has no certificates, using Mozilla's");
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    roots
}
