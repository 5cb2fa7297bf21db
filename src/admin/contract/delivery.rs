//! Deliveries of a subscription.

use grapnel_api::DeliveryMode;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Page;

/// A page of deliveries, and whether any is sent now.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "PageOfDelivery")]
pub struct DeliveriesPage {
    /// The deliveries.
    #[serde(flatten)]
    pub page: Page<DeliveryItem>,
    /// Whether any is sent now.
    #[serde(flatten)]
    pub sending: Sending,
}

/// Whether the events of a subscription are sent now.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Sending {
    /// Whether the subscription is suspended; absent while no version of it is in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspended: Option<bool>,
    /// The subscription's mode, if it is Shadow: nothing is sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<DeliveryMode>,
    /// State of the circuit to the receiver, before a probe that the request asks for; absent if this process does not
    /// deliver for the subscription.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub circuit: Option<CircuitName>,
    /// While the circuit is open: the earliest time of the next probe. It is in the past while no event is due that
    /// could be the probe, or while a probe is in flight.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Time>")]
    pub next_probe_time: Option<Timestamp>,
    /// While the receiver has asked for a pause with `Retry-After`: when it ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Time>")]
    pub paused_until: Option<Timestamp>,
}

/// The state of a circuit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "CircuitState")]
pub enum CircuitName {
    /// Events are sent.
    Closed,
    /// Too many attempts failed in a row: only probes are sent.
    Open,
}

/// An event with the state of its delivery. Of a damaged event only the sequence is known.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Delivery")]
pub struct DeliveryItem {
    /// Id of the event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_id: Option<Box<str>>,
    /// Type of the event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub r#type: Option<Box<str>>,
    /// When the event was received.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Time>")]
    pub received_time: Option<Timestamp>,
    /// Position in the endpoint's log. Sequences ascend and may have gaps.
    pub sequence: u64,
    /// Whether the record of the event is damaged; absent if not.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub damaged: bool,
    /// The current state.
    pub state: ItemState,
    /// The outcome, as far as it is decided.
    pub outcome: ItemOutcome,
    /// Why the event was skipped, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skip_reason: Option<ItemSkip>,
    /// Attempts that have ended.
    pub attempts: u32,
    /// When the last attempt ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Time>")]
    pub last_attempt_time: Option<Timestamp>,
    /// HTTP status of the last attempt, if there was a response.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_status_code: Option<u16>,
    /// Duration of the last attempt in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
    /// Start of the receiver's answer to the attempt that succeeded. The process that delivered the event remembers it for
    /// the latest events of a subscription, in memory only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<Box<str>>,
    /// When the next attempt is due, while retrying.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Time>")]
    pub next_attempt_time: Option<Timestamp>,
    /// The last failed attempt, also of an event that was delivered afterwards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<ItemFailure>,
}

/// A failed attempt.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "AttemptFailure")]
pub struct ItemFailure {
    /// When the attempt ended.
    #[schemars(with = "Time")]
    pub time: Timestamp,
    /// Reason of the failure, in one word.
    pub reason: Box<str>,
    /// HTTP status, if there was a response.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status_code: Option<u16>,
    /// Duration of the attempt in milliseconds.
    pub duration_ms: u64,
    /// Description of the failure.
    pub message: Box<str>,
}

/// The current state of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "DeliveryState")]
pub enum ItemState {
    /// Not yet attempted, or not since it was redelivered.
    Pending,
    /// Being attempted.
    InFlight,
    /// Failed; waits for a retry.
    Retrying,
    /// Dead letter.
    #[serde(alias = "dead")]
    DeadLettered,
    /// Delivered or skipped.
    Settled,
}

/// The outcome of an event for one subscription, as far as it is decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Outcome")]
pub enum ItemOutcome {
    /// Not yet attempted.
    Pending,
    /// The last attempt failed, and another one follows.
    Retrying,
    /// Dead letter.
    DeadLettered,
    /// Delivered.
    Delivered,
    /// Skipped by the subscription.
    Skipped,
    /// Settled, but the record of the outcome is damaged.
    Unknown,
}

/// Why a subscription skips an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "SkipReason")]
pub enum ItemSkip {
    /// `filter` evaluated to false.
    Filter,
    /// `eventTypes` does not match the type.
    Type,
    /// `mode` is Shadow: the event would have been sent, or `filter` or `transform` failed.
    Shadow,
}
