//! Holds the deletion of subscriptions whose `spec.deletionPolicy` is `Drain`, by a finalizer, until their events are
//! settled.
//!
//! The finalizer is put on the object while it is not being deleted, and is removed when the policy is no longer `Drain`,
//! or when the object is being deleted and its events are settled: delivered, skipped or dead-lettered. Until then the
//! object is compiled and delivered as any other, and still takes new events; those that were received after the deletion
//! do not hold it up.
//!
//! Only the leader writes. The finalizer has a field manager of its own, so that statuses do not claim it. What fails is
//! tried again after [`limits::DRAIN_RETRY`].

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use kube::{
    Api, Client, Resource,
    api::{Patch, PatchParams},
};
use serde_json::json;
use tokio::{sync::watch, time};
use tokio_util::sync::CancellationToken;

use super::{
    lease::Leadership,
    sightings::{Finalizer, Sightings},
};
use crate::{
    api::{Incarnation, ObjectKey, WebhookSubscription},
    catalog::{Kind, ObjectView},
    journal::{DeliveryQuery, DeliveryState, Journal, JournalError},
    rules::limits,
};

/// The finalizer, as in `metadata.finalizers`.
pub const FINALIZER: &str = "grapnel.dev/drain";

/// The field manager of the finalizer.
const FIELD_MANAGER: &str = "grapnel-drain";

/// What the finalizers depend on and where they go.
pub struct Drain {
    /// Must not try again by itself.
    pub client: Client,
    /// Every object as it is programmed: its consumer is attached.
    pub objects: watch::Receiver<Arc<Vec<ObjectView>>>,
    /// What the API server has.
    pub sightings: Sightings,
    /// What is settled.
    pub journal: Arc<dyn Journal>,
    /// Whether this replica may write.
    pub leadership: Leadership,
}

impl Drain {
    /// Puts and removes finalizers until `shutdown`.
    pub async fn run(self, shutdown: CancellationToken) {
        let mut failed: HashMap<ObjectKey, Instant> = HashMap::new();
        let mut ticks = time::interval(limits::STATUS_PASS);
        ticks.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = ticks.tick() => {}
            }
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = self.pass(&mut failed) => {}
            }
        }
    }

    /// Does what is due for every subscription.
    async fn pass(&self, failed: &mut HashMap<ObjectKey, Instant>) {
        failed.retain(|_, time| time.elapsed() < limits::DRAIN_RETRY);
        for (key, uid, finalizer) in self.sightings.unfinished() {
            if !self.leadership.held() {
                return;
            }
            if failed.contains_key(&key) {
                continue;
            }
            let subscription = Incarnation::new(key, uid);
            let hold = match finalizer {
                Finalizer { held: false, .. } => true,
                Finalizer { wanted: true, deleted: Some(deleted), .. } => {
                    if !self.is_programmed(&subscription) || !self.is_drained(&subscription, deleted).await {
                        continue;
                    }
                    false
                }
                Finalizer { .. } => false,
            };
            if !self.write(&subscription, hold).await {
                failed.insert(subscription.key, Instant::now());
            }
        }
    }

    fn is_programmed(&self, subscription: &Incarnation) -> bool {
        let objects = self.objects.borrow();
        objects.iter().any(|view| view.kind == Kind::Subscription && view.incarnation() == *subscription)
    }

    /// Whether every event that was received before the object was deleted is settled.
    async fn is_drained(&self, subscription: &Incarnation, deleted: Timestamp) -> bool {
        let Some(progress) = self.journal.progress(subscription) else { return true };
        if progress.pending + progress.in_flight + progress.retrying == 0 {
            return true;
        }
        // Two clocks: the API server's and that of the receipt.
        let after = deleted.checked_add(limits::DRAIN_SKEW).unwrap_or(Timestamp::MAX);
        for state in [DeliveryState::Pending, DeliveryState::InFlight, DeliveryState::Retrying] {
            let query = DeliveryQuery { state: Some(state), after: 0, limit: 1 };
            let page = match self.journal.deliveries(subscription, query).await {
                Ok(page) => page,
                Err(JournalError::UnknownConsumer(_)) => return true,
                Err(_) => return false,
            };
            let oldest = page.deliveries.first();
            // A step that found none although more follow has not looked at all of them.
            let late = oldest.map_or(page.next.is_none(), |delivery| {
                delivery.event.kept().is_some_and(|event| event.received > after)
            });
            if !late {
                return false;
            }
        }
        true
    }

    /// Puts the finalizer on the object, or removes it; says whether that is done.
    async fn write(&self, subscription: &Incarnation, hold: bool) -> bool {
        let Incarnation { key, uid } = subscription;
        let finalizers: &[&str] = if hold { &[FINALIZER] } else { &[] };
        // The uid keeps a finalizer from being written to a later object of the same name.
        let patch = json!({
            "apiVersion": WebhookSubscription::api_version(&()),
            "kind": WebhookSubscription::kind(&()),
            "metadata": { "name": key.name, "uid": uid, "finalizers": finalizers },
        });
        let api = Api::<WebhookSubscription>::namespaced(self.client.clone(), &key.namespace);
        let params = PatchParams::apply(FIELD_MANAGER).force();
        let patch = Patch::Apply(patch);
        let answer = api.patch_metadata(&key.name, &params, &patch);
        let error = match time::timeout(self.leadership.write_timeout(), answer).await {
            Ok(Ok(_)) => {
                tracing::info!(namespace = %key.namespace, subscription = %key.name, hold, "finalizer written");
                return true;
            }
            Ok(Err(kube::Error::Api(status))) if status.is_not_found() || status.is_conflict() => return true,
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer in time".into(),
        };
        let retry: Duration = limits::DRAIN_RETRY;
        tracing::warn!(
            namespace = %key.namespace,
            subscription = %key.name,
            hold,
            error,
            "the finalizer {FINALIZER} was not written, tried again in {} s; the service account needs the verb patch on \
             webhooksubscriptions",
            retry.as_secs()
        );
        false
    }
}
