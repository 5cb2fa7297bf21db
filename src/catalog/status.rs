//! Statuses: conditions from the compiler, facts from the data plane.

use std::sync::Arc;

use grapnel_api::{
    Condition, ConditionStatus, ConditionType, DeliveryFailure, DeliverySuccess, Incarnation, ObjectKey, Reason,
    Rejection, ShadowCounts, WebhookEndpointSpec, WebhookEndpointStatus, WebhookReplaySpec, WebhookReplayStatus,
    WebhookSubscriptionSpec, WebhookSubscriptionStatus,
};
use grapnel_delivery::breaker::OpenCircuit;
use grapnel_journal::{Journal, Progress};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{self, Time};
use serde::Serialize;
use serde_json::Value;

use super::observed::{
    self, EndpointFacts, EndpointReading, Failed, LastDelivery, LastResult, Rival, SubscriptionFacts,
    SubscriptionReading, Unattached,
};
use super::replay::{self, ReplayFacts};
use super::routing::{RouteSpec, RouteState};

/// The kind of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ObjectKind {
    /// `WebhookEndpoint`.
    Endpoint,
    /// `WebhookSubscription`.
    Subscription,
    /// `WebhookReplay`.
    Replay,
}

impl ObjectKind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Endpoint, Self::Subscription, Self::Replay];

    /// The kind of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    /// As written in `kind`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Endpoint => "WebhookEndpoint",
            Self::Subscription => "WebhookSubscription",
            Self::Replay => "WebhookReplay",
        }
    }
}

/// Facts about an object of any kind.
#[derive(Debug, Clone)]
pub enum Facts {
    /// Of an endpoint.
    Endpoint(Arc<EndpointFacts>),
    /// Of a subscription.
    Subscription(Arc<SubscriptionFacts>),
    /// Of a replay.
    Replay(Arc<ReplayFacts>),
}

/// The spec of an object of any kind, as defined.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub enum ObjectSpec {
    /// Of an endpoint.
    Endpoint(Arc<WebhookEndpointSpec>),
    /// Of a subscription.
    Subscription(Arc<WebhookSubscriptionSpec>),
    /// Of a replay.
    Replay(Arc<WebhookReplaySpec>),
}

/// The journal's data about an object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JournalReading {
    /// Counts of a subscription's deliveries.
    pub deliveries: Option<Progress>,
    /// Why an endpoint's events are rejected: its share of the journal, or that of its namespace, is exhausted.
    pub share_exhausted: Option<String>,
    /// Why the journal accepts no events, if only a person can change that.
    pub unproven: Option<String>,
}

impl JournalReading {
    /// Reads the data of the object that `view` shows; from memory.
    pub fn of(journal: &dyn Journal, view: &ObjectView) -> Self {
        let object = view.incarnation();
        match view.kind {
            ObjectKind::Endpoint => {
                let exhausted = journal.storage(&object).exhausted;
                Self {
                    share_exhausted: exhausted.map(|share| share.to_string()),
                    unproven: journal.unproven(),
                    ..Self::default()
                }
            }
            ObjectKind::Subscription => Self { deliveries: journal.progress(&object), ..Self::default() },
            ObjectKind::Replay => Self::default(),
        }
    }
}

/// The status of an object of any kind, in the form of the CRD.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum ObjectStatus {
    /// Of an endpoint.
    Endpoint(WebhookEndpointStatus),
    /// Of a subscription.
    Subscription(WebhookSubscriptionStatus),
    /// Of a replay.
    Replay(WebhookReplayStatus),
}

impl ObjectStatus {
    /// Names the operator that writes the status.
    pub fn written_by(&mut self, operator: &str) {
        let writer = match self {
            Self::Endpoint(status) => &mut status.writer,
            Self::Subscription(status) => &mut status.writer,
            Self::Replay(status) => &mut status.writer,
        };
        *writer = Some(operator.to_owned());
    }
}

/// Everything known about one object.
#[derive(Debug, Clone)]
pub struct ObjectView {
    /// Its kind.
    pub kind: ObjectKind,
    /// Its name.
    pub key: ObjectKey,
    /// `metadata.uid`, if any.
    pub uid: Option<Arc<str>>,
    /// `metadata.generation` of the version that the conditions refer to, if any.
    pub generation: Option<i64>,
    /// Where it was defined, `file:line`, if in a file.
    pub source: Option<Arc<str>>,
    /// The endpoint that a subscription reads.
    pub endpoint_ref: Option<ObjectKey>,
    /// The subscription of a replay.
    pub subscription_ref: Option<ObjectKey>,
    /// The path of an endpoint.
    pub path: Option<Arc<str>>,
    /// The URL for the sender below the operator's public URL.
    pub url: Option<Arc<str>>,
    /// Where the ids of an endpoint's events come from.
    pub event_id_from: Option<Arc<str>>,
    /// Conditions from the compiler.
    pub conditions: Arc<[Condition]>,
    /// A version is in use: the newest, or an earlier one.
    pub in_use: bool,
    /// No version is in use, and none will be before a change: the newest one does not compile, and every value that it
    /// refers to has been read.
    pub unusable: bool,
    /// The HTTPRoute of an endpoint.
    pub route: RouteSpec,
    /// Facts from the data plane.
    pub facts: Facts,
    /// The last spec that can be parsed.
    pub spec: Option<ObjectSpec>,
}

