//! One exchange with a receiver: bounded in time and in the bytes read, without redirects, to allowed addresses only.

use std::{fmt, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use grapnel_delivery::egress::{EgressPolicy, Reach};
use grapnel_journal::limits::FAILURE_MESSAGE_BYTES;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use tokio::time::Instant;
use url::Url;

use crate::{
    catalog::{OAuthClient, TlsIdentity, limits::ANSWER_BYTES},
    dispatch::{limits, pool::Pool, redact, send_error::SendError, token::AccessToken},
};

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

impl Outgoing {
    pub(super) fn authorized(&self, token: &AccessToken) -> Self {
        let mut authorized = self.clone();
        authorized.headers.insert(header::AUTHORIZATION, token.header.clone());
        authorized
    }
}

/// A pool of connections that were all made under one policy.
pub(super) struct Guarded {
    pub(super) pool: Pool,
    pub(super) egress: Arc<EgressPolicy>,
    pub(super) user_agent: HeaderValue,
}

impl Guarded {
    /// Checks addresses written in the URL, which the resolver never sees.
    pub(super) fn check(&self, url: &Url, secret: bool) -> Result<(), SendError> {
        self.egress.check_url(url).map_err(|refusal| match secret {
            true => SendError::forbidden_secret(),
            false => SendError::Forbidden(refusal.to_string()),
        })
    }

    pub(super) async fn exchange_until(
        &self,
        deadline: Instant,
        request: Outgoing,
    ) -> Result<ReceiverResponse, SendError> {
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
        let kept = match secret_url {
            true => 0,
            false if status.is_success() => ANSWER_BYTES,
            false => FAILURE_MESSAGE_BYTES,
        };
        let body_start = read(answer, kept, limits::RESPONSE_BYTES, secret_url).await?;
        let body_start = redact::redact(body_start, &secrets, &body);
        Ok(ReceiverResponse { status, retry_after, body_start })
    }

    /// Posts a request without following redirects.
    pub(super) async fn send(
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

/// Reads a body to its end, so that the connection can be reused, but at most `most` bytes. Returns the start of the
/// body.
pub(super) async fn read(
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
