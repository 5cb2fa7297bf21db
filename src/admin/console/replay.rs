//! The page of a replay: what it selects, how far it is, and what became of its events.

use std::sync::Arc;

use axum::{
    extract::{Extension, Path, State},
    http::Uri,
    response::Response,
};
use grapnel_api::{ObjectKey, ReplaySelection, WebhookReplaySpec};
use jiff::Timestamp;
use maud::{Markup, html};

use super::{
    Shown,
    health::{self, Health, Level},
    layout::{self, Page},
    links, text,
};
use crate::{
    admin::{
        Shared,
        authn::Caller,
        contract::{ObjectItem, ReplayItem},
        limits::CONSOLE_LIST,
        objects,
        query::Query,
        response::Problem,
    },
    catalog::{Facts, ObjectKind, ObjectView, status::ObjectSpec},
};

/// `GET /console/replays/{namespace}/{name}`
pub(super) async fn show(
    State(shared): State<Arc<Shared>>,
    Extension(caller): Extension<Caller>,
    Path((namespace, name)): Path<(String, String)>,
    uri: Uri,
) -> Shown {
    let key = ObjectKey::new(namespace, name);
    let result = page(&shared, &caller, &key, &uri).await;
    Shown::of(ObjectKind::Replay, key, result)
}

async fn page(shared: &Shared, caller: &Caller, key: &ObjectKey, uri: &Uri) -> Result<Response, Problem> {
    Query::of_page(uri, &[])?;
    let view = shared.view(ObjectKind::Replay, key)?;
    let now = shared.admin.clock.now();
    let ObjectItem::Replay(item) = objects::item(shared, &view, now) else {
        return Err(Problem::not_found(format!("{key} is not a WebhookReplay")));
    };
    let spec = match &view.spec {
        Some(ObjectSpec::Replay(spec)) => Some(spec),
        _ => None,
    };
    let health = Health::of_replay(&item.status.conditions);
    let content = html! {
        p { (badges(&item)) " " a href=(links::yaml(ObjectKind::Replay, key)) { "Conditions and YAML" } }
        @if item.dry_run { p.remark { "Dry run: it counts the events that it selects, and delivers none." } }
        (health.notice())
        dl.facts {
            @if let Some(subscription) = &view.subscription_ref {
                dt { "Subscription" } dd { a href=(links::subscription(subscription)) { bdi { (subscription) } } }
            }
            @if let Some(spec) = spec { (order(spec)) }
            @if let Some(time) = &item.status.start_time { dt { "Began" } dd { (text::ago(time.0, now)) } }
            @if let Some(time) = &item.status.completion_time { dt { "Ended" } dd { (text::ago(time.0, now)) } }
            @if let Some(source) = &item.source { dt { "Defined in" } dd { code { (source) } } }
        }
        h2 { "Events" }
        (events(&view, &item))
        h2 { "Conditions" }
        (health::conditions(&item.status.conditions, now))
    };
    let home = shared.home(caller, &key.namespace).await;
    let subscription = view.subscription_ref.iter().map(|it| (it.to_string(), links::subscription(it)));
    let above = links::above(key, subscription);
    Ok(Page { title: key.to_string(), home, above, caller: Some(caller), content }.respond())
}

/// The state of a replay, and that it is a dry run.
fn badges(item: &ReplayItem) -> Markup {
    html! {
        (Health::of_replay(&item.status.conditions).badge())
        @if item.dry_run { " " (health::badge(Level::Idle, "dry run")) }
    }
}

/// What the spec asks for.
fn order(spec: &WebhookReplaySpec) -> Markup {
    let WebhookReplaySpec { select, filter, rate, dry_run, suspend, ttl_seconds_after_finished: ttl, .. } = spec;
    let word = |set: &Option<bool>| if set.unwrap_or(false) { "yes" } else { "no" };
    html! {
        dt { "Selects" } dd { (selection(select)) }
        dt { "Filter" } dd { @match filter { Some(filter) => code { (text::inline(filter)) }, None => "none" } }
        dt { "Rate" } dd {
            @match rate {
                Some(rate) => {
                    (text::count(rate.requests.into(), "event")) " per "
                    @match &rate.per { Some(per) => (text::inline(&per.0)), None => "1s" }
                }
                None => "no limit of its own",
            }
        }
        dt { "Dry run" } dd { (word(dry_run)) }
        dt { "Suspended" } dd { (word(suspend)) }
        @if let Some(ttl) = ttl { dt { "Deleted" } dd { (ttl) " s after its end" } }
    }
}

