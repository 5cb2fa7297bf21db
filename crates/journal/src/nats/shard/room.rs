//! Bounds on what is kept: by the shard, by each namespace, and by each endpoint.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    sync::Arc,
};

use grapnel_api::{Incarnation, ObjectKey};

use super::{Removal, ShardState, endpoint::ShardEndpoint, usage::Usage};
use crate::{EndpointUsage, JournalError, Result, Sequence, ShareExhausted, ShareScope, machine::Micros};

/// The bounds other than that of the endpoint.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Shares {
    /// Maximum bytes of the namespace in all shards; 0 for no limit.
    pub(crate) namespace: u64,
    /// Bytes of the namespace in the other shards.
    pub(crate) elsewhere: u64,
    /// Maximum bytes of this shard; 0 for no limit.
    pub(crate) journal: u64,
    /// Bytes to free beyond what is needed, if possible, so that not every append has to free some.
    pub(crate) slack: u64,
}

/// Bytes of one namespace in this shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NamespaceBytes {
    pub(crate) namespace: Arc<str>,
    pub(crate) bytes: u64,
}

/// The scope of a bound. The widest is the last.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum RoomScope {
    /// The events of one endpoint. Those of an earlier object of the same name count only for its namespace.
    Endpoint(Incarnation),
    Namespace(Arc<str>),
    Shard,
}

/// An append that was rejected for lack of room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RejectedAppend {
    /// Bytes that it needed.
    needed: u64,
    max_bytes: u64,
}

impl RoomScope {
    /// Returns why an append is rejected that needs more than is left of `max_bytes`.
    fn error(&self, bytes: u64, max_bytes: u64) -> JournalError {
        let scope = match self {
            Self::Endpoint(endpoint) => ShareScope::Endpoint(endpoint.key.clone()),
            Self::Namespace(namespace) => ShareScope::Namespace(namespace.to_string()),
            Self::Shard => {
                return JournalError::Full(format!(
                    "the shard of the endpoint uses {bytes} of {max_bytes} bytes, and no settled event is left to \
                     remove; raise --journal-max-bytes, or fix the subscriptions with the backlog"
                ));
            }
        };
        ShareExhausted { scope, bytes, max_bytes }.into()
    }

    /// Returns the bytes outside of the shard that count too.
    fn elsewhere(&self, shares: &Shares) -> u64 {
        if matches!(self, Self::Namespace(_)) { shares.elsewhere } else { 0 }
    }
}

impl ShardState {
    /// Returns the settled events to remove, oldest first, so that the endpoint has room for `needed` bytes. Removes
    /// nothing if there cannot be enough room. An append that is rejected is remembered until its scope has room. The
    /// removals are to be [finished](Self::finish_removals) or [aborted](Self::abort_removals).
    ///
    /// # Errors
    ///
    /// [`JournalError::ShareExhausted`] and [`JournalError::Full`].
    pub(crate) fn room(
        &mut self,
        endpoint: &Incarnation,
        needed: u64,
        max_bytes: Option<u64>,
        shares: &Shares,
    ) -> Result<Vec<Removal>> {
        let bounds = [
            (RoomScope::Endpoint(endpoint.clone()), max_bytes.unwrap_or(0)),
            (RoomScope::Namespace(Arc::clone(&endpoint.key.namespace)), shares.namespace),
            (RoomScope::Shard, shares.journal),
        ];
        for (scope, max_bytes) in &bounds {
            let rejected = RejectedAppend { needed, max_bytes: *max_bytes };
            if let Some(error) = self.rejects(scope, rejected, shares) {
                self.refusals.insert(scope.clone(), rejected);
                return Err(error);
            }
        }
        let mut removals = Vec::new();
        for (scope, max_bytes) in &bounds {
            self.refusals.remove(scope);
            let bytes = self.usage_of(scope).bytes().saturating_add(scope.elsewhere(shares));
            let over = bytes.saturating_add(needed).saturating_sub(*max_bytes);
            if *max_bytes > 0 && over > 0 {
                for (endpoint, sequences) in self.oldest(scope, over.saturating_add(shares.slack)) {
                    removals.extend(self.begin_removals(&endpoint, &sequences));
                }
            }
        }
        Ok(removals)
    }

    /// Returns why the append is rejected, if it is: even without all settled events there is no room.
    fn rejects(&self, scope: &RoomScope, append: RejectedAppend, shares: &Shares) -> Option<JournalError> {
        let RejectedAppend { needed, max_bytes } = append;
        let bytes = self.usage_of(scope).pinned().saturating_add(scope.elsewhere(shares));
        (max_bytes > 0 && bytes.saturating_add(needed) > max_bytes).then(|| scope.error(bytes, max_bytes))
    }

