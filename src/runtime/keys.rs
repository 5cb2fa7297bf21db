//! Public keys of senders: fetched on first use, cached, and fetched again when they become old or when a token names a
//! key that is not among them.
//!
//! Requests that ask for keys are not verified yet, so everything is bounded: the number of cached sets, how often one
//! set is fetched, and how many are fetched in total, for one namespace and from one host. Failed fetches are not
//! retried at once. Concurrent requests for one set share one fetch. Fetches are not tied to a request: they continue,
//! and their result is cached, after the caller disconnects.

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
use serde::Deserialize;
use url::Url;

use self::key_cache::{FetchAttempt, KeyCache, KeyLookup};
use crate::{
    dispatch::{Client, FetchError},
    ingress::{KeysUnavailable, RemoteKeys},
    runtime::limits,
};

/// The source of documents.
pub(super) trait Documents: Send + Sync + 'static {
    /// Fetches the document at a URL.
    fn document(&self, url: Url) -> BoxFuture<'_, Result<Bytes, FetchError>>;
}

impl Documents for Client {
    fn document(&self, url: Url) -> BoxFuture<'_, Result<Bytes, FetchError>> {
        self.get(url, limits::KEYS_BYTES, limits::KEYS_TIMEOUT).boxed()
    }
}

/// Why a set of keys is not available.
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
pub(super) struct SenderKeys<D> {
    documents: Arc<D>,
    clock: Arc<dyn Clock>,
    /// Sets that endpoints name are separate from those that requests name, so that unverified requests can neither
    /// delay nor evict the former.
    configured: KeyCache,
    named: KeyCache,
    /// When the log may next report too many fetches, in milliseconds of Unix time.
    log_again: AtomicI64,
}

impl<D: Documents> SenderKeys<D> {
    pub(super) fn new(documents: D, clock: Arc<dyn Clock>) -> Arc<Self> {
        let cache = |most, per_second| KeyCache::new(most, per_second, Arc::clone(&clock));
        Arc::new(Self {
            documents: Arc::new(documents),
            configured: cache(limits::KEY_SETS, limits::KEYS_PER_SECOND),
            named: cache(limits::CERTIFICATES, limits::CERTIFICATES_PER_SECOND),
            clock,
            log_again: AtomicI64::new(i64::MIN),
        })
    }

    async fn find(&self, wanted: &KeysWanted, namespace: &str) -> Result<Arc<KeySet>, KeysUnavailable> {
        let cache = match wanted.source {
            KeySource::Jwks(_) | KeySource::Issuer(_) => &self.configured,
            KeySource::Certificate(_) => &self.named,
        };
        let documents = &self.documents;
        let found = cache.look(wanted, namespace, |attempt| {
            let fetch = Fetch { documents: Arc::clone(documents), attempt };
            fetch.run().boxed()
        });
        match found {
            KeyLookup::Keys(keys) => Ok(keys),
            KeyLookup::Wait(wait) => wait.keys().await.ok_or(KeysUnavailable),
            KeyLookup::Nothing => Err(KeysUnavailable),
            KeyLookup::Busy => {
                self.warn_of_pace_throttled(&wanted.source);
                Err(KeysUnavailable)
            }
        }
    }

    /// Logs, at a limited rate, that keys are not fetched because of the pace.
    fn warn_of_pace_throttled(&self, source: &KeySource) {
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
            warn(source, &KeyFetchError::Busy);
        }
    }
}

/// A fetch of one set.
struct Fetch<D> {
    documents: Arc<D>,
    attempt: FetchAttempt,
}

impl<D: Documents> Fetch<D> {
    async fn run(self) -> Option<Arc<KeySet>> {
        let source = &self.attempt.source;
        match self.keys(source).await {
            Ok(keys) => Some(self.attempt.land(keys)),
            Err(error) => {
                warn(source, &error);
                None
            }
        }
    }

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
                // The key set must be at least as safe as the issuer itself.
                if !found.jwks_uri.starts_with("https://") && issuer.starts_with("https://") {
                    return Err(KeyFetchError::Insecure);
                }
                Ok(KeySet::jwks(&self.document(&found.jwks_uri).await?)?)
            }
        }
    }

    async fn document(&self, url: &str) -> Result<Bytes, KeyFetchError> {
        let url = Url::parse(url).map_err(|_| KeyFetchError::Url)?;
        // A slot per document, since an issuer's keys may be on another host than the issuer.
        let _slot = self.attempt.known.slot(url.host_str().unwrap_or_default()).await.ok_or(KeyFetchError::Busy)?;
        Ok(self.documents.document(url).await?)
    }
}

/// An issuer's metadata (OpenID Connect Discovery 1.0, 3).
#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
}

fn warn(source: &KeySource, error: &KeyFetchError) {
    match source {
        KeySource::Jwks(url) | KeySource::Issuer(url) => {
            tracing::warn!(%url, %error, "public keys cannot be fetched");
        }
        // Logged at debug level, because any request can name one.
        KeySource::Certificate(url) => tracing::debug!(%url, %error, "a certificate cannot be fetched"),
    }
}

impl<D: Documents> RemoteKeys for SenderKeys<D> {
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
