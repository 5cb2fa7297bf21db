//! Conditions: what an object says about itself.

use std::{borrow::Cow, fmt};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1;
use serde::{Deserialize, Serialize};

/// The conditions of all kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ConditionType {
    /// The spec compiled.
    Accepted,
    /// Every referenced Secret and ConfigMap key exists and parses.
    SecretsResolved,
    /// The same as `SecretsResolved`, with reasons that name the kind: Secret or ConfigMap.
    ReferencesResolved,
    /// Requests are verified; `False` on an endpoint with `verification.none`.
    Verified,
    /// Requests are not verified, as the spec says; present only while true. Endpoints only.
    Unauthenticated,
    /// Events are stored; present only while they are refused because a share of the journal is exhausted, or because the
    /// journal accepts none. Endpoints only.
    Storing,
    /// The last outcomes succeed. Subscriptions only.
    Delivering,
    /// Every Gateway of `spec.route` accepts the endpoint's HTTPRoute. Endpoints with `spec.route` only.
    Routed,
    /// Paused by `spec.suspend`; present only while true.
    Suspended,
    /// Another writer overwrites the status; present only while true.
    Contested,
    /// Every selected event is delivered again or has become a dead letter. Replays only.
    Complete,
    /// It does not run, or ended early; present only while true. Replays only.
    Failed,
    /// Programmed into the data plane in this generation. On a subscription also: its endpoint is ready.
    Ready,
    /// Present only while a change is being worked on (kstatus).
    Reconciling,
    /// Present only while a person has to act (kstatus).
    Stalled,
}

impl ConditionType {
    /// Every type.
    pub const ALL: [Self; 15] = [
        Self::Accepted,
        Self::SecretsResolved,
        Self::ReferencesResolved,
        Self::Verified,
        Self::Unauthenticated,
        Self::Storing,
        Self::Delivering,
        Self::Routed,
        Self::Suspended,
        Self::Contested,
        Self::Complete,
        Self::Failed,
        Self::Ready,
        Self::Reconciling,
        Self::Stalled,
    ];

    /// As written in `conditions[].type`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "Accepted",
            Self::SecretsResolved => "SecretsResolved",
            Self::ReferencesResolved => "ReferencesResolved",
            Self::Verified => "Verified",
            Self::Unauthenticated => "Unauthenticated",
            Self::Storing => "Storing",
            Self::Delivering => "Delivering",
            Self::Routed => "Routed",
            Self::Suspended => "Suspended",
            Self::Contested => "Contested",
            Self::Complete => "Complete",
            Self::Failed => "Failed",
            Self::Ready => "Ready",
            Self::Reconciling => "Reconciling",
            Self::Stalled => "Stalled",
        }
    }
}

impl fmt::Display for ConditionType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Every reason that a condition can have: a fixed set, also the reason of the Kubernetes Event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Reason {
    /// All is well with the spec.
    Accepted,
    /// All references resolve.
    Resolved,
    /// The data plane serves this generation.
    Programmed,
    /// Deliveries succeed.
    Succeeding,
    /// No delivery has been attempted yet.
    NotAttempted,
    /// Nothing is delivered, because the subscription is not in use.
    NotReady,
    /// Requests are checked.
    Authenticated,
    /// Requests are not checked: `verification.none`, or a provider that does not sign.
    Unauthenticated,
    /// A field does not make sense; the message says which and why.
    InvalidSpec,
    /// An older endpoint of the namespace has the path.
    PathConflict,
    /// A JSON Schema does not compile.
    InvalidSchema,
    /// A CEL expression does not compile.
    InvalidExpression,
    /// `endpointRef` names nothing.
    EndpointNotFound,
    /// The endpoint that `endpointRef` names is not ready.
    EndpointNotReady,
    /// The endpoint that `endpointRef` names is suspended.
    EndpointSuspended,
    /// A referenced endpoint has another `className`, so that another operator serves it.
    ClassMismatch,
    /// The endpoint does not allow this namespace to subscribe.
    NotAllowed,
    /// The target's address must not be called.
    TargetForbidden,
    /// A Secret or ConfigMap does not exist.
    SecretNotFound,
    /// A ConfigMap does not exist. Only in `ReferencesResolved`.
    ConfigMapNotFound,
    /// A Secret lacks the key. Only in `ReferencesResolved`.
    SecretKeyNotFound,
    /// A ConfigMap lacks the key. Only in `ReferencesResolved`.
    ConfigMapKeyNotFound,
    /// A value of a ConfigMap does not have the expected form. Only in `ReferencesResolved`.
    InvalidConfigMap,
    /// A Secret or ConfigMap lacks the key.
    KeyNotFound,
    /// A value does not parse as the key it should be.
    InvalidSecret,
    /// The endpoint, or its namespace, keeps as many bytes in the journal as it may.
    ShareExhausted,
    /// The journal accepts no events from anyone, and a person has to act: the message says why.
    JournalUnavailable,
    /// The last delivery failed.
    TargetFailing,
    /// `filter` or `transform` failed on the last event.
    ExpressionFailing,
    /// Too many failures in a row; the subscription pauses and probes.
    CircuitOpen,
    /// The receiver answered that it is gone for good.
    TargetGone,
    /// Parked by `suspend`.
    Suspended,
    /// Nothing is sent, by `mode: Shadow`.
    Shadow,
    /// Another writer overwrites the status.
    OverwrittenByAnother,
    /// Being deleted, when all events are settled (`deletionPolicy: Drain`).
    Draining,
    /// Every Gateway accepts the HTTPRoute.
    RouteAccepted,
    /// A Gateway does not accept the HTTPRoute.
    RouteNotAccepted,
    /// A Gateway does not resolve a reference of the HTTPRoute, such as the operator's Service.
    RouteNotResolved,
    /// Another HTTPRoute has the endpoint's name.
    RouteConflict,
    /// The API server rejects the HTTPRoute.
    RouteRejected,
    /// The operator lacks the right to manage HTTPRoutes.
    RouteForbidden,
    /// The cluster has no HTTPRoutes: the Gateway API is not installed.
    RouteUnavailable,
    /// The operator is not configured to manage HTTPRoutes.
    RouteDisabled,
    /// `subscriptionRef` names nothing.
    SubscriptionNotFound,
    /// The subscription that `subscriptionRef` names is not ready.
    SubscriptionNotReady,
    /// The subscription that `subscriptionRef` names is suspended.
    SubscriptionSuspended,
    /// The subscription was deleted before the replay was complete.
    SubscriptionDeleted,
    /// A replay has ended: every event is delivered again or has become a dead letter.
    Completed,
    /// Being worked on.
    Progressing,
}

