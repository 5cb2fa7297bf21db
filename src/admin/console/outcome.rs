//! What became of an event for a subscription.

use grapnel_api::ObjectKey;
use jiff::Timestamp;
use maud::{Markup, html};

use super::{
    health::{Level, badge},
    text,
};
use crate::admin::contract::{CircuitName, DeliveryItem, ItemOutcome, ItemSkip, ItemState, Sending};

/// The titles of the columns that [`cells`] fills.
pub(super) const TITLES: [&str; 6] = ["Outcome", "Attempts", "Status", "Duration", "Last attempt", "Answer or failure"];

/// The outcome, in one word with its level.
pub(super) fn word(item: &DeliveryItem) -> Markup {
    let (level, word) = match (item.state, item.outcome) {
        (ItemState::InFlight, _) => (Level::Idle, "in flight"),
        (_, ItemOutcome::Pending) => (Level::Idle, "pending"),
        (_, ItemOutcome::Retrying) => (Level::Warning, "retrying"),
        (_, ItemOutcome::DeadLettered) => (Level::Bad, "dead letter"),
        (_, ItemOutcome::Delivered) => (Level::Good, "delivered"),
        (_, ItemOutcome::Skipped) => match item.skip_reason {
            Some(ItemSkip::Filter) => (Level::Idle, "skipped by filter"),
            Some(ItemSkip::Type) => (Level::Idle, "skipped by type"),
            Some(ItemSkip::Shadow) => (Level::Idle, "skipped by mode Shadow"),
            None => (Level::Idle, "skipped"),
        },
        (_, ItemOutcome::Unknown) => (Level::Warning, "unknown"),
    };
    badge(level, word)
}

/// When the next attempt is, or what it waits for; nothing if no attempt follows, or the next one is not held.
fn next_attempt(item: &DeliveryItem, sending: &Sending, now: Timestamp) -> Option<Markup> {
    if !matches!(item.state, ItemState::Pending | ItemState::Retrying) {
        return None;
    }
    let (due, probe) = (item.next_attempt_time, sending.next_probe_time.unwrap_or(now));
    let is_due_at = |time: Timestamp| due.is_none_or(|due| due <= time);
    if sending.suspended == Some(true) && is_due_at(now) {
        return Some(html! { "waits until the subscription is resumed" });
    }
    // A failing probe delays all events to the next one.
    if sending.circuit == Some(CircuitName::Open) && is_due_at(now.max(probe)) {
        return Some(html! {
            "waits for the circuit (probe "
            @if probe > now { (text::until(probe, now)) } @else { "with the next event that is due" }
            ")"
        });
    }
    if let Some(until) = sending.paused_until.filter(|until| *until > now && is_due_at(*until)) {
        return Some(html! { "waits for the receiver's Retry-After, " (text::until(until, now)) });
    }
    due.map(|due| html! { "next attempt " (text::until(due, now)) })
}

/// The cells of a delivery.
pub(super) fn cells(item: &DeliveryItem, sending: &Sending, now: Timestamp) -> Markup {
    html! {
        td {
            (word(item))
            @if let Some(next) = next_attempt(item, sending, now) { " " span.note { (next) } }
        }
        td.number { (item.attempts) }
        td.number { @if let Some(status) = item.last_status_code { (status) } }
        td.number { @if let Some(duration) = item.duration_ms { (duration) " ms" } }
        td { @if let Some(time) = item.last_attempt_time { (text::ago(time, now)) } }
        td.wide {
            @if let Some(answer) = &item.answer { (text::inline(answer)) " " }
            @if let Some(failure) = &item.last_failure {
                @if item.outcome == ItemOutcome::Delivered { span.note { "before: " } }
                code { (failure.reason) } " " (text::inline(&failure.message))
            }
        }
    }
}

/// The id of an event as a link to its page, or what is known of a damaged one.
pub(super) fn event(endpoint: Option<&ObjectKey>, item: &DeliveryItem) -> Markup {
    html! {
        @match (&item.event_id, endpoint) {
            (Some(id), Some(endpoint)) => a href=(super::links::event(endpoint, id)) { (text::inline(id)) },
            (Some(id), None) => (text::inline(id)),
            (None, _) => { "damaged, sequence " (item.sequence) }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const NOW: &str = "2026-01-31T12:00:00Z";

    fn shown(delivery: Value, sending: Value) -> String {
        let mut item = json!({ "sequence": 1, "state": "retrying", "outcome": "retrying", "attempts": 1 });
        item.as_object_mut().unwrap().extend(delivery.as_object().unwrap().clone());
        let (item, sending) = (serde_json::from_value(item).unwrap(), serde_json::from_value(sending).unwrap());
        next_attempt(&item, &sending, NOW.parse().unwrap()).map(Markup::into_string).unwrap_or_default()
    }

    #[test]
    fn a_held_event_says_what_it_waits_for() {
        let (due, later) = (json!({ "nextAttemptTime": NOW }), json!({ "nextAttemptTime": "2026-01-31T13:00:00Z" }));
        let open = json!({ "circuit": "open", "nextProbeTime": "2026-01-31T12:00:25Z" });
        let text = shown(due.clone(), open.clone());
        assert!(text.starts_with("waits for the circuit (probe ") && text.contains("in 25s"), "{text}");
        let past = json!({ "circuit": "open", "nextProbeTime": "2026-01-31T11:59:00Z" });
        assert_eq!(shown(due.clone(), past), "waits for the circuit (probe with the next event that is due)");
        let pending = json!({ "state": "pending", "outcome": "pending" });
        assert!(shown(pending.clone(), open.clone()).contains("waits for the circuit"));
        assert!(shown(later.clone(), open).contains("next attempt"), "it is due after the probe");
        let paused = json!({ "circuit": "closed", "pausedUntil": "2026-01-31T12:00:25Z" });
        assert!(shown(due.clone(), paused).contains("Retry-After"));
        assert!(shown(due.clone(), json!({ "suspended": true })).contains("resumed"));
        let closed = json!({ "circuit": "closed" });
        assert!(shown(due, closed.clone()).contains("next attempt") && shown(later, closed.clone()).contains("in 60m"));
        assert_eq!(shown(pending, closed.clone()), "");
        assert_eq!(shown(json!({ "state": "settled", "outcome": "delivered" }), closed), "");
    }
}
