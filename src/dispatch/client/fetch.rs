//! Fetches public keys with the same guards as deliveries: bounded in time and size, without redirects, never from an
//! address that the egress policy forbids, and through the proxy if there is one.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, Uri, header};
use http_body_util::Full;
use url::Url;

use super::{
    Client, SendError,
    exchange::{Guarded, read},
};

/// Why a fetch failed.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// No complete response was received.
    #[error(transparent)]
    Exchange(#[from] SendError),
    /// The response status is not 200.
    #[error("the answer has status {0}")]
    Status(StatusCode),
    /// The document is larger than the limit.
    #[error("the answer has more than {0} bytes")]
    TooLarge(usize),
}

impl Client {
    /// Fetches the document at a URL, of at most `limit` bytes.
    ///
    /// # Errors
    /// Returns an error if the complete document does not arrive in time, or the URL may not be called.
    pub async fn get(&self, url: Url, limit: usize, timeout: Duration) -> Result<Bytes, FetchError> {
        let guarded = &self.0.plain.urls;
        guarded.check(&url, false)?;
        match tokio::time::timeout(timeout, guarded.document(&url, limit)).await {
            Ok(document) => document,
            Err(_) => Err(SendError::Timeout(timeout).into()),
        }
    }
}

impl Guarded {
    async fn document(&self, url: &Url, limit: usize) -> Result<Bytes, FetchError> {
        let mut request = Request::new(Full::new(Bytes::new()));
        *request.uri_mut() = Uri::try_from(url.as_str())
            .map_err(|_| SendError::Io("the URL cannot be written into a request".into()))?;
        let headers = request.headers_mut();
        headers.insert(header::USER_AGENT, self.user_agent.clone());
        headers.insert(header::ACCEPT, HeaderValue::from_static("*/*"));
        let answer = self.pool.send(request).await;
        let answer = answer.map_err(|error| SendError::of(&error, error.is_connect(), false))?;
        if answer.status() != StatusCode::OK {
            return Err(FetchError::Status(answer.status()));
        }
        let beyond = limit.saturating_add(1);
        let document = read(answer, beyond, beyond, false).await?;
        if document.len() > limit { Err(FetchError::TooLarge(limit)) } else { Ok(document) }
    }
}
