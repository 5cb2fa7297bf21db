//! The operations of the admin server: paths, parameters and responses.

use axum::http::Method;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::{
    ConfigurationPage, DeliveriesPage, ErrorCode, EventDetail, EventItem, HistoryPage, ItemState, ListOrder,
    ObjectItem, Page, PreviewItem, RedeliveryOrder, RedeliveryResult, ResumeOrder, ResumeResult,
};
use crate::admin::limits::{ADMIN_LIST_DEFAULT, ADMIN_LIST_MAX};

/// An operation of the admin server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Lists objects.
    ListObjects,
    /// Returns the specs of all objects.
    ShowConfiguration,
    /// Lists the events of an endpoint.
    ListEvents,
    /// Lists the events of an endpoint with their bodies.
    ListHistory,
    /// Shows an event.
    ShowEvent,
    /// Shows what a subscription makes of an event.
    PreviewDelivery,
    /// Lists the deliveries of a subscription.
    ListDeliveries,
    /// Redelivers events.
    Redeliver,
    /// Makes retries due now, and probes.
    Resume,
    /// Returns the OpenAPI document.
    OpenApi,
    /// Returns metrics.
    Metrics,
    /// Liveness.
    Live,
    /// Readiness.
    Ready,
}

/// A query parameter.
pub struct QueryParameter {
    /// Its name.
    pub name: &'static str,
    /// What it does.
    pub about: &'static str,
    /// The schema of its value.
    pub schema: fn(&mut SchemaGenerator) -> Schema,
}

/// The body of a successful response.
pub enum Success {
    /// JSON.
    Json(fn(&mut SchemaGenerator) -> Schema),
    /// Text of a media type.
    Text(&'static str),
}

const NAMESPACE: QueryParameter = QueryParameter {
    name: "namespace",
    about: "Only objects of this namespace. In a cluster, roles of the namespace then suffice.",
    schema: text,
};
const AFTER_OBJECT: QueryParameter = QueryParameter {
    name: "after",
    about: "Continues a list: the `continue` of the previous page, with the same `namespace`.",
    schema: text,
};
const SUBSCRIPTION: QueryParameter =
    QueryParameter { name: "subscription", about: "The subscription, as NAMESPACE/NAME. Required.", schema: text };
const TYPE: QueryParameter = QueryParameter {
    name: "type",
    about: "Only events whose type matches this glob, such as `invoice.*`.",
    schema: text,
};
const SINCE: QueryParameter = QueryParameter {
    name: "since",
    about: "Only events received at or after this time: a timestamp (2026-01-31T12:00:00Z) or a duration ago (90m).",
    schema: text,
};
const STATE: QueryParameter = QueryParameter {
    name: "state",
    about: "Only deliveries in this state. `dead` is accepted for `deadLettered`.",
    schema: of::<ItemState>,
};
const ORDER: QueryParameter = QueryParameter {
    name: "order",
    about: "`asc` (default) lists the oldest first, `desc` the newest.",
    schema: of::<ListOrder>,
};
const LIMIT: QueryParameter = QueryParameter { name: "limit", about: "Maximum number of items.", schema: limit };
const AFTER: QueryParameter = QueryParameter {
    name: "after",
    about: "Continues a list: the `continue` of the previous page, with the same `order` and filters.",
    schema: position,
};

fn of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

fn text(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "minLength": 1 })
}

fn limit(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "integer", "minimum": 1, "maximum": ADMIN_LIST_MAX, "default": ADMIN_LIST_DEFAULT })
}

fn position(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "pattern": "^[0-9]+$" })
}

/// The OpenAPI document is described by its own standard.
fn any_object(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "object" })
}

impl Operation {
    /// All operations.
    pub const ALL: [Self; 13] = [
        Self::ListObjects,
        Self::ShowConfiguration,
        Self::ListEvents,
        Self::ListHistory,
        Self::ShowEvent,
        Self::PreviewDelivery,
        Self::ListDeliveries,
        Self::Redeliver,
        Self::Resume,
        Self::OpenApi,
        Self::Metrics,
        Self::Live,
        Self::Ready,
    ];