    /// Returns why the last append rejected for lack of room in `scope` would be rejected now.
    fn refused(&self, scope: &RoomScope, shares: &Shares) -> Option<JournalError> {
        self.rejects(scope, *self.refusals.get(scope)?, shares)
    }

    fn usage_of(&self, scope: &RoomScope) -> Usage {
        match scope {
            RoomScope::Endpoint(endpoint) => {
                let life = self.endpoints.get(&endpoint.key).and_then(|log| log.life_of(&endpoint.uid));
                life.map_or_else(Usage::default, |life| life.usage)
            }
            RoomScope::Namespace(namespace) => self.namespaces.get(namespace).copied().unwrap_or_default(),
            RoomScope::Shard => self.total,
        }
    }

    /// Chooses settled events of a scope, oldest first, that have at least this many bytes, or all. Each endpoint's are
    /// taken by sequence.
    fn oldest(&self, scope: &RoomScope, bytes: u64) -> BTreeMap<ObjectKey, Vec<Sequence>> {
        let mut logs: Vec<(&ObjectKey, &ShardEndpoint, Option<u32>)> = Vec::new();
        match scope {
            RoomScope::Endpoint(endpoint) => {
                let found = self.endpoints.get_key_value(&endpoint.key);
                let life = found.and_then(|(key, log)| Some((key, log, Some(log.life_of(&endpoint.uid)?.number))));
                logs.extend(life);
            }
            RoomScope::Namespace(namespace) => {
                let lowest = ObjectKey::new(Arc::clone(namespace), "");
                let of_namespace = self.endpoints.range(lowest..).take_while(|(key, _)| key.namespace == *namespace);
                logs.extend(of_namespace.map(|(key, log)| (key, log, None)));
            }
            RoomScope::Shard => logs.extend(self.endpoints.iter().map(|(key, log)| (key, log, None))),
        }
        let mut settled: Vec<_> = logs
            .iter()
            .map(|(key, log, life)| {
                let life = *life;
                (*key, log.rows.settled(0, Micros::MAX).filter(move |row| life.is_none_or(|life| row.life == life)))
            })
            .collect();
        let mut heap = BinaryHeap::new();
        for (at, (_, rows)) in settled.iter_mut().enumerate() {
            heap.extend(rows.next().map(|row| Reverse((row.received, at, row.sequence, row.bytes))));
        }
        let (mut chosen, mut freed) = (BTreeMap::<ObjectKey, Vec<Sequence>>::new(), 0);
        while freed < bytes
            && let Some(Reverse((_, at, sequence, of_row))) = heap.pop()
            && let Some((key, rows)) = settled.get_mut(at)
        {
            chosen.entry((*key).clone()).or_default().push(sequence);
            freed += u64::from(of_row);
            heap.extend(rows.next().map(|row| Reverse((row.received, at, row.sequence, row.bytes))));
        }
        chosen
    }

    /// Returns the usage of one endpoint, and why its last append was rejected if it would be rejected now.
    pub(crate) fn storage(&self, endpoint: &Incarnation, shares: &Shares) -> EndpointUsage {
        let own = RoomScope::Endpoint(endpoint.clone());
        let namespace = RoomScope::Namespace(Arc::clone(&endpoint.key.namespace));
        let exhausted = match self.refused(&own, shares).or_else(|| self.refused(&namespace, shares)) {
            Some(JournalError::ShareExhausted(share)) => Some(share),
            _ => None,
        };
        EndpointUsage { bytes: self.usage_of(&own).bytes(), exhausted }
    }

    /// Returns why the last append that was rejected for lack of room in the shard would be rejected now.
    pub(crate) fn trouble(&self) -> Option<JournalError> {
        self.refused(&RoomScope::Shard, &Shares::default())
    }

    /// Returns the bytes of all kept events.
    pub(crate) fn bytes(&self) -> u64 {
        self.total.bytes()
    }

    /// Returns the bytes of each namespace, sorted by name.
    pub(crate) fn namespaces(&self) -> Vec<NamespaceBytes> {
        let bytes = |(namespace, usage): (&Arc<str>, &Usage)| NamespaceBytes {
            namespace: Arc::clone(namespace),
            bytes: usage.bytes(),
        };
        self.namespaces.iter().map(bytes).collect()
    }
}
