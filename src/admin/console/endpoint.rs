//! The page of an endpoint: its state, and the events that it has accepted.

use std::sync::Arc;

use axum::{
    extract::{Extension, Path, State},
    http::Uri,
    response::{IntoResponse, Redirect, Response},
};
use grapnel_api::{Incarnation, ObjectKey};
use grapnel_journal::Sequence;
use jiff::Timestamp;
use maud::{Markup, html};

use super::{
    Shown, chart,
    health::Health,
    layout::{self, Page},
    links,
    rates::Counts,
    text,
};
use crate::{
    admin::{
        Shared,
        authn::Caller,
        authz::{Ask, Resource, Verb},
        contract::{EventItem, ListOrder, ObjectItem},
        events::EventFilter,
        limits::CONSOLE_LIST,
        objects,
        query::Query,
        response::Problem,
    },
    catalog::{EndpointFacts, Facts, ObjectKind},
};

/// `GET /console/endpoints/{namespace}/{name}`
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

async fn page(shared: &Shared, caller: &Caller, key: &ObjectKey, uri: &Uri) -> Result<Response, Problem> {
    let query = Query::of_page(uri, &["type", "since", "id", "after"])?;
    let endpoint = shared.endpoint(key)?;
    if let Some(id) = query.get("id") {
        return Ok(Redirect::to(&links::event(key, id)).into_response());
    }
    let now = shared.admin.clock.now();
    let after = query.after()?;
    let is_filtered = query.get("type").is_some() || query.get("since").is_some();
    // The live view begins after the newest event, also after one that the list does not have. It is looked up before the
    // list is read, so that no event is in neither.
    let newest = if is_filtered { newest(shared, &endpoint).await? } else { None };
    let wanted = EventFilter { kind: query.kind()?, since: query.since(now)?, order: ListOrder::Desc };
    let events = shared.events_page(endpoint, wanted, CONSOLE_LIST, after).await?;
    let state = Ask::of(Verb::Get, Resource::Endpoints, key);
    let state = if shared.may(caller, &state).await { Some(state_of(shared, key, now)?) } else { None };

    let (kind, since) = (query.get("type").unwrap_or_default(), query.get("since").unwrap_or_default());
    let here = links::endpoint(key);
    let newest = newest.or_else(|| events.items.first().map(|event| event.sequence)).unwrap_or_default().to_string();
    let is_live = after.is_none();
    let tail = links::with(&format!("{here}/tail"), [("type", kind), ("after", &*newest)]);
    let rows = html! { @for event in &events.items { (row(key, event, now)) } };
    let content = html! {
        @if let Some(state) = state { (state) }
        h2 id="events" { "Events" }
        form.filter method="get" action=(here) {
            label { "Type " input name="type" value=(kind) placeholder="invoice.*" autocomplete="off" spellcheck="false"; }
            label { "Since " input name="since" value=(since) placeholder="90m" autocomplete="off" spellcheck="false"; }
            label { "Id " input name="id" autocomplete="off" spellcheck="false"; }
            button { "Show" }
            @if !kind.is_empty() || !since.is_empty() || !is_live { a href=(here) { "Newest of all" } }
        }
        @if is_live {
            // The script shows it and fills it.
            p.live hidden data-tail=(tail) {
                button type="button" aria-pressed="true" { "Live" } " "
                span role="status" { "New events appear here." }
            }
        }
        (layout::table("Events", &["Received", "Type", "Id", "Size", "From"], rows))
        template id="event" {
            tr { td { time {} } td.name { bdi {} } th scope="row" { a { bdi {} } } td.number {} td {} }
        }
        @if events.items.is_empty() { p.empty { (none(events.next.is_some())) } }
        @if let Some(next) = &events.next {
            nav.pages aria-label="Pages of events" {
                a rel="next" href=(links::with(&here, [("type", kind), ("since", since), ("after", next)])) { "Older events" }
            }
        }
    };
    let home = shared.home(caller, &key.namespace).await;
    Ok(Page { title: key.to_string(), home, above: links::above(key, []), caller: Some(caller), content }.respond())
}

