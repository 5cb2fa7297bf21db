//! Delays the deletion of subscriptions with `spec.deletionPolicy: Drain`, by a finalizer, until their events are
//! settled.
//!
//! The finalizer is added while the object is not being deleted. It is removed when the policy is no longer `Drain`, or
//! when the object is being deleted and its events are settled: delivered, skipped or dead-lettered. Until then the
//! object is compiled and delivered like any other, and still takes new events; those received after the deletion do
//! not delay it.
//!
//! An object that does not compile and has no earlier version in use, such as one whose endpoint or Secret was deleted
//! with its namespace, delivers nothing. After [`limits::DRAIN_RETRY`] in that state, which leaves time to replace a
//! Secret, its finalizer is removed, and its events are abandoned as with the policy `Drop`. An object that waits for
//! the API server to return a reference is not in that state.
//!
//! Only the leader writes. The finalizer has its own field manager, so that statuses do not claim it. Failed writes are
//! retried after [`limits::DRAIN_RETRY`].

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Instant,
};

use grapnel_api::{Incarnation, ObjectKey, WebhookSubscription};
use grapnel_journal::{DeliveryQuery, DeliveryState, EventEntry, Journal, JournalError, Progress};
use jiff::Timestamp;
use kube::{
    Api, Client, Resource,
    api::{Patch, PatchParams},
};
use serde_json::json;
use tokio::{sync::watch, time};
use tokio_util::sync::CancellationToken;

use super::{
    api_access::{ApiAccess, Need, Timeout},
    lease::Leadership,
    observed_state::{Finalizer, ObservedState},
};
use crate::{
    catalog::{Facts, ObjectKind, ObjectView},
    controller::limits,
};

/// The finalizer, as in `metadata.finalizers`.
pub const FINALIZER: &str = "grapnel.dev/drain";

/// The field manager of the finalizer.
const FIELD_MANAGER: &str = "grapnel-drain";

/// Manages the finalizers.
pub struct Drain {
    /// Must not retry by itself.
    pub client: Client,
    /// Every object as programmed: its consumer is attached.
    pub objects: watch::Receiver<Arc<Vec<ObjectView>>>,
    /// The objects as the API server last showed them.
    pub sightings: ObservedState,
    /// The journal, which knows what is settled.
    pub journal: Arc<dyn Journal>,
    /// Whether this replica may write.
    pub leadership: Leadership,
    /// Reports refused writes.
    pub access: ApiAccess,
}

/// State kept between passes.
#[derive(Default)]
struct Memory {
    /// Objects whose finalizer could not be written, with the time of the attempt.
    failed: HashMap<ObjectKey, Instant>,
    /// Drains in progress, with the time since which the object can deliver nothing.
    draining: HashMap<Incarnation, Option<Instant>>,
}

/// Why a drain ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// Every event is settled.
    Settled,
    /// Nothing can be delivered.
    Unusable,
    /// The policy is no longer `Drain`.
    Unwanted,
}

impl End {
    fn as_str(self) -> &'static str {
        match self {
            Self::Settled => "its events are settled",
            Self::Unusable => "nothing can be delivered: the object's conditions say why",
            Self::Unwanted => "spec.deletionPolicy is no longer Drain",
        }
    }
}