/// The views of all objects at one moment: endpoints, subscriptions and replays, each in order of their names. Shared
/// one by one, because a change of one object leaves all others as they are.
pub type ObjectViews = Arc<Vec<Arc<ObjectView>>>;

impl ObjectView {
    /// The object of the view.
    pub fn incarnation(&self) -> Incarnation {
        Incarnation::new(self.key.clone(), self.uid.clone().unwrap_or_default())
    }

    /// Records that another writer overwrites the status of the object, or no longer does.
    pub fn contested(&self, writer: Option<Arc<str>>) {
        self.rival().set(writer);
    }

    fn rival(&self) -> &Rival {
        match &self.facts {
            Facts::Endpoint(facts) => &facts.rival,
            Facts::Subscription(facts) => &facts.rival,
            Facts::Replay(facts) => &facts.rival,
        }
    }

    /// The object's current conditions.
    pub fn conditions(&self, journal: &JournalReading) -> Vec<Condition> {
        let mut conditions = match &self.facts {
            Facts::Endpoint(_) => {
                let mut conditions = endpoint_conditions(&self.conditions, journal);
                conditions.extend(self.route_state().map(|state| state.condition.clone()));
                conditions
            }
            Facts::Subscription(facts) => {
                let mut conditions = subscription_conditions(&self.conditions, &facts.read(), self.in_use);
                if facts.standing().draining
                    && let Some(counts) = journal.deliveries
                {
                    say_draining(&mut conditions, counts.pending + counts.in_flight + counts.retrying);
                }
                conditions
            }
            Facts::Replay(facts) => replay::conditions(&self.conditions, &facts.read()),
        };
        conditions.extend(self.rival().condition());
        conditions
    }

    /// The state of the HTTPRoute that the object wants.
    pub fn route_state(&self) -> Option<Arc<RouteState>> {
        let (RouteSpec::Wanted(_), Facts::Endpoint(facts)) = (&self.route, &self.facts) else { return None };
        Some(facts.route().unwrap_or_else(|| Arc::new(RouteState::unknown())))
    }

    /// The URL for the sender: of its HTTPRoute, otherwise below the operator's public URL.
    pub fn sender_url(&self) -> Option<String> {
        let routed = self.route_state().and_then(|state| state.url.clone());
        routed.or_else(|| self.url.as_deref().map(str::to_owned))
    }

    /// The object's current status, in the form of the CRD. `previous` are its present conditions, whose times are kept
    /// as long as their statuses are. If there are none, the conditions last reported count.
    pub fn status(&self, journal: &JournalReading, now: Timestamp, previous: &[v1::Condition]) -> Value {
        // These types can always be serialized.
        serde_json::to_value(self.typed_status(journal, now, previous)).unwrap_or_default()
    }

    /// The same as the type of its kind.
    pub fn typed_status(&self, journal: &JournalReading, now: Timestamp, previous: &[v1::Condition]) -> ObjectStatus {
        let counts = journal.deliveries;
        let since = match &self.facts {
            Facts::Endpoint(facts) => &facts.since,
            Facts::Subscription(facts) => &facts.since,
            Facts::Replay(facts) => &facts.since,
        };
        let conditions = since.stamp(&self.conditions(journal), self.generation, now, previous);
        match &self.facts {
            Facts::Endpoint(facts) => ObjectStatus::Endpoint(WebhookEndpointStatus {
                observed_generation: self.generation,
                conditions,
                path: self.path.as_deref().map(str::to_owned),
                url: self.sender_url(),
                event_id_from: self.event_id_from.as_deref().map(str::to_owned),
                ..facts.read().into_status()
            }),
            Facts::Subscription(facts) => {
                let facts = facts.read();
                ObjectStatus::Subscription(WebhookSubscriptionStatus {
                    observed_generation: self.generation,
                    conditions,
                    pending: counts.map(|counts| counts.pending),
                    in_flight: counts.map(|counts| counts.in_flight),
                    retrying: counts.map(|counts| counts.retrying),
                    dead_lettered: counts.map(|counts| counts.dead),
                    delivered: counts.map(|counts| counts.delivered),
                    shadow: Some(facts.shadow).filter(|counts| *counts != ShadowCounts::default()),
                    last_delivery: facts.last_delivery.map(|delivered| DeliverySuccess {
                        time: Time(delivered.time),
                        event_id: delivered.event_id.into(),
                        status_code: delivered.status,
                        duration_ms: delivered.duration_ms,
                    }),
                    last_failure: facts.last_failure.map(|failed| DeliveryFailure {
                        time: Time(failed.time),
                        event_id: failed.event_id.into(),
                        reason: failed.reason.into(),
                        status_code: failed.status,
                        message: failed.message.into(),
                        next_attempt_time: failed.next_attempt.map(Time),
                    }),
                    writer: None,
                })
            }
            Facts::Replay(facts) => {
                let observed_generation = self.generation;
                let mut status = WebhookReplayStatus { observed_generation, conditions, ..Default::default() };
                facts.read().write(&mut status);
                ObjectStatus::Replay(status)
            }
        }
    }
}

