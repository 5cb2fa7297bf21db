//! Rejections: every way in which a request can end without an event, and its response.

use std::{borrow::Cow, net::IpAddr, time::Duration};

use axum::{body::Body, response::Response};
use grapnel_event::{identity::MalformedPayload, limits::VIOLATIONS, schema::Violation};
use grapnel_signature::Refusal;
use http::{
    HeaderValue, StatusCode, Version,
    header::{ALLOW, CONNECTION, CONTENT_TYPE, RETRY_AFTER},
};
use serde::Serialize;

use crate::ingress::limits::{RETRY_AFTER_SUSPENDED, RETRY_AFTER_UNAVAILABLE};

pub(super) const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Why a request was rejected.
#[derive(Debug)]
pub(super) enum Rejected {
    /// No endpoint has this path.
    NotFound,
    /// The endpoint exists, or may exist, but is not ready yet.
    NotReady,
    /// Neither POST nor a handshake method of the endpoint.
    MethodNotAllowed { allow: String },
    /// `spec.suspend`.
    Suspended,
    /// The address is not in `spec.allowedSources`.
    SourceNotAllowed { address: IpAddr },
    /// Exceeds `spec.rateLimit`.
    RateLimited { retry_after: Duration },
    /// Exceeds `spec.limits.bodyBytes`.
    BodyTooLarge { limit: usize },
    /// The body is compressed, or has a list of transfer codings.
    UnsupportedEncoding,
    /// The body did not arrive within `spec.limits.timeout`.
    Slow,
    /// The body could not be verified and validated within `spec.limits.timeout`.
    Late,
    /// The body ended early, or its framing is invalid.
    Interrupted,
    /// The memory for bodies is exhausted, or the namespace's part of it.
    Busy,
    /// The namespace has its maximum number of requests in progress.
    Crowded,
    /// The verification failed.
    Unverified(Refusal),
    /// The token cannot be reviewed at the moment.
    Unreviewed,
    /// The sender's public keys cannot be fetched at the moment.
    Keyless,
    /// The URL by which the sender has its subscription confirmed cannot be visited at the moment.
    Unconfirmed,
    /// The payload is malformed.
    Malformed(MalformedPayload),
    /// The payload violates the schema; `kind` is the event's type.
    Invalid { kind: Box<str>, violation: Violation },
    /// The journal fails or does not answer in time. `kind` is the event's type, if known.
    Unavailable { kind: Option<Box<str>> },
    /// The endpoint or its namespace has used up its storage in the journal. `kind` is the event's type.
    StorageExhausted { kind: Box<str> },
    /// The journal cannot store an event of this size. `kind` is the event's type.
    TooLargeToStore { kind: Box<str>, max: u64 },
}

#[derive(Serialize)]
struct Failure<'a> {
    error: &'a str,
    code: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    violations: Vec<ViolationBody<'a>>,
}

#[derive(Serialize)]
struct ViolationBody<'a> {
    path: &'a str,
    message: &'a str,
}

