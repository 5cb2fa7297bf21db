//! The overview: every object with its health, and the journal.

use std::sync::Arc;

use axum::{
    extract::{Extension, State},
    http::Uri,
};
use grapnel_api::ObjectKey;
use jiff::Timestamp;
use maud::{Markup, html};

use super::{
    Shown, chart,
    health::{self, Health, Level},
    layout::{self, Home, Page},
    links,
    rates::{self, Counts, Hour},
    replay, text,
};
use crate::{
    admin::{
        Shared,
        authn::Caller,
        contract::{CircuitName, EndpointItem, ObjectItem, SubscriptionItem},
        limits::CONSOLE_OBJECTS,
        objects,
        query::Query,
        response::Problem,
    },
    catalog::{ObjectKind, Snapshot},
};

/// The parameters of the page.
pub(super) const PARAMETERS: &[&str] = &["namespace", "page"];

/// `GET /`
pub(super) async fn show(State(shared): State<Arc<Shared>>, Extension(caller): Extension<Caller>, uri: Uri) -> Shown {
    Shown { result: overview(&shared, &caller, &uri).await.map(Page::respond), object: None }
}

async fn overview<'a>(shared: &Shared, caller: &'a Caller, uri: &Uri) -> Result<Page<'a>, Problem> {
    let query = Query::of_page(uri, PARAMETERS)?;
    let namespace = query.namespace()?;
    let page = match query.get("page") {
        None => 1,
        Some(text) => text
            .parse()
            .ok()
            .filter(|page| (1..1_000_000).contains(page))
            .ok_or_else(|| Problem::parameter(format!("page must be a number from 1, not {text:?}")))?,
    };
    let now = shared.admin.clock.now();
    let (mut endpoints, mut subscriptions, mut replays) = (Vec::new(), Vec::new(), Vec::new());
    for item in objects::items(shared, caller, namespace).await {
        match item {
            ObjectItem::Endpoint(item) => endpoints.push((Health::of(&item.status.conditions), item)),
            ObjectItem::Subscription(item) => subscriptions.push((Health::of(&item.status.conditions), item)),
            ObjectItem::Replay(item) => replays.push(item),
        }
    }
    // What needs attention comes first.
    let name = |namespace: &str, name: &str| (namespace.to_owned(), name.to_owned());
    endpoints.sort_by_cached_key(|(health, item)| (health.level, name(&item.namespace, &item.name)));
    subscriptions.sort_by_cached_key(|(health, item)| (health.level, name(&item.namespace, &item.name)));
    let snapshot = Arc::clone(&shared.admin.snapshot.borrow());
    let hours = Hours { shared, snapshot: &snapshot };
    let received = rates::sum(endpoints.iter().filter_map(|(_, it)| hours.endpoint(&it.namespace, &it.name)));
    let sent = rates::sum(subscriptions.iter().filter_map(|(_, it)| hours.subscription(&it.namespace, &it.name)));
    let sees_all = namespace.is_none() || shared.sees_all_namespaces(caller).await;
    let is_empty = endpoints.is_empty() && subscriptions.is_empty() && replays.is_empty();
    let pages = endpoints.len().max(subscriptions.len()).max(replays.len()).div_ceil(CONSOLE_OBJECTS).max(1);
    let first = (page - 1) * CONSOLE_OBJECTS;
    let content = html! {
        (namespace_form(namespace, sees_all))
        @if let Some(namespace) = namespace.filter(|_| is_empty) {
            p.remark {
                "Namespace " bdi { (namespace) } " has no objects of Grapnel that this operator serves, or does not exist. Check \
                 its name."
            }
        }
        (tiles(&endpoints, &subscriptions))
        div.charts {
            (chart::figure("Events, last hour by minute", Some(&received), "accepted", "rejected"))
            (chart::figure("Attempts, last hour by minute", Some(&sent), "delivered", "failed"))
        }
        h2 { "Endpoints" }
        @if endpoints.is_empty() { p { "There are no endpoints here." } } @else {
            (layout::table(
                "Endpoints",
                &["Endpoint", "Health", "Received", "Rejected", "Last received", "Last hour"],
                html! { @for (health, item) in endpoints.iter().skip(first).take(CONSOLE_OBJECTS) {
                    (endpoint_row(health, item, hours.endpoint(&item.namespace, &item.name).as_ref(), now))
                } },
            ))
        }
        h2 { "Subscriptions" }
        @if subscriptions.is_empty() { p { "There are no subscriptions here." } } @else {
            (layout::table(
                "Subscriptions",
                &["Subscription", "Health", "Endpoint", "Delivered", "Pending", "Retrying", "Dead letters", "Last hour"],
                html! { @for (health, item) in subscriptions.iter().skip(first).take(CONSOLE_OBJECTS) {
                    (subscription_row(health, item, hours.subscription(&item.namespace, &item.name).as_ref()))
                } },
            ))
        }
        @if !replays.is_empty() {
            h2 { "Replays" }
            (replay::table(&replays.iter().skip(first).take(CONSOLE_OBJECTS).collect::<Vec<_>>(), true))
        }
        @if pages > 1 { (page_links(namespace, page, pages)) }
        (journal(shared, namespace))
    };
    let home = namespace.filter(|_| !sees_all).map(Home::of).unwrap_or_default();
    Ok(Page { title: "Overview".into(), home, above: Vec::new(), caller: Some(caller), content })
}