impl Drain {
    /// Adds and removes finalizers until `shutdown`.
    pub async fn run(self, shutdown: CancellationToken) {
        let mut memory = Memory::default();
        let mut ticks = time::interval(limits::STATUS_PASS);
        ticks.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = ticks.tick() => {}
            }
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = self.pass(&mut memory) => {}
            }
        }
    }

    /// Handles every subscription that needs it.
    async fn pass(&self, memory: &mut Memory) {
        if !self.leadership.held() {
            return;
        }
        memory.failed.retain(|_, time| time.elapsed() < limits::DRAIN_RETRY);
        let unfinished = self.sightings.unfinished();
        if !memory.draining.is_empty() {
            let alive: HashSet<_> = unfinished.iter().map(|(key, uid, _)| (key, uid)).collect();
            memory.draining.retain(|subscription, _| alive.contains(&(&subscription.key, &subscription.uid)));
        }
        for (key, uid, finalizer) in unfinished {
            if !self.leadership.held() {
                return;
            }
            if memory.failed.contains_key(&key) {
                continue;
            }
            let subscription = Incarnation::new(key, uid);
            let end = match finalizer {
                Finalizer { held: false, .. } => None,
                Finalizer { wanted: true, deleted: Some(deleted), .. } => {
                    match self.end(&subscription, deleted, &mut memory.draining).await {
                        None => continue,
                        end => end,
                    }
                }
                Finalizer { .. } => Some(End::Unwanted),
            };
            // Read before the object, and with it the consumer, is gone.
            let progress = self.journal.progress(&subscription).unwrap_or_default();
            if !self.write(&subscription, end.is_none()).await {
                memory.failed.insert(subscription.key, Instant::now());
            } else if let Some(end) = end.filter(|_| finalizer.deleted.is_some()) {
                memory.draining.remove(&subscription);
                if let Some(view) = self.view(&subscription) {
                    mark(&view, false);
                }
                log_end(&subscription.key, end, progress);
            }
        }
    }

    /// Why the drain of a subscription that is being deleted ends now, if it does.
    async fn end(
        &self,
        subscription: &Incarnation,
        deleted: Timestamp,
        draining: &mut HashMap<Incarnation, Option<Instant>>,
    ) -> Option<End> {
        let view = self.view(subscription)?;
        if is_drained(&*self.journal, subscription, deleted).await {
            return Some(End::Settled);
        }
        let unusable_since = draining.entry(subscription.clone()).or_insert_with(|| {
            log_begin(&subscription.key, self.journal.progress(subscription).unwrap_or_default());
            None
        });
        mark(&view, true);
        if !view.unusable {
            *unusable_since = None;
            return None;
        }
        let since = unusable_since.get_or_insert_with(Instant::now);
        (since.elapsed() >= limits::DRAIN_RETRY).then_some(End::Unusable)
    }

    /// The subscription as programmed: its consumer is attached.
    fn view(&self, subscription: &Incarnation) -> Option<ObjectView> {
        let objects = self.objects.borrow();
        objects
            .iter()
            .find(|view| view.kind == ObjectKind::Subscription && view.incarnation() == *subscription)
            .cloned()
    }

    /// Adds the finalizer to the object, or removes it. Returns whether the write succeeded.
    async fn write(&self, subscription: &Incarnation, hold: bool) -> bool {
        let Incarnation { key, uid } = subscription;
        let finalizers: &[&str] = if hold { &[FINALIZER] } else { &[] };
        // The uid prevents writing the finalizer to a later object of the same name.
        let patch = json!({
            "apiVersion": WebhookSubscription::api_version(&()),
            "kind": WebhookSubscription::kind(&()),
            "metadata": { "name": key.name, "uid": uid, "finalizers": finalizers },
        });
        let api = Api::<WebhookSubscription>::namespaced(self.client.clone(), &key.namespace);
        let params = PatchParams::apply(FIELD_MANAGER).force();
        let patch = Patch::Apply(patch);
        let answer = api.patch_metadata(&key.name, &params, &patch);
        let need = Need::new("patch", "webhooksubscriptions").without_it("deletionPolicy Drain does not work");
        match time::timeout(self.leadership.write_timeout(), answer).await {
            Ok(Ok(_)) => {
                self.access.recovered(&need);
                tracing::info!(namespace = %key.namespace, subscription = %key.name, hold, "finalizer written");
                true
            }
            Ok(Err(kube::Error::Api(status))) if status.is_not_found() || status.is_conflict() => true,
            Ok(Err(error)) => {
                self.access.failed(need, &error);
                false
            }
            Err(_) => {
                self.access.failed(need, &Timeout);
                false
            }
        }
    }
}

/// Records for the status whether the subscription drains.
fn mark(view: &ObjectView, draining: bool) {
    if let Facts::Subscription(facts) = &view.facts {
        facts.draining(draining);
    }
}

