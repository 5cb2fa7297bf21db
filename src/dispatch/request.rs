//! Builds and signs one delivery.

use std::fmt::Write;

use grapnel_api::Format;
use grapnel_event::dead_letter;
use grapnel_journal::StoredEvent;
use grapnel_payload::{cloudevents::encode, headers::is_framing};
use grapnel_values::traceparent::Traceparent;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use jiff::Timestamp;

use super::{
    body::{self, BuildError},
    claimed_delivery::ClaimedDelivery,
    client::Outgoing,
};
use crate::catalog::Subscription;

const WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
const WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");
const ATTEMPT: HeaderName = HeaderName::from_static("grapnel-attempt");
const EVENT_TYPE: HeaderName = HeaderName::from_static("grapnel-event-type");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Headers that frame the message or describe the delivery: they are never taken from an object or from the event.
fn is_reserved(name: &HeaderName) -> bool {
    const OURS: [HeaderName; 6] = [WEBHOOK_ID, WEBHOOK_TIMESTAMP, WEBHOOK_SIGNATURE, ATTEMPT, EVENT_TYPE, TRACEPARENT];
    is_framing(name) || OURS.contains(name)
}

/// Builds the request of one attempt. `own` is its span, which distinguishes the attempts in traces.
///
/// Precedence, lowest first: the event's `Content-Type` and `Content-Encoding`, forwarded headers, headers of the
/// target, and the headers of every delivery.
///
/// # Errors
/// Returns [`BuildError::Transform`] if the event cannot be transformed.
pub(super) fn build(
    subscription: &Subscription,
    claimed: &ClaimedDelivery,
    now: Timestamp,
    own: Traceparent,
) -> Result<Outgoing, BuildError> {
    let ClaimedDelivery { delivery, decoded } = claimed;
    let event = &*delivery.event;
    let mut headers = HeaderMap::with_capacity(16);
    let Subscription { transform, format, endpoint, .. } = subscription;
    let body = body::build(transform.as_deref(), *format, &endpoint.key, decoded, &mut headers)?;
    forward(subscription, event, &mut headers);
    for name in subscription.target.headers.keys().filter(|name| !is_reserved(name)) {
        headers.remove(name);
        for value in subscription.target.headers.get_all(name) {
            headers.append(name, value.clone());
        }
    }
    trace(event, own, &mut headers);
    let id = header_id(&event.id);
    let seconds = now.as_second();
    if let Ok(value) = HeaderValue::from_str(&id) {
        headers.insert(WEBHOOK_ID, value);
    }
    headers.insert(WEBHOOK_TIMESTAMP, HeaderValue::from(seconds));
    headers.insert(ATTEMPT, HeaderValue::from(delivery.attempt));
    // Encoded like `ce-type`, which carries the same value.
    if let Ok(value) = HeaderValue::try_from(encode(&event.kind)) {
        headers.insert(EVENT_TYPE, value);
    }
    if let Some(signer) = &subscription.signer {
        for (name, mut value) in signer.sign(&id, seconds, &body) {
            // Signatures are sensitive too: receivers that do not check for replays accept them for some minutes.
            value.set_sensitive(true);
            headers.insert(name, value);
        }
    }
    let target = &subscription.target;
    Ok(Outgoing {
        url: target.url.clone(),
        secret_url: target.secret_url,
        reach: target.reach,
        headers,
        body,
        oauth: target.oauth.clone(),
        tls: target.tls.clone(),
        timeout: target.timeout,
    })
}

/// Adds the headers that the subscription forwards, except those that describe the body, which may be another one.
fn forward(subscription: &Subscription, event: &StoredEvent, headers: &mut HeaderMap) {
    let letter = event.headers.iter().any(|(name, _)| dead_letter::is_header(name));
    if subscription.forward_headers.is_empty() && !letter {
        return;
    }
    // The event's format writes its own attributes.
    let attributes = matches!(subscription.format, Format::CloudEventsBinary | Format::CloudEventsStructured);
    for (name, value) in &event.headers {
        let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_bytes(value)) else {
            continue;
        };
        let describes_body = name == header::CONTENT_TYPE || name == header::CONTENT_ENCODING;
        let ours = attributes && name.as_str().starts_with("ce-");
        // Every receiver gets the headers of a dead letter.
        let wanted = subscription.forward_headers.matches(&name) || dead_letter::is_header(name.as_str());
        if wanted && !is_reserved(&name) && !describes_body && !ours {
            headers.append(name, value);
        }
    }
}

/// The span stored with the event: that of its receipt, or of its sender.
pub(super) fn parent(event: &StoredEvent) -> Option<Traceparent> {
    Traceparent::single(stored(event, TRACEPARENT))
}

/// Continues the trace of the event's receipt (W3C Trace Context); `own` is the span of this attempt.
fn trace(event: &StoredEvent, own: Traceparent, headers: &mut HeaderMap) {
    headers.remove(TRACESTATE);
    let mut states = stored(event, TRACESTATE);
    // A part of a state that came in several headers would be another state.
    if parent(event).is_some()
        && let (Some(state), None) = (states.next(), states.next())
        && let Ok(value) = HeaderValue::from_bytes(state)
    {
        headers.insert(TRACESTATE, value);
    }
    if let Ok(value) = HeaderValue::from_str(&own.to_string()) {
        headers.insert(TRACEPARENT, value);
    }
}

fn stored(event: &StoredEvent, wanted: HeaderName) -> impl Iterator<Item = &[u8]> {
    let values = event.headers.iter().filter(move |(name, _)| **name == *wanted.as_str());
    values.map(|(_, value)| &value[..])
}

/// The event's id as sent and signed. Bytes that a header cannot carry faithfully are percent-encoded: blanks at its
/// ends are trimmed in transit, and non-ASCII is decoded in different ways.
pub(super) fn header_id(id: &str) -> String {
    let mut safe = String::with_capacity(id.len());
    for byte in id.bytes() {
        if byte.is_ascii_graphic() {
            safe.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(safe, "%{byte:02X}");
        }
    }
    safe
}