    /// The path, with its parameters in braces.
    pub fn path(self) -> &'static str {
        match self {
            Self::ListObjects => "/api/v1/objects",
            Self::ShowConfiguration => "/api/v1/configuration",
            Self::ListHistory => "/api/v1/namespaces/{namespace}/endpoints/{name}/history",
            Self::PreviewDelivery => "/api/v1/namespaces/{namespace}/endpoints/{name}/events/{id}/preview",
            Self::ListEvents => "/api/v1/namespaces/{namespace}/endpoints/{name}/events",
            Self::ShowEvent => "/api/v1/namespaces/{namespace}/endpoints/{name}/events/{id}",
            Self::ListDeliveries => "/api/v1/namespaces/{namespace}/subscriptions/{name}/deliveries",
            Self::Redeliver => "/api/v1/namespaces/{namespace}/subscriptions/{name}/redeliver",
            Self::Resume => "/api/v1/namespaces/{namespace}/subscriptions/{name}/resume",
            Self::OpenApi => "/api/v1/openapi.json",
            Self::Metrics => "/metrics",
            Self::Live => "/healthz",
            Self::Ready => "/readyz",
        }
    }

    /// The method.
    pub fn method(self) -> Method {
        match self {
            Self::Redeliver | Self::Resume => Method::POST,
            _ => Method::GET,
        }
    }

    /// The name of the operation in the OpenAPI document.
    pub fn id(self) -> &'static str {
        match self {
            Self::ListObjects => "listObjects",
            Self::ShowConfiguration => "showConfiguration",
            Self::ListHistory => "listHistory",
            Self::PreviewDelivery => "previewDelivery",
            Self::ListEvents => "listEvents",
            Self::ShowEvent => "showEvent",
            Self::ListDeliveries => "listDeliveries",
            Self::Redeliver => "redeliver",
            Self::Resume => "resume",
            Self::OpenApi => "openApi",
            Self::Metrics => "metrics",
            Self::Live => "live",
            Self::Ready => "ready",
        }
    }

    /// What the operation does.
    pub fn about(self) -> &'static str {
        match self {
            Self::ListObjects => "Lists endpoints and subscriptions with their statuses",
            Self::ShowConfiguration => "Returns the specs of endpoints and subscriptions, and the operator's version",
            Self::ListHistory => "Lists the events of an endpoint with their headers and bodies",
            Self::PreviewDelivery => {
                "Shows what a subscription, as configured now, makes of the newest event of an id; nothing is sent"
            }
            Self::ListEvents => "Lists the events that an endpoint has accepted",
            Self::ShowEvent => "Shows the newest event of an id, with its headers and body",
            Self::ListDeliveries => "Lists the deliveries of a subscription and their outcomes",
            Self::Redeliver => "Redelivers events of a subscription: at most `limit`, with `continue` for the rest",
            Self::Resume => {
                "Makes every event that waits for a retry due now, and probes the receiver if the circuit \
                             is open"
            }
            Self::OpenApi => "Returns this document",
            Self::Metrics => "Returns metrics in the OpenMetrics format",
            Self::Live => "Returns 200 unless a part of the process has failed permanently",
            Self::Ready => "Returns 200 if every part of the process is ready",
        }
    }

    /// The query parameters that the operation accepts.
    pub fn query(self) -> &'static [QueryParameter] {
        match self {
            Self::ListObjects => &[NAMESPACE],
            Self::ShowConfiguration => &[NAMESPACE, AFTER_OBJECT],
            Self::ListHistory => &[SINCE, ORDER, LIMIT, AFTER],
            Self::PreviewDelivery => &[SUBSCRIPTION],
            Self::ListEvents => &[TYPE, SINCE, ORDER, LIMIT, AFTER],
            Self::ListDeliveries => &[STATE, ORDER, LIMIT, AFTER],
            _ => &[],
        }
    }

    /// The schema of the body that the operation accepts, if any.
    pub fn body(self) -> Option<fn(&mut SchemaGenerator) -> Schema> {
        match self {
            Self::Redeliver => Some(of::<RedeliveryOrder>),
            Self::Resume => Some(of::<ResumeOrder>),
            _ => None,
        }
    }

    /// The body of a response with status 200.
    pub fn success(self) -> Success {
        match self {
            Self::ListObjects => Success::Json(of::<Page<ObjectItem>>),
            Self::ShowConfiguration => Success::Json(of::<ConfigurationPage>),
            Self::ListHistory => Success::Json(of::<HistoryPage>),
            Self::PreviewDelivery => Success::Json(of::<PreviewItem>),
            Self::ListEvents => Success::Json(of::<Page<EventItem>>),
            Self::ShowEvent => Success::Json(of::<EventDetail>),
            Self::ListDeliveries => Success::Json(of::<DeliveriesPage>),
            Self::Redeliver => Success::Json(of::<RedeliveryResult>),
            Self::Resume => Success::Json(of::<ResumeResult>),
            Self::OpenApi => Success::Json(any_object),
            Self::Metrics => Success::Text("application/openmetrics-text"),
            Self::Live | Self::Ready => Success::Text("text/plain"),
        }
    }

    /// The errors that the operation can return, one for each status.
    pub fn errors(self) -> &'static [ErrorCode] {
        use ErrorCode::{
            BodyTooLarge, Conflict, Forbidden, Internal, InvalidParameter, NotFound, Unauthorized, Unavailable,
            UnsupportedMediaType,
        };
        match self {
            Self::ListObjects => &[InvalidParameter, Unauthorized, Forbidden, Unavailable],
            // An operator of an earlier version has no such path.
            Self::ShowConfiguration => &[InvalidParameter, Unauthorized, Forbidden, NotFound, Unavailable],
            Self::ListEvents | Self::ListHistory | Self::ShowEvent | Self::PreviewDelivery | Self::ListDeliveries => {
                &[InvalidParameter, Unauthorized, Forbidden, NotFound, Internal, Unavailable]
            }
            Self::Redeliver | Self::Resume => &[
                InvalidParameter,
                Unauthorized,
                Forbidden,
                NotFound,
                Conflict,
                BodyTooLarge,
                UnsupportedMediaType,
                Internal,
                Unavailable,
            ],
            Self::Metrics => &[Unauthorized, Forbidden, Unavailable],
            Self::OpenApi | Self::Live | Self::Ready => &[Unavailable],
        }
    }

    /// Whether the operation passes authentication and authorization. Metrics do only if the operator is configured so.
    pub fn is_guarded(self) -> bool {
        !matches!(self, Self::OpenApi | Self::Live | Self::Ready)
    }
}
