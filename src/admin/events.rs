//! Events of an endpoint.

use std::sync::Arc;

use axum::{
    extract::{Path, RawPathParams, State},
    http::Uri,
    response::Response,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use grapnel_api::{Incarnation, ObjectKey};
use grapnel_journal::{EventEntry, EventQuery, EventSummary, Journal, Sequence, StoredEvent};
use grapnel_values::glob::Glob;
use jiff::Timestamp;
use serde_json::value::RawValue;

use super::{
    Shared,
    authz::{self, Ask, Resource, Verb},
    contract::{EventDetail, EventHeader, EventItem, ListOrder, Operation, Page},
    query::Query,
    read::{ListStep, Read, begin},
    response::{self, Problem},
};
use crate::admin::limits::ADMIN_LIST_MAX;

impl EventItem {
    fn of(entry: EventEntry) -> Self {
        match entry {
            EventEntry::Kept(event) => Self::kept(event),
            EventEntry::Damaged(sequence) => Self { sequence, damaged: true, ..Self::default() },
        }
    }

    fn kept(event: EventSummary) -> Self {
        let EventSummary { sequence, id, kind, received, content_type, remote, bytes } = event;
        Self {
            id: Some(id),
            r#type: Some(kind),
            received_time: Some(received),
            sequence,
            damaged: false,
            content_type,
            bytes: u64::try_from(bytes).ok(),
            remote,
        }
    }
}

impl EventHeader {
    fn of(name: &str, value: &[u8]) -> Self {
        let (value, value_base64) = match std::str::from_utf8(value) {
            Ok(text) => (Some(text.to_owned()), None),
            Err(_) => (None, Some(STANDARD.encode(value))),
        };
        Self { name: name.to_owned(), value, value_base64 }
    }
}

impl EventDetail {
    pub(super) fn of(event: &StoredEvent) -> Self {
        let headers = event.headers.iter().map(|(name, value)| EventHeader::of(name, value)).collect();
        let event_item = EventItem::kept(event.summary());
        let detail = Self { event: event_item, headers, payload: None, payload_text: None, payload_base64: None };
        let Ok(text) = std::str::from_utf8(&event.body) else {
            return Self { payload_base64: Some(STANDARD.encode(&event.body)), ..detail };
        };
        // A body nested too deeply for readers of the response is shown as text; a `Value` has its own bound.
        let readable =
            is_json(event.content_type.as_deref()) && serde_json::from_str::<serde_json::Value>(text).is_ok();
        match serde_json::from_str::<Box<RawValue>>(text) {
            Ok(raw) if readable => Self { payload: Some(raw), ..detail },
            _ => Self { payload_text: Some(text.to_owned()), ..detail },
        }
    }
}

/// Which events a list has.
pub(super) struct EventFilter {
    /// Only events of these types.
    pub(super) kind: Option<Glob>,
    /// Only events received at or after this time.
    pub(super) since: Option<Timestamp>,
    /// The order.
    pub(super) order: ListOrder,
}

impl EventFilter {
    fn admits(&self, event: &EventItem) -> bool {
        self.kind.as_ref().is_none_or(|glob| event.r#type.as_ref().is_some_and(|kind| glob.matches(kind)))
    }

    /// Reads one step of the events of an endpoint.
    async fn step(
        &self,
        journal: &dyn Journal,
        endpoint: &Incarnation,
        after: Sequence,
        limit: usize,
    ) -> Result<ListStep<EventItem>, Problem> {
        let literal = self.kind.as_ref().filter(|glob| glob.is_literal()).map(|glob| glob.as_str().to_owned());
        // Events of other types do not count for the limit of the list.
        let limit = if self.kind.is_some() && literal.is_none() { ADMIN_LIST_MAX } else { limit };
        let (since, newest_first) = (self.since, self.order == ListOrder::Desc);
        let page = journal.events(endpoint, EventQuery { kind: literal, since, after, newest_first, limit }).await?;
        let items = page.events.into_iter().map(EventItem::of).filter(|event| self.admits(event)).collect();
        Ok(ListStep { items, next: page.next })
    }
}

/// Whether a body is JSON by its content type, which webhooks are by default.
pub(super) fn is_json(content_type: Option<&str>) -> bool {
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
    let query = Query::parse(&uri, Operation::ListEvents)?;
    let (limit, order, after) = (query.limit()?, query.order()?, query.after()?);
    let since = query.since(shared.admin.clock.now())?;
    let wanted = EventFilter { kind: query.kind()?, since, order };
    let endpoint = shared.endpoint(&ObjectKey::new(namespace, name))?;
    Ok(response::ok(&shared.events_page(endpoint, wanted, limit, after).await?))
}

impl Shared {
    /// Reads a page of the events of an endpoint.
    pub(super) async fn events_page(
        &self,
        endpoint: Incarnation,
        wanted: EventFilter,
        limit: usize,
        after: Option<Sequence>,
    ) -> Result<Page<EventItem>, Problem> {
        let page = self.read(async move |read: Read| {
            let journal = &*read.journal;
            let step = async |after, limit| wanted.step(journal, &endpoint, after, limit).await;
            read.page(limit, begin(wanted.order, after), step, |event| event.sequence).await
        });
        page.await
    }
}

/// `GET /api/v1/namespaces/{namespace}/endpoints/{name}/events/{id}`
pub(super) async fn show(
    State(shared): State<Arc<Shared>>,
    Path((namespace, name, id)): Path<(String, String, String)>,
    uri: Uri,
) -> Result<Response, Problem> {
    Query::parse(&uri, Operation::ShowEvent)?;
    let endpoint = shared.endpoint(&ObjectKey::new(namespace, name))?;
    let found = shared.read(async move |read: Read| {
        let event = read.journal.event(&endpoint, &id).await?;
        let event = event.ok_or_else(|| {
            Problem::not_found(format!(
                "endpoint {endpoint} has no event {id:?}; it may have been removed after its retention"
            ))
        })?;
        // The body is parsed and copied here, where reads are limited. That may take long.
        let shown = tokio::task::spawn_blocking(move || response::ok(&EventDetail::of(&event)));
        shown.await.map_err(|_| Problem::unavailable("the event cannot be shown"))
    });
    found.await
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
        let mut shown = serde_json::to_string(&EventDetail::of(&event)).unwrap();
        shown.split_off(shown.find(r#""headers":[],"#).unwrap() + r#""headers":[],"#.len())
    }

    #[test]
    fn json_is_shown_as_it_came() {
        assert_eq!(shown(None, br#"{"n": 12345678901234567890123}"#), r#""payload":{"n": 12345678901234567890123}}"#);
        assert_eq!(shown(Some("application/json; charset=utf-8"), b"[1]"), r#""payload":[1]}"#);
        assert_eq!(shown(Some("application/cloudevents+JSON"), b"[1]"), r#""payload":[1]}"#);
    }

    #[test]
    fn what_is_not_json_is_text_or_bytes() {
        assert_eq!(shown(Some("text/plain"), b"1"), r#""payloadText":"1"}"#);
        assert_eq!(shown(Some("application/x-www-form-urlencoded"), b"a=b"), r#""payloadText":"a=b"}"#);
        assert_eq!(shown(None, b"{"), r#""payloadText":"{"}"#);
        assert_eq!(shown(Some("image/png"), b"\x89\xff"), r#""payloadBase64":"if8="}"#);
        let deep: &'static [u8] = "[".repeat(1000).leak().as_bytes();
        assert!(shown(None, deep).contains("payloadText"));
        let deep: &'static [u8] = format!("{}{}", "[".repeat(1000), "]".repeat(1000)).leak().as_bytes();
        assert!(shown(None, deep).contains("payloadText"));
    }
}
