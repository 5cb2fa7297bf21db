//! What the requests of an endpoint contain: events, their identity, and their schemas.

use grapnel_values::{duration::format, fields};
use kube::KubeSchema;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{GoDuration, KeyReference, rules};

/// Where the event's type and id come from.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Default)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// Source of the event's type. A request without it gets 400.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<EventSource>,
    /// Source of the event's id, which is used for deduplication. A request without it gets 400.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<EventSource>,
}

/// A place in the request. Exactly one of header, pointer, value and expression.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Default)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new(
        "[has(self.header), has(self.pointer), has(self.value), has(self.expression)].filter(x, x).size() == 1"
    )
        .message("exactly one of header, pointer, value and expression must be set")
)]
pub struct EventSource {
    /// Name of a request header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub header: Option<String>,
    /// JSON Pointer (RFC 6901) into the body, such as `/event/type`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512), extend("x-kubernetes-validations" = rules::pointer()))]
    pub pointer: Option<String>,
    /// The same value for every event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub value: Option<String>,
    /// A CEL expression over headers (lower-case names) and payload that gives a string, an integer or a bool, such as
    /// `payload.object_kind + '.' + payload.action`. A request for which it fails gets 400.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16384))]
    pub expression: Option<String>,
}

/// What request bodies are.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Default)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.field) || !has(self.format) || self.format in ['Auto', 'Form']")
        .message("field needs format Auto or Form: only forms have fields")
        .field_path(".field")
        .reason(Reason::FieldValueForbidden)
)]
pub struct Payload {
    /// Auto (the Content-Type decides), JSON, Form (application/x-www-form-urlencoded) or Opaque (never parsed); each
    /// but Auto whatever the Content-Type. Defaults to Auto.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = "Auto"))]
    pub format: Option<PayloadFormat>,
    /// The field of a form whose JSON is the payload for type, filter, transform and schema. Defaults to what the
    /// provider defines: `payload` for GitHub and Slack.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub field: Option<String>,
}

/// Auto (the Content-Type decides), JSON, Form (application/x-www-form-urlencoded) or Opaque (never parsed); each but
/// Auto whatever the Content-Type. Defaults to Auto.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Copy, PartialEq, Eq)]
pub enum PayloadFormat {
    /// The Content-Type decides.
    Auto,
    /// JSON.
    #[serde(rename = "JSON")]
    Json,
    /// An HTML form.
    Form,
    /// Never parsed.
    Opaque,
}

/// A method of probes.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "UPPERCASE")]
pub enum ProbeMethod {
    /// GET.
    Get,
    /// HEAD.
    Head,
    /// POST.
    Post,
}

/// A JSON Schema for events of some types.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.schema) != has(self.configMapRef)")
        .message("exactly one of schema and configMapRef must be set")
)]
pub struct SchemaRule {
    /// Globs of event types, such as `invoice.*`; `*` matches every type.
    #[schemars(
        length(min = 1, max = 64),
        inner(length(min = 1, max = 256)),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub types: Vec<String>,
    /// The schema itself: draft 2020-12, or an earlier one named by `$schema`. A `$ref` to another document is never
    /// fetched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "any_object")]
    pub schema: Option<Value>,
    /// Key of a ConfigMap in the endpoint's namespace that holds the schema as JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map_ref: Option<KeyReference>,
}

fn any_object(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true })
}

/// What to do with an event whose type matches no schema: Accept or Reject (422 unknown_event_type). Defaults to
/// Accept.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnmatchedTypes {
    /// Let it in.
    Accept,
    /// Refuse it.
    Reject,
}

/// How repeated events are recognised.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Default)]
#[serde(rename_all = "camelCase")]
pub struct Deduplication {
    /// Time after an accepted event in which the same event is a duplicate. Defaults to 24h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = format(fields::DEDUPLICATION_WINDOW)))]
    pub window: Option<GoDuration>,
    /// What makes two events the same: Id (an equal id; events with a generated id are never duplicates) or Body
    /// (equal bytes; the digest of the body is the event's id). Body is for senders without ids. Defaults to Id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = "Id"))]
    pub by: Option<DeduplicateBy>,
    /// Accept every request as a new event. Defaults to false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = false))]
    pub disabled: Option<bool>,
}

/// What makes two events the same: Id (an equal id; events with a generated id are never duplicates) or Body (equal
/// bytes; the digest of the body is the event's id). Body is for senders without ids. Defaults to Id.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeduplicateBy {
    /// An equal id.
    Id,
    /// Equal bytes.
    Body,
}