/// The charts of objects.
struct Hours<'a> {
    shared: &'a Shared,
    snapshot: &'a Snapshot,
}

impl Hours<'_> {
    fn endpoint(&self, namespace: &str, name: &str) -> Option<Hour> {
        let key = ObjectKey::new(namespace, name);
        let now = self.snapshot.endpoint(&key).map(|it| Counts::of_endpoint(it)).unwrap_or_default();
        self.shared.admin.rates.hour(ObjectKind::Endpoint, &key, now)
    }

    fn subscription(&self, namespace: &str, name: &str) -> Option<Hour> {
        let key = ObjectKey::new(namespace, name);
        let now = self.snapshot.subscription(&key).map(|it| Counts::of_subscription(it)).unwrap_or_default();
        self.shared.admin.rates.hour(ObjectKind::Subscription, &key, now)
    }
}

/// The form that selects a namespace.
pub(super) fn namespace_form(namespace: Option<&str>, sees_all: bool) -> Markup {
    html! {
        form.filter method="get" action=(links::OVERVIEW) {
            label { "Namespace " input name="namespace" value=[namespace] maxlength="63" autocomplete="off" spellcheck="false"; }
            button { "Show" }
            @if namespace.is_some() && sees_all { a href=(links::OVERVIEW) { "All namespaces" } }
        }
    }
}

fn tiles(endpoints: &[(Health, EndpointItem)], subscriptions: &[(Health, SubscriptionItem)]) -> Markup {
    let all = |of: fn(&SubscriptionItem) -> Option<u64>| -> u64 {
        subscriptions.iter().filter_map(|(_, item)| of(item)).fold(0, u64::saturating_add)
    };
    let dead = all(|item| item.status.dead_lettered);
    let waiting = all(|item| item.status.pending).saturating_add(all(|item| item.status.retrying));
    let open = subscriptions.iter().filter(|(_, item)| item.sending.circuit == Some(CircuitName::Open)).count();
    let bad = |levels: &mut dyn Iterator<Item = Level>| levels.filter(|level| *level == Level::Bad).count();
    let tile = |name: &str, number: u64, is_bad: bool| {
        html! { div.tile.attention[is_bad] { dt { (name) } dd { (number) @if is_bad { span.sr { " (needs attention)" } } } } }
    };
    let failing = bad(&mut endpoints.iter().map(|(health, _)| health.level))
        + bad(&mut subscriptions.iter().map(|(health, _)| health.level));
    html! {
        dl.tiles {
            (tile("Endpoints", endpoints.len() as u64, false))
            (tile("Subscriptions", subscriptions.len() as u64, false))
            (tile("Failing", failing as u64, failing > 0))
            (tile("Open circuits", open as u64, open > 0))
            (tile("Dead letters", dead, dead > 0))
            (tile("Waiting events", waiting, false))
        }
    }
}