impl Rejected {
    /// The machine-readable code, also used in metrics and logs.
    pub(super) fn code(&self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::NotReady => "not_ready",
            Self::MethodNotAllowed { .. } => "method_not_allowed",
            Self::Suspended => "suspended",
            Self::SourceNotAllowed { .. } => "source_not_allowed",
            Self::RateLimited { .. } => "rate_limited",
            Self::BodyTooLarge { .. } | Self::TooLargeToStore { .. } => "body_too_large",
            Self::UnsupportedEncoding => "unsupported_media_type",
            Self::Slow | Self::Late => "timeout",
            Self::Interrupted | Self::Malformed(_) => "malformed_payload",
            Self::Busy
            | Self::Crowded
            | Self::Unreviewed
            | Self::Keyless
            | Self::Unconfirmed
            | Self::Unavailable { .. } => "unavailable",
            Self::StorageExhausted { .. } => "storage_exhausted",
            Self::Unverified(refusal) => refusal.code(),
            Self::Invalid { violation, .. } => violation.code(),
        }
    }

    /// The status of the response.
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::NotReady
            | Self::Suspended
            | Self::Busy
            | Self::Crowded
            | Self::Unreviewed
            | Self::Keyless
            | Self::Unconfirmed
            | Self::Unavailable { .. }
            | Self::StorageExhausted { .. } => StatusCode::SERVICE_UNAVAILABLE,
            Self::SourceNotAllowed { .. } => StatusCode::FORBIDDEN,
            Self::RateLimited { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::BodyTooLarge { .. } | Self::TooLargeToStore { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnsupportedEncoding => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Slow | Self::Late => StatusCode::REQUEST_TIMEOUT,
            Self::Interrupted | Self::Malformed(_) => StatusCode::BAD_REQUEST,
            Self::Unverified(_) => StatusCode::UNAUTHORIZED,
            Self::Invalid { .. } => StatusCode::UNPROCESSABLE_ENTITY,
        }
    }

    /// The message: what was wrong and what to do. Contains neither a signature nor bytes of the payload.
    pub(super) fn sentence(&self) -> Cow<'static, str> {
        match self {
            Self::NotFound => Cow::Borrowed(
                "no endpoint at this path; a path has the form {prefix}/{namespace}/{path}, without a trailing slash",
            ),
            Self::NotReady => Cow::Borrowed("the endpoint is not ready; retry later"),
            Self::MethodNotAllowed { .. } => Cow::Borrowed("use POST to send events"),
            Self::Suspended => Cow::Borrowed("the endpoint is suspended; retry later"),
            Self::SourceNotAllowed { address } => {
                Cow::Owned(format!("{address} is not allowed to send to this endpoint"))
            }
            Self::RateLimited { retry_after } => {
                let seconds = whole_seconds(*retry_after);
                Cow::Owned(format!("too many requests; retry in {seconds} s"))
            }
            Self::BodyTooLarge { limit } => {
                Cow::Owned(format!("the body is larger than this endpoint's limit of {limit} bytes"))
            }
            Self::UnsupportedEncoding => Cow::Borrowed(
                "Content-Encoding, and Transfer-Encoding other than chunked, are not supported; send the body \
                 uncompressed",
            ),
            Self::Slow => Cow::Borrowed("the body did not arrive in time"),
            Self::Late => Cow::Borrowed("the event was not verified and validated in time; retry later"),
            Self::Interrupted => Cow::Borrowed("the body ended early"),
            Self::Busy => Cow::Borrowed("too many large requests are in progress; retry later"),
            Self::Crowded => Cow::Borrowed("too many requests to this namespace are in progress; retry later"),
            Self::Unverified(refusal) => Cow::Owned(refusal.to_string()),
            Self::Unreviewed => {
                Cow::Borrowed("the token cannot be reviewed, because the API server is unavailable; retry later")
            }
            Self::Keyless => Cow::Borrowed("the sender's public keys cannot be fetched; retry later"),
            Self::Unconfirmed => {
                Cow::Borrowed("the URL that confirms the subscription cannot be visited; send the confirmation again")
            }
            Self::Malformed(malformed) => Cow::Owned(malformed.to_string()),
            Self::Invalid { violation, .. } => Cow::Owned(violation.to_string()),
            // The event may have become durable nevertheless, so the message must not deny it.
            Self::Unavailable { .. } => {
                Cow::Borrowed("the event was not confirmed as stored; retry later with the same id")
            }
            Self::StorageExhausted { .. } => {
                Cow::Borrowed("the storage share of this endpoint is exhausted by undelivered events; retry later")
            }
            Self::TooLargeToStore { max, .. } => {
                Cow::Owned(format!("the event is larger than the {max} bytes that can be stored"))
            }
        }
    }

    /// The event's type, if it is known.
    pub(super) fn kind(&self) -> Option<&str> {
        match self {
            Self::Invalid { kind, .. } | Self::StorageExhausted { kind } | Self::TooLargeToStore { kind, .. } => {
                Some(kind)
            }
            Self::Unavailable { kind } => kind.as_deref(),
            _ => None,
        }
    }

    /// Whether the connection has to be closed, because the rest of the body is not worth waiting for.
    fn ends_connection(&self) -> bool {
        matches!(
            self,
            Self::Slow | Self::BodyTooLarge { .. } | Self::UnsupportedEncoding | Self::Busy | Self::Interrupted
        )
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Suspended => Some(RETRY_AFTER_SUSPENDED),
            Self::NotReady
            | Self::Busy
            | Self::Crowded
            | Self::Unreviewed
            | Self::Keyless
            | Self::Unconfirmed
            | Self::Unavailable { .. }
            | Self::StorageExhausted { .. } => Some(RETRY_AFTER_UNAVAILABLE),
            Self::RateLimited { retry_after } => Some(*retry_after),
            _ => None,
        }
    }

    fn violations(&self) -> Vec<ViolationBody<'_>> {
        match self {
            Self::Invalid { violation: Violation::Schema(places), .. } => {
                places.iter().take(VIOLATIONS).map(|(path, message)| ViolationBody { path, message }).collect()
            }
            _ => Vec::new(),
        }
    }

    /// The response.
    pub(super) fn answer(&self, version: Version) -> Response {
        let failure = Failure { error: &self.sentence(), code: self.code(), violations: self.violations() };
        // A structure of strings can always be serialized.
        let body = serde_json::to_vec(&failure).unwrap_or_default();
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, JSON);
        if let Self::MethodNotAllowed { allow } = self
            && let Ok(allow) = HeaderValue::from_str(allow)
        {
            headers.insert(ALLOW, allow);
        }
        if let Some(after) = self.retry_after() {
            headers.insert(RETRY_AFTER, HeaderValue::from(whole_seconds(after)));
        }
        // HTTP/2 has no such header (RFC 9113 section 8.2.2).
        if self.ends_connection() && version < Version::HTTP_2 {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

/// Rounded up, so that clients do not retry too early; at least one.
fn whole_seconds(time: Duration) -> u64 {
    let up = u64::from(time.subsec_nanos() > 0);
    time.as_secs().saturating_add(up).max(1)
}

impl From<Refusal> for Rejected {
    fn from(refusal: Refusal) -> Self {
        Self::Unverified(refusal)
    }
}

impl From<MalformedPayload> for Rejected {
    fn from(malformed: MalformedPayload) -> Self {
        Self::Malformed(malformed)
    }
}
