//! Events of an endpoint.

use std::{net::IpAddr, sync::Arc};

use axum::{
    extract::{Path, RawPathParams, State},
    http::Uri,
    response::Response,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::value::RawValue;

use super::{
    Shared,
    answer::{self, Page, Problem},
    authority::{self, Ask, Resource, Verb},
    query::Query,
};
use crate::{
    api::ObjectKey,
    journal::{EventQuery, Sequence, StoredEvent},
    rules::limits::ADMIN_READ_BATCH,
};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Summary {
    id: Box<str>,
    r#type: Box<str>,
    received_time: Timestamp,
    sequence: Sequence,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_type: Option<Box<str>>,
    bytes: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    remote: Option<IpAddr>,
}

impl Summary {
    fn of(event: &StoredEvent) -> Self {
        Self {
            id: event.id.clone(),
            r#type: event.kind.clone(),
            received_time: event.received,
            sequence: event.sequence,
            content_type: event.content_type.clone(),
            bytes: event.body.len(),
            remote: event.remote,
        }
    }
}

#[derive(Serialize)]
struct Full<'a> {
    #[serde(flatten)]
    summary: Summary,
    headers: Vec<Header<'a>>,
    #[serde(flatten)]
    payload: Payload<'a>,
}

#[derive(Serialize)]
struct Header<'a> {
    name: &'a str,
    #[serde(flatten)]
    value: HeaderValue<'a>,
}

#[derive(Serialize)]
enum HeaderValue<'a> {
    #[serde(rename = "value")]
    Text(&'a str),
    #[serde(rename = "valueBase64")]
    Bytes(String),
}

