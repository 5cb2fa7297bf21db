//! `WebhookSubscription`: what goes out.

use grapnel_values::{duration::format, fields};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{CircuitBreaker, Factor, GoDuration, KeyReference, Ordering, Target, rules};

/// Which events go where, and how they are signed and retried.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Debug, Clone, PartialEq)]
#[kube(
    group = "grapnel.dev",
    version = "v1beta1",
    kind = "WebhookSubscription",
    plural = "webhooksubscriptions",
    shortname = "whs",
    category = "grapnel",
    namespaced,
    derive = "PartialEq",
    status = "WebhookSubscriptionStatus",
    doc = "A WebhookSubscription delivers the events of one WebhookEndpoint to one receiver. It sets which events, in which format, and how they are signed and retried.",
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(
        name = "Delivering",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Delivering\")].status"
    ),
    printcolumn(name = "Endpoint", type_ = "string", json_path = ".spec.endpointRef.name"),
    printcolumn(
        name = "Endpoint Namespace",
        type_ = "string",
        json_path = ".spec.endpointRef.namespace",
        priority = 1
    ),
    // The first of them that is set.
    printcolumn(
        name = "Target",
        type_ = "string",
        json_path = ".spec.target['url','service.name','urlFrom.secretKeyRef.name']"
    ),
    printcolumn(name = "Delivered", type_ = "integer", json_path = ".status.delivered"),
    printcolumn(name = "Pending", type_ = "integer", json_path = ".status.pending"),
    printcolumn(name = "Retrying", type_ = "integer", json_path = ".status.retrying"),
    printcolumn(name = "Dead", type_ = "integer", json_path = ".status.deadLettered"),
    printcolumn(name = "Suspended", type_ = "boolean", json_path = ".spec.suspend"),
    printcolumn(name = "Mode", type_ = "string", json_path = ".spec.mode", priority = 1),
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
    selectable = ".spec.endpointRef.name",
    selectable = ".spec.endpointRef.namespace",
    selectable = ".spec.suspend"
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.endpointRef == oldSelf.endpointRef")
        .message("endpointRef cannot be changed; delete the subscription and create a new one")
        .field_path(".endpointRef"),
    validation = Rule::new(
        // 16 is the default, which the API server has set.
        "!has(self.ordering) || self.ordering != 'Ordered' || !has(self.maxInFlight) || self.maxInFlight in [1, 16]"
    )
        .message("with ordering Ordered one delivery is in flight at a time: remove maxInFlight or set it to 1")
        .field_path(".maxInFlight"),
    validation = Rule::new(
        "!has(self.deadLetter) || !has(self.deadLetter.endpointRef) || has(self.endpointRef.__namespace__) || \
         self.deadLetter.endpointRef.name != self.endpointRef.name"
    )
        .message("deadLetter.endpointRef cannot be the endpoint that the subscription reads; name another endpoint")
        .field_path(".deadLetter.endpointRef.name")
)]
pub struct WebhookSubscriptionSpec {
    /// The endpoint whose events are delivered. Cannot be changed: events not yet delivered would be lost.
    pub endpoint_ref: EndpointReference,

    /// The operator that serves this object: the one that runs with this --class. An object without a class is served
    /// by the operators that run without one. All other operators ignore the object. Must be that of the endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), extend("x-kubernetes-validations" = rules::dns_label()))]
    pub class_name: Option<String>,

    /// Globs of event types to deliver, such as `invoice.*`. Empty delivers all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 256)), extend("x-kubernetes-list-type" = "set"))]
    pub event_types: Vec<String>,

    /// A CEL expression over event (id, type, time, endpoint, namespace), headers (lower-case names) and payload that
    /// gives a bool, such as `payload.repository.full_name == 'acme/shop'`. Only events for which it is true are
    /// delivered; if it fails, the attempt fails (reason filter_failed) and is retried as retry configures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16384))]
    pub filter: Option<String>,

    /// A CEL expression over the same that gives the JSON to deliver instead of the payload, such as `{'text':
    /// payload.pusher.name + ' pushed'}`. If it fails, the attempt fails (reason transform_failed).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16384))]
    pub transform: Option<String>,

    /// The receiver.
    pub target: Target,

    /// Format of the delivered body: Original (the bytes as received, with their Content-Type), Envelope (a JSON object
    /// of id, type, timestamp and data), CloudEventsBinary (the data, with attributes as headers) or
    /// CloudEventsStructured (a JSON object of attributes and data). Defaults to Original.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = "Original"))]
    pub format: Option<Format>,

    /// Globs of incoming headers to forward. Credentials and signatures are forwarded only if named exactly. The
    /// headers that verified the request are not stored and cannot be forwarded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 256)), extend("x-kubernetes-list-type" = "set"))]
    pub forward_headers: Vec<String>,

    /// How deliveries are signed. Not signed by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signing: Option<Signing>,

