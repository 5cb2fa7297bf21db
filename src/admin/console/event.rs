//! The page of an event: what was received, and what became of it for each subscription.

use std::sync::Arc;

use axum::{
    extract::{Extension, Path, State},
    http::{HeaderValue, Uri, header},
    response::{IntoResponse, Response},
};
use grapnel_api::{Incarnation, ObjectKey};
use grapnel_journal::{DeliveryQuery, StoredEvent};
use jiff::Timestamp;
use maud::{Markup, html};

use super::{
    Shown, csrf,
    layout::{self, Page},
    links, missing, outcome,
    payload::{self, Excerpt},
    text,
};
use crate::{
    admin::{
        Shared,
        authn::Caller,
        authz::{Ask, Resource, Verb},
        contract::DeliveryItem,
        deliveries,
        limits::{CONSOLE_OUTCOMES, CONSOLE_PAYLOAD_BYTES},
        query::Query,
        read::Read,
        response::Problem,
    },
    catalog::{ObjectKind, ObjectView},
};

/// `GET /console/endpoints/{namespace}/{name}/event?id=`
pub(super) async fn show(
    State(shared): State<Arc<Shared>>,
    Extension(caller): Extension<Caller>,
    Path((namespace, name)): Path<(String, String)>,
    uri: Uri,
) -> Shown {
    let key = ObjectKey::new(namespace, name);
    let result = page(&shared, &caller, &key, &uri).await;
    Shown::of(ObjectKind::Endpoint, key, result)
}

/// The event of the parameter `id`; for an id that the endpoint does not have, the page that says so.
async fn find(shared: &Shared, key: &ObjectKey, query: &Query) -> Result<Result<StoredEvent, Response>, Problem> {
    let endpoint = shared.endpoint(key)?;
    let id = query.get("id").ok_or_else(|| Problem::parameter("id must be the id of an event"))?;
    let wanted = id.to_owned();
    let found = shared.read(async move |read: Read| Ok(read.journal.event(&endpoint, &wanted).await?)).await?;
    Ok(found.ok_or_else(|| missing::event(key, id)))
}

async fn page(shared: &Shared, caller: &Caller, key: &ObjectKey, uri: &Uri) -> Result<Response, Problem> {
    let query = Query::of_page(uri, &["id", "view"])?;
    let as_received = match query.get("view") {
        None | Some("pretty") => false,
        Some("raw") => true,
        Some(other) => return Err(Problem::parameter(format!("view must be pretty or raw, not {other:?}"))),
    };
    let event = match find(shared, key, &query).await? {
        Ok(event) => Arc::new(event),
        Err(missing) => return Ok(missing),
    };
    let read = Arc::clone(&event);
    // A large body is not parsed on a thread of the runtime.
    let excerpt =
        tokio::task::spawn_blocking(move || payload::excerpt(&read.body, read.content_type.as_deref(), as_received));
    let excerpt = excerpt.await.map_err(|_| Problem::unavailable("the payload cannot be shown"))?;
    let outcomes = outcomes(shared, caller, key, &event).await?;
    let now = shared.admin.clock.now();
    let content = html! {
        (facts(&event, now))
        h2 { "Deliveries" }
        (outcomes)
        h2 { "Payload" }
        (body(key, &event, &excerpt, as_received))
        h2 { "Headers" }
        @if event.headers.is_empty() { p { "No headers were stored." } } @else {
            (layout::table("Headers", &["Name", "Value"], html! {
                @for (name, value) in &event.headers {
                    tr { th scope="row" { code { (text::inline(name)) } } td.wide { (text::inline(&String::from_utf8_lossy(value))) } }
                }
            }))
        }
    };
    let home = shared.home(caller, &key.namespace).await;
    let above = links::above(key, [(key.to_string(), links::endpoint(key))]);
    Ok(Page { title: text::named(&event.id), home, above, caller: Some(caller), content }.respond())
}

fn facts(event: &StoredEvent, now: Timestamp) -> Markup {
    html! {
        dl.facts {
            dt { "Type" } dd { (text::inline(&event.kind)) }
            dt { "Received" } dd { (format!("{:.3}", event.received)) ", " (text::ago(event.received, now)) }
            @if let Some(remote) = event.remote { dt { "From" } dd { (remote) } }
            @if let Some(content_type) = &event.content_type { dt { "Content type" } dd { (text::inline(content_type)) } }
            dt { "Size" } dd { (text::bytes(event.body.len() as u64)) }
            dt { "Sequence" } dd { (event.sequence) }
        }
    }
}