fn log_begin(key: &ObjectKey, Progress { pending, in_flight, retrying, .. }: Progress) {
    tracing::info!(
        namespace = %key.namespace,
        subscription = %key.name,
        left = pending + in_flight + retrying,
        "draining: the subscription is deleted when its events are settled"
    );
}

fn log_end(key: &ObjectKey, end: End, Progress { pending, in_flight, retrying, dead, .. }: Progress) {
    tracing::info!(
        namespace = %key.namespace,
        subscription = %key.name,
        reason = end.as_str(),
        left = pending + in_flight + retrying,
        dead_letters = dead,
        "the drain has ended: the subscription is deleted, and its dead letters with it"
    );
}

/// The states of unsettled events. An event that is attempted during these reads moves from in flight to retrying or
/// back, so retries are read twice.
const UNSETTLED: [DeliveryState; 4] =
    [DeliveryState::Pending, DeliveryState::Retrying, DeliveryState::InFlight, DeliveryState::Retrying];

/// Whether every event received before the deletion of the object is settled.
async fn is_drained(journal: &dyn Journal, subscription: &Incarnation, deleted: Timestamp) -> bool {
    // Counts that another replica has reported are older than the latest event, so they are not relied on.
    let mut states = UNSETTLED.get(..);
    if !journal.is_shared() {
        let Some(progress) = journal.progress(subscription) else { return true };
        if progress.pending + progress.in_flight + progress.retrying == 0 {
            return true;
        }
        // Listing pending events scans all retained settled events, so it is done only if necessary.
        states = if progress.pending == 0 { UNSETTLED.get(1..) } else { states };
    }
    // Two clocks are compared: the API server's and that of the receipt.
    let late = deleted.checked_add(limits::DRAIN_SKEW).unwrap_or(Timestamp::MAX);
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

/// The first event in the given state.
async fn oldest(
    journal: &dyn Journal,
    subscription: &Incarnation,
    state: DeliveryState,
) -> Result<Option<EventEntry>, JournalError> {
    let mut after = 0;
    loop {
        let page = journal
            .deliveries(subscription, DeliveryQuery { state: Some(state), after, limit: 1, ..DeliveryQuery::default() })
            .await?;
        match (page.deliveries.into_iter().next(), page.next) {
            (Some(delivery), _) => return Ok(Some(delivery.event)),
            (None, None) => return Ok(None),
            // Each step scans a bounded number of events.
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
    use grapnel_test_support::journal_front::{Front, Fronted};

    use super::*;

    #[tokio::test]
    async fn only_what_was_received_before_the_deletion_holds_it() {
        let object = |name| Incarnation::of_file(ObjectKey::new("shop", name));
        let (endpoint, subscription) = (object("orders"), object("fulfilment"));
        // Lists in small steps, because settled events are many and are skipped.
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

    /// A journal whose counts another replica has reported before the latest events.
    struct Outdated(MemoryJournal);

    impl Front for Outdated {
        fn journal(&self) -> &dyn Journal {
            &self.0
        }
        fn progress(&self, _: &Incarnation) -> Option<Progress> {
            Some(Progress::default())
        }
        fn is_shared(&self) -> bool {
            true
        }
    }

    #[tokio::test]
    async fn counts_that_another_replica_has_reported_end_no_drain() {
        let object = |name| Incarnation::of_file(ObjectKey::new("shop", name));
        let (endpoint, subscription) = (object("orders"), object("fulfilment"));
        let journal = Fronted(Arc::new(Outdated(MemoryJournal::new(MemoryOptions::default()))));
        journal.attach(&subscription, &endpoint, Start::Now).await.unwrap();
        let arrival = Arrival {
            endpoint,
            validated: validated("evt_1", "order.created", Bytes::from_static(b"{}")),
            received: Timestamp::UNIX_EPOCH,
            content_type: None,
            remote: None,
            headers: Vec::new(),
            window: None,
            max_bytes: None,
        };
        journal.append(vec![arrival]).await.unwrap();
        let drained = async || is_drained(&journal, &subscription, Timestamp::UNIX_EPOCH).await;
        assert!(!drained().await);
        journal.detach(&subscription).await.unwrap();
        assert!(drained().await);
    }
}
