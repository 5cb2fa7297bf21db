//! What a subscription in mode Shadow would have sent: counts, and the newest bodies.
//!
//! Bodies are not kept. They are made again from the stored events, by the subscription as it is configured now.

use std::sync::Arc;

use grapnel_api::{DeliveryMode, Incarnation, ObjectKey, ShadowCounts};
use grapnel_journal::{DeliveryState, StoredEvent};
use maud::{Markup, html};

use super::{
    links,
    payload::{self, Excerpt},
    text,
};
use crate::{
    admin::{
        Shared,
        authn::Caller,
        authz::{Ask, Resource, Verb},
        contract::{ItemSkip, ListOrder},
        limits::{CONSOLE_LIST, CONSOLE_SHADOW_BYTES, CONSOLE_SHADOWS},
        read::Read,
        response::Problem,
    },
    catalog::Subscription,
    dispatch::preview::{DeliveryPreview, preview},
};

/// What would be sent for one event.
struct Example {
    id: Box<str>,
    outcome: Outcome,
}

enum Outcome {
    Sent { content_type: Option<String>, body: Excerpt },
    Skipped(&'static str),
    Failed(String),
}

/// The counts of mode Shadow, as facts of a subscription.
pub(super) fn counts(counts: Option<&ShadowCounts>, is_shadow: bool) -> Markup {
    let counts = counts.copied().or_else(|| is_shadow.then(ShadowCounts::default));
    html! {
        @if let Some(ShadowCounts { would_send, failed }) = counts {
            dt { "Mode Shadow" } dd {
                (text::count(would_send, "event")) " would have been sent; " (failed) " failed in the filter or the transformation"
            }
        }
    }
}

/// The newest events that mode Shadow has not sent, with what the subscription would send now. Nothing if its mode is
/// another one, or the caller may not read the events.
pub(super) async fn examples(shared: &Shared, caller: &Caller, subscription: &Incarnation) -> Result<Markup, Problem> {
    let live = shared.admin.snapshot.borrow().subscription(&subscription.key).map(Arc::clone);
    let Some(live) = live.filter(|it| it.mode == DeliveryMode::Shadow) else { return Ok(html! {}) };
    let endpoint = live.endpoint.key.clone();
    if !shared.may(caller, &Ask::of(Verb::Get, Resource::Events, &endpoint)).await {
        return Ok(html! {});
    }
    let settled = Some(DeliveryState::Settled);
    let page = shared.deliveries_page(subscription.clone(), settled, ListOrder::Desc, CONSOLE_LIST, None).await?;
    let shadowed = page.items.into_iter().filter(|item| item.skip_reason == Some(ItemSkip::Shadow));
    let wanted: Vec<_> =
        shadowed.filter_map(|item| Some((item.event_id?, item.sequence))).take(CONSOLE_SHADOWS).collect();
    let found = shared.read(async move |read: Read| {
        let mut events = Vec::new();
        for (id, sequence) in wanted {
            let event = read.journal.event(&live.endpoint, &id).await?;
            events.extend(event.filter(|event| event.sequence == sequence));
        }
        let made = tokio::task::spawn_blocking(move || {
            events.into_iter().map(|event| example(&live, event)).collect::<Vec<_>>()
        });
        made.await.map_err(|_| Problem::unavailable("what would be sent cannot be shown"))
    });
    Ok(show(&endpoint, &found.await?))
}

fn example(subscription: &Subscription, event: StoredEvent) -> Example {
    let id = event.id.clone();
    let DeliveryPreview { admitted, filter, delivery } = preview(subscription, event);
    let outcome = match (filter, delivery) {
        _ if !admitted => Outcome::Skipped("eventTypes does not match its type"),
        (Some(Err(error)), _) => Outcome::Failed(format!("filter, {error}")),
        (_, None) => Outcome::Skipped("the filter is false"),
        (_, Some(Err(error))) => Outcome::Failed(error.to_string()),
        (_, Some(Ok(made))) => {
            let body = payload::start(&made.bytes, made.content_type.as_deref(), CONSOLE_SHADOW_BYTES);
            Outcome::Sent { content_type: made.content_type, body }
        }
    };
    Example { id, outcome }
}

fn show(endpoint: &ObjectKey, examples: &[Example]) -> Markup {
    html! {
        h2 { "What would be sent" }
        @if examples.is_empty() {
            p { "None of the newest events would have been sent." }
        } @else {
            p.remark { "Bodies of the newest events, made again by the subscription as it is configured now." }
        }
        @for Example { id, outcome } in examples {
            h3 { a href=(links::event(endpoint, id)) { (text::inline(id)) } }
            @match outcome {
                Outcome::Skipped(why) => p { "It would be skipped: " (why) "." },
                Outcome::Failed(error) => p.problem { (text::inline(error)) },
                Outcome::Sent { content_type, body } => {
                    @if let Some(content_type) = content_type { p { "Content type: " (text::inline(content_type)) } }
                    @match &body.text {
                        Some(text) => pre.payload tabindex="0" aria-label={ "Body for " (text::named(id)) } {
                            code dir="ltr" { (text::visible(text)) }
                        },
                        None => p { "The body is not text." },
                    }
                    @if body.is_cut { p.remark { "Only the start is shown." } }
                }
            }
        }
    }
}
