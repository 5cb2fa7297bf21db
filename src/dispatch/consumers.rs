//! Keeps the journal's consumers in line with the snapshot.

use std::{collections::HashSet, pin::pin, sync::Arc};

use futures_util::{StreamExt, stream};
use grapnel_api::{Incarnation, ObjectKey, StartFrom};
use grapnel_journal::{Attached, AttachedConsumer, Detached, Journal, JournalError, Start};
use tokio::{
    sync::mpsc,
    time::{self, Instant},
};

use super::detachment::{LiveSubscriptions, PresentConsumer, may_detach};
use crate::{
    catalog::{
        Snapshot, Subscription,
        observed::{AbandonedDeliveries, Unattached},
    },
    dispatch::limits,
    fast_map::FastMap,
    telemetry::metrics::Metrics,
};

/// Attaches and detaches consumers. It has to run before a snapshot goes live, so that a subscription that starts from
/// now misses no event that a new endpoint accepts.
pub struct Consumers {
    journal: Arc<dyn Journal>,
    metrics: Metrics,
    /// Receives reports about the deliveries that deleted subscriptions have left behind.
    abandoned: Option<mpsc::Sender<AbandonedDeliveries>>,
    /// Asked before a consumer is detached from a journal that several processes share.
    live: Option<Arc<dyn LiveSubscriptions>>,
    /// Every consumer in the journal; `None` until they have been listed.
    present: Option<FastMap<ObjectKey, PresentConsumer>>,
    /// Consumers attached since the process started.
    attached: FastMap<ObjectKey, Attachment>,
    /// Subscriptions whose last attachment was rejected.
    refused: HashSet<ObjectKey>,
    /// Subscriptions for which a part of a shared journal has not answered.
    awaited: HashSet<ObjectKey>,
}

/// Why a subscription is awaited whose part of the journal has not said anything.
const UNANSWERED: &str = "the replica that delivers its events does not answer; another one takes over within seconds";

/// Which subscription object reads which endpoint object.
#[derive(Debug, PartialEq, Eq)]
struct Attachment {
    /// Uid of the subscription.
    uid: Arc<str>,
    endpoint: Incarnation,
}

impl Attachment {
    fn of(subscription: &Subscription) -> Self {
        Self { uid: Arc::clone(&subscription.uid), endpoint: subscription.endpoint.clone() }
    }
}

impl Consumers {
    /// Starts without knowing the journal's consumers. Abandoned deliveries are counted in `metrics`.
    pub fn new(journal: Arc<dyn Journal>, metrics: Metrics) -> Self {
        let (present, attached, refused, awaited) = (None, FastMap::default(), HashSet::new(), HashSet::new());
        Self { journal, metrics, abandoned: None, live: None, present, attached, refused, awaited }
    }

    /// Also sends abandoned deliveries to `reports` without waiting; reports that do not fit are dropped.
    #[must_use]
    pub fn reporting(mut self, reports: mpsc::Sender<AbandonedDeliveries>) -> Self {
        self.abandoned = Some(reports);
        self
    }

    /// Asks `live` before a consumer is detached from a journal that several processes share.
    pub fn confirm(&mut self, live: Arc<dyn LiveSubscriptions>) {
        self.live = Some(live);
    }

    /// Whether [`Consumers::tidy`] has something to do from time to time.
    pub fn is_shared(&self) -> bool {
        self.journal.is_shared()
    }

    /// Whether the journal accepts nothing until a person acts.
    pub fn is_refused(&self) -> bool {
        self.journal.unproven().is_some()
    }

    /// The subscriptions that the last [`Consumers::align`] could not attach, because the part of a shared journal that
    /// reads for them did not answer. Everything else has been aligned.
    pub fn awaited(&self) -> &HashSet<ObjectKey> {
        &self.awaited
    }

