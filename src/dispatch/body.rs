//! The body of a delivery: `transform`, then `format`.

use std::borrow::Cow;

use bytes::Bytes;
use grapnel_api::{Format, ObjectKey};
use grapnel_expression::{Expression, ExpressionError, limits::TRANSFORM_BYTES};
use grapnel_journal::StoredEvent;
use grapnel_payload::{cloudevents::STRUCTURED, event_data::Data};
use http::{HeaderMap, HeaderValue, header};

use super::{decoded_event::DecodedEvent, envelope};

/// Why there is no body.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The transformation failed.
    #[error("transform, {0}")]
    Transform(#[source] ExpressionError),
    /// The body cannot be written as JSON; none in practice.
    #[error("the body cannot be written: {0}")]
    Write(#[from] serde_json::Error),
    /// Building the request was interrupted, which is a bug.
    #[error("the request could not be built")]
    Interrupted,
}

/// Builds the body, and adds the headers that describe it.
///
/// # Errors
/// Returns [`BuildError::Transform`] if the event cannot be transformed.
pub(super) fn build(
    transform: Option<&Expression>,
    format: Format,
    endpoint: &ObjectKey,
    decoded: &DecodedEvent,
    headers: &mut HeaderMap,
) -> Result<Bytes, BuildError> {
    const JSON: HeaderValue = HeaderValue::from_static("application/json");
    let event = decoded.event();
    let made = transform.map(|transform| apply(transform, endpoint, decoded)).transpose()?;
    match (format, made) {
        (Format::Original, None) => {
            describe(event, headers);
            Ok(event.body.clone())
        }
        (Format::Original, Some(made)) => {
            headers.insert(header::CONTENT_TYPE, JSON);
            Ok(Bytes::from(made))
        }
        (Format::Envelope, made) => {
            headers.insert(header::CONTENT_TYPE, JSON);
            let data = made.as_deref().map_or_else(|| decoded.data(), |made| Data::Json(Cow::Borrowed(made)));
            Ok(Bytes::from(envelope::wrap(event, &data)?))
        }
        (Format::CloudEventsStructured, made) => {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(STRUCTURED));
            Ok(Bytes::from(decoded.cloud_event(endpoint, made.as_deref()).to_structured()?))
        }
        (Format::CloudEventsBinary, made) => {
            let cloud_event = decoded.cloud_event(endpoint, made.as_deref());
            cloud_event.to_headers(headers);
            // The event's own body is not copied.
            Ok(match cloud_event.body() {
                body if *body == *event.body => event.body.clone(),
                body => Bytes::copy_from_slice(body),
            })
        }
    }
}

fn apply(transform: &Expression, endpoint: &ObjectKey, decoded: &DecodedEvent) -> Result<String, BuildError> {
    let made = transform.json(&decoded.inputs(transform, endpoint), TRANSFORM_BYTES).map_err(BuildError::Transform)?;
    // JSON is UTF-8, so nothing is ever replaced.
    Ok(String::from_utf8(made).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
}

/// Adds the headers that describe the body as received.
fn describe(event: &StoredEvent, headers: &mut HeaderMap) {
    if let Some(content_type) = event.content_type.as_deref()
        && let Ok(value) = HeaderValue::from_str(content_type)
    {
        headers.insert(header::CONTENT_TYPE, value);
    }
    // The bytes are as received, so they are still compressed if they were.
    if let Some((_, encoding)) = event.headers.iter().find(|(name, _)| &**name == "content-encoding")
        && let Ok(value) = HeaderValue::from_bytes(encoding)
    {
        headers.insert(header::CONTENT_ENCODING, value);
    }
}
