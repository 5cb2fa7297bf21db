//! The state of a shard: its endpoints, with the index of their events, and its consumers.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use grapnel_api::{Incarnation, ObjectKey};
use tokio::sync::Notify;

use super::{
    Change, Head,
    consumer::ShardConsumer,
    endpoint::ShardEndpoint,
    room::{RejectedAppend, RoomScope},
    rows::Row,
    usage::Usage,
};
use crate::{AttachedConsumer, JournalError, Progress, Result, Sequence};

/// The state of one shard.
#[derive(Debug, Default)]
pub(crate) struct ShardState {
    pub(super) endpoints: BTreeMap<ObjectKey, ShardEndpoint>,
    pub(super) consumers: BTreeMap<ObjectKey, ShardConsumer>,
    /// The last sequence of the event stream that is known.
    tail: Sequence,
    /// Whether pins and counts are kept up to date: see [`finish_loading`](Self::finish_loading).
    pub(super) is_loaded: bool,
    pub(super) namespaces: BTreeMap<Arc<str>, Usage>,
    pub(super) total: Usage,
    /// Incarnations that began with an event: the state log does not name them yet.
    begun: Vec<Incarnation>,
    /// Not durable: appends that found no room, until one of the same scope does.
    pub(super) refusals: BTreeMap<RoomScope, RejectedAppend>,
}

/// What wakes a task that waits for something to claim. It waits for both.
#[derive(Debug, Clone)]
pub(crate) struct Notifies {
    /// New events of the endpoint.
    pub(crate) endpoint: Arc<Notify>,
    /// Releases, redeliveries, settlements, and the end of the consumer.
    pub(crate) consumer: Arc<Notify>,
}

impl ShardState {
    /// Creates an empty state that is being loaded: see [`finish_loading`](Self::finish_loading).
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Adds a kept event, ascending by sequence, and wakes its endpoint. Ignores one that is not after the
    /// [`tail`](Self::tail). An unknown uid is that of a new incarnation.
    pub(crate) fn index(&mut self, head: &Head) {
        if head.sequence <= self.tail {
            return;
        }
        self.tail = head.sequence;
        let endpoint = self.endpoints.entry(head.endpoint.clone()).or_default();
        let life = endpoint.life_of(&head.uid).map(|life| life.number);
        let life = life.unwrap_or_else(|| {
            self.begun.push(Incarnation::new(head.endpoint.clone(), Arc::clone(&head.uid)));
            endpoint.begin_life(&head.uid)
        });
        if self.is_loaded {
            endpoint.prune_lives();
        }
        let pins = if self.is_loaded { endpoint.readers_of(life) } else { 0 };
        let Head { sequence, received, until, bytes, .. } = *head;
        let change = endpoint.add(Row { sequence, received, until, bytes, life, pins });
        endpoint.appended += 1;
        endpoint.notify.notify_waiters();
        if self.is_loaded && endpoint.current().is_some_and(|current| current.number > life) {
            self.exclude(&head.endpoint, life);
        }
        self.count(&head.endpoint.namespace, change);
    }

    /// Returns what to add to the state log so that it names the incarnations that began with an event: without that, a
    /// later replay would not know their order, or their retention.
    pub(crate) fn take_begun(&mut self) -> Vec<Change> {
        self.begun.drain(..).map(|endpoint| Change::Endpoint { endpoint }).collect()
    }

    /// Returns whether [`take_begun`](Self::take_begun) would return any.
    pub(crate) fn has_begun(&self) -> bool {
        !self.begun.is_empty()
    }

    /// Reverts [`take_begun`](Self::take_begun): the changes were not written.
    pub(crate) fn return_begun(&mut self, changes: Vec<Change>) {
        self.begun.extend(changes.into_iter().filter_map(|change| match change {
            Change::Endpoint { endpoint } => Some(endpoint),
            _ => None,
        }));
    }

    /// Leaves an event of an earlier incarnation, which arrived late, out of the counts of later consumers.
    fn exclude(&mut self, endpoint: &ObjectKey, life: u32) {
        let Some(endpoint) = self.endpoints.get(endpoint) else { return };
        for (_, key) in &endpoint.consumers {
            if let Some(consumer) = self.consumers.get_mut(key).filter(|consumer| consumer.life > life) {
                consumer.machine.exclude(1);
            }
        }
    }