fn selection(select: &ReplaySelection) -> Markup {
    let ReplaySelection { dead_lettered, since, until, ids } = select;
    html! {
        @if *dead_lettered == Some(true) { "all dead letters" }
        @if since.is_some() || until.is_some() {
            "events received"
            @if let Some(since) = since { " since " (exact(since.0)) }
            @if let Some(until) = until { " before " (exact(until.0)) }
        }
        @if let Some(ids) = ids {
            (text::count(ids.len() as u64, "event")) ": "
            @for (number, id) in ids.iter().take(CONSOLE_LIST).enumerate() {
                @if number > 0 { ", " }
                code { (text::inline(id)) }
            }
            @if ids.len() > CONSOLE_LIST { ", …" }
        }
    }
}

fn exact(time: Timestamp) -> Markup {
    html! { time datetime=(time) { (time) } }
}

/// The counts, and what they mean.
fn events(view: &ObjectView, item: &ReplayItem) -> Markup {
    let status = &item.status;
    let left = match &view.facts {
        Facts::Replay(facts) => facts.read(),
        _ => return html! {},
    };
    let mut rows =
        vec![("Matched", status.matched, "selected events for which the filter is true, as far as they are examined")];
    if !item.dry_run {
        rows.extend([
            ("Not queued yet", Some(left.unqueued.len() as u64), "matched events that the rate has not allowed yet"),
            ("Queued", status.queued, "queued for delivery, or waited for it already"),
            ("Waited already", status.already_queued, "of the queued events: left as they were"),
            ("Not settled yet", Some(left.waiting.len() as u64), "of the queued events: to be delivered or retried"),
            ("Delivered", status.delivered, "of the queued events"),
            ("Failed", status.failed, "of the queued events: dead letters again"),
            ("Skipped", status.skipped, "of the queued events: not wanted by the subscription's eventTypes or filter"),
        ]);
    }
    rows.extend([
        ("Gone", status.gone, "selected events that retention has removed, and ids that never existed"),
        ("Filter errors", status.filter_errors, "selected events that were left out because the filter failed"),
    ]);
    layout::table(
        "Events",
        &["Count", "Events", "Meaning"],
        html! { @for (name, count, meaning) in rows {
            tr { th scope="row" { (name) } td.number { (count.unwrap_or_default()) } td.wide { (meaning) } }
        } },
    )
}

/// A list of replays.
pub(super) fn table(items: &[&ReplayItem], names_subscription: bool) -> Markup {
    let subscription: &[&str] = if names_subscription { &["Subscription"] } else { &[] };
    let counts = ["Matched", "Queued", "Delivered", "Failed"];
    let titles: Vec<&str> = ["Replay", "State"].iter().chain(subscription).chain(&counts).copied().collect();
    layout::table("Replays", &titles, html! { @for item in items { (row(item, names_subscription)) } })
}

fn row(item: &ReplayItem, names_subscription: bool) -> Markup {
    let key = |name: &str| ObjectKey::new(&*item.namespace, name);
    let status = &item.status;
    html! {
        tr {
            th scope="row" { a href=(links::replay(&key(&item.name))) { bdi { (key(&item.name)) } } }
            td { (badges(item)) }
            @if names_subscription {
                td { @if let Some(name) = &item.subscription { a href=(links::subscription(&key(name))) { bdi { (key(name)) } } } }
            }
            td.number { (status.matched.unwrap_or_default()) }
            // A dry run queues nothing.
            @for count in [status.queued, status.delivered, status.failed] {
                td.number { @if item.dry_run { "–" } @else { (count.unwrap_or_default()) } }
            }
        }
    }
}
