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

use std::{collections::HashMap, sync::Arc, time::Instant};

use grapnel_api::{Incarnation, ObjectKey, WebhookSubscription};
use grapnel_journal::{DeliveryQuery, DeliveryState, EventEntry, Journal, JournalError};
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
    catalog::{Kind, ObjectView},
    controller::limits,
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
        if !self.leadership.held() {
            return;
        }
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
                    if !self.is_programmed(&subscription) || !is_drained(&*self.journal, &subscription, deleted).await {
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
        tracing::warn!(
            namespace = %key.namespace,
            subscription = %key.name,
            hold,
            error,
            "the finalizer {FINALIZER} was not written, tried again in {} s; the service account needs the verb patch on \
             webhooksubscriptions",
            limits::DRAIN_RETRY.as_secs()
        );
        false
    }
}

/// Where an event can be that is not settled. One that is attempted while these are looked at goes from in flight to
/// retrying or back, so that retries are looked at twice.
const UNSETTLED: [DeliveryState; 4] =
    [DeliveryState::Pending, DeliveryState::Retrying, DeliveryState::InFlight, DeliveryState::Retrying];

/// Whether every event that was received before the object was deleted is settled.
async fn is_drained(journal: &dyn Journal, subscription: &Incarnation, deleted: Timestamp) -> bool {
    let Some(progress) = journal.progress(subscription) else { return true };
    if progress.pending + progress.in_flight + progress.retrying == 0 {
        return true;
    }
    // Two clocks: the API server's and that of the receipt.
    let late = deleted.checked_add(limits::DRAIN_SKEW).unwrap_or(Timestamp::MAX);
    // A look for pending events passes all that are settled and kept: not without need.
    let states = if progress.pending == 0 { UNSETTLED.get(1..) } else { UNSETTLED.get(..) };
    for state in states.unwrap_or_default() {
        match oldest(journal, subscription, *state).await {
            Ok(None) => {}
            Ok(Some(EventEntry::Kept(event))) if event.received > late => {}
            Ok(Some(_)) => return false,
            Err(JournalError::UnknownConsumer(_)) => return true,
            Err(_) => return false,
        }
    }
    true
}

/// The first event in that state.
async fn oldest(
    journal: &dyn Journal,
    subscription: &Incarnation,
    state: DeliveryState,
) -> Result<Option<EventEntry>, JournalError> {
    let mut after = 0;
    loop {
        let page = journal.deliveries(subscription, DeliveryQuery { state: Some(state), after, limit: 1 }).await?;
        match (page.deliveries.into_iter().next(), page.next) {
            (Some(delivery), _) => return Ok(Some(delivery.event)),
            (None, None) => return Ok(None),
            // A step looks at so many events at most.
            (None, Some(next)) => after = next,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use grapnel_journal::{
        Arrival, Claim, Exchange, Failure, Settlement, Start,
        memory::{MemoryJournal, MemoryOptions},
        testing::validated,
    };

    use super::*;

    #[tokio::test]
    async fn only_what_was_received_before_the_deletion_holds_it() {
        let object = |name| Incarnation::of_file(ObjectKey::new("shop", name));
        let (endpoint, subscription) = (object("orders"), object("fulfilment"));
        // Lists in small steps: settled events are many, and are passed over.
        let journal = MemoryJournal::new(MemoryOptions { list_scan: 2, ..MemoryOptions::default() });
        journal.attach(&subscription, &endpoint, Start::Now).await.unwrap();
        let deleted = Timestamp::UNIX_EPOCH + Duration::from_secs(3600);
        let append = async |id: &str, received| {
            let arrival = Arrival {
                endpoint: endpoint.clone(),
                validated: validated(id, "order.created", Bytes::from_static(b"{}")),
                received,
                content_type: None,
                remote: None,
                headers: Vec::new(),
                window: None,
                max_bytes: None,
            };
            journal.append(vec![arrival]).await.unwrap();
        };
        let claim = async || journal.claim(&subscription, Claim::new(99, deleted)).await.unwrap().deliveries;
        let settle = async |sequence, settlement| {
            journal.settle(&subscription, vec![(sequence, settlement)]).await.unwrap();
        };
        let drained = async || is_drained(&journal, &subscription, deleted).await;
        let took = Duration::ZERO;
        let delivered = || Settlement::Delivered(Exchange { time: deleted, status: Some(200), took });

        for id in 0..9 {
            append(&id.to_string(), Timestamp::UNIX_EPOCH).await;
        }
        assert!(!drained().await, "pending");
        let mut deliveries = claim().await;
        assert!(!drained().await, "in flight");
        let last = deliveries.pop().unwrap().event.sequence;
        for delivery in deliveries {
            settle(delivery.event.sequence, delivered()).await;
        }
        let failure = Failure { time: deleted, reason: "http_5xx".into(), status: Some(503), took, message: "".into() };
        let due = deleted + Duration::from_secs(60);
        settle(last, Settlement::Retry { due, failure: failure.clone() }).await;
        assert!(!drained().await, "retrying");
        journal.claim(&subscription, Claim::new(9, due)).await.unwrap();
        settle(last, delivered()).await;
        assert!(drained().await, "everything is settled");

        let late = deleted + limits::DRAIN_SKEW + Duration::from_secs(1);
        append("late", late).await;
        assert!(drained().await, "a late event is pending");
        let sequence = claim().await[0].event.sequence;
        assert!(drained().await, "a late event is in flight");
        settle(sequence, Settlement::Retry { due, failure }).await;
        assert!(drained().await, "a late event is retrying");
        append("early", deleted).await;
        assert!(!drained().await, "one that was received in time is behind it");
    }
}
