//! Replays in a cluster: their progress is in their statuses, and those that have ended are deleted in time.
//!
//! The leader runs the replays. Its status writer keeps their progress; a new leader continues where the status says.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use grapnel_api::{ConditionType, Incarnation, WebhookReplay, WebhookReplayStatus};
use grapnel_values::clock::Clock;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1;
use kube::{
    Api, Client,
    api::{DeleteParams, Preconditions},
};
use tokio::{sync::watch, time};
use tokio_util::sync::CancellationToken;

use super::{
    api_access::{ApiAccess, Need, Timeout},
    lease::Leadership,
    observed_state::ObservedState,
};
use crate::{
    catalog::{Facts, JournalReading, ObjectKind, ObjectView, ObjectViews, ReplayFacts, ReplayReading},
    controller::limits,
    replay::ProgressStore,
};

/// The progress of replays in their statuses.
pub struct ReplayStatuses {
    /// The objects as the API server last showed them.
    pub sightings: ObservedState,
    /// Whether this replica may act.
    pub leadership: Leadership,
}

impl ReplayStatuses {
    fn status(&self, replay: &ObjectView) -> Option<WebhookReplayStatus> {
        status(&self.sightings, replay)
    }
}

#[async_trait]
impl ProgressStore for ReplayStatuses {
    fn may_act(&self) -> bool {
        self.leadership.held()
    }

    fn recall(&self, replay: &ObjectView) -> Option<ReplayReading> {
        self.status(replay).as_ref().map(ReplayReading::of)
    }

    async fn keep(&self, _: &[Arc<ObjectView>]) -> bool {
        // The status writer does.
        true
    }
}

/// The status of a replay, as the API server last showed it.
fn status(sightings: &ObservedState, replay: &ObjectView) -> Option<WebhookReplayStatus> {
    let sighting = sightings.get(ObjectKind::Replay, &replay.key).filter(|sighting| sighting.uid == replay.uid)?;
    serde_json::from_str(sighting.status.as_deref()?).ok()
}

/// When a replay is to be deleted: its `ttlSecondsAfterFinished` after it has ended, or after it has failed before it began.
/// `status` must say so, so that those who wait for the end see it.
fn due(view: &ObjectView, facts: &ReplayFacts, ttl: Duration, status: &WebhookReplayStatus) -> Option<Timestamp> {
    let reading = facts.read();
    let (ended, ttl) = match reading.ended {
        Some((ended, _)) => (status.completion_time.as_ref().map(|_| ended), ttl),
        None if reading.started.is_none() => (failed_since(view, status), ttl.max(limits::REPLAY_FAILED_STAY)),
        None => (None, ttl),
    };
    Some(ended?.checked_add(ttl).unwrap_or(Timestamp::MAX))
}

/// Since when a replay has failed, as its status says. `None` if its present version has not failed.
fn failed_since(view: &ObjectView, status: &WebhookReplayStatus) -> Option<Timestamp> {
    let is_failed = view.conditions(&JournalReading::default()).iter().any(|it| it.kind == ConditionType::Failed);
    let of_this_version =
        |it: &&v1::Condition| it.type_ == ConditionType::Failed.as_str() && it.observed_generation == view.generation;
    let told = status.conditions.iter().find(of_this_version).filter(|it| it.status == "True");
    told.filter(|_| is_failed).map(|condition| condition.last_transition_time.0)
}

/// Deletes replays that have ended, after their `ttlSecondsAfterFinished`.
pub struct ReplayCleanup {
    /// Must not retry by itself.
    pub client: Client,
    /// Every object as programmed.
    pub objects: watch::Receiver<ObjectViews>,
    /// The objects as the API server last showed them.
    pub sightings: ObservedState,
    /// Whether this replica may write.
    pub leadership: Leadership,
    /// Reports refused writes.
    pub access: ApiAccess,
    /// The clock.
    pub clock: Arc<dyn Clock>,
}

