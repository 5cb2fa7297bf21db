//! CloudEvents whose attributes are in the body: single events and batches.

use bytes::Bytes;
use grapnel_event::{
    identity::{MalformedPayload, Payload, Reading, identify_event},
    schema::{Validated, Violation},
};
use grapnel_payload::cloudevents::{CloudEvent, STRUCTURED, batch};
use grapnel_signature::Verified;
use grapnel_values::cost_budget::CostBudget;
use http::{HeaderMap, HeaderName, header::CONTENT_TYPE};

use super::{headers, reject::Rejected};
use crate::{catalog::Endpoint, ingress::limits::BATCH_HEADER_BYTES};

/// The header that marks a CloudEvent in binary mode.
const SPEC_VERSION: HeaderName = HeaderName::from_static("ce-specversion");

/// Whether the headers carry a CloudEvent; an incomplete one is rejected. Without `ce-specversion` no other header is
/// read.
pub(super) fn in_headers(headers: &HeaderMap) -> Result<bool, MalformedPayload> {
    if !headers.contains_key(SPEC_VERSION) {
        return Ok(false);
    }
    let headers = headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
    CloudEvent::binary(headers, None, b"").map(|_| true)
}

/// Identifies and validates a body that is one event. Schemas apply to its data.
pub(super) fn one(
    endpoint: &Endpoint,
    headers: &HeaderMap,
    body: &Payload,
    verified: Verified,
) -> Result<Validated, Rejected> {
    validate(endpoint, headers, body, verified, "/data", &mut CostBudget::default())
}

/// Whether the body is a batch.
pub(super) fn is_batch(headers: &HeaderMap) -> bool {
    CloudEvent::is_batch(headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()))
}

/// Identifies and validates every event of a batch that is known to be JSON. Either all are accepted or none. Together
/// they may take as many steps as a single event.
pub(super) fn all(endpoint: &Endpoint, headers: &HeaderMap, verified: &Verified) -> Result<Vec<Validated>, Rejected> {
    let sent = batch(verified.body())?;
    let of_each = header_bytes(&stored(&headers::stored(headers, &endpoint.verifier)));
    allow_headers(sent.len(), of_each)?;
    let mut budget = CostBudget::default();
    let mut events = Vec::with_capacity(sent.len());
    for (number, event) in sent.into_iter().enumerate() {
        let part = verified.part(event.get()).ok_or(Rejected::Unavailable { kind: None })?;
        let of_batch = |malformed: MalformedPayload| MalformedPayload {
            sentence: format!("event {} of the batch: {malformed}", number + 1),
        };
        let body = Payload::read(&Reading::default(), Some(STRUCTURED), part.body());
        let validated = validate(endpoint, headers, &body, part, &format!("/{number}/data"), &mut budget);
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
    budget: &mut CostBudget,
) -> Result<Validated, Rejected> {
    let text = verified.body().clone();
    let event = CloudEvent::structured(&text)?;
    let identity =
        identify_event(&endpoint.kind_sources, endpoint.id_sources.sources(), headers, body, &text, &event, budget)?;
    let kind = identity.kind.clone();
    // Data is parsed only for a schema.
    let data = if endpoint.schemas.needs_payload(&kind) { Payload::of(&event.content) } else { Payload::Opaque };
    endpoint.schemas.validate_within(verified, &data, identity, budget).map_err(|violation| {
        let violation = match violation {
            Violation::Schema(places) => {
                Violation::Schema(places.into_iter().map(|(path, why)| (format!("{place}{path}"), why)).collect())
            }
            other => other,
        };
        Rejected::Invalid { kind, violation }
    })
}

/// Bytes of header names and values.
fn header_bytes(headers: &[(Box<str>, Bytes)]) -> usize {
    headers.iter().map(|(name, value)| name.len() + value.len()).sum()
}

/// Rejects a batch whose events would store too many header bytes.
fn allow_headers(events: usize, of_each: usize) -> Result<(), MalformedPayload> {
    if events.saturating_mul(of_each) <= BATCH_HEADER_BYTES {
        return Ok(());
    }
    let sentence = format!(
        "the request's headers ({of_each} bytes) are stored with each of the {events} events and exceed \
         {BATCH_HEADER_BYTES} bytes in all; send fewer events in one batch, or fewer headers"
    );
    Err(MalformedPayload { sentence })
}

/// The stored headers of an event of a batch, without the batch's content type.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_headers_of_a_batch_are_bounded_together() {
        assert!(allow_headers(1000, BATCH_HEADER_BYTES / 1000).is_ok());
        assert!(allow_headers(1, BATCH_HEADER_BYTES).is_ok());
        assert!(allow_headers(0, usize::MAX).is_ok());
        assert!(allow_headers(2, usize::MAX).is_err());
        let error = allow_headers(1000, BATCH_HEADER_BYTES / 1000 + 1).unwrap_err();
        assert!(error.sentence.contains("1000 events") && error.sentence.contains("4195 bytes"), "{error}");
    }
}
