//! Writes statuses: only as the leader, only changes, by server-side apply with one field manager.
//!
//! A condition that changes is written at once, counters at most every `--status-interval`. A failed write is due again
//! at the next pass; nothing is queued, so no outdated status is ever written.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::{StreamExt, stream};
use grapnel_api::{Condition, ConditionStatus, ObjectKey, Reason, WebhookEndpoint, WebhookSubscription};
use grapnel_journal::Journal;
use grapnel_values::clock::Clock;
use kube::{
    Api, Client,
    api::{DynamicObject, Patch, PatchParams},
    core::ApiResource,
};
use serde_json::{Value, json};
use tokio::{sync::watch, time};
use tokio_util::sync::CancellationToken;

use super::{
    events::{self, Announcer},
    lease::Leadership,
    observed_state::ObservedState,
};
use crate::{
    catalog::{
        EndpointReading, Facts, JournalReading, ObjectKind, ObjectView, RouteState, SubscriptionReading,
        observed::DeliveryHealth,
    },
    controller::limits,
    telemetry::metrics::Metrics,
};

/// The field manager of every status, as in `metadata.managedFields`.
pub const FIELD_MANAGER: &str = "grapnel";

/// Writes the statuses of all objects.
pub struct StatusWriter {
    /// Must not retry by itself.
    pub client: Client,
    /// Every object as programmed.
    pub objects: watch::Receiver<Arc<Vec<ObjectView>>>,
    /// The objects as the API server last showed them.
    pub sightings: ObservedState,
    /// The journal, for the counts of deliveries.
    pub journal: Arc<dyn Journal>,
    /// Whether this replica may write.
    pub leadership: Leadership,
    /// Publishes Kubernetes Events about changes.
    pub announcer: Announcer,
    /// Minimum time between two writes of an object's counters.
    pub interval: Duration,
    /// The clock, for transition times.
    pub clock: Arc<dyn Clock>,
    /// Counts writes.
    pub metrics: Metrics,
}

/// The state kept for one object's status.
#[derive(Default)]
struct Memo {
    uid: Option<Arc<str>>,
    /// The inputs of the last computed status.
    made_of: Option<Material>,
    /// Since when a referenced object has been absent.
    absent_since: Option<Instant>,
    /// When counters are checked next.
    counters_due: Option<Instant>,
}

/// The inputs of the conditions. Cheap to compare: unchanged conditions are the same allocation.
#[derive(Clone, PartialEq)]
struct Material {
    generation: Option<i64>,
    standing: Option<DeliveryHealth>,
    /// The endpoint's events are stored: no storage share is exhausted.
    storing: bool,
    route: Option<Arc<RouteState>>,
    conditions: Arc<[Condition]>,
}

/// A write that is due.
struct Write {
    kind: ObjectKind,
    key: ObjectKey,
    uid: Option<Arc<str>>,
    made_of: Material,
    /// The last known status on the API server.
    before: Option<Value>,
    status: Value,
    /// The new status as JSON.
    text: Arc<str>,
}

/// The result of a write.
enum Written {
    Yes,
    /// The object no longer exists.
    Gone,
    No,
}

