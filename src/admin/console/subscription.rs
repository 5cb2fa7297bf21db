//! The page of a subscription: how its deliveries fare, and which to send again.

use std::sync::Arc;

use axum::{
    extract::{Extension, Path, State},
    http::Uri,
    response::Response,
};
use grapnel_api::{Incarnation, ObjectKey};
use grapnel_journal::DeliveryState;
use jiff::Timestamp;
use maud::{Markup, html};

use super::{
    Shown, chart, csrf,
    health::{self, Health, Level},
    layout::{self, Page},
    links, outcome,
    rates::Counts,
    redelivery::Done,
    replay, shadow, text,
};
use crate::{
    admin::{
        Shared,
        authn::Caller,
        authz::{self, Ask, Resource, Verb},
        contract::{CircuitName, DeliveryItem, ItemState, ListOrder, ObjectItem, Sending, SubscriptionItem},
        limits::CONSOLE_LIST,
        objects,
        query::Query,
        response::Problem,
    },
    catalog::ObjectKind,
};

/// The states by which deliveries are filtered, as they are named in the API and on the page.
const STATES: [(&str, &str); 6] = [
    ("", "all"),
    ("pending", "pending"),
    ("inFlight", "in flight"),
    ("retrying", "retrying"),
    ("deadLettered", "dead letters"),
    ("settled", "delivered or skipped"),
];

/// `GET /console/subscriptions/{namespace}/{name}`
pub(super) async fn show(
    State(shared): State<Arc<Shared>>,
    Extension(caller): Extension<Caller>,
    Path((namespace, name)): Path<(String, String)>,
    uri: Uri,
) -> Shown {
    let key = ObjectKey::new(namespace, name);
    let result = page(&shared, &caller, &key, &uri).await;
    Shown::of(ObjectKind::Subscription, key, result)
}

async fn page(shared: &Shared, caller: &Caller, key: &ObjectKey, uri: &Uri) -> Result<Response, Problem> {
    let query = Query::of_page(uri, &[&["state", "after"][..], &Done::PARAMETERS[..]].concat())?;
    let subscription = shared.subscription(key)?;
    let (state, after) = (query.state()?, query.after()?);
    let list = shared.deliveries_page(
        subscription.clone(),
        state.map(DeliveryState::from),
        ListOrder::Desc,
        CONSOLE_LIST,
        after,
    );
    let list = list.await?;
    let now = shared.admin.clock.now();
    let view = shared.view(ObjectKind::Subscription, key)?;
    let endpoint = view.endpoint_ref.clone();
    let sending = shared.sending(key);
    let is_open = sending.circuit == Some(CircuitName::Open);
    let state_shown = if shared.may(caller, &Ask::of(Verb::Get, Resource::Subscriptions, key)).await {
        let ObjectItem::Subscription(item) = objects::item(shared, &view, now) else {
            return Err(Problem::not_found(format!("{key} is not a subscription")));
        };
        Some(state_of(shared, key, &item, lag(shared, &subscription, now).await?, now))
    } else {
        None
    };
    let may_redeliver = shared.may(caller, &Ask::of(Verb::Update, Resource::Deliveries, key)).await;
    let replays = replays(shared, caller, key, now).await;
    let shadowed = shadow::examples(shared, caller, &subscription).await?;
    let token = csrf::token(shared.form_key.as_ref(), caller);
    let here = links::subscription(key);
    let state = query.get("state").unwrap_or_default();
    let content = html! {
        @if let Some(done) = Done::of(&query, &here, shared, caller) { (done.show(&here, &token, is_open)) }
        @if let Some(state) = state_shown { (state) }
        @if is_open && may_redeliver {
            form method="post" action={ (here) "/resume" } {
                input type="hidden" name="csrf" value=(token);
                p.actions {
                    button { "Probe the receiver now" }
                    span.note { "One event is sent. If the receiver accepts it, the circuit closes. Every retry becomes due now." }
                }
            }
        }
        (shadowed)
        (replays)
        h2 id="deliveries" { "Deliveries" }
        form.filter method="get" action=(here) {
            label { "Show " select name="state" {
                @for (value, name) in STATES { option value=(value) selected[value == state] { (name) } }
            } }
            button { "Show" }
            @if after.is_some() { a href=(links::with(&here, [("state", state)])) { "Newest" } }
        }
        @if may_redeliver {
            form method="post" action={ (here) "/redeliver" } {
                input type="hidden" name="csrf" value=(token);
                p.actions {
                    button name="select" value="events" { "Redeliver selected…" } " "
                    button name="select" value="deadLettered" { "Redeliver all dead letters…" } " "
                    button name="select" value="retrying" { "Retry all now…" }
                }
                (rows(&list.items, endpoint.as_ref(), &sending, true, now))
            }
        } @else {
            (rows(&list.items, endpoint.as_ref(), &sending, false, now))
        }
        @if list.items.is_empty() { p.empty { "There are no such deliveries." } }
        @if let Some(next) = &list.next {
            nav.pages aria-label="Pages of deliveries" {
                a rel="next" href=(links::with(&here, [("state", state), ("after", next)])) { "Older deliveries" }
            }
        }
    };
    let home = shared.home(caller, &key.namespace).await;
    let above = links::above(key, endpoint.iter().map(|endpoint| (endpoint.to_string(), links::endpoint(endpoint))));
    Ok(Page { title: key.to_string(), home, above, caller: Some(caller), content }.respond())
}

