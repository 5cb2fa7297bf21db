//! Handshakes: requests without an event, sent with a method of their own before any delivery.

use axum::{body::Body, response::Response};
use grapnel_event::identity::MalformedPayload;
use grapnel_signature::{Handshake, HandshakeReply};
use http::Method;

use super::{inbound::Inbound, reject::Rejected};

const ONLY_POST: Rejected = Rejected::MethodNotAllowed { allow: "POST" };

/// Checks that the endpoint supports the method.
pub(super) fn allow_method(inbound: &Inbound) -> Result<(), Rejected> {
    match (&inbound.method, inbound.endpoint.handshake) {
        (&Method::POST, _) | (&Method::GET, Handshake::XCrc) | (&Method::OPTIONS, Handshake::CloudEvents) => Ok(()),
        (_, Handshake::XCrc) => Err(Rejected::MethodNotAllowed { allow: "GET, POST" }),
        // OPTIONS asks for permission to POST (CloudEvents HTTP webhooks 1.0.2, section 4.2).
        _ => Err(ONLY_POST),
    }
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
            permission.map(Some).ok_or(ONLY_POST)
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
