//! Responses that confirm stored events.

use axum::{body::Body, response::Response};
use grapnel_event::identity::IdOrigin;
use http::{HeaderName, StatusCode, header::CONTENT_TYPE};

use super::reject::JSON;
use crate::catalog::Endpoint;

/// A durable event.
pub(super) struct Stored {
    pub(super) id: Box<str>,
    pub(super) kind: Box<str>,
    /// Where the id comes from.
    pub(super) origin: IdOrigin,
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

/// The header that says where the event's id comes from.
const ID_FROM: HeaderName = HeaderName::from_static("grapnel-id-from");

/// What a sender is told of a duplicate: its own "redeliver" button repeats the id, and so delivers nothing.
fn duplicate_hint(namespace: &str, id: &str) -> String {
    let is_plain =
        !id.starts_with('-') && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte));
    let id = if is_plain { id } else { "ID" };
    format!(
        "this event was accepted before, so it is not delivered again; to deliver it again, run: grapnel redeliver \
         {namespace}/SUBSCRIPTION --id {id}"
    )
}

/// The response for one durable event.
pub(super) fn confirm_event(endpoint: &Endpoint, event: &Stored) -> Response {
    let mut response = confirm(endpoint, || confirmation(&endpoint.key.namespace, &event.id, event.duplicate));
    if let Some(source) = endpoint.id_sources.header(event.origin) {
        response.headers_mut().insert(ID_FROM, source);
    }
    response
}

/// `{"success":true,"id":"…"}`, with a mark and a hint if the event is a duplicate.
fn confirmation(namespace: &str, id: &str, duplicate: bool) -> Vec<u8> {
    let mut body = Vec::with_capacity(64 + id.len());
    body.extend_from_slice(br#"{"success":true,"id":"#);
    // Writing strings to a vector cannot fail.
    let _ = serde_json::to_writer(&mut body, id);
    if duplicate {
        body.extend_from_slice(br#","duplicate":true,"message":"#);
        let _ = serde_json::to_writer(&mut body, &duplicate_hint(namespace, id));
    }
    body.push(b'}');
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
        let text = |id, duplicate| String::from_utf8(confirmation("shop", id, duplicate)).unwrap();
        assert_eq!(text("evt_1", false), r#"{"success":true,"id":"evt_1"}"#);
        let duplicate: serde_json::Value = serde_json::from_str(&text("a\"b", true)).unwrap();
        assert_eq!((&duplicate["id"], &duplicate["duplicate"]), (&"a\"b".into(), &true.into()));
        // What a shell would read otherwise is not part of the command.
        for (id, command) in [("a\"b", "--id ID"), ("-x", "--id ID"), ("evt_1:2.b-3", "--id evt_1:2.b-3")] {
            let duplicate: serde_json::Value = serde_json::from_str(&text(id, true)).unwrap();
            let message = duplicate["message"].as_str().unwrap();
            assert!(message.ends_with(&format!("grapnel redeliver shop/SUBSCRIPTION {command}")), "{message}");
        }
    }
}
