//! Handshakes: requests without an event, sent with a method of their own before any delivery.

use axum::{body::Body, response::Response};
use grapnel_event::identity::MalformedPayload;
use grapnel_signature::{HandshakeReply, Question};
use http::Method;

use super::{inbound::Inbound, reject::Rejected};
use crate::catalog::Endpoint;

/// Checks that the endpoint supports the method.
pub(super) fn allow_method(inbound: &Inbound) -> Result<(), Rejected> {
    let asking = inbound.endpoint.handshake.method();
    if inbound.method == Method::POST || asking.as_ref() == Some(&inbound.method) || is_probe(inbound) {
        return Ok(());
    }
    Err(not_allowed(&inbound.endpoint))
}

/// The methods that an endpoint supports. OPTIONS asks for permission to POST (CloudEvents HTTP webhooks 1.0.2, section
/// 4.2), so it is not named.
fn not_allowed(endpoint: &Endpoint) -> Rejected {
    let asking = endpoint.handshake.method();
    let allowed = |method: &Method| {
        *method == Method::POST || asking.as_ref() == Some(method) || endpoint.probes.contains(method)
    };
    let allow: Vec<&str> =
        [&Method::GET, &Method::HEAD, &Method::POST].into_iter().filter(|it| allowed(it)).map(Method::as_str).collect();
    Rejected::MethodNotAllowed { allow: allow.join(", ") }
}

/// Whether a request is a probe by its method: the endpoint lists GET or HEAD, and the request has no signature.
pub(super) fn is_probe(inbound: &Inbound) -> bool {
    let Inbound { endpoint, method, .. } = inbound;
    *method != Method::POST && endpoint.probes.contains(method) && is_unsigned(inbound)
}

/// Whether a request has none of the headers that carry a signature or a token.
pub(super) fn is_unsigned(Inbound { endpoint, headers, .. }: &Inbound) -> bool {
    !endpoint.verifier.credential_headers().any(|name| headers.contains_key(name))
}

/// The reply to a handshake, which is known by its method. `None` means that the request carries an event.
pub(super) fn question(inbound: &Inbound) -> Result<Option<HandshakeReply>, Rejected> {
    let Inbound { endpoint, method, headers, uri, .. } = inbound;
    if *method == Method::POST {
        return Ok(None);
    }
    let per_minute = endpoint.rate_limit.as_ref().map(|limit| limit.per_minute());
    let verify_token = endpoint.verify_token.as_ref();
    let question = Question { method, query: uri.query(), headers, per_minute, verify_token };
    match endpoint.handshake.answer(question, &endpoint.verifier) {
        Some(reply) => Ok(Some(reply)),
        None if is_probe(inbound) => Ok(None),
        None if *method == Method::OPTIONS => Err(not_allowed(endpoint)),
        None => {
            let sentence = match verify_token {
                Some(_) => {
                    "the request has no valid hub.challenge, or hub.verify_token is not the endpoint's token; use POST to send events"
                }
                None => "the request has no valid challenge; use POST to send events",
            };
            Err(Rejected::Malformed(MalformedPayload { sentence: sentence.into() }))
        }
    }
}

/// The response to a handshake.
pub(super) fn answer(reply: HandshakeReply) -> Response {
    let mut response = Response::new(Body::from(reply.body));
    *response.status_mut() = reply.status;
    response.headers_mut().extend(reply.headers);
    response
}
