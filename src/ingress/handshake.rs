//! Handshakes: requests without an event, sent with a method of their own before any delivery.

use axum::{body::Body, response::Response};
use grapnel_event::identity::MalformedPayload;
use grapnel_signature::{Handshake, HandshakeReply};
use http::Method;

use super::{inbound::Inbound, reject::Rejected};
use crate::catalog::Endpoint;

/// Checks that the endpoint supports the method.
pub(super) fn allow_method(inbound: &Inbound) -> Result<(), Rejected> {
    match (&inbound.method, inbound.endpoint.handshake) {
        (&Method::POST, _) | (&Method::GET, Handshake::XCrc) | (&Method::OPTIONS, Handshake::CloudEvents) => Ok(()),
        _ if is_probe(inbound) => Ok(()),
        _ => Err(not_allowed(&inbound.endpoint)),
    }
}

/// The methods that an endpoint supports. OPTIONS asks for permission to POST (CloudEvents HTTP webhooks 1.0.2, section
/// 4.2), so it is not named.
fn not_allowed(endpoint: &Endpoint) -> Rejected {
    let get = endpoint.handshake == Handshake::XCrc || endpoint.probes.contains(&Method::GET);
    let head = endpoint.probes.contains(&Method::HEAD);
    let methods = [(get, "GET"), (head, "HEAD"), (true, "POST")];
    let allow: Vec<&str> = methods.into_iter().filter_map(|(allowed, method)| allowed.then_some(method)).collect();
    Rejected::MethodNotAllowed { allow: allow.join(", ") }
}

/// Whether a request is a probe by its method: the endpoint lists GET or HEAD, and the request has no signature.
pub(super) fn is_probe(Inbound { endpoint, method, headers, .. }: &Inbound) -> bool {
    *method != Method::POST
        && endpoint.probes.contains(method)
        && !endpoint.verifier.credential_headers().any(|name| headers.contains_key(name))
}

/// The reply to a handshake, which is known by its method. `None` means that the request carries an event.
pub(super) fn question(inbound: &Inbound) -> Result<Option<HandshakeReply>, Rejected> {
    let endpoint = &inbound.endpoint;
    match (&inbound.method, endpoint.handshake) {
        (&Method::GET, Handshake::XCrc) => match endpoint.handshake.crc(inbound.uri.query(), &endpoint.verifier) {
            Some(reply) => Ok(Some(reply)),
            None => Err(Rejected::Malformed(MalformedPayload {
                sentence: "the query has no valid crc_token; use POST to send events".into(),
            })),
        },
        (&Method::OPTIONS, Handshake::CloudEvents) => {
            let per_minute = endpoint.rate_limit.as_ref().map(|limit| limit.per_minute());
            let permission = endpoint.handshake.permission(&inbound.headers, per_minute);
            permission.map(Some).ok_or_else(|| not_allowed(endpoint))
        }
        _ => Ok(None),
    }
}

/// The response to a handshake.
pub(super) fn answer(reply: HandshakeReply) -> Response {
    let mut response = Response::new(Body::from(reply.body));
    *response.status_mut() = reply.status;
    response.headers_mut().extend(reply.headers);
    response
}
