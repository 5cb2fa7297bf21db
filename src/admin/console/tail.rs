//! The live view of an endpoint's events: server-sent events, which a script adds to the list.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    body::{Body, Bytes},
    extract::{Path, State},
    http::{HeaderMap, HeaderName, HeaderValue, Uri, header},
    response::{IntoResponse, Response},
};
use futures_util::stream;
use grapnel_api::{Incarnation, ObjectKey};
use grapnel_journal::Sequence;
use grapnel_values::glob::Glob;
use jiff::Timestamp;
use serde::Serialize;
use tokio::{
    sync::OwnedSemaphorePermit,
    time::{Instant, sleep},
};

use super::{layout, links, text};
use crate::admin::{
    Shared,
    contract::{EventItem, ListOrder},
    events::EventFilter,
    limits::{CONSOLE_LIST, CONSOLE_TAIL_INTERVAL, CONSOLE_TAIL_TIME},
    query::Query,
    response::Problem,
};

/// Time after which a line without meaning is sent: only a write discovers that the browser has gone.
const SIGN_OF_LIFE: Duration = Duration::from_secs(15);

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// `GET /console/endpoints/{namespace}/{name}/tail`
pub(super) async fn follow(
    State(shared): State<Arc<Shared>>,
    Path((namespace, name)): Path<(String, String)>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let query = Query::of_page(&uri, &["type", "after"])?;
    let endpoint = shared.endpoint(&ObjectKey::new(namespace, name))?;
    let seen = headers.get(LAST_EVENT_ID).and_then(|id| id.to_str().ok()).and_then(|id| id.parse().ok());
    let after = seen.or(query.after()?).unwrap_or_default();
    let place = Arc::clone(&shared.tails).try_acquire_owned();
    let place = place.map_err(|_| Problem::unavailable("too many live views are open; close one or retry later"))?;
    let now = Instant::now();
    let tail =
        Tail { shared, endpoint, kind: query.kind()?, after, ends: now + CONSOLE_TAIL_TIME, spoke: now, _place: place };
    let lines = stream::unfold(tail, |mut tail| async move {
        let lines = tail.next().await?;
        Some((Ok::<_, Infallible>(Bytes::from(lines)), tail))
    });
    let mut response = Body::from_stream(lines).into_response();
    layout::protect(response.headers_mut());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// A live view.
struct Tail {
    shared: Arc<Shared>,
    endpoint: Incarnation,
    kind: Option<Glob>,
    /// The last event that has been sent or skipped.
    after: Sequence,
    ends: Instant,
    /// When something was sent last.
    spoke: Instant,
    _place: OwnedSemaphorePermit,
}

impl Tail {
    /// The next lines, as soon as there are some; `None` at the end of the view.
    async fn next(&mut self) -> Option<String> {
        loop {
            let now = Instant::now();
            if now >= self.ends || self.shared.shutdown.is_cancelled() {
                return None;
            }
            let wanted = EventFilter { kind: self.kind.clone(), since: None, order: ListOrder::Asc };
            let page = self.shared.events_page(self.endpoint.clone(), wanted, CONSOLE_LIST, Some(self.after)).await;
            // The browser begins again, and is told then what is wrong.
            let page = page.ok()?;
            let next = page.next.as_deref().and_then(|next| next.parse().ok());
            let seen = page.items.last().map(|event| event.sequence).max(next);
            self.after = self.after.max(seen.unwrap_or_default());
            if !page.items.is_empty() {
                self.spoke = now;
                return Some(page.items.iter().map(|event| Line::of(&self.endpoint.key, event).lines()).collect());
            }
            if now.duration_since(self.spoke) >= SIGN_OF_LIFE {
                self.spoke = now;
                return Some(":\n\n".into());
            }
            // Also when there is more: a view whose type is rare would otherwise read the whole log without a pause.
            tokio::select! {
                () = sleep(CONSOLE_TAIL_INTERVAL) => {}
                () = self.shared.shutdown.cancelled() => return None,
            }
        }
    }
}

/// An event as the script reads it: every value is text to show.
#[derive(Debug, Serialize)]
struct Line {
    sequence: Sequence,
    time: Option<Timestamp>,
    r#type: String,
    id: String,
    href: Option<String>,
    size: String,
    remote: String,
}

impl Line {
    fn of(endpoint: &ObjectKey, event: &EventItem) -> Self {
        Self {
            sequence: event.sequence,
            time: event.received_time,
            r#type: event.r#type.as_deref().map(text::named).unwrap_or_default(),
            id: event.id.as_deref().map_or_else(|| format!("damaged, sequence {}", event.sequence), text::named),
            href: event.id.as_deref().map(|id| links::event(endpoint, id)),
            size: event.bytes.map(text::bytes).unwrap_or_default(),
            remote: event.remote.map(|remote| remote.to_string()).unwrap_or_default(),
        }
    }

    fn lines(&self) -> String {
        // JSON has no line ends.
        format!("id: {}\ndata: {}\n\n", self.sequence, serde_json::to_string(self).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_one_message_whatever_is_in_it() {
        let event = EventItem {
            sequence: 7,
            id: Some("a\n\ndata: x\u{202e}".into()),
            r#type: Some("<b>".into()),
            ..EventItem::default()
        };
        let lines = Line::of(&ObjectKey::new("shop", "orders"), &event).lines();
        assert_eq!(lines.lines().count(), 3, "{lines}");
        assert!(lines.starts_with("id: 7\ndata: {") && lines.contains("U+202E") && lines.contains("<b>"), "{lines}");
    }
}
