//! What an endpoint makes of a request, by the code that handles requests, but without its signature, its limits and the
//! journal: for `grapnel eval`.

use bytes::Bytes;
use grapnel_event::{
    identity::{Payload, Source, identify, origins},
    schema::{Validated, Violation},
};
use grapnel_journal::{Sequence, StoredEvent};
use grapnel_payload::cloudevents::{CloudEvent, STRUCTURED};
use grapnel_signature::{Scheme, VerificationContext, Verified, Verifier};
use http::HeaderMap;
use jiff::Timestamp;

use super::{
    cloudevents, headers,
    reject::Rejected,
    verdict::{Verdict, content_type, interpret},
};
use crate::catalog::Endpoint;

/// The result of a request.
#[derive(Debug, Default)]
pub struct RequestPreview {
    /// Its events, also if one of them is rejected for its schema.
    pub events: Vec<StoredEvent>,
    /// Where the type and the id of the events come from; `None` if no source has one, so that the id is generated.
    pub origins: (Option<String>, Option<String>),
    /// Whether it is a handshake, which is answered and not stored.
    pub handshake: bool,
    /// Why it is rejected.
    pub rejection: Option<PreviewedRejection>,
}

/// A rejected request.
#[derive(Debug)]
pub struct PreviewedRejection {
    /// Status of the response.
    pub status: u16,
    /// The code of the response.
    pub code: &'static str,
    /// The message of the response.
    pub message: String,
    /// Violations of the schema: JSON Pointer and message.
    pub violations: Vec<(String, String)>,
}

/// What the endpoint makes of a request with these headers and this body.
pub fn preview(endpoint: &Endpoint, headers: &HeaderMap, body: Bytes, received: Timestamp) -> RequestPreview {
    let mut preview = RequestPreview::default();
    let verdict =
        unverified(headers, body.clone(), received).and_then(|verified| interpret(endpoint, headers, verified));
    let rejected = match verdict {
        Ok(Verdict::Handshake(_)) => {
            preview.handshake = true;
            return preview;
        }
        Ok(Verdict::Event(event)) => {
            preview.events = vec![stored(endpoint, headers, event, received)];
            None
        }
        Ok(Verdict::Batch(events)) => {
            let of_batch = |event| batched(endpoint, headers, event, received);
            preview.events = events.into_iter().map(of_batch).collect();
            None
        }
        Err(rejected) => Some(rejected),
    };
    if let Some(payload) = plain_payload(endpoint, headers, &body) {
        let origins = origins(&endpoint.kind_sources, endpoint.id_sources.sources(), headers, &payload, &body);
        let text = |source: Option<Source>| source.map(|source| source.to_string());
        preview.origins = (text(origins.kind), text(origins.id));
        if matches!(rejected, Some(Rejected::Invalid { .. })) {
            let identity = identify(&endpoint.kind_sources, endpoint.id_sources.sources(), headers, &payload, &body);
            let event = identity.map(|identity| Validated::again(identity, body));
            preview.events = event.into_iter().map(|event| stored(endpoint, headers, event, received)).collect();
        }
    } else {
        let own = |source: &Option<Source>| Some(source.as_ref().map_or("the CloudEvent".into(), ToString::to_string));
        preview.origins = (own(&endpoint.kind_sources.explicit), own(&endpoint.id_sources.sources().explicit));
    }
    preview.rejection = rejected.map(|rejected| PreviewedRejection::of(&rejected));
    preview
}

/// The body as if it had been verified.
fn unverified(headers: &HeaderMap, body: Bytes, received: Timestamp) -> Result<Verified, Rejected> {
    let verifier = Verifier::new(Scheme::None, Vec::new()).map_err(|_| Rejected::NotReady)?;
    Ok(verifier.verify_with(&VerificationContext::Nothing, headers, body, received)?)
}

/// The payload, unless it is a CloudEvent with attributes of its own in the body.
fn plain_payload(endpoint: &Endpoint, headers: &HeaderMap, body: &Bytes) -> Option<Payload> {
    let content_type = content_type(headers);
    if CloudEvent::is_structured(content_type) || CloudEvent::is_batch(content_type) {
        return None;
    }
    Some(Payload::read(&endpoint.reading, content_type, body))
}

fn stored(endpoint: &Endpoint, headers: &HeaderMap, event: Validated, received: Timestamp) -> StoredEvent {
    let content_type = content_type(headers).map(Box::from);
    let headers = headers::stored(headers, &endpoint.verifier);
    of_parts(event, content_type, headers, received)
}

fn batched(endpoint: &Endpoint, headers: &HeaderMap, event: Validated, received: Timestamp) -> StoredEvent {
    let headers = cloudevents::stored(&headers::stored(headers, &endpoint.verifier));
    of_parts(event, Some(STRUCTURED.into()), headers, received)
}

fn of_parts(
    event: Validated,
    content_type: Option<Box<str>>,
    headers: Vec<(Box<str>, Bytes)>,
    received: Timestamp,
) -> StoredEvent {
    let (identity, body) = event.into_parts();
    let (sequence, remote) = (Sequence::default(), None);
    StoredEvent { sequence, id: identity.id, kind: identity.kind, received, content_type, remote, headers, body }
}

impl PreviewedRejection {
    fn of(rejected: &Rejected) -> Self {
        let violations = match rejected {
            Rejected::Invalid { violation: Violation::Schema(violations), .. } => violations.clone(),
            _ => Vec::new(),
        };
        Self {
            status: rejected.status().as_u16(),
            code: rejected.code(),
            message: rejected.sentence().into_owned(),
            violations,
        }
    }
}