/// The outcomes for the subscriptions that the caller may see.
async fn outcomes(shared: &Shared, caller: &Caller, key: &ObjectKey, event: &StoredEvent) -> Result<Markup, Problem> {
    let views = Arc::clone(&shared.admin.objects.borrow());
    let reads =
        |view: &&Arc<ObjectView>| view.kind == ObjectKind::Subscription && view.endpoint_ref.as_ref() == Some(key);
    let (mut rows, mut hidden, mut looked_at) = (Vec::new(), false, 0);
    let mut redeliverable = false;
    let now = shared.admin.clock.now();
    for view in views.iter().filter(reads) {
        if looked_at >= CONSOLE_OUTCOMES {
            hidden = true;
            break;
        }
        looked_at += 1;
        if !shared.may(caller, &Ask::of(Verb::Get, Resource::Deliveries, &view.key)).await {
            hidden = true;
            continue;
        }
        let may_redeliver = shared.may(caller, &Ask::of(Verb::Update, Resource::Deliveries, &view.key)).await;
        redeliverable |= may_redeliver;
        let item = outcome_of(shared, view.incarnation(), event.sequence).await?;
        rows.push(html! {
            tr {
                th scope="row" { a href=(links::subscription(&view.key)) { bdi { (view.key) } } }
                @match &item {
                    Some(item) => (outcome::cells(item, &shared.sending(&view.key), now)),
                    None => td colspan=(outcome::TITLES.len()) { "not delivered: it was received before the subscription began" }
                }
                @if may_redeliver { td { @if item.is_some() { (redeliver(shared, caller, &view.key, &event.id)) } } }
            }
        });
    }
    let titles: Vec<&str> =
        ["Subscription"].into_iter().chain(outcome::TITLES).chain(redeliverable.then_some("Redeliver")).collect();
    Ok(html! {
        @if rows.is_empty() && !hidden { p { "No subscription reads this endpoint." } }
        @if !rows.is_empty() { (layout::table("Deliveries", &titles, html! { @for row in rows { (row) } })) }
        @if hidden {
            p.remark { "Subscriptions that you may not see, and those beyond the first " (CONSOLE_OUTCOMES) ", are not listed." }
        }
    })
}

/// The delivery of one event to one subscription.
async fn outcome_of(
    shared: &Shared,
    subscription: Incarnation,
    sequence: u64,
) -> Result<Option<DeliveryItem>, Problem> {
    let query = DeliveryQuery { state: None, after: sequence.saturating_sub(1), newest_first: false, limit: 1 };
    let key = subscription.key.clone();
    let found = shared.read(async move |read: Read| deliveries::step(&*read.journal, &subscription, query).await);
    let first = found.await?.deliveries.into_iter().next();
    let mut item = first.filter(|record| record.event.sequence() == sequence).map(DeliveryItem::of);
    shared.add_answers(&key, item.as_mut_slice());
    Ok(item)
}

fn redeliver(shared: &Shared, caller: &Caller, subscription: &ObjectKey, id: &str) -> Markup {
    html! {
        form method="post" action={ (links::subscription(subscription)) "/redeliver" } {
            input type="hidden" name="csrf" value=(csrf::token(shared.form_key.as_ref(), caller));
            input type="hidden" name="select" value="events";
            input type="hidden" name="id" value=(id);
            button { "Redeliver…" span.sr { " to " (subscription) } }
        }
    }
}

fn body(key: &ObjectKey, event: &StoredEvent, excerpt: &Excerpt, as_received: bool) -> Markup {
    let download = links::with(&format!("{}/payload", links::endpoint(key)), [("id", &*event.id)]);
    let other =
        if as_received { links::event(key, &event.id) } else { format!("{}&view=raw", links::event(key, &event.id)) };
    html! {
        p {
            @if as_received { a href=(other) { "Pretty" } " " }
            @if excerpt.is_indented { a href=(other) { "As received" } " " }
            a href=(download) download { "Download" }
        }
        @if excerpt.is_cut {
            p.remark { "Only the first " (text::bytes(CONSOLE_PAYLOAD_BYTES as u64)) " are shown; download the whole." }
        }
        @match &excerpt.text {
            Some(text) if text.is_empty() => p { "The body is empty." },
            Some(text) => pre.payload tabindex="0" aria-label="Payload" { code dir="ltr" { (text::visible(text)) } },
            None => p { "The body is not text; download it." },
        }
    }
}

/// `GET /console/endpoints/{namespace}/{name}/payload?id=`: the body as received, which no browser interprets.
pub(super) async fn download(
    State(shared): State<Arc<Shared>>,
    Path((namespace, name)): Path<(String, String)>,
    uri: Uri,
) -> Shown {
    let key = ObjectKey::new(namespace, name);
    let result = attachment(&shared, &key, &uri).await;
    Shown::of(ObjectKind::Endpoint, key, result)
}

async fn attachment(shared: &Shared, key: &ObjectKey, uri: &Uri) -> Result<Response, Problem> {
    let query = Query::of_page(uri, &["id"])?;
    let event = match find(shared, key, &query).await? {
        Ok(event) => event,
        Err(missing) => return Ok(missing),
    };
    let name = format!("attachment; filename=\"event-{}.bin\"", event.sequence);
    let mut response = event.body.into_response();
    layout::protect(response.headers_mut());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Ok(name) = HeaderValue::try_from(name) {
        headers.insert(header::CONTENT_DISPOSITION, name);
    }
    Ok(response)
}
