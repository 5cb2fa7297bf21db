//! CloudEvents whose attributes are in the body: one, or a batch of them.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, header::CONTENT_TYPE};

use super::reject::Rejected;
use crate::{
    catalog::Endpoint,
    rules::{
        cloudevents::{CloudEvent, STRUCTURED, batch},
        identity::{MalformedPayload, Payload, identify_event},
        schema::{Validated, Violation},
        signature::Verified,
    },
};

/// Only an event has it.
const SPEC_VERSION: HeaderName = HeaderName::from_static("ce-specversion");

/// Whether headers carry an event; one that is not whole is refused. Nothing is looked at without `ce-specversion`.
pub(super) fn in_headers(headers: &HeaderMap) -> Result<bool, MalformedPayload> {
    if !headers.contains_key(SPEC_VERSION) {
        return Ok(false);
    }
    let headers = headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
    CloudEvent::binary(headers, None, b"").map(|_| true)
}

/// Identifies and validates the event that a body is. Schemas are for its data.
pub(super) fn one(endpoint: &Endpoint, headers: &HeaderMap, verified: Verified) -> Result<Validated, Rejected> {
    let body = Payload::parse(Some(STRUCTURED), &verified)?;
    validate(endpoint, headers, &body, verified, "/data")
}

/// Identifies and validates every event of a batch: all of them, or none is let in.
pub(super) fn all(endpoint: &Endpoint, headers: &HeaderMap, verified: &Verified) -> Result<Vec<Validated>, Rejected> {
    // The whole is checked once as every JSON is; its parts are then known to be well-formed.
    Payload::parse(Some(STRUCTURED), verified)?;
    let mut events = Vec::new();
    for (number, event) in batch(verified.body())?.into_iter().enumerate() {
        let part = verified.part(event.get()).ok_or(Rejected::Unavailable { kind: None })?;
        let of_batch = |malformed: MalformedPayload| MalformedPayload {
            sentence: format!("event {} of the batch: {malformed}", number + 1),
        };
        let body = Payload::parse(Some(STRUCTURED), &part).map_err(of_batch)?;
        let validated = validate(endpoint, headers, &body, part, &format!("/{number}/data"));
        events.push(validated.map_err(|rejected| match rejected {
            Rejected::Malformed(malformed) => Rejected::Malformed(of_batch(malformed)),
            other => other,
        })?);
    }
    Ok(events)
}

fn validate(
    endpoint: &Endpoint,
    headers: &HeaderMap,
    body: &Payload,
    verified: Verified,
    place: &str,
) -> Result<Validated, Rejected> {
    let text = verified.body().clone();
    let event = CloudEvent::structured(&text)?;
    let identity = identify_event(&endpoint.kind_sources, &endpoint.id_sources, headers, body, &event)?;
    let kind = identity.kind.clone();
    // Data is taken apart only for a schema.
    let data = if endpoint.schemas.needs_payload(&kind) { Payload::of(&event.content) } else { Payload::Opaque };
    endpoint.schemas.validate(verified, &data, identity).map_err(|violation| {
        let violation = match violation {
            Violation::Schema(places) => {
                Violation::Schema(places.into_iter().map(|(path, why)| (format!("{place}{path}"), why)).collect())
            }
            other => other,
        };
        Rejected::Invalid { kind, violation }
    })
}

/// The stored headers of an event of a batch: its content type is not the batch's.
pub(super) fn stored(headers: &[(Box<str>, Bytes)]) -> Vec<(Box<str>, Bytes)> {
    let own = |name: &str| name == CONTENT_TYPE.as_str();
    headers
        .iter()
        .map(|(name, value)| {
            let value = if own(name) { Bytes::from_static(STRUCTURED.as_bytes()) } else { value.clone() };
            (name.clone(), value)
        })
        .collect()
}
