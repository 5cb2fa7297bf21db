//! This process as one of the replicas: what it knows of the brokers, of the shards that it owns, and of the others.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use grapnel_api::{Incarnation, ObjectKey};
use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, Semaphore, watch};

use super::{
    NatsOptions,
    append::Gathering,
    broker::Broker,
    continuity::KnownSequences,
    incarnations::Incarnations,
    layout::{Layout, Shard},
    owner::OwnedShard,
    reports::Reports,
    room::NamespaceTable,
    shard::Head,
};
use crate::{AttachedConsumer, JournalError, Result, Sequence, Tenure, limits::NATS_BATCHES};

/// Whether the journal works, and if not, why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Standing {
    /// Nothing is accepted or delivered yet, for this reason.
    NotYet(String),
    /// Events are accepted.
    Running,
}

/// What keeps the journal from working.
pub(super) struct Obstacles {
    /// Why the brokers are not known to sync before they acknowledge.
    pub(super) proof: Option<String>,
    /// Why the streams are not ready.
    pub(super) streams: Option<String>,
}

/// This process as one of the replicas.
pub(super) struct Replica {
    pub(super) broker: Broker,
    pub(super) layout: Layout,
    pub(super) options: NatsOptions,
    pub(super) incarnations: Incarnations,
    /// Batches that this replica has open: the brokers allow few.
    pub(super) batches: Semaphore,
    /// What is known of the events streams.
    pub(super) sequences: KnownSequences,
    /// Told when the streams have to be compared at once.
    pub(super) doubt: Notify,
    /// Events that wait for a batch.
    pub(super) gathering: Gathering,
    pub(super) namespaces: NamespaceTable,
    pub(super) reports: Reports,
    pub(super) standing: watch::Sender<Standing>,
    pub(super) tenure: watch::Sender<Tenure>,
    pub(super) closed: AtomicBool,
    /// Bytes of all streams, as the brokers said last.
    pub(super) disk_bytes: AtomicU64,
    /// How often a shard was taken over.
    pub(super) takeovers: AtomicU64,
    /// What keeps the journal from working.
    pub(super) obstacles: Mutex<Obstacles>,
    owned: RwLock<HashMap<Shard, Arc<OwnedShard>>>,
    /// The consumers in these shards.
    places: RwLock<HashMap<ObjectKey, Shard>>,
}

impl Replica {
    pub(super) fn new(broker: Broker, layout: Layout, options: NatsOptions) -> Self {
        let gathering = Gathering::new(layout.shards().len());
        let sequences = KnownSequences::new(layout.shards().len());
        let none = Tenure::of(|_| None);
        let waiting = || Some("it has not reached the NATS servers yet".to_owned());
        Self {
            broker,
            layout,
            options,
            incarnations: Incarnations::default(),
            batches: Semaphore::new(NATS_BATCHES),
            sequences,
            doubt: Notify::new(),
            gathering,
            namespaces: NamespaceTable::default(),
            reports: Reports::default(),
            standing: watch::Sender::new(Standing::NotYet(waiting().unwrap_or_default())),
            tenure: watch::Sender::new(none),
            closed: AtomicBool::new(false),
            disk_bytes: AtomicU64::new(0),
            takeovers: AtomicU64::new(0),
            obstacles: Mutex::new(Obstacles { proof: waiting(), streams: waiting() }),
            owned: RwLock::default(),
            places: RwLock::default(),
        }
    }

    /// Returns an error if the journal does not work at present.
    pub(super) fn check_running(&self) -> Result<()> {
        if self.closed.load(Ordering::Acquire) {
            return Err(JournalError::Closed);
        }
        match &*self.standing.borrow() {
            Standing::Running => Ok(()),
            Standing::NotYet(why) => Err(JournalError::Unavailable(why.clone())),
        }
    }

    /// Returns a shard that this replica owns.
    pub(super) fn owned(&self, shard: Shard) -> Option<Arc<OwnedShard>> {
        self.owned.read().get(&shard).filter(|owned| owned.serves()).cloned()
    }

    /// Returns the shards that this replica owns.
    pub(super) fn all_owned(&self) -> Vec<Arc<OwnedShard>> {
        self.owned.read().values().filter(|owned| owned.serves()).cloned().collect()
    }

