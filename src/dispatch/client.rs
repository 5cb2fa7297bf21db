//! The guarded HTTP client: which addresses it may call, how long an exchange may take, and how much it reads.
//!
//! One exchange is bounded in time (connecting, TLS, headers and body together) and in the bytes read of the response.
//! Redirects are not followed, proxies are not taken from the environment, and addresses that the egress policy forbids
//! are never connected to. Addresses written in URLs are checked before sending; addresses of names are checked after
//! every lookup, just before connecting, so that a name cannot pass the check and then resolve to another address.
//! Services of the cluster have a separate policy; connections are never shared between the two. An egress proxy
//! receives checked addresses instead of names: see `proxy_connect`.

mod exchange;
mod fetch;
mod token_request;

use std::{collections::HashSet, sync::Arc, time::Duration};

use futures_util::FutureExt;
use grapnel_delivery::{
    egress::{EgressPolicy, Reach},
    egress_proxy::EgressProxy,
};
use grapnel_values::clock::{Clock, SystemClock};
use http::{HeaderValue, StatusCode, header};
use rustls::{ClientConfig, RootCertStore};
use tokio::time::Instant;

use self::{
    exchange::{Guarded, read},
    token_request::token_request,
};
pub use self::{
    exchange::{Outgoing, ReceiverResponse},
    fetch::FetchError,
};
pub(crate) use super::connect::platform_roots;
use super::{
    connect::{self, connector},
    lru::LruCache,
    pool::Pool,
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

/// The guarded HTTP client. Cheap to clone; clones share connections and tokens.
#[derive(Clone)]
pub struct Client(Arc<SharedClient>);

struct SharedClient {
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
        Ok(Self(Arc::new(SharedClient {
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
        let SharedClient { identified, tokens, .. } = &*self.0;
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
        let request = token_request(&client);
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

/// TLS with HTTP/2 if the server offers it, trusting the given certificates.
pub(crate) fn tls(roots: RootCertStore) -> Result<ClientConfig, rustls::Error> {
    connect::tls(&Arc::new(roots), &TlsIdentity::default())
}