    /// Returns the last sequence of the event stream that is known: of an event, or as set by
    /// [`set_tail`](Self::set_tail).
    pub(crate) fn tail(&self) -> Sequence {
        self.tail
    }

    /// Notes that the event stream has no further event up to this sequence.
    pub(crate) fn set_tail(&mut self, sequence: Sequence) {
        self.tail = self.tail.max(sequence);
    }

    /// Removes an event that is no longer in the event stream, for every consumer. Returns whether it was known.
    pub(crate) fn forget(&mut self, endpoint: &ObjectKey, sequence: Sequence) -> bool {
        let Some(of) = self.endpoints.get_mut(endpoint) else { return false };
        if of.leaving.remove(&sequence).is_some() {
            for (_, key) in &of.consumers {
                if let Some(consumer) = self.consumers.get_mut(key) {
                    consumer.outcomes.remove(sequence);
                }
            }
            return true;
        }
        let Some((row, change)) = of.take(sequence) else { return false };
        let first = of.first_before(sequence);
        for (_, key) in &of.consumers {
            if let Some(consumer) = self.consumers.get_mut(key).filter(|consumer| consumer.reads(&row)) {
                consumer.lose(first, sequence);
                consumer.notify.notify_waiters();
            }
        }
        self.count(&endpoint.namespace, change);
        true
    }

    /// Returns whether the event is kept.
    pub(crate) fn keeps(&self, endpoint: &ObjectKey, sequence: Sequence) -> bool {
        self.endpoints.get(endpoint).is_some_and(|endpoint| endpoint.rows.contains(sequence))
    }

    /// Completes the state after the log was replayed and the kept events were indexed. What is left of events that are
    /// no longer kept is dropped.
    pub(crate) fn finish_loading(&mut self) {
        if std::mem::replace(&mut self.is_loaded, true) {
            return;
        }
        for consumer in self.consumers.values_mut() {
            let rows = self.endpoints.get(&consumer.endpoint).map(|endpoint| &endpoint.rows);
            consumer.finish_loading(|sequence| rows.is_some_and(|rows| rows.contains(sequence)));
        }
        let keys: Vec<_> = self.consumers.keys().cloned().collect();
        for key in keys {
            self.count_in(&key);
        }
        for endpoint in self.endpoints.values_mut() {
            endpoint.merge_gaps();
            endpoint.prune_lives();
        }
    }

    /// Pins the events of a consumer that has nothing in flight, and sets its counts.
    pub(super) fn count_in(&mut self, consumer: &ObjectKey) {
        let Some(consumer) = self.consumers.get_mut(consumer) else { return };
        let Some(endpoint) = self.endpoints.get_mut(&consumer.endpoint) else { return };
        let mut pinned = 0;
        let mut change = Usage::default();
        for range in consumer.machine.pinned(consumer.machine.start().saturating_add(1), Sequence::MAX) {
            let (events, changed) = endpoint.pin(*range.start(), *range.end(), 1, |row| consumer.reads(row));
            pinned += events;
            change += changed;
        }
        let counts = consumer.machine.progress(0);
        let attempted = counts.pending + counts.retrying + counts.dead;
        consumer.machine.rebase(endpoint.appended, pinned.saturating_sub(attempted));
        let namespace = Arc::clone(&consumer.endpoint.namespace);
        self.count(&namespace, change);
    }

    /// Adds to the usage of a namespace and of the shard.
    pub(super) fn count(&mut self, namespace: &Arc<str>, change: Usage) {
        if change == Usage::default() {
            return;
        }
        let usage = self.namespaces.entry(Arc::clone(namespace)).or_default();
        *usage += change;
        if *usage == Usage::default() {
            self.namespaces.remove(namespace);
        }
        self.total += change;
    }

    /// Returns the consumer, if it is attached.
    pub(super) fn consumer(&self, consumer: &Incarnation) -> Result<&ShardConsumer> {
        let found = self.consumers.get(&consumer.key).filter(|found| found.object == *consumer);
        found.ok_or_else(|| JournalError::UnknownConsumer(consumer.key.clone()))
    }

