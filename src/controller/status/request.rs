//! The request that writes a status.

use std::{sync::Arc, time::Duration};

use grapnel_api::{ObjectKey, WebhookEndpoint, WebhookReplay, WebhookSubscription};
use http::{Response, header::RETRY_AFTER};
use http_body_util::{BodyExt, Limited};
use kube::{
    Client,
    api::{Patch, PatchParams, Request},
    client::Body,
    core::{ApiResource, DynamicObject, Status},
};
use serde_json::{Value, json};
use tokio::time;

use super::FIELD_MANAGER;
use crate::{
    catalog::ObjectKind,
    controller::{api_access::Cause, limits},
};

/// A status to write.
pub(super) struct StatusPatch {
    pub(super) kind: ObjectKind,
    pub(super) key: ObjectKey,
    pub(super) uid: Option<Arc<str>>,
    pub(super) status: Value,
}

/// Why a status was not written.
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

    /// The pause that the API server asks for.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused { retry_after, .. } => *retry_after,
            _ => None,
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

impl StatusPatch {
    /// Writes the status. Returns the object's new version.
    ///
    /// # Errors
    /// Returns an error if the status was not written, or if it is not known whether it was.
    pub(super) async fn send(&self, client: &Client, timeout: Duration) -> Result<Option<String>, WriteError> {
        time::timeout(timeout, self.exchange(client)).await.unwrap_or(Err(WriteError::Timeout))
    }

    async fn exchange(&self, client: &Client) -> Result<Option<String>, WriteError> {
        let request = self.request().map_err(kube::Error::BuildRequest)?;
        let response = client.send(request.map(Body::from)).await?;
        let (code, retry_after) = (response.status(), requested_pause(&response));
        let body = Limited::new(response.into_body(), limits::STATUS_RESPONSE_BYTES);
        let body = body.collect().await.map_err(WriteError::Unreadable)?.to_bytes();
        if code.is_success() {
            let version = serde_json::from_slice(&body).ok().and_then(version);
            return Ok(version);
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

    fn request(&self) -> Result<http::Request<Vec<u8>>, kube::core::request::Error> {
        let resource = match self.kind {
            ObjectKind::Endpoint => ApiResource::erase::<WebhookEndpoint>(&()),
            ObjectKind::Subscription => ApiResource::erase::<WebhookSubscription>(&()),
            ObjectKind::Replay => ApiResource::erase::<WebhookReplay>(&()),
        };
        // The uid prevents writing the status to a later object of the same name.
        let patch = json!({
            "apiVersion": resource.api_version,
            "kind": resource.kind,
            "metadata": { "name": self.key.name, "uid": self.uid },
            "status": self.status,
        });
        let path = <DynamicObject as kube::Resource>::url_path(&resource, Some(&self.key.namespace));
        let params = PatchParams::apply(FIELD_MANAGER).force();
        Request::new(path).patch_subresource("status", &self.key.name, &params, &Patch::Apply(patch))
    }
}

fn version(object: Value) -> Option<String> {
    Some(object.get("metadata")?.get("resourceVersion")?.as_str()?.to_owned())
}

/// The seconds of `Retry-After`; the API server sends no dates.
fn requested_pause(response: &Response<Body>) -> Option<Duration> {
    let seconds = response.headers().get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// A value from 0 to 1. Without randomness pauses are merely not spread.
pub(super) fn random() -> f64 {
    let mut bytes = [0; 4];
    let _ = getrandom::fill(&mut bytes);
    f64::from(u32::from_ne_bytes(bytes)) / f64::from(u32::MAX)
}
