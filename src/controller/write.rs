//! Sends a write to the API server, within a time, and says why it failed.

use std::time::Duration;

use bytes::Bytes;
use http::{Response, header::RETRY_AFTER};
use http_body_util::{BodyExt, Limited};
use kube::{Client, client::Body, core::Status};
use tokio::time;

use super::{
    api_access::{Cause, is_about_rights},
    limits,
    schedule::Refusal,
};

/// Why an object was not written.
#[derive(Debug, thiserror::Error)]
pub(super) enum WriteError {
    /// The object no longer exists.
    #[error("the object no longer exists")]
    Gone,
    #[error("this replica no longer holds the Lease")]
    NotLeader,
    #[error("the API server did not answer in time")]
    Timeout,
    #[error("{0}")]
    Unsent(#[from] kube::Error),
    #[error("the response cannot be read: {0}")]
    Unreadable(Box<dyn std::error::Error + Send + Sync>),
    /// An error response.
    #[error("{code}: {message}")]
    Refused { code: u16, message: String, retry_after: Option<Duration> },
}

impl WriteError {
    /// The label of the metric.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Gone => "gone",
            Self::NotLeader => "lost",
            Self::Timeout => "timeout",
            Self::Unsent(_) | Self::Unreadable(_) | Self::Refused { .. } => "failed",
        }
    }

    /// What the schedule has to know. A missing right concerns all objects of the namespace.
    pub(super) fn refusal(&self) -> Refusal {
        match self {
            Self::Refused { code, message, retry_after } => {
                Refusal { retry_after: *retry_after, is_right_missing: *code == 403 && is_about_rights(message) }
            }
            _ => Refusal::default(),
        }
    }
}

impl Cause for WriteError {
    fn code(&self) -> Option<u16> {
        match self {
            Self::Refused { code, .. } => Some(*code),
            _ => None,
        }
    }
}

/// Sends a write. Returns the response.
///
/// # Errors
/// Returns an error if the object was not written, or if it is not known whether it was.
pub(super) async fn send(
    client: &Client,
    request: http::Request<Vec<u8>>,
    timeout: Duration,
) -> Result<Bytes, WriteError> {
    time::timeout(timeout, exchange(client, request)).await.unwrap_or(Err(WriteError::Timeout))
}

async fn exchange(client: &Client, request: http::Request<Vec<u8>>) -> Result<Bytes, WriteError> {
    let response = client.send(request.map(Body::from)).await?;
    let (code, retry_after) = (response.status(), requested_pause(&response));
    let body = Limited::new(response.into_body(), limits::STATUS_RESPONSE_BYTES);
    let body = body.collect().await.map_err(WriteError::Unreadable)?.to_bytes();
    if code.is_success() {
        return Ok(body);
    }
    let status: Status = serde_json::from_slice(&body).unwrap_or_default();
    if status.is_not_found() || (status.is_conflict() && status.message.contains("UID")) {
        return Err(WriteError::Gone);
    }
    let details = status.details.map(|details| details.retry_after_seconds).filter(|seconds| *seconds > 0);
    let retry_after = retry_after.or(details.map(|seconds| Duration::from_secs(seconds.into())));
    let message = match status.message {
        message if message.is_empty() => String::from_utf8_lossy(&body).trim().chars().take(256).collect(),
        message => message,
    };
    Err(WriteError::Refused { code: code.as_u16(), message, retry_after })
}

/// The seconds of `Retry-After`; the API server sends no dates.
fn requested_pause(response: &Response<Body>) -> Option<Duration> {
    let seconds = response.headers().get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// A value from 0 to 1. Without randomness pauses are merely not spread.
pub(super) fn random() -> f64 {
    f64::from(getrandom::u32().unwrap_or_default()) / f64::from(u32::MAX)
}