    /// When a failed attempt is retried, and when the event becomes a dead letter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = {}))]
    pub retry: Option<Retry>,

    /// When deliveries pause because the receiver fails, and when it is probed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = {}))]
    pub circuit_breaker: Option<CircuitBreaker>,

    /// Unordered, or Ordered: one delivery at a time, strictly in the order in which events were accepted. A failing
    /// event holds up later events until it is delivered or becomes a dead letter. Defaults to Unordered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = "Unordered"))]
    pub ordering: Option<Ordering>,

    /// Largest number of deliveries in flight. Defaults to 16. With ordering Ordered one delivery is in flight at a time,
    /// and this is 1 or the default. With large events there are fewer: no event is claimed while the bodies of claimed events have 16 MiB or more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 256), extend("default" = fields::IN_FLIGHT))]
    pub max_in_flight: Option<u32>,

    /// Rate limit of deliveries. No limit by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<OutboundRateLimit>,

    /// What happens to dead letters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = {}))]
    pub dead_letter: Option<DeadLetter>,

    /// Where a new subscription starts: Now (the next event) or Earliest (the oldest retained event). Defaults to Now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = "Now"))]
    pub start_from: Option<StartFrom>,

    /// Pause deliveries. Events are retained. Defaults to false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = false))]
    pub suspend: Option<bool>,

    /// Deliver, or Shadow: eventTypes, filter and transform are applied to every event and counted, and nothing is sent;
    /// each event is settled as skipped (reason shadow). A change to Deliver takes effect with the next event. A change
    /// to Shadow also settles the events that are not delivered yet: suspend retains them. Defaults to Deliver.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = "Deliver"))]
    pub mode: Option<DeliveryMode>,

    /// What happens to unsettled events on deletion: Drop (they are abandoned: the operator counts them, logs a warning
    /// and publishes the Event DeliveriesAbandoned) or Drain (a finalizer holds the object until every event is
    /// delivered, skipped or dead-lettered). Drain needs a cluster: a manifest file that is removed is gone at once.
    /// Defaults to Drop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = "Drop"))]
    pub deletion_policy: Option<DeletionPolicy>,
}

/// Deliver or Shadow. Defaults to Deliver.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DeliveryMode {
    /// Events are sent.
    #[default]
    Deliver,
    /// Events are filtered and transformed, and not sent.
    Shadow,
}

/// What happens to unsettled events on deletion: Drop or Drain. Defaults to Drop.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeletionPolicy {
    /// They are abandoned.
    Drop,
    /// The object stays until they are settled.
    Drain,
}

/// A WebhookEndpoint.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct EndpointReference {
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Its namespace. Defaults to the subscription's own; an endpoint of another namespace has to allow this one in
    /// spec.allowedSubscribers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), extend("x-kubernetes-validations" = rules::dns_label()))]
    pub namespace: Option<String>,
}

/// Format of the delivered body: Original (the bytes as received, with their Content-Type), Envelope (a JSON object of
/// id, type, timestamp and data), CloudEventsBinary (the data, with attributes as headers) or CloudEventsStructured (a
/// JSON object of attributes and data). Defaults to Original.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// The bytes as received.
    Original,
    /// A JSON object of id, type, timestamp and data.
    Envelope,
    /// CloudEvents 1.0 over HTTP in binary mode.
    CloudEventsBinary,
    /// CloudEvents 1.0 over HTTP in structured mode, as JSON.
    CloudEventsStructured,
}

/// How deliveries are signed.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.header) || self.scheme == 'HmacSha256Hex'").message("header needs the scheme HmacSha256Hex")
        .field_path(".header")
        .reason(Reason::FieldValueForbidden)
)]
pub struct Signing {
    /// StandardWebhooks (`webhook-signature: v1,…`, HMAC-SHA256), Ed25519 (`webhook-signature: v1a,…`) or HmacSha256Hex
    /// (the hexadecimal HMAC-SHA256 of the body in one header).
    pub scheme: SigningScheme,
    /// Header for HmacSha256Hex. Defaults to X-Webhook-Signature.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub header: Option<String>,
    /// Keys of Secrets in the subscription's namespace. Several are for rotation: deliveries are signed with
    /// all of them, separated by spaces (StandardWebhooks, Ed25519) or commas (HmacSha256Hex).
    #[schemars(
        length(min = 1, max = 8),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name", "key"])
    )]
    pub secret_refs: Vec<KeyReference>,
}

/// Signature schemes for deliveries.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Copy, PartialEq, Eq)]
pub enum SigningScheme {
    /// Standard Webhooks, symmetric.
    StandardWebhooks,
    /// Hexadecimal HMAC-SHA256 of the body.
    HmacSha256Hex,
    /// Standard Webhooks, asymmetric.
    Ed25519,
}

