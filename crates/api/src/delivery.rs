//! How deliveries follow each other.

use grapnel_values::{duration::format, fields};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{GoDuration, rules};

/// When deliveries pause because the receiver fails. Events that wait keep their attempts: while deliveries pause only
/// one at a time is tried, as a probe, and the first success ends the pause.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Default)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new(rules::ascending(
        "cooldown",
        "maxCooldown",
        &[("cooldown", fields::BREAKER_COOLDOWN), ("maxCooldown", fields::BREAKER_MAX_COOLDOWN)],
    ))
        .message("must not be shorter than cooldown")
        .field_path(".maxCooldown")
)]
pub struct CircuitBreaker {
    /// Failed attempts in a row after which deliveries pause. Responses with a status in retry.stopOn do not count.
    /// Defaults to 10.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = fields::MAX_BREAKER_FAILURES), extend("default" = fields::BREAKER_FAILURES))]
    pub failures: Option<u32>,
    /// The first pause; every failed probe doubles it. Defaults to 30s, or to maxCooldown if that is shorter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = format(fields::BREAKER_COOLDOWN), "x-kubernetes-validations" = rules::duration_at_most(fields::LONGEST_BREAKER_COOLDOWN)))]
    pub cooldown: Option<GoDuration>,
    /// The longest pause, at most 24h and no shorter than cooldown. Defaults to 10m, or to cooldown if that is longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = format(fields::BREAKER_MAX_COOLDOWN), "x-kubernetes-validations" = rules::duration_at_most(fields::LONGEST_BREAKER_COOLDOWN)))]
    pub max_cooldown: Option<GoDuration>,
}

/// Unordered, or Ordered: one delivery at a time, strictly in the order in which events were accepted. A failing event
/// holds up later events until it is delivered or becomes a dead letter. Defaults to Unordered.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ordering {
    /// Several at once, and an event that fails lets others pass.
    Unordered,
    /// One at a time, in order.
    Ordered,
}
