//! The events of an endpoint with their bodies, and what a subscription makes of one of them.

use std::sync::Arc;

use axum::{
    extract::{Path, RawPathParams, State},
    http::Uri,
    response::Response,
};
use grapnel_api::{Incarnation, ObjectKey};
use grapnel_journal::{EventEntry, EventQuery, Sequence, StoredEvent};
use jiff::Timestamp;

use super::{
    Shared,
    authz::{self, Ask, Resource, Verb},
    contract::{EventDetail, HistoryPage, ItemSkip, ListOrder, Operation, Page, PreviewItem},
    query::Query,
    read::{Read, begin},
    response::{self, Problem},
};
use crate::{
    admin::limits::{ADMIN_HISTORY_BYTES, ADMIN_HISTORY_STEP},
    catalog::Subscription,
    dispatch::preview::{DeliveryPreview, preview},
};

/// Which events to read.
struct Wanted {
    endpoint: Incarnation,
    since: Option<Timestamp>,
    order: ListOrder,
    after: Sequence,
    limit: usize,
}

/// `GET /api/v1/namespaces/{namespace}/endpoints/{name}/history`
pub(super) async fn list(
    State(shared): State<Arc<Shared>>,
    Path((namespace, name)): Path<(String, String)>,
    uri: Uri,
) -> Result<Response, Problem> {
    let query = Query::parse(&uri, Operation::ListHistory)?;
    let order = query.order()?;
    let wanted = Wanted {
        endpoint: shared.endpoint(&ObjectKey::new(namespace, name))?,
        since: query.since(shared.admin.clock.now())?,
        order,
        after: begin(order, query.after()?),
        limit: query.limit()?,
    };
    shared.read(async move |read: Read| read_page(&read, wanted).await).await
}

/// Reads events in bounded steps until there are enough of them, or enough bytes, or the time is over.
async fn read_page(read: &Read, wanted: Wanted) -> Result<Response, Problem> {
    let Wanted { endpoint, since, order, mut after, limit } = wanted;
    let (mut items, mut bytes, mut omitted) = (Vec::new(), 0, 0);
    let next = 'page: loop {
        let limit_of_step = ADMIN_HISTORY_STEP.min(limit - items.len());
        let newest_first = order == ListOrder::Desc;
        let query = EventQuery { kind: None, since, after, newest_first, limit: limit_of_step };
        let page = read.journal.events(&endpoint, query).await?;
        for entry in page.events {
            let sequence = entry.sequence();
            match body_of(read, &endpoint, &entry).await? {
                Some(event) => {
                    bytes += event.body.len();
                    items.push(event);
                }
                None => omitted += 1,
            }
            after = sequence;
            if items.len() >= limit || bytes >= ADMIN_HISTORY_BYTES || read.is_over() {
                break 'page Some(after);
            }
        }
        match page.next {
            Some(next) if !read.is_over() => after = next,
            next => break next,
        }
    };
    // Bodies are parsed and copied here, where reads are limited.
    let shown = tokio::task::spawn_blocking(move || {
        let items = items.iter().map(EventDetail::of).collect();
        let next = next.map(|next| next.to_string());
        response::ok(&HistoryPage { page: Page { items, next }, omitted })
    });
    shown.await.map_err(|_| Problem::unavailable("the events cannot be shown"))
}

/// The event of an entry, if it is readable and the newest of its id.
async fn body_of(read: &Read, endpoint: &Incarnation, entry: &EventEntry) -> Result<Option<StoredEvent>, Problem> {
    let Some(summary) = entry.kept() else { return Ok(None) };
    let event = read.journal.event(endpoint, &summary.id).await?;
    Ok(event.filter(|event| event.sequence == summary.sequence))
}

/// The accesses required to see what a subscription makes of an event: the payload and the subscription's deliveries.
pub(super) fn preview_asks(params: &RawPathParams, uri: &Uri) -> Result<Vec<Ask>, Problem> {
    let mut asks = authz::one(Verb::Get, Resource::Events, params)?;
    let ObjectKey { namespace, name } = subscription(&Query::parse(uri, Operation::PreviewDelivery)?)?;
    let (namespace, name) = (Some(Box::from(&*namespace)), Some(Box::from(&*name)));
    asks.push(Ask { verb: Verb::Get, resource: Resource::Deliveries, namespace, name });
    Ok(asks)
}

/// The subscription that a query names.
fn subscription(query: &Query) -> Result<ObjectKey, Problem> {
    let text = query.get("subscription").unwrap_or_default();
    match text.split_once('/') {
        Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() && !name.contains('/') => {
            Ok(ObjectKey::new(namespace, name))
        }
        _ => Err(Problem::parameter(format!("subscription must be NAMESPACE/NAME, not {text:?}"))),
    }
}

/// `GET /api/v1/namespaces/{namespace}/endpoints/{name}/events/{id}/preview`
pub(super) async fn preview_delivery(
    State(shared): State<Arc<Shared>>,
    Path((namespace, name, id)): Path<(String, String, String)>,
    uri: Uri,
) -> Result<Response, Problem> {
    let key = subscription(&Query::parse(&uri, Operation::PreviewDelivery)?)?;
    let endpoint = shared.endpoint(&ObjectKey::new(namespace, name))?;
    let live = shared.admin.snapshot.borrow().subscription(&key).map(Arc::clone);
    let subscription = live.filter(|it| it.endpoint.key == endpoint.key).ok_or_else(|| {
        Problem::not_found(format!("no version of a WebhookSubscription {key} that reads {} is in use", endpoint.key))
    })?;
    let shown = shared.read(async move |read: Read| {
        let event = read.journal.event(&endpoint, &id).await?;
        let event = event.ok_or_else(|| Problem::not_found(format!("endpoint {endpoint} has no event {id:?}")))?;
        let shown = tokio::task::spawn_blocking(move || response::ok(&item(&subscription, event)));
        shown.await.map_err(|_| Problem::unavailable("the event cannot be shown"))
    });
    shown.await
}

fn item(subscription: &Subscription, event: StoredEvent) -> PreviewItem {
    let sequence = event.sequence;
    let DeliveryPreview { admitted, filter, delivery } = preview(subscription, event.clone());
    let nothing = PreviewItem {
        sequence,
        skip_reason: None,
        error: None,
        content_type: None,
        payload: None,
        payload_text: None,
        payload_base64: None,
    };
    if !admitted {
        return PreviewItem { skip_reason: Some(ItemSkip::Type), ..nothing };
    }
    match (filter, delivery) {
        (Some(Err(error)), _) => PreviewItem { error: Some(format!("filter, {error}")), ..nothing },
        (_, Some(Err(error))) => PreviewItem { error: Some(error.to_string()), ..nothing },
        (_, None) => PreviewItem { skip_reason: Some(ItemSkip::Filter), ..nothing },
        (_, Some(Ok(made))) => {
            // The body is shown as that of an event is.
            let content_type = made.content_type.map(Box::from);
            let made = StoredEvent { body: made.bytes, content_type, headers: Vec::new(), ..event };
            let EventDetail { event, payload, payload_text, payload_base64, .. } = EventDetail::of(&made);
            PreviewItem { content_type: event.content_type, payload, payload_text, payload_base64, ..nothing }
        }
    }
}
