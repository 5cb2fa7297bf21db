//! Makes the journal's consumers what the snapshot says.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use futures_util::{StreamExt, stream};

use crate::{
    api::{ObjectKey, StartFrom},
    catalog::{Snapshot, Subscription},
    journal::{Journal, JournalError, Start},
    rules::limits,
};

/// Attaches and detaches consumers. Has to run before a snapshot goes live, so that a subscription that starts from
/// now misses nothing that a new endpoint takes in.
pub struct Consumers {
    journal: Arc<dyn Journal>,
    /// Every consumer in the journal; `None` until the journal has been asked.
    present: Option<HashSet<ObjectKey>>,
    /// Attached since the process started, with the endpoint that is read.
    attached: HashMap<ObjectKey, ObjectKey>,
    /// Subscriptions whose last attachment was refused.
    refused: HashSet<ObjectKey>,
}

impl Consumers {
    /// Knows nothing of the journal's consumers yet.
    pub fn new(journal: Arc<dyn Journal>) -> Self {
        Self { journal, present: None, attached: HashMap::new(), refused: HashSet::new() }
    }

    /// Attaches every subscription of the snapshot, and, only if all sources have been read completely, detaches
    /// consumers whose subscription does not exist any more. Does nothing for what has been done before.
    ///
    /// # Errors
    /// The first error of the journal, after everything else has been tried; a further call tries again. A subscription
    /// that wants another endpoint is no error: its facts say so, and it is parked until it is mended.
    pub async fn align(&mut self, snapshot: &Snapshot) -> Result<(), JournalError> {
        let attached = self.attach(snapshot).await;
        let detached = if snapshot.synced() { self.detach(snapshot).await } else { Ok(()) };
        attached.and(detached)
    }

    async fn attach(&mut self, snapshot: &Snapshot) -> Result<(), JournalError> {
        let mut missing: Vec<Arc<Subscription>> = Vec::new();
        for subscription in snapshot.subscriptions() {
            if self.attached.get(&subscription.key) != Some(&subscription.endpoint) {
                missing.push(Arc::clone(subscription));
            } else if self.refused.remove(&subscription.key) {
                subscription.facts.attached(None);
            }
        }
        let journal = &self.journal;
        // Several at once, so that they share syncs.
        let mut answers = stream::iter(missing)
            .map(|subscription| async move {
                let start = match subscription.start_from {
                    StartFrom::Now => Start::Now,
                    StartFrom::Earliest => Start::Earliest,
                };
                let answer = journal.attach(&subscription.key, &subscription.endpoint, start).await;
                (subscription, answer)
            })
            .buffer_unordered(limits::ATTACH_AT_ONCE);
        let mut result = Ok(());
        while let Some((subscription, answer)) = answers.next().await {
            let key = subscription.key.clone();
            match answer {
                Ok(()) => {
                    subscription.facts.attached(None);
                    self.refused.remove(&key);
                    self.attached.insert(key.clone(), subscription.endpoint.clone());
                    if let Some(present) = &mut self.present {
                        present.insert(key);
                    }
                }
                Err(refusal @ JournalError::EndpointChanged { .. }) => {
                    subscription.facts.attached(Some(refusal.to_string()));
                    self.refused.insert(key);
                }
                Err(error) => result = result.and(Err(error)),
            }
        }
        result
    }

    async fn detach(&mut self, snapshot: &Snapshot) -> Result<(), JournalError> {
        let present = match &mut self.present {
            Some(present) => present,
            // Also those of earlier runs, whose objects were deleted while no process ran.
            none => none.insert(self.journal.consumers().await?.into_iter().map(|(consumer, _)| consumer).collect()),
        };
        let gone: Vec<ObjectKey> = present.iter().filter(|key| !snapshot.knows(key)).cloned().collect();
        self.refused.retain(|key| snapshot.knows(key));
        let mut result = Ok(());
        for key in gone {
            match self.journal.detach(&key).await {
                Ok(()) => {
                    present.remove(&key);
                    self.attached.remove(&key);
                    tracing::info!(namespace = %key.namespace, subscription = %key.name, "consumer detached");
                }
                Err(error) => result = result.and(Err(error)),
            }
        }
        result
    }
}
