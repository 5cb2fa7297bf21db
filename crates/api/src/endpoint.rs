//! `WebhookEndpoint`: what comes in.

mod content;

use grapnel_values::{duration::format, fields};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::content::{
    DeduplicateBy, Deduplication, Event, EventSource, Payload, PayloadFormat, ProbeMethod, SchemaRule, UnmatchedTypes,
};
use super::{ByteSize, GatewayRoute, GoDuration, LabelSelector, Verification, rules};

/// What an endpoint accepts and how it is verified, validated and kept.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Debug, Clone, PartialEq)]
#[kube(
    group = "grapnel.dev",
    version = "v1beta1",
    kind = "WebhookEndpoint",
    plural = "webhookendpoints",
    shortname = "whe",
    category = "grapnel",
    namespaced,
    derive = "PartialEq",
    status = "WebhookEndpointStatus",
    doc = "A WebhookEndpoint is a URL that receives the webhooks of one sender, with the rules by which Grapnel verifies, validates, deduplicates and retains them.",
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "URL", type_ = "string", json_path = ".status.url"),
    printcolumn(name = "Received", type_ = "integer", json_path = ".status.received"),
    printcolumn(name = "Rejected", type_ = "integer", json_path = ".status.rejected"),
    printcolumn(name = "Suspended", type_ = "boolean", json_path = ".spec.suspend"),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason",
        priority = 1
    ),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].message",
        priority = 1
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    selectable = ".spec.path",
    selectable = ".spec.suspend",
    selectable = ".spec.verification.provider.name"
)]
#[serde(rename_all = "camelCase")]
pub struct WebhookEndpointSpec {
    /// The operator that serves this object: the one that runs with this --class. An object without a class is served
    /// by the operators that run without one. All other operators ignore the object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), extend("x-kubernetes-validations" = rules::dns_label()))]
    pub class_name: Option<String>,

    /// URL path below the namespace, one or more segments of letters, digits and `-._~`, no segment of dots only. The
    /// endpoint is served at `{prefix}/{namespace}/{path}`. Defaults to metadata.name. If two endpoints of a namespace
    /// have the same path, the older one keeps it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512), extend("x-kubernetes-validations" = rules::path()))]
    pub path: Option<String>,

    /// Reject every request with 503 and Retry-After, so that senders retry. Defaults to false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = false))]
    pub suspend: Option<bool>,

    /// How requests are verified. Exactly one of provider, hmac, token, basic, jwt, serviceAccount and none.
    pub verification: Verification,

    /// Where the event's type and id come from. Defaults to what the provider defines, otherwise to the headers
    /// ce-type, ce-id and webhook-id; the type also to the body's /type. An event without a type has the type `unknown`.
    /// An event without an id gets one of its own and is a duplicate of nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<Box<Event>>,

    /// What request bodies are if their Content-Type does not say. The bytes are stored and delivered as received.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = {}))]
    pub payload: Option<Payload>,

    /// Methods (GET, HEAD, POST) whose requests without any signature are probes: they get the success status, and
    /// nothing is stored. For senders that probe a URL before they use it, such as Trello (HEAD), Mailchimp (GET) and
    /// WooCommerce (POST). Empty by default.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 3), extend("x-kubernetes-list-type" = "set"))]
    pub probes: Vec<ProbeMethod>,

    /// JSON Schemas by event type. An event must satisfy every schema whose types match its type.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "atomic"))]
    pub schemas: Vec<SchemaRule>,

    /// What to do with an event whose type matches no schema: Accept or Reject (422 unknown_event_type). Defaults to
    /// Accept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = "Accept"))]
    pub unmatched_types: Option<UnmatchedTypes>,

    /// Deduplication of events, by id or by body. On by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = {}))]
    pub deduplication: Option<Deduplication>,

    /// Rate limit of requests; further requests get 429 with Retry-After. No limit by default. With several replicas each
    /// applies its part of the limit, so that the limit of all is approximate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<RateLimit>,

    /// Bounds on a request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = {}))]
    pub limits: Option<Limits>,

    /// CIDRs of the clients that may send; any other address gets 403. X-Forwarded-For is used only from the operator's
    /// trusted proxies. Empty allows every address.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 256),
        extend(
            "x-kubernetes-list-type" = "set",
            "items" = { "type": "string", "maxLength": 64, "x-kubernetes-validations": rules::cidr() }
        )
    )]
    pub allowed_sources: Vec<String>,

    /// Response to an accepted event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = {}))]
    pub response: Option<Response>,

    /// How long settled events are retained for inspection and redelivery. Defaults to 168h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = format(fields::RETENTION)))]
    pub retention: Option<GoDuration>,

    /// Share of the journal for the endpoint's events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage: Option<Storage>,

    /// Which namespaces may have WebhookSubscriptions that read this endpoint. Defaults to the endpoint's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = {}))]
    pub allowed_subscribers: Option<Box<AllowedSubscribers>>,

    /// An HTTPRoute of the Gateway API for the endpoint. The operator creates it with the endpoint's name in its namespace,
    /// keeps it up to date, and deletes it when this is removed. Has no effect without a cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<Box<GatewayRoute>>,
}

