//! Objects with their statuses.

use grapnel_api::{WebhookEndpointStatus, WebhookReplayStatus, WebhookSubscriptionStatus};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Sending;

/// An object with its status.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind")]
#[schemars(rename = "Object")]
pub enum ObjectItem {
    /// An endpoint.
    #[serde(rename = "WebhookEndpoint")]
    Endpoint(EndpointItem),
    /// A subscription.
    #[serde(rename = "WebhookSubscription")]
    Subscription(SubscriptionItem),
    /// A replay.
    #[serde(rename = "WebhookReplay")]
    Replay(ReplayItem),
}

/// A `WebhookEndpoint`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Endpoint")]
pub struct EndpointItem {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// `metadata.generation` of the version that the status refers to; absent for objects from files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<i64>,
    /// Where it is defined, `file:line`; absent in a cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Path at which it is served.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// URL for the sender, if the operator knows its public URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Its status, as in the custom resource.
    pub status: WebhookEndpointStatus,
}

/// A `WebhookSubscription`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Subscription")]
pub struct SubscriptionItem {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// `metadata.generation` of the version that the status refers to; absent for objects from files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<i64>,
    /// Where it is defined, `file:line`; absent in a cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Name of its endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Namespace of its endpoint, if it is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint_namespace: Option<String>,
    /// Whether its events are sent now.
    #[serde(flatten)]
    pub sending: Sending,
    /// Its status, as in the custom resource.
    pub status: WebhookSubscriptionStatus,
}

/// A `WebhookReplay`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Replay")]
pub struct ReplayItem {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// `metadata.generation` of the version that the status refers to; absent for objects from files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<i64>,
    /// Where it is defined, `file:line`; absent in a cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Name of its subscription.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subscription: Option<String>,
    /// Whether it only counts events; absent if not.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
    /// Its status, as in the custom resource.
    pub status: WebhookReplayStatus,
}
