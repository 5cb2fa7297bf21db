//! Replays in a cluster: their progress is in their statuses, and those that have ended are deleted in time.
//!
//! The leader runs the replays. Its status writer keeps their progress; a new leader continues where the status says.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
    time::Instant,
};

use async_trait::async_trait;
use grapnel_api::{Incarnation, WebhookReplay, WebhookReplayStatus};
use grapnel_values::clock::Clock;
use jiff::Timestamp;
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
    catalog::{Facts, ObjectKind, ObjectView, ReplayReading},
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

    async fn keep(&self, _: &[ObjectView]) -> bool {
        // The status writer does.
        true
    }
}

/// The status of a replay, as the API server last showed it.
fn status(sightings: &ObservedState, replay: &ObjectView) -> Option<WebhookReplayStatus> {
    let sighting = sightings.get(ObjectKind::Replay, &replay.key).filter(|sighting| sighting.uid == replay.uid)?;
    serde_json::from_str(sighting.status.as_deref()?).ok()
}

/// Deletes replays that have ended, after their `ttlSecondsAfterFinished`.
pub struct ReplayCleanup {
    /// Must not retry by itself.
    pub client: Client,
    /// Every object as programmed.
    pub objects: watch::Receiver<Arc<Vec<ObjectView>>>,
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

    /// Whether a replay is to be deleted. Its end must be in the status, so that those who wait for it see it.
    fn is_due(&self, view: &ObjectView) -> bool {
        let Facts::Replay(facts) = &view.facts else { return false };
        let Some(ttl) = facts.ttl() else { return false };
        let Some((ended, _)) = facts.read().ended else { return false };
        let due = ended.checked_add(ttl).unwrap_or(Timestamp::MAX);
        due <= self.clock.now() && status(&self.sightings, view).is_some_and(|status| status.completion_time.is_some())
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
