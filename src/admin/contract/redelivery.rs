//! Redelivery and resuming.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Sending;

/// Which events to redeliver: exactly one of `deadLettered`, `retrying`, `eventIds`, and `since` and `until` (one of
/// them or both).
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct RedeliveryOrder {
    /// All dead letters; `true` or absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dead_lettered: Option<bool>,
    /// All events that wait for a retry, which become due now; `true` or absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retrying: Option<bool>,
    /// The newest events of these ids; from 1 to 1000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event_ids: Option<Vec<Box<str>>>,
    /// Events received at or after this time: a timestamp (2026-01-31T12:00:00Z) or a duration ago (90m).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Events received before this time: a timestamp or a duration ago.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// Count only.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
    /// Probe the receiver at once if the circuit is open. Only the process that delivers the subscription can do it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub probe: bool,
    /// Maximum events to queue or to make due; from 1 to 1000, and 1000 by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// `continue` of the previous response, with the same selection.
    #[serde(rename = "continue", skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
}

/// What a redelivery did, or would do.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RedeliveryResult {
    /// Whether events were counted only.
    pub dry_run: bool,
    /// Events queued: due now, with attempts that start again at 1.
    pub queued: u64,
    /// Events that waited for a retry and are due now, under the same attempt number.
    pub hastened: u64,
    /// Selected events left unchanged: pending, in flight, due already, or from before the start of the subscription.
    pub skipped: u64,
    /// Selected events that were removed by retention; with `eventIds`, ids that never existed count too.
    pub gone: u64,
    /// The ids counted in `gone`, with `eventIds`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gone_ids: Vec<Box<str>>,
    /// Events received before this time were removed, some of which may be part of the selection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Time>")]
    pub gone_before: Option<Timestamp>,
    /// The start of the time range as parsed, for the requests that continue it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Time>")]
    pub since: Option<Timestamp>,
    /// The end of the time range as parsed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Time>")]
    pub until: Option<Timestamp>,
    /// Where to continue; absent when all selected events have been examined.
    #[serde(rename = "continue", default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// Whether the events are sent now.
    #[serde(flatten)]
    pub sending: Sending,
}

impl RedeliveryResult {
    /// The events that count against a limit or a rate.
    pub fn moved(&self) -> u64 {
        self.queued.saturating_add(self.hastened)
    }

    /// Adds the counts of the part that follows this one. Everything else stays.
    pub fn add(&mut self, part: Self) {
        self.queued = self.queued.saturating_add(part.queued);
        self.hastened = self.hastened.saturating_add(part.hastened);
        self.skipped = self.skipped.saturating_add(part.skipped);
        self.gone = self.gone.saturating_add(part.gone);
        self.gone_ids.extend(part.gone_ids);
        self.gone_before = self.gone_before.or(part.gone_before);
    }
}

/// Where to continue resuming. An empty object, or no body, starts it.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ResumeOrder {
    /// `continue` of the previous response.
    #[serde(rename = "continue", skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
}

/// What resuming did, and whether anything is sent now.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
pub struct ResumeResult {
    /// The redelivery of the retrying events.
    #[serde(flatten)]
    pub done: RedeliveryResult,
    /// Retrying events examined by this request that are due now, whether or not it made them so.
    pub due: u64,
}