/// Share of the journal for the endpoint's events.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Default)]
#[serde(rename_all = "camelCase")]
pub struct Storage {
    /// Bytes that the endpoint's events may use, such as `2Gi`; at least 64Ki. At this bound settled events are removed
    /// before their retention ends; if none is left, events are rejected with 503 storage_exhausted until subscriptions
    /// settle some. Defaults to the share of the endpoint's namespace, which is bounded too (--namespace-share).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-validations" = rules::bytes(fields::MIN_STORAGE_BYTES, None), "minimum" = fields::MIN_STORAGE_BYTES))]
    pub max_bytes: Option<ByteSize>,
}

/// Which namespaces may subscribe, besides the endpoint's own, which always may.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Default)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.namespaceSelector) == (has(self.from) && self.from == 'Selector')")
        .message("namespaceSelector must be set exactly when from is Selector")
        .field_path(".namespaceSelector")
)]
pub struct AllowedSubscribers {
    /// Same (the endpoint's own namespace only), All (every namespace) or Selector (those that namespaceSelector
    /// matches). Defaults to Same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = "Same"))]
    pub from: Option<SubscribersFrom>,
    /// Labels of the namespaces that may subscribe. An empty selector matches every namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-map-type" = "atomic"))]
    pub namespace_selector: Option<LabelSelector>,
}

/// Same (the endpoint's own namespace only), All (every namespace) or Selector (those that namespaceSelector matches).
/// Defaults to Same.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Copy, PartialEq, Eq)]
pub enum SubscribersFrom {
    /// The endpoint's own namespace only.
    Same,
    /// Every namespace.
    All,
    /// Namespaces whose labels match.
    Selector,
}

/// A rate of requests.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct RateLimit {
    /// Requests in that time span.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub requests: u32,
    /// Time span of the rate. Defaults to 1s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = format(fields::RATE_PERIOD)))]
    pub per: Option<GoDuration>,
    /// Largest burst of requests. Defaults to requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub burst: Option<u32>,
    /// What shares the rate: Endpoint (all senders together) or Source (each client address; an IPv6 /64 counts as
    /// one). Defaults to Endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = "Endpoint"))]
    pub scope: Option<RateLimitScope>,
}

/// What shares the rate: Endpoint (all senders together) or Source (each client address; an IPv6 /64 counts as one).
/// Defaults to Endpoint.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Copy, PartialEq, Eq)]
pub enum RateLimitScope {
    /// All senders together.
    Endpoint,
    /// Each client address.
    Source,
}

/// Bounds on a request.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Default)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// Largest body; a larger one gets 413. Defaults to a size that fits the provider (25Mi for GitHub), otherwise to
    /// 1Mi; at most 32Mi.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-validations" = rules::bytes(1, Some(fields::MAX_BODY_BYTES as u64)), "minimum" = 1, "maximum" = fields::MAX_BODY_BYTES))]
    pub body_bytes: Option<ByteSize>,
    /// Timeout of the whole request, body included; a slower one gets 408. Defaults to 10s, at most 60s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = format(fields::REQUEST_TIMEOUT), "x-kubernetes-validations" = rules::duration_at_most(fields::MAX_REQUEST_TIMEOUT)))]
    pub timeout: Option<GoDuration>,
}

/// Response to an accepted event.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Default)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.status) || self.status in [200, 201, 202, 204]")
        .message("status must be 200, 201, 202 or 204")
        .field_path(".status"),
    validation = Rule::new("!has(self.contentType) || has(self.body)").message("contentType needs body")
        .field_path(".body")
        .reason(Reason::FieldValueRequired),
    validation = Rule::new("!has(self.status) || self.status != 204 || !has(self.body)")
        .message("a 204 response cannot have a body")
        .field_path(".body")
        .reason(Reason::FieldValueForbidden)
)]
pub struct Response {
    /// Status: 200, 201, 202 or 204. Defaults to 200.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 200, max = 204), extend("default" = fields::RESPONSE_STATUS))]
    pub status: Option<u16>,
    /// Response body instead of `{"success":true,"id":"…"}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub body: Option<String>,
    /// Content-Type of that body. Defaults to application/json when the body is JSON, otherwise to
    /// text/plain; charset=utf-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub content_type: Option<String>,
}

/// What happened at an endpoint.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Default)]
#[serde(rename_all = "camelCase")]
pub struct WebhookEndpointStatus {
    /// Generation of the spec that this status refers to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Accepted, SecretsResolved, ReferencesResolved, Verified and Ready, and Routed with spec.route; Unauthenticated,
    /// Suspended, Contested, Reconciling and Stalled are present only while True, Storing only while False.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// Path at which the endpoint is served.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// URL to give to the sender: of the endpoint's HTTPRoute while Gateways accept it, otherwise below the operator's
    /// public URL, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Where event ids come from, in order of precedence. Events with a generated id are never duplicates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_id_from: Option<String>,
    /// Events accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub received: Option<u64>,
    /// Requests rejected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejected: Option<u64>,
    /// Duplicate events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duplicates: Option<u64>,
    /// When the last event was accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_received_time: Option<Time>,
    /// The last rejected request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_rejection: Option<Rejection>,
    /// The operator that wrote this status: namespace and name of its Lease.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub writer: Option<String>,
}

/// A refused request.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Rejection {
    /// When.
    pub time: Time,
    /// Error code of the response, such as invalid_signature.
    pub reason: String,
    /// Error message of the response.
    pub message: String,
}
