//! What the writer remembers of each object, and what a status is made of.

use std::{sync::Arc, time::Instant};

use grapnel_api::{Condition, ConditionStatus, Reason};

use super::contest::Contest;
use crate::{
    catalog::{Facts, ObjectView, RouteState, observed::DeliveryHealth, replay::ReplayPhase},
    controller::limits,
};

/// The state kept for one object's status.
#[derive(Default)]
pub(super) struct Memo {
    pub(super) uid: Option<Arc<str>>,
    /// The inputs of the last written status.
    pub(super) made_of: Option<Material>,
    /// Since when a referenced object has been absent.
    absent_since: Option<Instant>,
    /// Whether another writer overwrites the status.
    pub(super) contest: Option<Contest>,
}

/// The inputs of the conditions. Cheap to compare: unchanged conditions are the same allocation.
#[derive(Clone, PartialEq)]
pub(super) struct Material {
    generation: Option<i64>,
    health: Option<DeliveryHealth>,
    /// Where a replay is.
    phase: Option<ReplayPhase>,
    /// The endpoint's events are stored: no storage share is exhausted.
    storing: bool,
    route: Option<Arc<RouteState>>,
    conditions: Arc<[Condition]>,
}

impl Memo {
    /// Of a new object.
    pub(super) fn of(uid: Option<Arc<str>>) -> Self {
        Self { uid, ..Self::default() }
    }

    /// When the conditions are to be written, if they have changed. Manifests that belong together are applied one
    /// after the other, so a reference that is absent for a moment is not reported.
    pub(super) fn changed(&mut self, made_of: &Material, now: Instant) -> Option<Instant> {
        if self.made_of.as_ref() == Some(made_of) {
            self.absent_since = None;
            return None;
        }
        if !made_of.lacks_something() {
            self.absent_since = None;
            return Some(now);
        }
        Some(*self.absent_since.get_or_insert(now) + limits::STATUS_SETTLE)
    }

    /// Whether a changed condition is still to be left out, because a reference may appear.
    pub(super) fn waits(&self, made_of: &Material) -> bool {
        made_of.lacks_something() && self.made_of.as_ref() != Some(made_of)
    }
}

impl Material {
    pub(super) fn of(view: &ObjectView, storing: bool) -> Self {
        let health = match &view.facts {
            Facts::Subscription(facts) => Some(facts.standing()),
            Facts::Endpoint(_) | Facts::Replay(_) => None,
        };
        let phase = match &view.facts {
            Facts::Replay(facts) => Some(facts.phase()),
            Facts::Endpoint(_) | Facts::Subscription(_) => None,
        };
        let (route, conditions) = (view.route_state(), Arc::clone(&view.conditions));
        Self { generation: view.generation, health, phase, storing, route, conditions }
    }

    /// Whether a referenced object does not exist or is not ready.
    fn lacks_something(&self) -> bool {
        let absent = [
            Reason::SecretNotFound,
            Reason::KeyNotFound,
            Reason::EndpointNotFound,
            Reason::EndpointNotReady,
            Reason::SubscriptionNotFound,
            Reason::Progressing,
        ];
        let mut conditions = self.conditions.iter();
        conditions.any(|it| it.status != ConditionStatus::True && absent.contains(&it.reason))
    }
}
