//! Fetching public keys, guarded like deliveries: bounded in time and size, no redirects, no proxies of the environment,
//! no address that the egress policy forbids.

use std::{sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, StatusCode, header::ACCEPT};
use rustls::RootCertStore;
use url::Url;

use super::{
    client::{ClientError, ClientOptions, platform_roots, tls},
    failure::SendError,
    resolver::GuardedResolver,
};
use crate::rules::{egress::EgressPolicy, limits};

/// Why nothing was fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// No complete answer.
    #[error(transparent)]
    Exchange(#[from] SendError),
    /// An answer that is not 200.
    #[error("the answer has status {0}")]
    Status(StatusCode),
    /// More than was asked for.
    #[error("the answer has more than {0} bytes")]
    TooLarge(usize),
}

/// Fetches documents. Cheap to clone; clones share connections.
#[derive(Clone)]
pub struct Fetcher {
    http: reqwest::Client,
    egress: Arc<EgressPolicy>,
}

impl Fetcher {
    /// A fetcher that trusts the platform's certificates.
    ///
    /// # Errors
    /// When TLS or the HTTP client cannot be set up.
    pub fn new(options: ClientOptions) -> Result<Self, ClientError> {
        Self::with_roots(options, platform_roots())
    }

    /// A fetcher that trusts the given certificates only.
    ///
    /// # Errors
    /// When TLS or the HTTP client cannot be set up.
    pub fn with_roots(options: ClientOptions, roots: RootCertStore) -> Result<Self, ClientError> {
        let egress = Arc::new(options.egress);
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls(roots)?)
            .user_agent(HeaderValue::from_str(&options.user_agent)?)
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .no_proxy()
            .retry(reqwest::retry::never())
            .dns_resolver(GuardedResolver::new(Arc::clone(&egress), options.names))
            .pool_idle_timeout(limits::POOL_IDLE)
            .pool_max_idle_per_host(1)
            .http1_max_headers(limits::RESPONSE_HEADERS)
            .http2_max_header_list_size(limits::RESPONSE_HEADER_BYTES)
            .build()?;
        Ok(Self { http, egress })
    }

    /// The document at a URL, of at most `limit` bytes.
    ///
    /// # Errors
    /// When no whole document came in time, or the URL may not be called.
    pub async fn get(&self, url: Url, limit: usize, timeout: Duration) -> Result<Bytes, FetchError> {
        // A resolver is never asked for an address that is written in the URL.
        self.egress.check_url(&url).map_err(|refusal| SendError::Forbidden(refusal.to_string()))?;
        match tokio::time::timeout(timeout, self.read(url, limit)).await {
            Ok(document) => document,
            Err(_) => Err(SendError::Timeout(timeout).into()),
        }
    }

    async fn read(&self, url: Url, limit: usize) -> Result<Bytes, FetchError> {
        let request = self.http.get(url).header(ACCEPT, HeaderValue::from_static("*/*"));
        let mut answer = request.send().await.map_err(SendError::from_http)?;
        if answer.status() != StatusCode::OK {
            return Err(FetchError::Status(answer.status()));
        }
        let mut document = BytesMut::new();
        while let Some(chunk) = answer.chunk().await.map_err(SendError::from_http)? {
            if document.len().saturating_add(chunk.len()) > limit {
                return Err(FetchError::TooLarge(limit));
            }
            document.extend_from_slice(&chunk);
        }
        Ok(document.freeze())
    }
}