impl ReplayCleanup {
    /// Deletes replays until `shutdown`.
    pub async fn run(self, shutdown: CancellationToken) {
        let mut tried = HashMap::new();
        let mut ticks = time::interval(limits::STATUS_PASS);
        ticks.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = ticks.tick() => {}
            }
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = self.pass(&mut tried) => {}
            }
        }
    }

    /// Deletes every replay that is due. One whose deletion was tried is left alone for a while.
    async fn pass(&self, tried: &mut HashMap<Incarnation, Instant>) {
        tried.retain(|_, time| time.elapsed() < limits::REPLAY_DELETE_RETRY);
        let views = Arc::clone(&self.objects.borrow());
        for view in views.iter().filter(|view| self.is_due(view)) {
            if !self.leadership.held() {
                return;
            }
            let replay = view.incarnation();
            if let Entry::Vacant(untried) = tried.entry(replay) {
                self.delete(untried.key()).await;
                untried.insert(Instant::now());
            }
        }
    }

    /// Whether a replay is to be deleted.
    fn is_due(&self, view: &ObjectView) -> bool {
        let Facts::Replay(facts) = &view.facts else { return false };
        let Some(ttl) = facts.ttl() else { return false };
        let due = status(&self.sightings, view).and_then(|status| due(view, facts, ttl, &status));
        due.is_some_and(|due| due <= self.clock.now())
    }

    async fn delete(&self, Incarnation { key, uid }: &Incarnation) {
        let api = Api::<WebhookReplay>::namespaced(self.client.clone(), &key.namespace);
        // The uid prevents deleting a later object of the same name.
        let preconditions = Preconditions { uid: Some(uid.to_string()), resource_version: None };
        let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
        let need = Need::new("delete", "webhookreplays").without_it("ttlSecondsAfterFinished does not work");
        match time::timeout(self.leadership.write_timeout(), api.delete(&key.name, &params)).await {
            Ok(Ok(_)) => {
                self.access.recovered(&need);
                tracing::info!(namespace = %key.namespace, replay = %key.name, "replay deleted after its end");
            }
            Ok(Err(kube::Error::Api(status))) if status.is_not_found() || status.is_conflict() => {}
            Ok(Err(error)) => self.access.failed(need, &error),
            Err(_) => self.access.failed(need, &Timeout),
        }
    }
}

#[cfg(test)]
mod tests {
    use grapnel_api::ObjectKey;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use serde_json::json;

    use super::*;
    use crate::{
        catalog::{Age, Applied, Change, ObjectIndex, Options, replay::ReplayEnd},
        telemetry::metrics::Metrics,
    };

    const TTL: Duration = Duration::from_secs(600);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + second).unwrap()
    }

    /// The view of a replay whose subscription does not exist.
    fn view() -> ObjectView {
        let mut index = ObjectIndex::new(Options::default(), Metrics::new());
        let object = serde_json::from_value(json!({
            "apiVersion": "grapnel.dev/v1beta1", "kind": "WebhookReplay",
            "metadata": { "namespace": "shop", "name": "again", "generation": 1 },
            "spec": {
                "subscriptionRef": { "name": "nowhere" }, "select": { "deadLettered": true },
                "ttlSecondsAfterFinished": TTL.as_secs(),
            },
        }));
        let (key, uid) = (ObjectKey::new("shop", "again"), Some("u".into()));
        let applied = Applied { key, object: object.unwrap(), source: None, age: Age::default(), uid };
        index.apply(Change::Replay(Box::new(applied)));
        index.apply(Change::Synced(true));
        index.publish().unwrap().objects.iter().find(|view| view.kind == ObjectKind::Replay).unwrap().as_ref().clone()
    }

    fn due_of(view: &ObjectView, ttl: Duration, status: &WebhookReplayStatus) -> Option<Timestamp> {
        let Facts::Replay(facts) = &view.facts else { panic!("not a replay") };
        due(view, facts, ttl, status)
    }

    /// The status that the operator writes at a time.
    fn status_at(view: &ObjectView, now: Timestamp) -> WebhookReplayStatus {
        serde_json::from_value(view.status(&JournalReading::default(), now, &[])).unwrap()
    }

    #[test]
    fn a_replay_that_has_failed_before_it_began_is_deleted_too() {
        let view = view();
        let mut status = status_at(&view, at(0));
        assert_eq!(due_of(&view, TTL, &status), Some(at(600)), "{status:?}");
        // What it lacks may be applied right after it.
        let stay = limits::REPLAY_FAILED_STAY;
        assert_eq!(due_of(&view, Duration::ZERO, &status), Some(at(0).checked_add(stay).unwrap()));
        status.conditions.iter_mut().for_each(|condition| condition.observed_generation = Some(0));
        assert_eq!(due_of(&view, TTL, &status), None, "the failure of an earlier version");
        assert_eq!(due_of(&view, TTL, &WebhookReplayStatus::default()), None, "the status does not say it");
    }

    #[test]
    fn a_replay_that_has_ended_is_deleted_when_its_status_says_so() {
        let view = view();
        let Facts::Replay(facts) = &view.facts else { panic!("not a replay") };
        facts.set(ReplayReading { started: Some(at(0)), ..ReplayReading::default() });
        assert_eq!(due_of(&view, TTL, &status_at(&view, at(0))), None, "it runs");
        facts.set(ReplayReading {
            started: Some(at(0)),
            ended: Some((at(5), ReplayEnd::Completed)),
            ..ReplayReading::default()
        });
        let mut status = WebhookReplayStatus::default();
        assert_eq!(due_of(&view, TTL, &status), None);
        status.completion_time = Some(Time(at(5)));
        assert_eq!(due_of(&view, Duration::ZERO, &status), Some(at(5)));
        assert_eq!(due_of(&view, TTL, &status), Some(at(605)));
    }
}
