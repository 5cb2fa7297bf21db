//! `WebhookReplay`: what is delivered again.

use grapnel_values::fields;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{OutboundRateLimit, rules};

/// Which events a subscription delivers again, and how fast.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Debug, Clone, PartialEq)]
#[kube(
    group = "grapnel.dev",
    version = "v1beta1",
    kind = "WebhookReplay",
    plural = "webhookreplays",
    shortname = "whr",
    category = "grapnel",
    namespaced,
    derive = "PartialEq",
    status = "WebhookReplayStatus",
    doc = "A WebhookReplay makes one WebhookSubscription deliver events again: its dead letters, the events of a time range, or single events. It runs once. kubectl wait --for=condition=Complete waits until every event is delivered again or has become a dead letter.",
    printcolumn(name = "Subscription", type_ = "string", json_path = ".spec.subscriptionRef.name"),
    printcolumn(name = "Complete", type_ = "string", json_path = ".status.conditions[?(@.type==\"Complete\")].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Complete\")].reason"),
    printcolumn(name = "Matched", type_ = "integer", json_path = ".status.matched"),
    printcolumn(name = "Queued", type_ = "integer", json_path = ".status.queued"),
    printcolumn(name = "Delivered", type_ = "integer", json_path = ".status.delivered"),
    printcolumn(name = "Failed", type_ = "integer", json_path = ".status.failed"),
    printcolumn(name = "Dry Run", type_ = "boolean", json_path = ".spec.dryRun", priority = 1),
    printcolumn(name = "Suspended", type_ = "boolean", json_path = ".spec.suspend", priority = 1),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Complete\")].message",
        priority = 1
    ),
    printcolumn(name = "Completed", type_ = "date", json_path = ".status.completionTime", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    selectable = ".spec.subscriptionRef.name",
    selectable = ".spec.suspend"
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new(rules::unchanged(&["subscriptionRef", "className", "select", "filter", "rate", "dryRun"]))
        .message("only suspend and ttlSecondsAfterFinished can be changed; create a new WebhookReplay")
)]
pub struct WebhookReplaySpec {
    /// The subscription that delivers the events again, in the namespace of the WebhookReplay.
    pub subscription_ref: SubscriptionReference,

    /// The operator that serves this object: the one that runs with this --class. An object without a class is served
    /// by the operators that run without one. All other operators ignore the object. Must be that of the subscription.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), extend("x-kubernetes-validations" = rules::dns_label()))]
    pub class_name: Option<String>,

    /// Which events: exactly one of deadLettered, ids, and since and until (one of them or both). Events that arrive
    /// after the start are not included, and neither are those from before the start of the subscription.
    pub select: ReplaySelection,

    /// A CEL expression over event (id, type, time, endpoint, namespace), headers (lower-case names) and payload that
    /// gives a bool. Of the selected events, only those for which it is true are delivered again. An event for which it
    /// fails is left out and counted in status.filterErrors. The filter of the subscription applies as well, when the
    /// event is delivered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16384))]
    pub filter: Option<String>,

    /// How fast events are queued, such as `{requests: 100, per: 1s}`. The rate limit of the subscription applies as
    /// well, to all its deliveries. No limit by default; at most 1024 events of a WebhookReplay wait at a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<OutboundRateLimit>,

    /// Count the events only. Defaults to false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = false))]
    pub dry_run: Option<bool>,

    /// Queue no more events until it is false again. Events that are queued are still delivered. Defaults to false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = false))]
    pub suspend: Option<bool>,

    /// Seconds after the end, complete or failed, at which the operator deletes the object. By default it stays. A replay
    /// that fails before it begins stays for at least a minute. Without a cluster it has no effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = fields::REPLAY_TTL_SECONDS))]
    pub ttl_seconds_after_finished: Option<u32>,
}

/// A WebhookSubscription of the same namespace.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct SubscriptionReference {
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// Which events to deliver again.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Default)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new(
        "[has(self.deadLettered), has(self.ids), has(self.since) || has(self.until)].filter(given, given).size() == 1"
    )
        .message("must have exactly one of deadLettered, ids, and since and until (one of them or both)"),
    validation = Rule::new("!has(self.deadLettered) || self.deadLettered")
        .message("must be true or absent")
        .field_path(".deadLettered"),
    validation = Rule::new("!has(self.since) || !has(self.until) || self.since < self.until")
        .message("must be after since")
        .field_path(".until")
)]
pub struct ReplaySelection {
    /// All dead letters of the subscription; true or absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead_lettered: Option<bool>,
    /// Events received at or after this time, such as 2026-01-31T12:00:00Z.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub since: Option<Time>,
    /// Events received before this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub until: Option<Time>,
    /// The newest event of each of these ids.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = fields::REPLAY_IDS),
        inner(length(min = 1, max = 256)),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub ids: Option<Vec<String>>,
}

/// How far a WebhookReplay is.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Default)]
#[serde(rename_all = "camelCase")]
pub struct WebhookReplayStatus {
    /// Generation of the spec that this status refers to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Accepted and Complete; Failed, Suspended, Contested, Reconciling and Stalled are present only while True.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// Selected events for which the filter is true, as far as they have been examined.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub matched: Option<u64>,
    /// Matched events that were queued, or that waited for delivery already. They end in delivered, failed, skipped or
    /// gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queued: Option<u64>,
    /// Of the queued events, those that waited for delivery already. They were left as they were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub already_queued: Option<u64>,
    /// Queued events that have been delivered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivered: Option<u64>,
    /// Queued events that have become dead letters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<u64>,
    /// Queued events that the subscription did not deliver because of its eventTypes or its filter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skipped: Option<u64>,
    /// Selected events that were removed by retention, before they were queued or before their outcome was seen; ids
    /// that never existed count too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gone: Option<u64>,
    /// Selected events that were left out because the filter failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter_errors: Option<u64>,
    /// When it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Time>,
    /// When it completed or failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion_time: Option<Time>,
    /// Where it continues after a restart. Of use to the operator only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<ReplayPosition>,
    /// The operator that wrote this status: namespace and name of its Lease.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub writer: Option<String>,
}

/// Where a WebhookReplay continues after a restart.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Eq, Default)]
#[serde(rename_all = "camelCase")]
pub struct ReplayPosition {
    /// The uid of the subscription. A subscription of the same name with another uid has other events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subscription_uid: Option<String>,
    /// Digest of the part of the spec that cannot be changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spec_digest: Option<String>,
    /// Where the journal continues; absent when every selected event has been examined.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// Whether every selected event has been examined.
    #[serde(default)]
    pub examined: bool,
    /// True if nothing was selected and the endpoint has events from before the start of the subscription.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub earlier_events: Option<bool>,
    /// The sequences of the matched events that are not queued yet, such as `7,9-12`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unqueued: Option<String>,
    /// The sequences of the queued events that are neither delivered nor dead letters yet, such as `7,9-12`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<String>,
}