impl StatusWriter {
    /// Writes until `shutdown`, and then a last time, so that counters are right after a restart.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let mut memos = HashMap::new();
        let mut leading = false;
        let mut ticks = time::interval(limits::STATUS_PASS);
        ticks.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                _ = ticks.tick() => {}
                () = self.leadership.changed() => {}
                changed = self.objects.changed() => if changed.is_err() { break },
            }
            let held = self.leadership.held();
            if held && !leading {
                // Another replica may have written since, so the state of the API server counts.
                memos.clear();
                self.resume();
            }
            leading = held;
            if held {
                tokio::select! {
                    () = self.pass(&mut memos, false) => {}
                    // Interrupted writes are repeated below, or by the next leader.
                    () = shutdown.cancelled() => break,
                }
            }
        }
        if self.leadership.held() && time::timeout(limits::SHUTDOWN_STATUS, self.pass(&mut memos, true)).await.is_err()
        {
            tracing::warn!("not every status could be written before the end");
        }
    }

    /// Takes over the counters of the previous writer where they are ahead.
    fn resume(&self) {
        for view in self.objects.borrow().iter() {
            let Some(status) = self.sightings.get(view.kind, &view.key).and_then(|sighting| sighting.status) else {
                continue;
            };
            match &view.facts {
                Facts::Endpoint(facts) => {
                    if let Ok(status) = serde_json::from_str(&status) {
                        facts.resume(EndpointReading::of(&status));
                    }
                }
                Facts::Subscription(facts) => {
                    if let Ok(status) = serde_json::from_str(&status) {
                        facts.resume(SubscriptionReading::of(&status));
                    }
                }
            }
        }
    }

    /// Writes everything that is due.
    async fn pass(&mut self, memos: &mut HashMap<(ObjectKind, ObjectKey), Memo>, last: bool) {
        let views = Arc::clone(&self.objects.borrow_and_update());
        if memos.len() > views.len() {
            let alive: std::collections::HashSet<_> = views.iter().map(|view| (view.kind, view.key.clone())).collect();
            memos.retain(|object, _| alive.contains(object));
        }
        let this = &*self;
        let due: Vec<Write> = views
            .iter()
            .filter_map(|view| this.due(view, memos.entry((view.kind, view.key.clone())).or_default(), last))
            .collect();
        let mut written = stream::iter(due)
            .map(|write| async move {
                let result = this.write(&write).await;
                (write, result)
            })
            .buffer_unordered(limits::STATUS_WRITES_AT_ONCE);
        while let Some((write, result)) = written.next().await {
            let Some(memo) = memos.get_mut(&(write.kind, write.key.clone())) else { continue };
            match result {
                Written::Yes => {
                    let Write { kind, key, uid, made_of, before, status, text } = write;
                    events::changes(kind, &key, uid.as_deref(), before.as_ref(), &status)
                        .for_each(|event| this.announcer.announce(event));
                    this.sightings.wrote(kind, &key, uid.as_deref(), text);
                    memo.made_of = Some(made_of);
                }
                Written::Gone => memo.made_of = Some(write.made_of),
                Written::No => memo.counters_due = None,
            }
        }
    }

    /// The write that an object needs now, if any.
    fn due(&self, view: &ObjectView, memo: &mut Memo, last: bool) -> Option<Write> {
        if memo.uid != view.uid {
            *memo = Memo { uid: view.uid.clone(), ..Memo::default() };
        }
        let now = Instant::now();
        let counters = last || memo.counters_due.is_none_or(|due| due <= now);
        let made_of = Material::of(view, self.is_storing(view));
        if !counters && memo.made_of.as_ref() == Some(&made_of) {
            return None;
        }
        // Manifests that belong together are applied one after the other, so a reference that is absent for a moment is
        // not reported.
        if !last && made_of.lacks_something() && memo.made_of.as_ref() != Some(&made_of) {
            let since = *memo.absent_since.get_or_insert(now);
            if now.duration_since(since) < limits::STATUS_SETTLE {
                return None;
            }
        } else {
            memo.absent_since = None;
        }
        memo.counters_due = Some(now + self.interval);
        // This also detects and repairs a status that another writer has changed.
        let sighting = self.sightings.get(view.kind, &view.key).filter(|sighting| sighting.uid == view.uid);
        let text_before = sighting.and_then(|sighting| sighting.status);
        let before: Option<Value> = text_before.as_deref().and_then(|text| serde_json::from_str(text).ok());
        let reading = JournalReading::of(&*self.journal, view);
        let status = view.status(&reading, self.clock.now(), &events::conditions(before.as_ref()));
        let text = status.to_string();
        if text_before.as_deref() == Some(&*text) {
            memo.made_of = Some(made_of);
            return None;
        }
        let (kind, key, uid) = (view.kind, view.key.clone(), view.uid.clone());
        Some(Write { kind, key, uid, made_of, before, status, text: text.into() })
    }

    /// Whether no storage share blocks the endpoint's events.
    fn is_storing(&self, view: &ObjectView) -> bool {
        view.kind != ObjectKind::Endpoint || self.journal.storage(&view.incarnation()).exhausted.is_none()
    }

    async fn write(&self, write: &Write) -> Written {
        if !self.leadership.held() {
            return Written::No;
        }
        let resource = match write.kind {
            ObjectKind::Endpoint => ApiResource::erase::<WebhookEndpoint>(&()),
            ObjectKind::Subscription => ApiResource::erase::<WebhookSubscription>(&()),
        };
        // The uid prevents writing the status to a later object of the same name.
        let patch = json!({
            "apiVersion": resource.api_version,
            "kind": resource.kind,
            "metadata": { "name": write.key.name, "uid": write.uid },
            "status": write.status,
        });
        let api = Api::<DynamicObject>::namespaced_with(self.client.clone(), &write.key.namespace, &resource);
        let params = PatchParams::apply(FIELD_MANAGER).force();
        let patch = Patch::Apply(patch);
        let answer = api.patch_status(&write.key.name, &params, &patch);
        let (outcome, written) = match time::timeout(self.leadership.write_timeout(), answer).await {
            Ok(Ok(_)) => ("ok", Written::Yes),
            Ok(Err(kube::Error::Api(status))) if status.is_not_found() => ("gone", Written::Gone),
            Ok(Err(error)) => {
                tracing::warn!(kind = write.kind.as_str(), object = %write.key, %error, "status not written; retrying");
                ("failed", Written::No)
            }
            Err(_) => {
                tracing::warn!(kind = write.kind.as_str(), object = %write.key, "status not written in time; retrying");
                ("timeout", Written::No)
            }
        };
        self.metrics.cluster().status_written(outcome);
        written
    }
}

impl Material {
    fn of(view: &ObjectView, storing: bool) -> Self {
        let standing = match &view.facts {
            Facts::Endpoint(_) => None,
            Facts::Subscription(facts) => Some(facts.standing()),
        };
        let (route, conditions) = (view.route_state(), Arc::clone(&view.conditions));
        Self { generation: view.generation, standing, storing, route, conditions }
    }

    /// Whether a referenced object does not exist.
    fn lacks_something(&self) -> bool {
        let absent = [Reason::SecretNotFound, Reason::KeyNotFound, Reason::EndpointNotFound];
        let mut conditions = self.conditions.iter();
        conditions.any(|it| it.status == ConditionStatus::False && absent.contains(&it.reason))
    }
}
