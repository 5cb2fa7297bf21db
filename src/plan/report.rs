//! What a rehearsal has found.

use std::collections::BTreeMap;

use grapnel_journal::StoredEvent;
use jiff::Timestamp;
use serde::Serialize;

use super::{
    body_diff::{DiffLine, short},
    difference::DifferenceKind,
    limits::PLAN_EXAMPLES,
};

/// What a rehearsal has found, in order of kind and name.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Whether the new version behaves differently, as far as is known. A field whose effect is not rehearsed counts, and
    /// so does a changed field without an event to try it on.
    pub changed: bool,
    /// Number of events of all endpoints that were tried.
    pub events: u64,
    /// Endpoints that differ.
    pub endpoints: Vec<EndpointReport>,
    /// Subscriptions that differ, or whose endpoint does.
    pub subscriptions: Vec<SubscriptionReport>,
    /// Replays that differ.
    pub replays: Vec<ReplayReport>,
    /// What limits the result.
    pub notes: Vec<String>,
}

/// What a changed endpoint makes of the stored events.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EndpointReport {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// What happens to it.
    pub change: DifferenceKind,
    /// The fields that differ.
    pub fields: Vec<String>,
    /// Those whose effect is not rehearsed.
    pub not_rehearsed: Vec<String>,
    /// Number of events tried.
    pub events: u64,
    /// Events that were accepted and would be refused, by code.
    pub refused: Group,
    /// Events that the live version would refuse and the new one accepts.
    pub accepted: Group,
    /// Events that would have another type.
    pub type_changed: Group,
    /// Events that would have another id.
    pub id_changed: Group,
    /// Of a deleted endpoint: what all its live subscriptions leave behind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub undelivered: Option<Undelivered>,
    /// Of a deleted endpoint: the added endpoint that has its path, as `namespace/name`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replaced_by: Option<String>,
}

/// What a changed subscription makes of the stored events.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SubscriptionReport {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// What happens to it.
    pub change: DifferenceKind,
    /// The fields that differ.
    pub fields: Vec<String>,
    /// Those whose effect is not rehearsed.
    pub not_rehearsed: Vec<String>,
    /// Number of events tried.
    pub events: u64,
    /// How many of them the live version delivers.
    pub delivered_before: u64,
    /// How many of them the new version delivers.
    pub delivered_after: u64,
    /// Events that only the new version delivers.
    pub more: Group,
    /// Events that only the live version delivers, by the reason why the new one does not.
    pub fewer: Group,
    /// Events on which an expression of the new version fails, and of the live version did not.
    pub failing: Group,
    /// Number of events that both deliver with another body.
    pub bodies_changed: u64,
    /// The first of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body_change: Option<BodyChange>,
    /// What a deleted subscription leaves behind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub undelivered: Option<Undelivered>,
    /// Whether a deleted subscription has the deletion policy Drain.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub drains: bool,
}

/// What a replay would do.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReplayReport {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// What happens to it.
    pub change: DifferenceKind,
    /// The fields that differ.
    pub fields: Vec<String>,
    /// The name of its subscription.
    pub subscription: String,
    /// Whether it only counts events.
    pub dry_run: bool,
    /// Whether it queues nothing for now.
    pub suspended: bool,
    /// The events that it would select now; absent if that is not known, or if it would select none anew.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub matches: Option<ReplayMatches>,
    /// Of a deleted replay: whether it has ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended: Option<bool>,
}

/// The events that a replay would select now.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReplayMatches {
    /// Selected events for which the filter is true.
    pub matched: u64,
    /// Of them, those that wait for delivery already.
    pub waiting: u64,
    /// Selected events on which the filter fails.
    pub filter_errors: u64,
    /// Selected events whose data the filter needs, and that could not be read.
    pub unread: u64,
    /// Whether there are more events than a plan looks at.
    pub is_partial: bool,
}

/// What a deleted subscription leaves behind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Undelivered {
    /// Events that are not delivered yet.
    pub unsettled: u64,
    /// Dead letters that can no longer be redelivered.
    pub dead_lettered: u64,
}

impl Undelivered {
    /// The sum of both.
    pub(super) fn with(self, other: &Self) -> Self {
        Self {
            unsettled: self.unsettled.saturating_add(other.unsettled),
            dead_lettered: self.dead_lettered.saturating_add(other.dead_lettered),
        }
    }
}

/// The bodies of one event.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BodyChange {
    /// The event.
    pub event: Example,
    /// The lines that differ; none if only the formatting or the content type does.
    pub diff: Vec<DiffLine>,
}

/// A number of events with examples.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Group {
    /// How many there are.
    pub count: u64,
    /// How many there are for each reason.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub reasons: BTreeMap<&'static str, u64>,
    /// The first of them, as they were tried.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub examples: Vec<Example>,
}

/// An event in a report.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Example {
    /// Its id.
    pub id: String,
    /// Its type.
    pub r#type: String,
    /// When it was received.
    pub received_time: Timestamp,
    /// What would become of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

impl Example {
    /// A stored event, and what would become of it.
    pub(super) fn of(event: &StoredEvent, message: Option<&str>) -> Self {
        Self {
            id: event.id.to_string(),
            r#type: event.kind.to_string(),
            received_time: event.received,
            message: message.map(short),
        }
    }
}

impl Group {
    /// Adds an event.
    pub(super) fn add(&mut self, event: &StoredEvent, reason: Option<&'static str>, message: Option<&str>) {
        self.count += 1;
        if let Some(reason) = reason {
            *self.reasons.entry(reason).or_default() += 1;
        }
        if self.examples.len() < PLAN_EXAMPLES {
            self.examples.push(Example::of(event, message));
        }
    }
}

impl EndpointReport {
    /// Whether an event is treated differently.
    pub(super) fn has_effect(&self) -> bool {
        [&self.refused, &self.accepted, &self.type_changed, &self.id_changed].iter().any(|group| group.count > 0)
    }
}

impl SubscriptionReport {
    /// Whether an event is treated differently.
    pub(super) fn has_effect(&self) -> bool {
        self.bodies_changed > 0 || [&self.more, &self.fewer, &self.failing].iter().any(|group| group.count > 0)
    }
}