    /// Attaches every subscription of the snapshot, again if its object or that of its endpoint was replaced by another
    /// one of the same name. Detaches consumers whose subscription object no longer exists, but only if all sources
    /// have been read completely; from a journal that several processes share, [`Consumers::tidy`] does that later.
    /// Idempotent.
    ///
    /// # Errors
    /// Returns the first error of the journal, after everything else has been tried; another call retries. If the
    /// journal is shared, [`Consumers::awaited`] says what the error concerns. A subscription that names another
    /// endpoint than before is not an error: its facts record it, and it is parked until it is corrected.
    pub async fn align(&mut self, snapshot: &Snapshot) -> Result<(), JournalError> {
        self.awaited.clear();
        if self.is_shared() {
            // Another process may detach them; an object of the same name has to be attached then.
            self.attached.retain(|key, _| snapshot.known(key).is_some());
            return self.attach(snapshot).await;
        }
        let listed = self.list().await;
        let attached = self.attach(snapshot).await;
        let detached = if snapshot.synced() { self.detach(snapshot).await } else { Ok(()) };
        listed.and(attached).and(detached)
    }

    /// Detaches consumers from a journal that several processes share, once it is certain that their subscription
    /// object no longer exists and it is this process that delivers their endpoint. To be called from time to time.
    ///
    /// # Errors
    /// Returns the first error of the journal; another call retries.
    pub async fn tidy(&mut self, snapshot: &Snapshot) -> Result<(), JournalError> {
        if !snapshot.synced() {
            return Ok(());
        }
        self.present_anew().await?;
        // What the journal has lost, such as a stream that somebody deleted, is attached again.
        let present = self.present.as_ref();
        self.attached.retain(|key, attachment| {
            present.and_then(|present| present.get(key)).is_some_and(|known| known.consumer.uid == attachment.uid)
        });
        self.attach(snapshot).await?;
        self.detach(snapshot).await
    }

    /// Lists the journal's consumers, including those of earlier runs, whose objects may have been deleted while no
    /// process ran.
    async fn list(&mut self) -> Result<(), JournalError> {
        if self.present.is_none() {
            self.present_anew().await?;
        }
        Ok(())
    }

    async fn present_anew(&mut self) -> Result<(), JournalError> {
        let now = Instant::now();
        let consumers = self.journal.consumers().await?;
        let before = self.present.take().unwrap_or_default();
        let known = |consumer: &Incarnation| before.get(&consumer.key).filter(|known| known.consumer == *consumer);
        let present = consumers.into_iter().map(|AttachedConsumer { consumer, endpoint }| {
            let since = known(&consumer).map_or(now, |known| known.since);
            (consumer.key.clone(), PresentConsumer { consumer, endpoint, since })
        });
        self.present = Some(present.collect());
        Ok(())
    }

    async fn attach(&mut self, snapshot: &Snapshot) -> Result<(), JournalError> {
        let mut missing: Vec<Arc<Subscription>> = Vec::new();
        for subscription in snapshot.subscriptions() {
            if self.attached.get(&subscription.key) != Some(&Attachment::of(subscription)) {
                missing.push(Arc::clone(subscription));
            } else if self.refused.remove(&subscription.key) {
                subscription.facts.attached(None);
            }
        }
        let (journal, is_shared) = (Arc::clone(&self.journal), self.is_shared());
        let journal = &journal;
        if is_shared {
            self.awaited.extend(missing.iter().map(|subscription| subscription.key.clone()));
        }
        // Attached concurrently, so that they share syncs.
        let answers = stream::iter(missing.iter().map(Arc::clone))
            .map(|subscription| async move {
                let start = match subscription.start_from {
                    StartFrom::Now => Start::Now,
                    StartFrom::Earliest => Start::Earliest,
                };
                let answer = journal.attach(&subscription.incarnation(), &subscription.endpoint, start).await;
                (subscription, answer)
            })
            .buffer_unordered(limits::ATTACH_AT_ONCE);
        let mut answers = pin!(answers);
        let deadline = Instant::now() + limits::ATTACH_WITHIN;
        let mut result = Ok(());
        loop {
            // A process that owns a part of a shared journal and is paused answers nothing.
            let answer = match is_shared {
                true => time::timeout_at(deadline, answers.next()).await,
                false => Ok(answers.next().await),
            };
            let (subscription, answer) = match answer {
                Ok(Some(answer)) => answer,
                Ok(None) => break,
                Err(_) => {
                    result = result.and(Err(JournalError::Unavailable(UNANSWERED.into())));
                    break;
                }
            };
            match answer {
                Ok(attached) => self.book(&subscription, attached),
                Err(refusal @ JournalError::EndpointChanged { .. }) => {
                    subscription.facts.attached(Some(Unattached::Refused(refusal.to_string())));
                    self.awaited.remove(&subscription.key);
                    self.refused.insert(subscription.key.clone());
                }
                Err(error) => {
                    if is_shared {
                        subscription.facts.attached(Some(Unattached::Awaited(error.to_string())));
                    }
                    result = result.and(Err(error));
                }
            }
        }
        for subscription in missing.iter().filter(|it| self.awaited.contains(&it.key)) {
            if subscription.facts.standing().unattached.is_none() {
                subscription.facts.attached(Some(Unattached::Awaited(UNANSWERED.into())));
            }
        }
        result
    }