/// When a failed delivery is tried again.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Default)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new(rules::ascending("initialDelay", "maxDelay", &[("initialDelay", fields::INITIAL_DELAY)]))
        .message("must not be longer than maxDelay")
        .field_path(".initialDelay")
)]
pub struct Retry {
    /// Attempts in all, the first included. Defaults to 16, about one day with the other defaults.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100), extend("default" = fields::ATTEMPTS))]
    pub max_attempts: Option<u32>,
    /// Delay after the first failure, no longer than maxDelay. Defaults to 5s, or to maxDelay if that is shorter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = format(fields::INITIAL_DELAY)))]
    pub initial_delay: Option<GoDuration>,
    /// Factor from one delay to the next, from 1 to 10: an integer, or a text such as `"1.5"`. Defaults to 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = fields::MULTIPLIER))]
    pub multiplier: Option<Factor>,
    /// Longest delay; also the longest pause of all deliveries that a receiver can request by Retry-After. Defaults to 6h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = format(fields::MAX_DELAY)))]
    pub max_delay: Option<GoDuration>,
    /// How delays are spread: Full (between zero and the delay), Equal (between half and the whole) or None. Defaults
    /// to Equal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = "Equal"))]
    pub jitter: Option<Jitter>,
    /// Response statuses after which the event becomes a dead letter without a retry. Defaults to 410.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(max = 32),
        inner(range(min = 300, max = 599)),
        extend("x-kubernetes-list-type" = "set", "default" = [fields::STOP_ON])
    )]
    pub stop_on: Option<Vec<u16>>,
}

/// How delays are spread: Full (between zero and the delay), Equal (between half and the whole) or None. Defaults to
/// Equal.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Copy, PartialEq, Eq)]
pub enum Jitter {
    /// Anywhere between nothing and the delay.
    Full,
    /// Anywhere between half the delay and the whole.
    Equal,
    /// Not at all.
    None,
}

/// A rate of deliveries.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct OutboundRateLimit {
    /// How many deliveries.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub requests: u32,
    /// Time span of the rate. Defaults to 1s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = format(fields::RATE_PERIOD)))]
    pub per: Option<GoDuration>,
    /// How many may be sent at once. Defaults to requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub burst: Option<u32>,
}

/// What happens to dead letters.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Default)]
#[serde(rename_all = "camelCase")]
pub struct DeadLetter {
    /// How long dead letters are retained. Defaults to 720h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = format(fields::DEAD_LETTER_RETENTION)))]
    pub retention: Option<GoDuration>,
    /// An endpoint of the subscription's own namespace that receives each dead letter as an event: the original event
    /// with headers `grapnel-dead-letter-*` that describe the failure. Subscriptions of that endpoint deliver it
    /// elsewhere. Cannot be the endpoint that the subscription reads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint_ref: Option<OwnEndpointReference>,
}

/// A WebhookEndpoint of the subscription's own namespace.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct OwnEndpointReference {
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// Where a new subscription starts: Now (the next event) or Earliest (the oldest retained event). Defaults to Now.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartFrom {
    /// With the next event.
    Now,
    /// With the oldest event still kept.
    Earliest,
}

/// What happened to a subscription's deliveries.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Default)]
#[serde(rename_all = "camelCase")]
pub struct WebhookSubscriptionStatus {
    /// Generation of the spec that this status refers to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Accepted, SecretsResolved, ReferencesResolved, Delivering and Ready; Suspended, Contested, Reconciling and
    /// Stalled are present only while True.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// Events not yet attempted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending: Option<u64>,
    /// Deliveries in flight.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_flight: Option<u64>,
    /// Events that wait for a retry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retrying: Option<u64>,
    /// Dead letters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead_lettered: Option<u64>,
    /// Events delivered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivered: Option<u64>,
    /// What spec.mode Shadow has counted, since it was first set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shadow: Option<ShadowCounts>,
    /// The last successful delivery.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_delivery: Option<DeliverySuccess>,
    /// The last failed attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<DeliveryFailure>,
    /// The operator that wrote this status: namespace and name of its Lease.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub writer: Option<String>,
}

/// Events that a subscription has processed with spec.mode Shadow.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Copy, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ShadowCounts {
    /// Events that would have been sent.
    pub would_send: u64,
    /// Events whose filter or transform failed.
    pub failed: u64,
}

/// A successful delivery.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct DeliverySuccess {
    /// When.
    pub time: Time,
    /// Id of the event.
    pub event_id: String,
    /// HTTP status of the response.
    pub status_code: u16,
    /// Duration of the attempt in milliseconds.
    pub duration_ms: u64,
}

/// A failed attempt.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct DeliveryFailure {
    /// When.
    pub time: Time,
    /// Id of the event.
    pub event_id: String,
    /// Reason of the failure, in one word.
    pub reason: String,
    /// HTTP status of the response, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status_code: Option<u16>,
    /// Description of the failure.
    pub message: String,
    /// Time of the next attempt, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_attempt_time: Option<Time>,
}
