//! Events of an endpoint.

use std::{net::IpAddr, sync::Arc};

use axum::{
    extract::{Path, RawPathParams, State},
    http::Uri,
    response::Response,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use grapnel_api::ObjectKey;
use grapnel_journal::{EventEntry, EventQuery, EventSummary, Sequence, StoredEvent};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::value::RawValue;

use super::{
    Shared,
    authz::{self, Ask, Resource, Verb},
    query::Query,
    read::Read,
    response::{self, Problem},
};

/// An item of a list of events.
#[derive(Serialize)]
#[serde(untagged)]
enum Item {
    Kept(Summary),
    Damaged(Damaged),
}

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

/// An accepted event whose record is damaged.
#[derive(Serialize)]
struct Damaged {
    sequence: Sequence,
    damaged: bool,
}

impl Item {
    fn of(entry: EventEntry) -> Self {
        match entry {
            EventEntry::Kept(event) => Self::Kept(Summary::of(event)),
            EventEntry::Damaged(sequence) => Self::Damaged(Damaged { sequence, damaged: true }),
        }
    }

    fn sequence(&self) -> Sequence {
        match self {
            Self::Kept(event) => event.sequence,
            Self::Damaged(event) => event.sequence,
        }
    }
}

impl Summary {
    fn of(event: EventSummary) -> Self {
        let EventSummary { sequence, id, kind, received, content_type, remote, bytes } = event;
        Self { id, r#type: kind, received_time: received, sequence, content_type, bytes, remote }
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
    /// As received, so that numbers keep every digit.
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
        // A body nested too deeply for readers of the response is shown as text; a `Value` has its own bound.
        let readable =
            is_json(event.content_type.as_deref()) && serde_json::from_str::<serde_json::Value>(text).is_ok();
        match serde_json::from_str::<&RawValue>(text) {
            Ok(raw) if readable => Self::Json(raw),
            _ => Self::Text(text),
        }
    }
}

/// Webhooks are JSON by default.
fn is_json(content_type: Option<&str>) -> bool {
    let Some(content_type) = content_type else { return true };
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    matches!(essence.as_str(), "application/json" | "text/json") || essence.ends_with("+json")
}

/// The access required to read the events of an endpoint.
pub(super) fn asks(params: &RawPathParams, _: &Uri) -> Result<Vec<Ask>, Problem> {
    authz::one(Verb::Get, Resource::Events, params)
}

/// `GET /api/v1/namespaces/{namespace}/endpoints/{name}/events`
pub(super) async fn list(
    State(shared): State<Arc<Shared>>,
    Path((namespace, name)): Path<(String, String)>,
    uri: Uri,
) -> Result<Response, Problem> {
    let query = Query::parse(&uri, &["type", "since", "limit", "after"])?;
    let limit = query.limit()?;
    let kind = query.get("type").map(str::to_owned);
    let (since, after) = (query.since(shared.admin.clock.now())?, query.after()?);
    let endpoint = shared.endpoint(&ObjectKey::new(namespace, name))?;
    let page = shared.read(async move |read: Read| {
        let step = async |after, limit| {
            let query = EventQuery { kind: kind.clone(), since, after, limit };
            let page = read.journal.events(&endpoint, query).await?;
            Ok((page.events.into_iter().map(Item::of).collect(), page.next))
        };
        read.page(limit, after, step, Item::sequence).await
    });
    Ok(response::ok(&page.await?))
}

/// `GET /api/v1/namespaces/{namespace}/endpoints/{name}/events/{id}`
pub(super) async fn show(
    State(shared): State<Arc<Shared>>,
    Path((namespace, name, id)): Path<(String, String, String)>,
    uri: Uri,
) -> Result<Response, Problem> {
    Query::parse(&uri, &[])?;
    let endpoint = shared.endpoint(&ObjectKey::new(namespace, name))?;
    let found = shared.read(async move |read: Read| {
        let event = read.journal.event(&endpoint, &id).await?;
        event.ok_or_else(|| {
            Problem::not_found(format!(
                "endpoint {endpoint} has no event {id:?}; it may have been removed after its retention"
            ))
        })
    });
    let event = found.await?;
    let headers = event
        .headers
        .iter()
        .map(|(name, value)| Header {
            name,
            value: std::str::from_utf8(value)
                .map_or_else(|_| HeaderValue::Bytes(STANDARD.encode(value)), HeaderValue::Text),
        })
        .collect();
    Ok(response::ok(&Full { summary: Summary::of(event.summary()), headers, payload: Payload::of(&event) }))
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
}