    /// Returns the consumer and its endpoint, if it is attached.
    pub(super) fn consumer_mut(&mut self, consumer: &Incarnation) -> Result<(&mut ShardConsumer, &mut ShardEndpoint)> {
        let unknown = || JournalError::UnknownConsumer(consumer.key.clone());
        let found = self.consumers.get_mut(&consumer.key).filter(|found| found.object == *consumer);
        let found = found.ok_or_else(unknown)?;
        let endpoint = self.endpoints.get_mut(&found.endpoint).ok_or_else(unknown)?;
        Ok((found, endpoint))
    }

    /// Returns the log that the consumer reads.
    pub(super) fn log_of(&self, consumer: &ShardConsumer) -> Option<&ShardEndpoint> {
        self.endpoints.get(&consumer.endpoint)
    }

    /// Returns the counts of a consumer.
    pub(crate) fn progress(&self, consumer: &Incarnation) -> Option<Progress> {
        let consumer = self.consumer(consumer).ok()?;
        Some(consumer.machine.progress(self.log_of(consumer)?.appended))
    }

    /// Returns the consumers, sorted.
    pub(crate) fn consumers(&self) -> Vec<AttachedConsumer> {
        let attached = |found: &ShardConsumer| AttachedConsumer {
            consumer: found.object.clone(),
            endpoint: found.endpoint.clone(),
        };
        self.consumers.values().map(attached).collect()
    }

    /// Returns the number of events that wait for a retry.
    pub(crate) fn retrying(&self) -> u64 {
        self.consumers.values().map(|consumer| consumer.machine.progress(0).retrying).sum()
    }

    /// Returns the number of deliveries that are claimed and not settled.
    pub(crate) fn in_flight(&self) -> u64 {
        self.consumers.values().map(|consumer| consumer.machine.progress(0).in_flight).sum()
    }

    /// Returns what wakes tasks that wait for this consumer; `None` if it is not attached.
    pub(crate) fn notifies_of(&self, consumer: &Incarnation) -> Option<Notifies> {
        let consumer = self.consumer(consumer).ok()?;
        let endpoint = Arc::clone(&self.log_of(consumer)?.notify);
        Some(Notifies { endpoint, consumer: Arc::clone(&consumer.notify) })
    }

    /// Returns the current incarnations of the endpoints, with those of which something is kept.
    pub(crate) fn endpoints(&self) -> BTreeSet<Incarnation> {
        let lives = |(key, endpoint): (&ObjectKey, &ShardEndpoint)| {
            let incarnation = |uid: &Arc<str>| Incarnation::new(key.clone(), Arc::clone(uid));
            endpoint.lives.iter().map(|life| incarnation(&life.uid)).collect::<Vec<_>>()
        };
        self.endpoints.iter().flat_map(lives).collect()
    }

    /// Returns the current object of the endpoint that the consumer reads; `None` if the consumer is not attached.
    pub(crate) fn current_endpoint_of(&self, consumer: &Incarnation) -> Option<Incarnation> {
        let consumer = self.consumer(consumer).ok()?;
        let current = self.log_of(consumer)?.current()?;
        Some(Incarnation::new(consumer.endpoint.clone(), Arc::clone(&current.uid)))
    }

    /// Returns the consumer of this name, whichever object it is.
    pub(crate) fn consumer_named(&self, name: &ObjectKey) -> Option<AttachedConsumer> {
        let found = self.consumers.get(name)?;
        Some(AttachedConsumer { consumer: found.object.clone(), endpoint: found.endpoint.clone() })
    }

    /// Returns which of these events are kept and belong to the consumer.
    ///
    /// # Errors
    ///
    /// [`JournalError::UnknownConsumer`].
    pub(crate) fn belonging(&self, consumer: &Incarnation, sequences: &[Sequence]) -> Result<Vec<bool>> {
        let consumer = self.consumer(consumer)?;
        let log = self.log_of(consumer);
        let belongs =
            |sequence: &Sequence| log.and_then(|log| log.rows.get(*sequence)).is_some_and(|row| consumer.reads(row));
        Ok(sequences.iter().map(belongs).collect())
    }
}
