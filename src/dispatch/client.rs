//! The guarded HTTP client: which addresses it may call, how long an exchange may take, and how much it reads.
//!
//! One exchange is bounded in time (connecting, TLS, headers and body together) and in the bytes read of the response.
//! Redirects are not followed, proxies are not taken from the environment, and addresses that the egress policy forbids
//! are never connected to. Addresses written in URLs are checked before sending; addresses of names are checked after
//! every lookup, just before connecting, so that a name cannot pass the check and then resolve to another address.
//! Services of the cluster have a separate policy; connections are never shared between the two. An egress proxy
//! receives checked addresses instead of names: see `proxy_connect`.

mod fetch;

use std::{collections::HashSet, fmt, sync::Arc, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use grapnel_delivery::{
    egress::{EgressPolicy, Reach},
    egress_proxy::EgressProxy,
};
use grapnel_journal::limits::FAILURE_MESSAGE_BYTES;
use grapnel_values::{
    clock::{Clock, SystemClock},
    secret::header_value,
};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use rustls::{ClientConfig, RootCertStore};
use tokio::time::Instant;
use url::Url;
use zeroize::Zeroizing;

pub use self::fetch::FetchError;
pub(crate) use super::connect::platform_roots;
use super::{
    connect::{self, connector},
    lru::LruCache,
    pool::Pool,
    redact,
    resolver::{GuardedResolver, Names, SystemNames},
    send_error::SendError,
    token::{self, AccessToken, TokenError, Tokens},
};
use crate::{
    catalog::{OAuthClient, Snapshot, TlsIdentity},
    dispatch::limits,
};

/// Options of a [`Client`].
#[derive(Clone)]
pub struct ClientOptions {
    /// Which addresses may be called.
    pub egress: EgressPolicy,
    /// `User-Agent` of requests that do not set one.
    pub user_agent: String,
    /// Resolves host names.
    pub names: Arc<dyn Names>,
    /// The clock by which tokens expire.
    pub clock: Arc<dyn Clock>,
    /// The proxy for public addresses named by URLs. Services and other non-public addresses are called directly.
    pub proxy: Option<EgressProxy>,
    /// Maximum age of a connection: see [`limits::CONNECTION_AGE`].
    pub connection_age: Duration,
}

impl ClientOptions {
    /// Options with the user agent of this build, `grapnel/<version>`, the system's resolver and its clock.
    pub fn new(egress: EgressPolicy) -> Self {
        let user_agent = concat!("grapnel/", env!("CARGO_PKG_VERSION")).to_owned();
        Self {
            egress,
            user_agent,
            names: Arc::new(SystemNames),
            clock: Arc::new(SystemClock),
            proxy: None,
            connection_age: limits::CONNECTION_AGE,
        }
    }
}

/// Why a [`Client`] cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// TLS could not be set up.
    #[error("cannot set up TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// The user agent is not a valid header value.
    #[error("the user agent is not a header value: {0}")]
    UserAgent(#[from] header::InvalidHeaderValue),
}

/// A request to POST.
#[derive(Clone)]
pub struct Outgoing {
    /// The target.
    pub url: Url,
    /// Whether the URL is secret: if so, neither errors nor the stored part of the response contain any of it.
    pub secret_url: bool,
    /// How the target was named, which determines the addresses that it may have.
    pub reach: Reach,
    /// All headers except those added by framing and those that `oauth` provides.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    /// The OAuth client that provides the token for `Authorization`.
    pub oauth: Option<Arc<OAuthClient>>,
    /// The TLS identity, if not the default.
    pub tls: Option<Arc<TlsIdentity>>,
    /// Time for the whole exchange, including fetching a token.
    pub timeout: Duration,
}

impl fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Hides the signed content and the signature; of the URL it shows only what the name server learns anyway.
        let host = if self.secret_url { Some("***") } else { self.url.host_str() };
        f.debug_struct("Outgoing")
            .field("host", &host)
            .field("headers", &self.headers.keys())
            .field("bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

/// The stored part of a response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceiverResponse {
    /// The status code.
    pub status: StatusCode,
    /// `Retry-After`, if it is text.
    pub retry_after: Option<String>,
    /// The first [`FAILURE_MESSAGE_BYTES`] of the body, as received.
    pub body_start: Bytes,
}

/// The guarded HTTP client. Cheap to clone; clones share connections and tokens.
#[derive(Clone)]
pub struct Client(Arc<Shared>);

struct Shared {
    setup: Setup,
    plain: Arc<Pools>,
    /// Pools by TLS identity; different identities share no connections.
    identified: LruCache<Arc<Pools>>,
    tokens: LruCache<Arc<Tokens>>,
    clock: Arc<dyn Clock>,
}

/// Settings shared by all connection pools.
struct Setup {
    roots: Arc<RootCertStore>,
    user_agent: HeaderValue,
    urls: GuardedResolver,
    services: GuardedResolver,
    proxy: Option<Arc<EgressProxy>>,
    connection_age: Duration,
}

/// The connection pools of one TLS identity: one policy for URLs, one for Services.
struct Pools {
    urls: Guarded,
    services: Guarded,
}

/// A pool of connections that were all made under one policy.
struct Guarded {
    pool: Pool,
    egress: Arc<EgressPolicy>,
    user_agent: HeaderValue,
}

impl Client {
    /// A client with its own pool of connections.
    ///
    /// # Errors
    /// Returns an error if TLS cannot be set up or the user agent is not a header value.
    pub fn new(options: ClientOptions) -> Result<Self, ClientError> {
        Self::with_roots(options, platform_roots())
    }

    /// A client that trusts only the given certificates, unless a target configures others.
    ///
    /// # Errors
    /// Returns an error if TLS cannot be set up or the user agent is not a header value.
    pub fn with_roots(options: ClientOptions, roots: RootCertStore) -> Result<Self, ClientError> {
        let services = Arc::new(options.egress.for_services());
        let urls = GuardedResolver::new(Arc::new(options.egress), options.names);
        let setup = Setup {
            roots: Arc::new(roots),
            user_agent: HeaderValue::from_str(&options.user_agent)?,
            services: urls.under(services),
            urls,
            proxy: options.proxy.map(Arc::new),
            connection_age: options.connection_age,
        };
        Ok(Self(Arc::new(Shared {
            plain: setup.pools(&TlsIdentity::default())?,
            setup,
            identified: LruCache::new(limits::TLS_IDENTITIES),
            tokens: LruCache::new(limits::OAUTH_CLIENTS),
            clock: options.clock,
        })))
    }

    /// Posts a request and reads the stored part of its response.
    ///
    /// # Errors
    /// Returns an error if no complete response arrives in time, no token is available, or the target may not be
    /// called.
    pub async fn post(&self, request: Outgoing) -> Result<ReceiverResponse, SendError> {
        let deadline = Instant::now() + request.timeout;
        let pools = self.pools(request.tls.as_deref())?;
        let guarded = pools.of(request.reach);
        guarded.check(&request.url, request.secret_url)?;
        match request.oauth.clone() {
            None => guarded.exchange_until(deadline, request).await,
            // Boxed, so that tasks that need no token stay small.
            Some(oauth) => self.post_with_token(guarded, &oauth, request, deadline).boxed().await,
        }
    }

    async fn post_with_token(
        &self,
        guarded: &Guarded,
        client: &Arc<OAuthClient>,
        request: Outgoing,
        deadline: Instant,
    ) -> Result<ReceiverResponse, SendError> {
        let tokens = self.0.tokens.get(client.fingerprint(), || Ok::<_, SendError>(Arc::default()))?;
        let token = self.token(&tokens, client, deadline).await?;
        let answer = guarded.exchange_until(deadline, request.authorized(&token)).await?;
        if answer.status != StatusCode::UNAUTHORIZED || !tokens.refused(&token, self.0.clock.now()) {
            return Ok(answer);
        }
        // The token may have been revoked. A rejected request had no effect, so it can be sent again at once.
        let token = self.token(&tokens, client, deadline).await?;
        guarded.exchange_until(deadline, request.authorized(&token)).await
    }

    /// Drops connections and tokens that no subscription needs any more.
    pub fn retain(&self, live: &Snapshot) {
        let Shared { identified, tokens, .. } = &*self.0;
        if identified.is_empty() && tokens.is_empty() {
            return;
        }
        let targets = || live.subscriptions().map(|subscription| &subscription.target);
        let clients: Vec<_> = targets().filter_map(|target| target.oauth.as_ref()).collect();
        tokens.retain(&clients.iter().map(|client| client.fingerprint()).collect());
        let of_clients = clients.iter().filter_map(|client| client.tls.as_ref());
        let identities = targets().filter_map(|target| target.tls.as_ref()).chain(of_clients);
        identified.retain(&identities.map(|identity| identity.fingerprint()).collect::<HashSet<_>>());
    }

    fn pools(&self, identity: Option<&TlsIdentity>) -> Result<Arc<Pools>, SendError> {
        let Some(identity) = identity else { return Ok(Arc::clone(&self.0.plain)) };
        let made = self.0.identified.get(identity.fingerprint(), || self.0.setup.pools(identity));
        made.map_err(|error| SendError::Tls(error.to_string()))
    }

    async fn token(
        &self,
        tokens: &Tokens,
        client: &Arc<OAuthClient>,
        until: Instant,
    ) -> Result<Arc<AccessToken>, SendError> {
        let fetch = || self.clone().fetch(Arc::clone(client)).boxed();
        let started = Instant::now();
        match tokio::time::timeout_at(until, tokens.get(self.0.clock.now(), fetch)).await {
            Ok(token) => token.map_err(SendError::Auth),
            Err(_) => Err(SendError::Auth(TokenError::Timeout(until.duration_since(started)))),
        }
    }

    /// Requests a token from the token endpoint (RFC 6749, 4.4.2).
    async fn fetch(self, client: Arc<OAuthClient>) -> Result<Arc<AccessToken>, TokenError> {
        let unreachable = |error: SendError| TokenError::Unreachable(error.to_string());
        let pools = self.pools(client.tls.as_deref()).map_err(unreachable)?;
        pools.urls.check(&client.token_url, false).map_err(unreachable)?;
        let requested_at = self.0.clock.now();
        let request = question(&client);
        let exchange = async {
            let answer = pools.urls.send(client.token_url.as_str(), request, false).await?;
            let status = answer.status();
            Ok((status, read(answer, limits::TOKEN_ANSWER_BYTES, limits::TOKEN_ANSWER_BYTES, false).await?))
        };
        match tokio::time::timeout(limits::TOKEN_TIMEOUT, exchange).await {
            Ok(answer) => {
                let (status, body) = answer.map_err(unreachable)?;
                token::read(status, &body, requested_at).map(Arc::new)
            }
            Err(_) => Err(TokenError::Timeout(limits::TOKEN_TIMEOUT)),
        }
    }
}

impl Outgoing {
    fn authorized(&self, token: &AccessToken) -> Self {
        let mut authorized = self.clone();
        authorized.headers.insert(header::AUTHORIZATION, token.header.clone());
        authorized
    }
}

impl Setup {
    fn pools(&self, identity: &TlsIdentity) -> Result<Arc<Pools>, rustls::Error> {
        let tls = Arc::new(connect::tls(&self.roots, identity)?);
        let guarded = |resolver: &GuardedResolver, proxy: Option<&Arc<EgressProxy>>| Guarded {
            egress: resolver.policy(),
            pool: Pool::new(connector(resolver.clone(), proxy, Arc::clone(&tls), identity), self.connection_age),
            user_agent: self.user_agent.clone(),
        };
        let (urls, services) = (guarded(&self.urls, self.proxy.as_ref()), guarded(&self.services, None));
        Ok(Arc::new(Pools { urls, services }))
    }
}

impl Pools {
    fn of(&self, reach: Reach) -> &Guarded {
        match reach {
            Reach::Url => &self.urls,
            Reach::Service => &self.services,
        }
    }
}

impl Guarded {
    /// Checks addresses written in the URL, which the resolver never sees.
    fn check(&self, url: &Url, secret: bool) -> Result<(), SendError> {
        self.egress.check_url(url).map_err(|refusal| match secret {
            true => SendError::forbidden_secret(),
            false => SendError::Forbidden(refusal.to_string()),
        })
    }

    async fn exchange_until(&self, deadline: Instant, request: Outgoing) -> Result<ReceiverResponse, SendError> {
        let timeout = request.timeout;
        let answer = tokio::time::timeout_at(deadline, self.exchange(request)).await;
        answer.unwrap_or(Err(SendError::Timeout(timeout)))
    }

    async fn exchange(&self, request: Outgoing) -> Result<ReceiverResponse, SendError> {
        let Outgoing { url, secret_url, headers, body, .. } = request;
        let secrets: Vec<_> = headers.values().filter(|value| value.is_sensitive()).cloned().collect();
        let mut posted = Request::new(Full::new(body.clone()));
        *posted.headers_mut() = headers;
        let answer = self.send(url.as_str(), posted, secret_url).await?;
        let status = answer.status();
        let retry_after =
            answer.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()).map(str::to_owned);
        // Receivers often repeat the path in their responses.
        let kept = if secret_url { 0 } else { FAILURE_MESSAGE_BYTES };
        let mut body_start = read(answer, kept, limits::RESPONSE_BYTES, secret_url).await?;
        if !status.is_success() {
            body_start = redact::redact(body_start, &secrets, &body);
        }
        Ok(ReceiverResponse { status, retry_after, body_start })
    }

    /// Posts a request without following redirects.
    async fn send(
        &self,
        url: &str,
        mut request: Request<Full<Bytes>>,
        secret_url: bool,
    ) -> Result<http::Response<Incoming>, SendError> {
        *request.method_mut() = Method::POST;
        *request.uri_mut() =
            Uri::try_from(url).map_err(|_| SendError::Io("the URL cannot be written into a request".into()))?;
        let empty = http_body::Body::size_hint(request.body()).exact() == Some(0);
        let headers = request.headers_mut();
        headers.entry(header::USER_AGENT).or_insert_with(|| self.user_agent.clone());
        headers.entry(header::ACCEPT).or_insert(HeaderValue::from_static("*/*"));
        if empty {
            // hyper does not add it to a request without content; some servers require it (RFC 9110, 8.6).
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(0));
        }
        self.pool.send(request).await.map_err(|error| SendError::of(&error, error.is_connect(), secret_url))
    }
}

