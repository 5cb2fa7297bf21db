//! The HTTPRoute of an endpoint, as the endpoint wants it and as the cluster has it.

use std::{borrow::Cow, sync::Arc};

use grapnel_api::{Condition, ConditionStatus, ConditionType, GatewayRoute, Reason, WebhookEndpointStatus};

/// Whether an object has an HTTPRoute.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum RouteSpec {
    /// None: a route of the operator's is deleted.
    #[default]
    Absent,
    /// No version of the endpoint is in use: an existing route is left as it is.
    Undecided,
    /// As in the version in use.
    Wanted(Arc<GatewayRoute>),
}

/// The reasons of `Routed`.
const REASONS: [Reason; 9] = [
    Reason::RouteAccepted,
    Reason::RouteNotAccepted,
    Reason::RouteNotResolved,
    Reason::RouteConflict,
    Reason::RouteRejected,
    Reason::RouteForbidden,
    Reason::RouteUnavailable,
    Reason::RouteDisabled,
    Reason::Progressing,
];

/// What the cluster says about the HTTPRoute of an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteState {
    /// `Routed`.
    pub condition: Condition,
    /// The URL under which Gateways serve the endpoint; only while `Routed` is true and a host name is known.
    pub url: Option<String>,
}

impl RouteState {
    /// A state without URL.
    pub fn new(status: ConditionStatus, reason: Reason, message: impl Into<Cow<'static, str>>) -> Self {
        let condition = Condition { kind: ConditionType::Routed, status, reason, message: message.into() };
        Self { condition, url: None }
    }

    /// The state in a status that was written before, if there is one.
    pub fn of(status: &WebhookEndpointStatus) -> Option<Self> {
        let routed = status.conditions.iter().find(|it| it.type_ == ConditionType::Routed.as_str())?;
        let mut statuses = [ConditionStatus::True, ConditionStatus::False, ConditionStatus::Unknown].into_iter();
        let condition = statuses.find(|it| it.as_str() == routed.status)?;
        let reason = REASONS.into_iter().find(|it| it.as_str() == routed.reason)?;
        let url = status.url.clone().filter(|_| condition == ConditionStatus::True);
        Some(Self { url, ..Self::new(condition, reason, routed.message.clone()) })
    }

    /// The state before the cluster has been asked.
    pub fn unknown() -> Self {
        Self::new(ConditionStatus::Unknown, Reason::Progressing, "the HTTPRoute has not been checked yet")
    }

    /// The state without a cluster.
    pub fn without_cluster() -> Self {
        Self::new(ConditionStatus::False, Reason::RouteDisabled, "spec.route has no effect without a cluster")
    }
}