fn endpoint_row(health: &Health, item: &EndpointItem, hour: Option<&Hour>, now: Timestamp) -> Markup {
    let key = ObjectKey::new(&*item.namespace, &*item.name);
    html! {
        tr {
            th scope="row" { a href=(links::endpoint(&key)) { bdi { (key) } } }
            td { (health.badge()) }
            td.number { (item.status.received.unwrap_or_default()) }
            td.number { (item.status.rejected.unwrap_or_default()) }
            td { @match &item.status.last_received_time { Some(time) => (text::ago(time.0, now)), None => "never" } }
            td { @if let Some(hour) = hour { (chart::hour(hour, "accepted", "rejected")) } }
        }
    }
}

fn subscription_row(health: &Health, item: &SubscriptionItem, hour: Option<&Hour>) -> Markup {
    let key = ObjectKey::new(&*item.namespace, &*item.name);
    let endpoint = item
        .endpoint
        .as_deref()
        .map(|name| ObjectKey::new(item.endpoint_namespace.as_deref().unwrap_or(&item.namespace), name));
    html! {
        tr {
            th scope="row" { a href=(links::subscription(&key)) { bdi { (key) } } }
            td {
                (health.badge())
                @if item.sending.circuit == Some(CircuitName::Open) { " " (health::badge(Level::Bad, "circuit open")) }
            }
            td { @if let Some(endpoint) = endpoint { a href=(links::endpoint(&endpoint)) { bdi { (endpoint) } } } }
            td.number { (item.status.delivered.unwrap_or_default()) }
            td.number { (item.status.pending.unwrap_or_default()) }
            td.number { (item.status.retrying.unwrap_or_default()) }
            td.number { (item.status.dead_lettered.unwrap_or_default()) }
            td { @if let Some(hour) = hour { (chart::hour(hour, "delivered", "failed")) } }
        }
    }
}

fn page_links(namespace: Option<&str>, page: usize, pages: usize) -> Markup {
    let to = |page: usize| {
        links::with(links::OVERVIEW, [("namespace", namespace.unwrap_or_default()), ("page", &*page.to_string())])
    };
    html! {
        nav.pages aria-label="Pages of the lists" {
            @if page > 1 { a href=(to(page - 1)) rel="prev" { "Previous" } }
            span { "Page " (page) " of " (pages) }
            @if page < pages { a href=(to(page + 1)) rel="next" { "Next" } }
        }
    }
}

fn journal(shared: &Shared, namespace: Option<&str>) -> Markup {
    let journal = &*shared.admin.journal;
    let usage = journal.usage();
    let namespaces = journal.namespaces();
    let shown = namespaces.iter().filter(|it| namespace.is_none_or(|namespace| *it.namespace == *namespace));
    html! {
        h2 { "Journal" }
        @if namespace.is_none() {
            p {
                (text::bytes(usage.bytes)) " of events, " (text::bytes(usage.disk_bytes)) " on disk"
                @if usage.max_bytes > 0 { " of at most " (text::bytes(usage.max_bytes)) } "."
            }
        }
        @if let Some(trouble) = journal.trouble() {
            p.problem role="alert" { "Events are rejected: " (trouble) }
        }
        (layout::table("Journal by namespace", &["Namespace", "Bytes of events"], html! {
            @for usage in shown.take(CONSOLE_OBJECTS) {
                tr { th scope="row" { bdi { (usage.namespace) } } td.number { (text::bytes(usage.bytes)) } }
            }
        }))
    }
}