impl EndpointReading {
    /// The reading in a status that was written before.
    pub fn of(status: &WebhookEndpointStatus) -> Self {
        Self {
            received: status.received.unwrap_or_default(),
            rejected: status.rejected.unwrap_or_default(),
            duplicates: status.duplicates.unwrap_or_default(),
            last_received: status.last_received_time.as_ref().map(|time| time.0),
            last_rejection: status.last_rejection.as_ref().map(|rejection| observed::LastRejection {
                time: rejection.time.0,
                code: rejection.reason.clone().into(),
                message: rejection.message.clone(),
            }),
        }
    }

    /// The status with this reading, and nothing else.
    pub fn into_status(self) -> WebhookEndpointStatus {
        WebhookEndpointStatus {
            received: Some(self.received),
            rejected: Some(self.rejected),
            duplicates: Some(self.duplicates),
            last_received_time: self.last_received.map(Time),
            last_rejection: self.last_rejection.map(|rejection| Rejection {
                time: Time(rejection.time),
                reason: rejection.code.into_owned(),
                message: rejection.message,
            }),
            ..WebhookEndpointStatus::default()
        }
    }
}

impl SubscriptionReading {
    /// The reading in a status that was written before.
    pub fn of(status: &WebhookSubscriptionStatus) -> Self {
        let delivering = status.conditions.iter().find(|it| it.type_ == ConditionType::Delivering.as_str());
        let failing = |reason: Reason| delivering.is_some_and(|condition| condition.reason == reason.as_str());
        let (gone, own) = (failing(Reason::TargetGone), failing(Reason::ExpressionFailing));
        Self {
            outcome: if gone {
                LastResult::Gone
            } else if own {
                LastResult::Unprepared
            } else if failing(Reason::TargetFailing) || failing(Reason::CircuitOpen) {
                LastResult::Failing
            } else if status.last_delivery.is_some() {
                LastResult::Succeeding
            } else {
                LastResult::None
            },
            last_delivery: status.last_delivery.as_ref().map(|delivery| LastDelivery {
                time: delivery.time.0,
                event_id: delivery.event_id.as_str().into(),
                status: delivery.status_code,
                duration_ms: delivery.duration_ms,
            }),
            last_failure: status.last_failure.as_ref().map(|failure| Failed {
                time: failure.time.0,
                event_id: failure.event_id.as_str().into(),
                reason: failure.reason.as_str().into(),
                status: failure.status_code,
                message: failure.message.as_str().into(),
                next_attempt: failure.next_attempt_time.as_ref().map(|time| time.0),
                gone,
                own,
            }),
            shadow: status.shadow.unwrap_or_default(),
            unattached: None,
            // The first attempts determine whether the receiver is still down.
            circuit: None,
            pause: None,
            draining: false,
        }
    }
}

/// Adds the conditions from the journal. `Storing` is present only while it is false. A journal that accepts nothing also
/// makes the endpoint unready.
fn endpoint_conditions(compiled: &[Condition], journal: &JournalReading) -> Vec<Condition> {
    let mut conditions = compiled.to_vec();
    if let Some(why) = &journal.unproven {
        let fails = |kind| Condition::fails(kind, Reason::JournalUnavailable, format!("no event is accepted: {why}"));
        let ready = conditions.iter_mut().find(|condition| condition.kind == ConditionType::Ready);
        if let Some(ready) = ready.filter(|ready| ready.status == ConditionStatus::True) {
            *ready = fails(ConditionType::Ready);
        }
        conditions.push(fails(ConditionType::Storing));
    } else if let Some(why) = &journal.share_exhausted {
        conditions.push(Condition::fails(ConditionType::Storing, Reason::ShareExhausted, why.to_owned()));
    }
    conditions
}

