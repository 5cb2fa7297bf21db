//! Handshakes: requests without an event, sent with a method of their own before any delivery.

use axum::{body::Body, response::Response};
use grapnel_event::identity::MalformedPayload;
use grapnel_signature::{HandshakeReply, Question};
use http::Method;

use super::{accept::Inbound, reject::Rejected};

const ONLY_POST: Rejected = Rejected::MethodNotAllowed { allow: "POST" };

/// Checks that the endpoint supports the method.
pub(super) fn allow_method(inbound: &Inbound) -> Result<(), Rejected> {
    let asking = inbound.endpoint.handshake.method();
    if inbound.method == Method::POST || asking.as_ref() == Some(&inbound.method) {
        return Ok(());
    }
    Err(match asking {
        Some(Method::GET) => Rejected::MethodNotAllowed { allow: "GET, POST" },
        Some(Method::HEAD) => Rejected::MethodNotAllowed { allow: "HEAD, POST" },
        // OPTIONS asks for permission to POST (CloudEvents HTTP webhooks 1.0.2, section 4.2).
        _ => ONLY_POST,
    })
}

/// The reply to a handshake, which is known by its method. `None` means that the request carries an event.
pub(super) fn question(inbound: &Inbound) -> Result<Option<HandshakeReply>, Rejected> {
    let Inbound { endpoint, method, headers, uri, .. } = inbound;
    if *method == Method::POST {
        return Ok(None);
    }
    let per_minute = endpoint.rate_limit.as_ref().map(|limit| limit.per_minute());
    let question = Question { method, query: uri.query(), headers, per_minute };
    match endpoint.handshake.answer(question, &endpoint.verifier) {
        Some(reply) => Ok(Some(reply)),
        None if *method == Method::OPTIONS => Err(ONLY_POST),
        None => Err(Rejected::Malformed(MalformedPayload {
            sentence: "the request has no valid challenge; use POST to send events".into(),
        })),
    }
}

/// The response to a handshake.
pub(super) fn answer(reply: HandshakeReply) -> Response {
    let mut response = Response::new(Body::from(reply.body));
    *response.status_mut() = reply.status;
    response.headers_mut().extend(reply.headers);
    response
}
