//! What the owners of other shards reported last.

use std::collections::{HashMap, HashSet};

use grapnel_api::{Incarnation, ObjectKey};
use parking_lot::RwLock;

use super::{layout::Shard, peer::Report};
use crate::{AttachedConsumer, EndpointUsage, Progress};

/// The last report of each shard of another replica, by what is looked up.
#[derive(Default)]
pub(super) struct Reports {
    inner: RwLock<Inner>,
}

#[derive(Default)]
struct Inner {
    /// The shards that have been reported since this replica lost them or began.
    known: HashSet<Shard>,
    consumers: HashMap<ObjectKey, (Shard, AttachedConsumer, Progress)>,
    endpoints: HashMap<ObjectKey, (Shard, Incarnation, EndpointUsage)>,
}

impl Reports {
    /// Replaces what is known of a shard.
    pub(super) fn set(&self, shard: Shard, parts: Vec<Report>) {
        let mut inner = self.inner.write();
        inner.forget(shard);
        inner.known.insert(shard);
        for part in parts {
            for row in part.consumers {
                let consumer = Incarnation::from(row.consumer);
                let key = consumer.key.clone();
                let attached = AttachedConsumer { consumer, endpoint: row.endpoint };
                inner.consumers.insert(key, (shard, attached, row.progress));
            }
            for row in part.endpoints {
                let endpoint = Incarnation::from(row.endpoint);
                let usage = EndpointUsage { bytes: row.bytes, exhausted: row.exhausted };
                inner.endpoints.insert(endpoint.key.clone(), (shard, endpoint, usage));
            }
        }
    }

    /// Returns whether a shard has been reported.
    pub(super) fn knows(&self, shard: Shard) -> bool {
        self.inner.read().known.contains(&shard)
    }

    /// Forgets a shard that this replica owns now.
    pub(super) fn forget(&self, shard: Shard) {
        self.inner.write().forget(shard);
    }

    /// Returns the shard of the consumer of this name, and what is known of it.
    pub(super) fn consumer(&self, key: &ObjectKey) -> Option<(Shard, AttachedConsumer, Progress)> {
        self.inner.read().consumers.get(key).cloned()
    }

    /// Notes that a consumer was attached.
    pub(super) fn attached(&self, shard: Shard, consumer: &Incarnation, endpoint: &ObjectKey) {
        let mut inner = self.inner.write();
        if inner.consumers.get(&consumer.key).is_some_and(|(_, known, _)| known.consumer == *consumer) {
            return;
        }
        let attached = AttachedConsumer { consumer: consumer.clone(), endpoint: endpoint.clone() };
        inner.consumers.insert(consumer.key.clone(), (shard, attached, Progress::default()));
    }

    /// Notes that a consumer was detached.
    pub(super) fn detached(&self, consumer: &Incarnation) {
        let mut inner = self.inner.write();
        if inner.consumers.get(&consumer.key).is_some_and(|(_, known, _)| known.consumer == *consumer) {
            inner.consumers.remove(&consumer.key);
        }
    }

    /// Returns the usage of an endpoint.
    pub(super) fn storage(&self, endpoint: &Incarnation) -> Option<EndpointUsage> {
        let inner = self.inner.read();
        let (_, known, usage) = inner.endpoints.get(&endpoint.key)?;
        (known == endpoint).then(|| usage.clone())
    }

    /// Returns the consumers of a shard.
    pub(super) fn consumers_of(&self, shard: Shard) -> Vec<AttachedConsumer> {
        let inner = self.inner.read();
        let of = inner.consumers.values().filter(|(known, ..)| *known == shard);
        of.map(|(_, attached, _)| attached.clone()).collect()
    }
}

impl Inner {
    fn forget(&mut self, shard: Shard) {
        self.known.remove(&shard);
        self.consumers.retain(|_, (of, ..)| *of != shard);
        self.endpoints.retain(|_, (of, ..)| *of != shard);
    }
}