/// The replays of a subscription, for those who may list them.
async fn replays(shared: &Shared, caller: &Caller, key: &ObjectKey, now: Timestamp) -> Markup {
    let views = Arc::clone(&shared.admin.objects.borrow());
    let own: Vec<_> = views.iter().filter(|view| view.subscription_ref.as_ref() == Some(key)).collect();
    if own.is_empty() || !shared.may(caller, &authz::replays(Some(&key.namespace))).await {
        return html! {};
    }
    let items = own.iter().take(CONSOLE_LIST).filter_map(|view| match objects::item(shared, view, now) {
        ObjectItem::Replay(item) => Some(item),
        _ => None,
    });
    let items: Vec<_> = items.collect();
    html! {
        h2 { "Replays" }
        (replay::table(&items.iter().collect::<Vec<_>>(), false))
        @if own.len() > items.len() { p.remark { (own.len() - items.len()) " more are on the overview." } }
    }
}

fn rows(
    items: &[DeliveryItem],
    endpoint: Option<&ObjectKey>,
    sending: &Sending,
    may_redeliver: bool,
    now: Timestamp,
) -> Markup {
    let select: &[&str] = if may_redeliver { &["Select"] } else { &[] };
    let titles: Vec<&str> =
        select.iter().copied().chain(["Event", "Type", "Received"]).chain(outcome::TITLES).collect();
    layout::table(
        "Deliveries",
        &titles,
        html! {
            @for item in items {
                tr {
                    @if may_redeliver {
                        td {
                            @if let Some(id) = &item.event_id {
                                input type="checkbox" name="id" value=(id) aria-label={ "Select event " (text::named(id)) };
                            }
                        }
                    }
                    th scope="row" { (outcome::event(endpoint, item)) }
                    td.name { @if let Some(kind) = &item.r#type { (text::inline(kind)) } }
                    td { @if let Some(time) = item.received_time { (text::ago(time, now)) } }
                    (outcome::cells(item, sending, now))
                }
            }
        },
    )
}

/// When the oldest event was received that is not settled yet; `None` if there is none, as far as two steps tell.
async fn lag(shared: &Shared, subscription: &Incarnation, now: Timestamp) -> Result<Option<String>, Problem> {
    let mut oldest: Option<Timestamp> = None;
    for state in [ItemState::Pending, ItemState::Retrying] {
        let state = Some(DeliveryState::from(state));
        let first = shared.deliveries_page(subscription.clone(), state, ListOrder::Asc, 1, None).await?;
        let received = first.items.first().and_then(|item| item.received_time);
        oldest = [oldest, received].into_iter().flatten().min();
    }
    Ok(oldest.map(|oldest| text::short(now.duration_since(oldest))))
}

/// What the status of the subscription tells.
fn state_of(shared: &Shared, key: &ObjectKey, item: &SubscriptionItem, lag: Option<String>, now: Timestamp) -> Markup {
    let (status, health) = (&item.status, Health::of(&item.status.conditions));
    let counts = shared.admin.snapshot.borrow().subscription(key).map(|it| Counts::of_subscription(it));
    let hour = shared.admin.rates.hour(ObjectKind::Subscription, key, counts.unwrap_or_default());
    let number = |count: Option<u64>| count.unwrap_or_default();
    html! {
        p {
            (health.badge()) " "
            @match item.sending.circuit {
                Some(CircuitName::Open) => { (health::badge(Level::Bad, "circuit open")) " " }
                Some(CircuitName::Closed) => { (health::badge(Level::Good, "circuit closed")) " " }
                None => {}
            }
            a href=(links::yaml(ObjectKind::Subscription, key)) { "Conditions and YAML" }
        }
        (health.notice())
        dl.facts {
            dt { "Backlog" } dd {
                (number(status.pending)) " pending, " (number(status.in_flight)) " in flight, "
                (number(status.retrying)) " retrying"
            }
            dt { "Lag" } dd { @match lag { Some(lag) => { "the oldest waiting event was received " (lag) " ago" }, None => "nothing waits" } }
            dt { "Dead letters" } dd { (number(status.dead_lettered)) }
            dt { "Delivered" } dd { (number(status.delivered)) }
            (shadow::counts(status.shadow.as_ref(), item.sending.mode.is_some()))
            @if let Some(probe) = item.sending.next_probe_time { dt { "Next probe" } dd { (text::until(probe, now)) } }
            @if let Some(paused) = item.sending.paused_until { dt { "Paused" } dd { "until the receiver's Retry-After, " (text::until(paused, now)) } }
            @if let Some(last) = &status.last_delivery {
                dt { "Last delivery" }
                dd { (text::ago(last.time.0, now)) ", status " (last.status_code) ", " (last.duration_ms) " ms" }
            }
            @if let Some(last) = &status.last_failure {
                dt { "Last failure" }
                dd { (text::ago(last.time.0, now)) ", " code { (last.reason) } " " (text::inline(&last.message)) }
            }
            @if let Some(source) = &item.source { dt { "Defined in" } dd { code { (source) } } }
        }
        (chart::figure("Attempts, last hour by minute", hour.as_ref(), "delivered", "failed"))
    }
}