/// The body, as far as it can be shown in JSON.
#[derive(Serialize)]
enum Payload<'a> {
    /// As it came, so that numbers keep every digit.
    #[serde(rename = "payload")]
    Json(&'a RawValue),
    #[serde(rename = "payloadText")]
    Text(&'a str),
    #[serde(rename = "payloadBase64")]
    Bytes(String),
}

impl<'a> Payload<'a> {
    fn of(event: &'a StoredEvent) -> Self {
        let Ok(text) = std::str::from_utf8(&event.body) else { return Self::Bytes(STANDARD.encode(&event.body)) };
        // What is nested too deeply for readers of the answer is shown as text: it has passed a Value's own bound.
        let readable =
            is_json(event.content_type.as_deref()) && serde_json::from_str::<serde_json::Value>(text).is_ok();
        match serde_json::from_str::<&RawValue>(text) {
            Ok(raw) if readable => Self::Json(raw),
            _ => Self::Text(text),
        }
    }
}

/// Webhooks are JSON unless they say otherwise.
fn is_json(content_type: Option<&str>) -> bool {
    let Some(content_type) = content_type else { return true };
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    matches!(essence.as_str(), "application/json" | "text/json") || essence.ends_with("+json")
}

/// What it takes to see events of an endpoint.
pub(super) fn asks(params: &RawPathParams, _: &Uri) -> Result<Vec<Ask>, Problem> {
    authority::one(Verb::Get, Resource::Events, params)
}

/// `GET /api/v1/namespaces/{namespace}/endpoints/{name}/events`
pub(super) async fn list(
    State(shared): State<Arc<Shared>>,
    Path((namespace, name)): Path<(String, String)>,
    uri: Uri,
) -> Result<Response, Problem> {
    let query = Query::parse(&uri, &["type", "since", "limit", "after"])?;
    let limit = query.limit()?;
    let mut wanted = EventQuery {
        kind: query.get("type").map(str::to_owned),
        since: query.since(shared.admin.clock.now())?,
        after: query.after()?,
        limit: 0,
    };
    let endpoint = ObjectKey::new(namespace, name);
    shared.endpoint_exists(&endpoint)?;
    let _turn = shared.turn().await?;
    let mut items: Vec<Summary> = Vec::new();
    // In small steps: the journal hands out whole events, and a thousand bodies would be a lot of memory. One more than
    // asked for tells whether there is a next page.
    while items.len() <= limit {
        wanted.limit = ADMIN_READ_BATCH.min(limit + 1 - items.len());
        let events = shared.admin.journal.events(&endpoint, wanted.clone()).await?;
        items.extend(events.iter().map(Summary::of));
        match events.last() {
            Some(last) if events.len() == wanted.limit => wanted.after = last.sequence,
            _ => break,
        }
    }
    let next = cut(&mut items, limit, |item| item.sequence);
    Ok(answer::ok(&Page { items, next }))
}

/// `GET /api/v1/namespaces/{namespace}/endpoints/{name}/events/{id}`
pub(super) async fn show(
    State(shared): State<Arc<Shared>>,
    Path((namespace, name, id)): Path<(String, String, String)>,
    uri: Uri,
) -> Result<Response, Problem> {
    Query::parse(&uri, &[])?;
    let endpoint = ObjectKey::new(namespace, name);
    shared.endpoint_exists(&endpoint)?;
    let _turn = shared.turn().await?;
    let event = shared.admin.journal.event(&endpoint, &id).await?.ok_or_else(|| {
        Problem::not_found(format!(
            "endpoint {endpoint} has no event {id:?}; it may have been removed after its retention"
        ))
    })?;
    let headers = event
        .headers
        .iter()
        .map(|(name, value)| Header {
            name,
            value: std::str::from_utf8(value)
                .map_or_else(|_| HeaderValue::Bytes(STANDARD.encode(value)), HeaderValue::Text),
        })
        .collect();
    Ok(answer::ok(&Full { summary: Summary::of(&event), headers, payload: Payload::of(&event) }))
}

/// Cuts what is more than was asked for; the sequence to go on after, if anything was cut.
pub(super) fn cut<T>(items: &mut Vec<T>, limit: usize, sequence: impl Fn(&T) -> Sequence) -> Option<String> {
    if items.len() <= limit {
        return None;
    }
    items.truncate(limit);
    items.last().map(|last| sequence(last).to_string())
}

impl Shared {
    /// A turn at reading the journal.
    pub(super) async fn turn(&self) -> Result<tokio::sync::SemaphorePermit<'_>, Problem> {
        self.reads.acquire().await.map_err(|_| Problem::unavailable("the operator is shutting down"))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn shown(content_type: Option<&str>, body: &'static [u8]) -> String {
        let event = StoredEvent {
            sequence: 1,
            id: "i".into(),
            kind: "t".into(),
            received: Timestamp::UNIX_EPOCH,
            content_type: content_type.map(Into::into),
            remote: None,
            headers: Vec::new(),
            body: Bytes::from_static(body),
        };
        serde_json::to_string(&Payload::of(&event)).unwrap()
    }

    #[test]
    fn json_is_shown_as_it_came() {
        assert_eq!(shown(None, br#"{"n": 12345678901234567890123}"#), r#"{"payload":{"n": 12345678901234567890123}}"#);
        assert_eq!(shown(Some("application/json; charset=utf-8"), b"[1]"), r#"{"payload":[1]}"#);
        assert_eq!(shown(Some("application/cloudevents+JSON"), b"[1]"), r#"{"payload":[1]}"#);
    }

    #[test]
    fn what_is_not_json_is_text_or_bytes() {
        assert_eq!(shown(Some("text/plain"), b"1"), r#"{"payloadText":"1"}"#);
        assert_eq!(shown(Some("application/x-www-form-urlencoded"), b"a=b"), r#"{"payloadText":"a=b"}"#);
        assert_eq!(shown(None, b"{"), r#"{"payloadText":"{"}"#);
        assert_eq!(shown(Some("image/png"), b"\x89\xff"), r#"{"payloadBase64":"if8="}"#);
        let deep: &'static [u8] = "[".repeat(1000).leak().as_bytes();
        assert!(shown(None, deep).contains("payloadText"));
        let deep: &'static [u8] = format!("{}{}", "[".repeat(1000), "]".repeat(1000)).leak().as_bytes();
        assert!(shown(None, deep).contains("payloadText"));
    }

    #[test]
    fn a_page_goes_on_after_its_last_item() {
        let mut items = vec![3, 5, 9];
        assert_eq!(cut(&mut items, 2, |item| *item), Some("5".into()));
        assert_eq!(items, [3, 5]);
        assert_eq!(cut(&mut items, 2, |item| *item), None);
    }
}
