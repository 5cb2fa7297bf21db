//! What became of an event for a subscription.

use grapnel_api::ObjectKey;
use jiff::Timestamp;
use maud::{Markup, html};

use super::{
    health::{Level, badge},
    text,
};
use crate::admin::contract::{DeliveryItem, ItemOutcome, ItemSkip, ItemState};

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

/// The cells of a delivery.
pub(super) fn cells(item: &DeliveryItem, now: Timestamp) -> Markup {
    html! {
        td {
            (word(item))
            @if let Some(due) = item.next_attempt_time { " " span.note { "next attempt " (text::until(due, now)) } }
        }
        td.number { (item.attempts) }
        td.number { @if let Some(status) = item.last_status_code { (status) } }
        td.number { @if let Some(duration) = item.duration_ms { (duration) " ms" } }
        td { @if let Some(time) = item.last_attempt_time { (text::ago(time, now)) } }
        td.wide {
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