/// Builds the token request. In `Authorization` the id and the secret are form-encoded (RFC 6749, 2.3.1).
fn question(client: &OAuthClient) -> Request<Full<Bytes>> {
    let text = |secret: &[u8]| Zeroizing::new(String::from_utf8_lossy(secret).into_owned());
    let (id, secret) = (text(client.id.expose()), text(client.secret.expose()));
    let encoded = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.append_pair("grant_type", "client_credentials");
    if !client.scope.is_empty() {
        form.append_pair("scope", &client.scope);
    }
    if let Some(audience) = &client.audience {
        form.append_pair("audience", audience);
    }
    if client.in_body {
        form.append_pair("client_id", &id).append_pair("client_secret", &secret);
    }
    let mut request = Request::new(Full::new(Bytes::from(form.finish())));
    let headers = request.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
    headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
    if !client.in_body {
        let pair = Zeroizing::new(format!("{}:{}", encoded(&id), encoded(&secret)));
        let value = Zeroizing::new(format!("Basic {}", STANDARD.encode(pair.as_bytes())).into_bytes());
        if let Ok(value) = header_value(value) {
            headers.insert(header::AUTHORIZATION, value);
        }
    }
    request
}

/// Reads a body to its end, so that the connection can be reused, but at most `most` bytes. Returns the start of the
/// body.
async fn read(
    answer: http::Response<Incoming>,
    kept: usize,
    most: usize,
    secret_url: bool,
) -> Result<Bytes, SendError> {
    let mut body = answer.into_body();
    let mut start = BytesMut::new();
    let mut read = 0usize;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| SendError::of(&error, false, secret_url))?;
        let Some(chunk) = frame.data_ref() else { continue };
        let room = kept.saturating_sub(start.len());
        if let Some(part) = chunk.get(..room.min(chunk.len())) {
            start.extend_from_slice(part);
        }
        read = read.saturating_add(chunk.len());
        if read >= most {
            break;
        }
    }
    Ok(start.freeze())
}

/// TLS with HTTP/2 if the server offers it, trusting the given certificates.
pub(crate) fn tls(roots: RootCertStore) -> Result<ClientConfig, rustls::Error> {
    connect::tls(&Arc::new(roots), &TlsIdentity::default())
}
