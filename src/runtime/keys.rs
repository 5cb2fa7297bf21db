//! Public keys of senders: fetched when they are first asked for, remembered, and fetched again when they grow old or
//! when a token names one that is not among them.
//!
//! Whoever asks has proved nothing yet, so everything is bounded: what is remembered, how often one set is fetched, and
//! how many are fetched in all, for one namespace and from one host. What fails is not tried again at once. However
//! many ask for one set, it is fetched once. A fetch is nobody's who asks: it goes on when they hang up, and what comes
//! of it is written down.

mod fair_share;
mod key_cache;

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering::Relaxed},
};

use bytes::Bytes;
use futures_util::{FutureExt, future::BoxFuture};
use grapnel_signature::{KeySet, KeySetError, KeySource, KeysWanted};
use grapnel_values::clock::Clock;
use parking_lot::Mutex;
use serde::Deserialize;
use tokio::task::JoinSet;
use url::Url;

use self::key_cache::{Found, InFlightFetch, KeyCache};
use crate::{
    dispatch::{Client, FetchError},
    ingress::{KeysUnavailable, RemoteKeys},
    runtime::limits,
};

/// Where documents come from.
pub(super) trait Documents: Send + Sync + 'static {
    /// The document at a URL.
    fn document(&self, url: Url) -> BoxFuture<'_, Result<Bytes, FetchError>>;
}

impl Documents for Client {
    fn document(&self, url: Url) -> BoxFuture<'_, Result<Bytes, FetchError>> {
        self.get(url, limits::KEYS_BYTES, limits::KEYS_TIMEOUT).boxed()
    }
}

/// Why a set of keys cannot be had.
#[derive(Debug, thiserror::Error)]
enum KeyFetchError {
    #[error("{0}")]
    Fetch(#[from] FetchError),
    #[error("the response is not a usable key set: {0}")]
    Keys(#[from] KeySetError),
    #[error("not a URL")]
    Url,
    #[error("the issuer's openid-configuration cannot be read, or names another issuer")]
    Discovery,
    #[error("the issuer's jwks_uri is not https")]
    Insecure,
    #[error("too many concurrent fetches, from this host or in total")]
    Busy,
}

/// Public keys of senders.
pub(super) struct Keys<D> {
    documents: Arc<D>,
    clock: Arc<dyn Clock>,
    /// Sets that endpoints name, and those that requests do, so that strangers can neither hold up the former nor drive
    /// them out.
    configured: Arc<KeyCache>,
    named: Arc<KeyCache>,
    /// Fetches under way; they end with this. The pace of the lanes bounds them.
    fetches: Mutex<JoinSet<()>>,
    /// When it may be said again that too much is fetched, in milliseconds of Unix time.
    log_again: AtomicI64,
}

impl<D: Documents> Keys<D> {
    pub(super) fn new(documents: D, clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self {
            documents: Arc::new(documents),
            clock,
            configured: KeyCache::new(limits::KEY_SETS, limits::KEYS_PER_SECOND),
            named: KeyCache::new(limits::CERTIFICATES, limits::CERTIFICATES_PER_SECOND),
            fetches: Mutex::default(),
            log_again: AtomicI64::new(i64::MIN),
        })
    }

    async fn find(&self, wanted: &KeysWanted, namespace: &str) -> Result<Arc<KeySet>, KeysUnavailable> {
        let lane = match wanted.source {
            KeySource::Jwks(_) | KeySource::Issuer(_) => &self.configured,
            KeySource::Certificate(_) => &self.named,
        };
        let (found, flight) = lane.look(wanted, namespace, &self.clock);
        if let Some(flight) = flight {
            self.begin(Fetch { documents: Arc::clone(&self.documents), lane: Arc::clone(lane) }, flight);
        }
        match found {
            Found::Keys(keys) => Ok(keys),
            Found::Wait(wait) => wait.keys().await.ok_or(KeysUnavailable),
            Found::Nothing => Err(KeysUnavailable),
            Found::Busy => {
                self.complain_of_pace(&wanted.source);
                Err(KeysUnavailable)
            }
        }
    }

    fn begin(&self, fetch: Fetch<D>, flight: InFlightFetch) {
        let mut fetches = self.fetches.lock();
        while fetches.try_join_next().is_some() {}
        fetches.spawn(async move {
            match fetch.keys(flight.source()).await {
                Ok(keys) => flight.land(keys),
                Err(trouble) => warn_throttled(flight.source(), &trouble),
            }
        });
    }

    /// Says in the log, once in a while, that keys are not even looked for.
    fn complain_of_pace(&self, source: &KeySource) {
        let now = self.clock.now().as_millisecond();
        let pause = i64::try_from(limits::KEYS_LOG_INTERVAL.as_millis()).unwrap_or(i64::MAX);
        let aloud = match source {
            KeySource::Jwks(_) | KeySource::Issuer(_) => {
                let next = now.saturating_add(pause);
                self.log_again.fetch_update(Relaxed, Relaxed, |again| (now >= again).then_some(next)).is_ok()
            }
            KeySource::Certificate(_) => false,
        };
        if aloud {
            warn_throttled(source, &KeyFetchError::Busy);
        }
    }
}

/// What a fetch needs.
struct Fetch<D> {
    documents: Arc<D>,
    lane: Arc<KeyCache>,
}

impl<D: Documents> Fetch<D> {
    async fn keys(&self, source: &KeySource) -> Result<KeySet, KeyFetchError> {
        match source {
            KeySource::Jwks(url) => Ok(KeySet::jwks(&self.document(url).await?)?),
            KeySource::Certificate(url) => Ok(KeySet::certificate(&self.document(url).await?)?),
            KeySource::Issuer(issuer) => {
                let place = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
                let text = self.document(&place).await?;
                let found: Discovery = serde_json::from_slice(&text).map_err(|_| KeyFetchError::Discovery)?;
                if found.issuer != **issuer {
                    return Err(KeyFetchError::Discovery);
                }
                // As safe as the issuer itself, or safer.
                if !found.jwks_uri.starts_with("https://") && issuer.starts_with("https://") {
                    return Err(KeyFetchError::Insecure);
                }
                Ok(KeySet::jwks(&self.document(&found.jwks_uri).await?)?)
            }
        }
    }

    async fn document(&self, url: &str) -> Result<Bytes, KeyFetchError> {
        let url = Url::parse(url).map_err(|_| KeyFetchError::Url)?;
        // One for each document, since an issuer's keys may be at another host than itself.
        let _slot = self.lane.slot(url.host_str().unwrap_or_default()).await.ok_or(KeyFetchError::Busy)?;
        Ok(self.documents.document(url).await?)
    }
}

/// An issuer's description of itself (OpenID Connect Discovery 1.0, 3).
#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
}

fn warn_throttled(source: &KeySource, trouble: &KeyFetchError) {
    match source {
        KeySource::Jwks(url) | KeySource::Issuer(url) => {
            tracing::warn!(%url, error = %trouble, "public keys cannot be fetched");
        }
        // Anybody can name one.
        KeySource::Certificate(url) => tracing::debug!(%url, error = %trouble, "a certificate cannot be fetched"),
    }
}

impl<D: Documents> RemoteKeys for Keys<D> {
    fn keys<'a>(
        &'a self,
        wanted: &'a KeysWanted,
        namespace: &'a str,
    ) -> BoxFuture<'a, Result<Arc<KeySet>, KeysUnavailable>> {
        self.find(wanted, namespace).boxed()
    }
}

#[cfg(test)]
mod tests;