impl Reason {
    /// As written in `conditions[].reason`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "Accepted",
            Self::Resolved => "Resolved",
            Self::Programmed => "Programmed",
            Self::Succeeding => "Succeeding",
            Self::NotAttempted => "NotAttempted",
            Self::NotReady => "NotReady",
            Self::Authenticated => "Authenticated",
            Self::Unauthenticated => "Unauthenticated",
            Self::InvalidSpec => "InvalidSpec",
            Self::PathConflict => "PathConflict",
            Self::InvalidSchema => "InvalidSchema",
            Self::InvalidExpression => "InvalidExpression",
            Self::EndpointNotFound => "EndpointNotFound",
            Self::EndpointNotReady => "EndpointNotReady",
            Self::EndpointSuspended => "EndpointSuspended",
            Self::ClassMismatch => "ClassMismatch",
            Self::NotAllowed => "NotAllowed",
            Self::TargetForbidden => "TargetForbidden",
            Self::SecretNotFound => "SecretNotFound",
            Self::ConfigMapNotFound => "ConfigMapNotFound",
            Self::SecretKeyNotFound => "SecretKeyNotFound",
            Self::ConfigMapKeyNotFound => "ConfigMapKeyNotFound",
            Self::InvalidConfigMap => "InvalidConfigMap",
            Self::KeyNotFound => "KeyNotFound",
            Self::InvalidSecret => "InvalidSecret",
            Self::ShareExhausted => "ShareExhausted",
            Self::JournalUnavailable => "JournalUnavailable",
            Self::TargetFailing => "TargetFailing",
            Self::ExpressionFailing => "ExpressionFailing",
            Self::CircuitOpen => "CircuitOpen",
            Self::TargetGone => "TargetGone",
            Self::Suspended => "Suspended",
            Self::Shadow => "Shadow",
            Self::OverwrittenByAnother => "OverwrittenByAnother",
            Self::Draining => "Draining",
            Self::RouteAccepted => "RouteAccepted",
            Self::RouteNotAccepted => "RouteNotAccepted",
            Self::RouteNotResolved => "RouteNotResolved",
            Self::RouteConflict => "RouteConflict",
            Self::RouteRejected => "RouteRejected",
            Self::RouteForbidden => "RouteForbidden",
            Self::RouteUnavailable => "RouteUnavailable",
            Self::RouteDisabled => "RouteDisabled",
            Self::SubscriptionNotFound => "SubscriptionNotFound",
            Self::SubscriptionNotReady => "SubscriptionNotReady",
            Self::SubscriptionSuspended => "SubscriptionSuspended",
            Self::SubscriptionDeleted => "SubscriptionDeleted",
            Self::Completed => "Completed",
            Self::Progressing => "Progressing",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// `True`, `False` or `Unknown`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConditionStatus {
    /// It holds.
    True,
    /// It does not hold.
    False,
    /// Not known yet.
    Unknown,
}

impl ConditionStatus {
    /// As written in `conditions[].status`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

/// A condition before it is given its times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// Which.
    pub kind: ConditionType,
    /// Whether it holds.
    pub status: ConditionStatus,
    /// Why, in one word.
    pub reason: Reason,
    /// Why, in a sentence that says what to do.
    pub message: Cow<'static, str>,
}

impl Condition {
    /// A condition that holds.
    pub fn holds(kind: ConditionType, reason: Reason, message: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, status: ConditionStatus::True, reason, message: message.into() }
    }

    /// A condition that does not hold.
    pub fn fails(kind: ConditionType, reason: Reason, message: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, status: ConditionStatus::False, reason, message: message.into() }
    }

    /// A condition that may hold or not.
    pub fn unknown(kind: ConditionType, reason: Reason, message: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, status: ConditionStatus::Unknown, reason, message: message.into() }
    }

    /// The Kubernetes form. `previous` is what the object says now: `lastTransitionTime` moves only
    /// when the status does.
    pub fn stamped(&self, generation: Option<i64>, now: Timestamp, previous: &[v1::Condition]) -> v1::Condition {
        let unchanged = previous
            .iter()
            .find(|condition| condition.type_ == self.kind.as_str() && condition.status == self.status.as_str());
        v1::Condition {
            type_: self.kind.as_str().into(),
            status: self.status.as_str().into(),
            reason: self.reason.as_str().into(),
            message: self.message.to_string(),
            observed_generation: generation,
            last_transition_time: unchanged.map_or(v1::Time(now), |condition| condition.last_transition_time.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_has_every_type() {
        // In the order of their declaration, up to the last one.
        for (number, kind) in ConditionType::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, number, "{kind}");
        }
        assert_eq!(ConditionType::ALL.last(), Some(&ConditionType::Stalled));
    }
}