    /// Begins to serve a shard.
    pub(super) fn own(&self, owned: Arc<OwnedShard>) {
        let shard = owned.shard;
        let consumers = owned.state().consumers();
        {
            let mut places = self.places.write();
            places.retain(|_, of| *of != shard);
            places.extend(consumers.into_iter().map(|attached| (attached.consumer.key, shard)));
        }
        self.reports.forget(shard);
        self.owned.write().insert(shard, owned);
        self.takeovers.fetch_add(1, Ordering::Relaxed);
        self.publish_tenure();
    }

    /// Ends the service of a shard.
    pub(super) fn disown(&self, owned: &Arc<OwnedShard>) {
        owned.end();
        {
            let mut all = self.owned.write();
            if all.get(&owned.shard).is_some_and(|current| Arc::ptr_eq(current, owned)) {
                all.remove(&owned.shard);
                self.places.write().retain(|_, of| *of != owned.shard);
            }
        }
        self.publish_tenure();
    }

    /// Publishes the shards that this replica owns. The tenure ends with the lease, also before this is called again: a
    /// process that was paused finds out before it sends anything.
    fn publish_tenure(&self) {
        // The shards are read under the lock of the publication: concurrent takeovers do not overwrite each other.
        self.tenure.send_modify(|tenure| {
            let owned = self.owned.read().clone();
            let layout = self.layout.clone();
            *tenure = Tenure::of(move |endpoint| {
                owned.get(&layout.shard_of(endpoint)).filter(|owned| owned.serves()).map(|owned| owned.epoch())
            });
        });
    }

    /// Returns the owned shard of a consumer of this name.
    pub(super) fn shard_of_consumer(&self, consumer: &ObjectKey) -> Option<Arc<OwnedShard>> {
        let shard = self.places.read().get(consumer).copied()?;
        self.owned(shard)
    }

    /// Returns the shard of the consumer of this name, and what is known of it.
    pub(super) fn place_of(&self, consumer: &ObjectKey) -> Option<(Shard, AttachedConsumer)> {
        match self.shard_of_consumer(consumer) {
            Some(owned) => Some((owned.shard, owned.state().consumer_named(consumer)?)),
            None => self.reports.consumer(consumer).map(|(shard, attached, _)| (shard, attached)),
        }
    }

    /// Returns the bytes of the events of each namespace: exactly in the shards that this replica owns, as last
    /// reported in the others.
    pub(super) fn kept_by_namespace(&self) -> BTreeMap<Arc<str>, u64> {
        let owned = self.all_owned();
        let mut all: BTreeMap<Arc<str>, u64> = BTreeMap::new();
        for usage in owned.iter().flat_map(|owned| owned.state().namespaces()) {
            *all.entry(usage.namespace).or_default() += usage.bytes;
        }
        let others = self.namespaces.of(|shard| owned.iter().all(|owned| owned.shard != shard));
        for (namespace, bytes) in others {
            *all.entry(namespace).or_default() += bytes;
        }
        all
    }

    /// Notes that a consumer of a shard was attached.
    pub(super) fn attached(&self, shard: Shard, consumer: &Incarnation, endpoint: &ObjectKey) {
        if self.owned(shard).is_some() {
            self.places.write().insert(consumer.key.clone(), shard);
        } else {
            self.reports.attached(shard, consumer, endpoint);
        }
    }

    /// Notes that a consumer of a shard was detached.
    pub(super) fn detached(&self, shard: Shard, consumer: &Incarnation) {
        if self.owned(shard).is_some_and(|owned| owned.state().consumer_named(&consumer.key).is_none()) {
            let mut places = self.places.write();
            if places.get(&consumer.key) == Some(&shard) {
                places.remove(&consumer.key);
            }
        }
        self.reports.detached(consumer);
    }

    /// Tells the owner of a shard of stored events, ascending.
    pub(super) fn stored(&self, shard: Shard, events: Vec<(Head, Bytes)>) {
        let Some(last) = events.last().map(|(head, _)| head.sequence) else { return };
        self.sequences.learn(shard, last);
        match self.owned(shard) {
            Some(owned) => owned.appended(events),
            None => self.broker.notify(self.layout.wake(shard), Bytes::from(last.to_string())),
        }
    }

    /// Waits a moment until this replica's index has a stored event, if it owns the shard.
    pub(super) async fn visible(&self, shard: Shard, sequence: Sequence) {
        if let Some(owned) = self.owned(shard) {
            owned.visible(sequence).await;
        }
    }
}
