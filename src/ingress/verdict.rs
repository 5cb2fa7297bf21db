//! What a body says: it is verified, and its events are identified and validated.

use std::sync::Arc;

use bytes::Bytes;
use grapnel_event::{
    identity::{MalformedPayload, Payload, Reading, identify},
    limits::INLINE_BODY_BYTES,
    schema::Validated,
};
use grapnel_payload::{cloudevents::CloudEvent, reading::BodyKind};
use grapnel_signature::{HandshakeReply, VerificationContext, Verified};
use http::{HeaderMap, header::CONTENT_TYPE};
use tokio::{sync::Semaphore, time::timeout_at};

use super::{cloudevents, inbound::Inbound, reject::Rejected};
use crate::catalog::Endpoint;

/// The content of a verified body.
pub(super) enum Verdict {
    Handshake(HandshakeReply),
    Event(Validated),
    /// The events of a batch, possibly empty.
    Batch(Vec<Validated>),
}

/// Verifies, identifies and validates a body. A large body or a batch is handled on a blocking thread, when a permit is
/// free, and until the request's deadline at most.
pub(super) async fn judge(
    judges: &Arc<Semaphore>,
    inbound: Inbound,
    evidence: VerificationContext,
    body: Bytes,
) -> Result<(Inbound, Verdict), Rejected> {
    if is_quick(&inbound.headers, &body) {
        let judged = examine(&inbound, &evidence, body)?;
        return Ok((inbound, judged));
    }
    let (deadline, judges) = (inbound.deadline, Arc::clone(judges));
    let judged = async move {
        let turn = judges.acquire_owned().await;
        let thread = tokio::task::spawn_blocking(move || {
            // Held until the work is done, even if the request has been answered before that.
            let _turn = turn;
            let judged = examine(&inbound, &evidence, body)?;
            Ok((inbound, judged))
        });
        thread.await.unwrap_or(Err(Rejected::Unavailable { kind: None }))
    };
    timeout_at(deadline, judged).await.unwrap_or(Err(Rejected::Late))
}

/// Whether a body is verified and parsed on the thread that received it. A batch is not, since even short ones hold
/// many events.
fn is_quick(headers: &HeaderMap, body: &[u8]) -> bool {
    body.len() <= INLINE_BODY_BYTES && !cloudevents::is_batch(headers)
}

fn examine(inbound: &Inbound, evidence: &VerificationContext, body: Bytes) -> Result<Verdict, Rejected> {
    let Inbound { endpoint, headers, received, .. } = inbound;
    let verified = endpoint.verifier.verify_with(evidence, headers, body, *received)?;
    interpret(endpoint, headers, verified)
}

/// Finds the events of a verified body, and validates them.
pub(super) fn interpret(endpoint: &Endpoint, headers: &HeaderMap, verified: Verified) -> Result<Verdict, Rejected> {
    let content_type = content_type(headers);
    let (structured, batch) = (CloudEvent::is_structured(content_type), CloudEvent::is_batch(content_type));
    let headers_alone = !structured && !batch && cloudevents::in_headers(headers)? && verified.body().is_empty();
    let payload = match headers_alone {
        true => Payload::nothing(),
        // These content types say more than an endpoint can.
        false if structured || batch => Payload::read(&Reading::default(), content_type, verified.body()),
        false => Payload::read(&endpoint.reading, content_type, verified.body()),
    };
    // The fields of a form may be what a user has written.
    if endpoint.reading.kind(content_type) != BodyKind::Form
        && let Some(reply) = endpoint.handshake.reply(&payload, &verified, &endpoint.verifier)?
    {
        return Ok(Verdict::Handshake(reply));
    }
    if !endpoint.handshake.is_event(&verified) {
        return Err(
            MalformedPayload { sentence: "the body of this sender's events must be a JSON object".into() }.into()
        );
    }
    if structured {
        return cloudevents::one(endpoint, headers, &payload, verified).map(Verdict::Event);
    }
    if batch {
        return cloudevents::all(endpoint, headers, &verified).map(Verdict::Batch);
    }
    let identity = identify(&endpoint.kind_sources, endpoint.id_sources.sources(), headers, &payload, verified.body())?;
    let kind = identity.kind.clone();
    endpoint
        .schemas
        .validate(verified, &payload, identity)
        .map(Verdict::Event)
        .map_err(|violation| Rejected::Invalid { kind, violation })
}

/// The content type, if it is text.
pub(super) fn content_type(headers: &HeaderMap) -> Option<&str> {
    headers.get(CONTENT_TYPE)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use grapnel_payload::cloudevents::STRUCTURED;
    use http::HeaderValue;

    use super::*;

    #[test]
    fn batches_and_large_bodies_leave_the_thread() {
        let of = |content_type| HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(content_type))]);
        for single in ["application/json", STRUCTURED] {
            assert!(is_quick(&of(single), b"[]"), "{single}");
            assert!(!is_quick(&of(single), &vec![b' '; INLINE_BODY_BYTES + 1]), "{single}");
        }
        assert!(is_quick(&HeaderMap::new(), b"{}"));
        assert!(!is_quick(&of("application/cloudevents-batch+json"), b"[]"));
        assert!(!is_quick(&of("Application/CloudEvents-Batch+JSON; charset=utf-8"), b"[]"));
    }
}