    /// Records that a subscription is attached.
    fn book(&mut self, subscription: &Subscription, attached: Attached) {
        subscription.facts.attached(None);
        self.refused.remove(&subscription.key);
        self.awaited.remove(&subscription.key);
        self.attached.insert(subscription.key.clone(), Attachment::of(subscription));
        let consumer = subscription.incarnation();
        let endpoint = subscription.endpoint.key.clone();
        let present = PresentConsumer { consumer: consumer.clone(), endpoint, since: Instant::now() };
        let before = self.present.as_mut().and_then(|them| them.insert(consumer.key.clone(), present));
        if let Some(detached) = attached.replaced {
            let before = before.map(|before| before.consumer).filter(|before| *before != consumer);
            self.report(&before.unwrap_or_else(|| Incarnation::of_file(consumer.key)), detached);
        }
    }

    async fn detach(&mut self, snapshot: &Snapshot) -> Result<(), JournalError> {
        let present = self.present.iter().flat_map(FastMap::values);
        let gone: Vec<PresentConsumer> = present.filter(|it| !snapshot.knows(&it.consumer)).cloned().collect();
        self.refused.retain(|key| snapshot.known(key).is_some());
        let tenure = self.journal.tenure();
        let mut result = Ok(());
        for present in gone {
            if self.is_shared() {
                let tenure = tenure.borrow().clone();
                if !may_detach(&present, &tenure, self.live.as_deref()).await {
                    continue;
                }
            }
            let consumer = present.consumer;
            match self.journal.detach(&consumer).await {
                Ok(detached) => {
                    if let Some(present) = &mut self.present {
                        present.remove(&consumer.key);
                    }
                    if self.attached.get(&consumer.key).is_some_and(|attached| attached.uid == consumer.uid) {
                        self.attached.remove(&consumer.key);
                    }
                    let Incarnation { key, .. } = &consumer;
                    tracing::info!(namespace = %key.namespace, subscription = %key.name, "consumer detached");
                    if let Some(detached) = detached {
                        self.report(&consumer, detached);
                    }
                }
                Err(error) => result = result.and(Err(error)),
            }
        }
        result
    }

    /// Reports what a deleted subscription has left behind.
    fn report(&self, consumer: &Incarnation, detached: Detached) {
        let Detached { abandoned, dead_letters } = detached;
        let key = &consumer.key;
        if abandoned == 0 {
            if dead_letters > 0 {
                tracing::info!(
                    namespace = %key.namespace,
                    subscription = %key.name,
                    dead_letters,
                    "the subscription was deleted; its dead letters are no longer listed"
                );
            }
            return;
        }
        tracing::warn!(
            namespace = %key.namespace,
            subscription = %key.name,
            abandoned,
            dead_letters,
            "the subscription was deleted with unsettled events, which will not be delivered; its dead letters are no \
             longer listed"
        );
        self.metrics.abandoned(&key.namespace, &key.name, abandoned);
        if let Some(reports) = &self.abandoned {
            // The log and the metric have it already.
            let subscription = consumer.clone();
            let _ = reports.try_send(AbandonedDeliveries { subscription, events: abandoned, dead_letters });
        }
    }
}
