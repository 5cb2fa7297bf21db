//! The configuration that the operator has read.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Page;

/// A page of the configuration.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "PageOfConfiguration")]
pub struct ConfigurationPage {
    /// Version of the operator.
    pub version: String,
    /// Whether replays are left out, because the caller may not list them; absent if not.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub without_replays: bool,
    /// The objects.
    #[serde(flatten)]
    pub page: Page<ConfiguredObject>,
}

/// An object with its spec.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConfiguredObject {
    /// WebhookEndpoint, WebhookSubscription or WebhookReplay.
    pub kind: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The spec of the last version that can be parsed; absent if there has been none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spec: Option<Value>,
    /// Whether that version is in use. If not, an earlier one is, or none.
    pub in_use: bool,
    /// Of a subscription: events that are neither delivered nor skipped nor dead-lettered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unsettled: Option<u64>,
    /// Of a subscription: its dead letters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead_lettered: Option<u64>,
    /// Of a replay: whether it has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<bool>,
}