/// The newest event of an endpoint.
async fn newest(shared: &Shared, endpoint: &Incarnation) -> Result<Option<Sequence>, Problem> {
    let all = EventFilter { kind: None, since: None, order: ListOrder::Desc };
    let page = shared.events_page(endpoint.clone(), all, 1, None).await?;
    Ok(page.items.first().map(|event| event.sequence))
}

fn none(more: bool) -> &'static str {
    if more { "None of the events that were looked at matches; older ones may." } else { "No event matches." }
}

/// An event in the list. The script makes the same from the template.
fn row(endpoint: &ObjectKey, event: &EventItem, now: Timestamp) -> Markup {
    html! {
        tr {
            td { @if let Some(time) = event.received_time { (text::ago(time, now)) } }
            td.name { @if let Some(kind) = &event.r#type { (text::inline(kind)) } }
            th scope="row" {
                @match &event.id {
                    Some(id) => a href=(links::event(endpoint, id)) { (text::inline(id)) },
                    None => { "damaged, sequence " (event.sequence) }
                }
            }
            td.number { @if let Some(size) = event.bytes { (text::bytes(size)) } }
            td { @if let Some(remote) = event.remote { (remote) } }
        }
    }
}

/// What the status of the endpoint tells.
fn state_of(shared: &Shared, key: &ObjectKey, now: Timestamp) -> Result<Markup, Problem> {
    let view = shared.view(ObjectKind::Endpoint, key)?;
    let ObjectItem::Endpoint(item) = objects::item(shared, &view, now) else {
        return Err(Problem::not_found(format!("{key} is not an endpoint")));
    };
    let health = Health::of(&item.status.conditions);
    let served = shared.admin.snapshot.borrow().endpoint(key).map(Arc::clone);
    let counts = served.as_ref().map(|endpoint| Counts::of_endpoint(endpoint)).unwrap_or_default();
    let hour = shared.admin.rates.hour(ObjectKind::Endpoint, key, counts);
    let condition = |kind: &str| item.status.conditions.iter().find(|condition| condition.type_ == kind);
    let url = item.url.as_deref().or(item.path.as_deref());
    Ok(html! {
        p { (health.badge()) " " a href=(links::yaml(ObjectKind::Endpoint, key)) { "Conditions and YAML" } }
        (health.notice())
        dl.facts {
            @if let Some(url) = url { dt { "URL" } dd { code { (url) } } }
            @if let Some(verified) = condition("Verified") { dt { "Verification" } dd { (text::inline(&verified.message)) } }
            @if let Some(provider) = served.as_ref().and_then(|endpoint| endpoint.provider) { dt { "Provider" } dd { (provider) } }
            @if let Some(ids) = &item.status.event_id_from { dt { "Event ids" } dd { (text::inline(ids)) } }
            dt { "Received" } dd {
                (item.status.received.unwrap_or_default()) ", " (item.status.duplicates.unwrap_or_default()) " duplicates, "
                (item.status.rejected.unwrap_or_default()) " rejected"
            }
            @if let Some(source) = &item.source { dt { "Defined in" } dd { code { (source) } } }
        }
        (chart::figure("Events, last hour by minute", hour.as_ref(), "accepted", "rejected"))
        @if let Facts::Endpoint(facts) = &view.facts { (rejections(facts, now)) }
    })
}

/// The last rejected requests.
fn rejections(facts: &EndpointFacts, now: Timestamp) -> Markup {
    let rejections = facts.rejections();
    html! {
        h2 { "Last rejections" }
        @if rejections.is_empty() { p { "No request has been rejected since the operator started." } } @else {
            (layout::table("Last rejections", &["When", "Code", "Reason"], html! {
                @for rejection in &rejections {
                    tr {
                        td { (text::ago(rejection.time, now)) }
                        th scope="row" { code { (rejection.code) } }
                        td.wide { (text::inline(&rejection.message)) }
                    }
                }
            }))
        }
    }
}
