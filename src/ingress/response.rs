//! Responses that confirm stored events.

use axum::{body::Body, response::Response};
use http::{StatusCode, header::CONTENT_TYPE};

use super::reject::JSON;
use crate::catalog::Endpoint;

/// A durable event.
pub(super) struct Stored {
    pub(super) id: Box<str>,
    pub(super) kind: Box<str>,
    pub(super) duplicate: bool,
    pub(super) bytes: usize,
}

/// The response for durable events, with `body` unless the endpoint configures its own.
pub(super) fn confirm(endpoint: &Endpoint, body: impl FnOnce() -> Vec<u8>) -> Response {
    let reply = &endpoint.reply;
    let mut response = match &reply.body {
        Some((body, content_type)) => {
            let mut response = Response::new(Body::from(body.clone()));
            response.headers_mut().insert(CONTENT_TYPE, content_type.clone());
            response
        }
        None if reply.status == StatusCode::NO_CONTENT => Response::new(Body::empty()),
        None => {
            let mut response = Response::new(Body::from(body()));
            response.headers_mut().insert(CONTENT_TYPE, JSON);
            response
        }
    };
    *response.status_mut() = reply.status;
    response
}

/// `{"success":true,"id":"…"}`, with a mark if the event is a duplicate.
pub(super) fn confirmation(id: &str, duplicate: bool) -> Vec<u8> {
    let mut body = Vec::with_capacity(64 + id.len());
    body.extend_from_slice(br#"{"success":true,"id":"#);
    // Writing a string to a vector cannot fail.
    let _ = serde_json::to_writer(&mut body, id);
    body.extend_from_slice(if duplicate { br#","duplicate":true}"# } else { b"}" });
    body
}

/// `{"success":true,"ids":[…]}`, with the duplicates among them, if any.
pub(super) fn batch_confirmation(events: &[Stored]) -> Vec<u8> {
    let ids: Vec<&str> = events.iter().map(|event| &*event.id).collect();
    let duplicates: Vec<&str> = events.iter().filter(|event| event.duplicate).map(|event| &*event.id).collect();
    let mut body = br#"{"success":true,"ids":"#.to_vec();
    // Writing strings to a vector cannot fail.
    let _ = serde_json::to_writer(&mut body, &ids);
    if !duplicates.is_empty() {
        body.extend_from_slice(br#","duplicates":"#);
        let _ = serde_json::to_writer(&mut body, &duplicates);
    }
    body.push(b'}');
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_confirmation_is_json_whatever_the_id() {
        assert_eq!(confirmation("evt_1", false), br#"{"success":true,"id":"evt_1"}"#);
        assert_eq!(confirmation("a\"b", true), br#"{"success":true,"id":"a\"b","duplicate":true}"#);
    }
}