/// Adds the conditions from the data plane. A failing receiver does not make a subscription unready.
fn subscription_conditions(compiled: &[Condition], facts: &SubscriptionReading, in_use: bool) -> Vec<Condition> {
    let mut conditions = compiled.to_vec();
    match &facts.unattached {
        Some(Unattached::Refused(why)) => refuse(&mut conditions, why),
        Some(Unattached::Awaited(why)) => wait(&mut conditions, why),
        None => {}
    }
    if conditions.iter().any(|condition| condition.kind == ConditionType::Delivering) {
        // Suspended, or in mode Shadow.
        return conditions;
    }
    let delivering = match conditions.iter().find(|condition| condition.kind == ConditionType::Ready) {
        Some(ready) if facts.unattached.is_some() || !in_use => {
            let message = format!("nothing is delivered: {}", ready.message);
            Condition::unknown(ConditionType::Delivering, Reason::NotReady, message)
        }
        _ => delivering(facts),
    };
    conditions.push(delivering);
    conditions
}

/// Adds that the journal refuses the subscription, which only a change of the object can end.
fn refuse(conditions: &mut Vec<Condition>, refusal: &str) {
    conditions.retain(|condition| condition.kind != ConditionType::Stalled);
    for condition in conditions.iter_mut() {
        if matches!(condition.kind, ConditionType::Accepted | ConditionType::Ready) {
            *condition = Condition::fails(condition.kind, Reason::InvalidSpec, refusal.to_owned());
        }
    }
    conditions.push(Condition::holds(ConditionType::Stalled, Reason::InvalidSpec, refusal.to_owned()));
}

/// Adds that a part of the journal does not answer, which passes by itself.
fn wait(conditions: &mut Vec<Condition>, why: &str) {
    let message = format!("the subscription is not read for yet: {why}");
    let ready = conditions.iter_mut().find(|condition| condition.kind == ConditionType::Ready);
    if let Some(ready) = ready.filter(|ready| ready.status == ConditionStatus::True) {
        *ready = Condition::unknown(ConditionType::Ready, Reason::Progressing, message.clone());
    }
    conditions.retain(|condition| condition.kind != ConditionType::Reconciling);
    conditions.push(Condition::holds(ConditionType::Reconciling, Reason::Progressing, message));
}

/// Adds how many events delay the deletion. The reason why they are not delivered comes first.
fn say_draining(conditions: &mut [Condition], left: u64) {
    let Some(delivering) = conditions.iter_mut().find(|it| it.kind == ConditionType::Delivering) else { return };
    let events = if left == 1 { "event" } else { "events" };
    let message = format!("draining: {left} {events} left before deletion");
    if delivering.status == ConditionStatus::False || delivering.reason == Reason::NotReady {
        delivering.message = format!("{}; {message}", delivering.message).into();
    } else {
        *delivering = Condition::holds(ConditionType::Delivering, Reason::Draining, message);
    }
}

/// The condition of deliveries.
fn delivering(facts: &SubscriptionReading) -> Condition {
    const KIND: ConditionType = ConditionType::Delivering;
    let failure = facts.last_failure.as_ref().map_or("", |failed| &*failed.message);
    let in_a_row = |failures| match failures {
        1 => "1 failure".to_owned(),
        failures => format!("{failures} failures in a row"),
    };
    if let Some(OpenCircuit { since, failures, next_probe }) = facts.circuit {
        let message = format!(
            "the circuit is open since {since:.0} after {}; check the receiver. Last \
             failure: {failure}. Next probe: the first delivery due after {next_probe:.0}",
            in_a_row(failures)
        );
        return Condition::fails(KIND, Reason::CircuitOpen, message);
    }
    if let Some(until) = facts.pause {
        let message = format!(
            "deliveries pause until {until:.0}, because the receiver responded with Retry-After. Last failure: {failure}"
        );
        return Condition::fails(KIND, Reason::TargetFailing, message);
    }
    match facts.outcome {
        LastResult::None => Condition::unknown(KIND, Reason::NotAttempted, "no delivery has been attempted yet"),
        LastResult::Succeeding => Condition::holds(KIND, Reason::Succeeding, "the last delivery succeeded"),
        LastResult::Failing => Condition::fails(
            KIND,
            Reason::TargetFailing,
            format!("the last attempt failed; check the receiver: {failure}"),
        ),
        LastResult::Unprepared => Condition::fails(
            KIND,
            Reason::ExpressionFailing,
            format!(
                "an expression failed on the last event, which is retried and then dead-lettered; correct \
                 spec.{failure}"
            ),
        ),
        LastResult::Gone => Condition::fails(
            KIND,
            Reason::TargetGone,
            "the receiver responded with a status in spec.retry.stopOn; correct the target or delete the subscription",
        ),
    }
}
