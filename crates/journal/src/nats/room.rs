//! Bounds on what is kept: by the journal, by each namespace, and by each endpoint.
//!
//! The owner of a shard counts exactly. Of the other shards it knows what was reported last, a few seconds ago. Another
//! replica asks the owner when a bound seems near.

use std::{collections::HashMap, sync::Arc};

use grapnel_api::Incarnation;
use jiff::Timestamp;
use parking_lot::RwLock;

use super::{
    layout::Shard,
    owner::OwnedShard,
    peer::{self, Request},
    replica::Replica,
    shard::Shares,
};
use crate::{
    JournalError, Result,
    limits::{RECLAIM_BYTES, RECLAIM_SHARE},
};

/// A bound seems near when this part of it is used, in percent.
const NEAR: u64 = 90;

/// Room that an append needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct Room {
    /// Bytes of its events.
    pub(super) needed: u64,
    /// `spec.storage.maxBytes` of the endpoint.
    pub(super) max_bytes: Option<u64>,
    /// The stream has reached its maximum size, whatever the sum of its events.
    pub(super) full: bool,
    /// When the events were received: ids of events that are removed stay known if their windows end later.
    pub(super) now: Timestamp,
}

/// Bytes by namespace, of each shard.
#[derive(Default)]
pub(super) struct NamespaceTable {
    shards: RwLock<HashMap<Shard, HashMap<Arc<str>, u64>>>,
}

impl NamespaceTable {
    /// Replaces what is known of a shard.
    pub(super) fn set(&self, shard: Shard, namespaces: impl IntoIterator<Item = (Arc<str>, u64)>) {
        self.shards.write().insert(shard, namespaces.into_iter().collect());
    }

    /// Returns the bytes of one namespace in the shards that `wanted` names.
    fn of_one(&self, namespace: &str, wanted: impl Fn(Shard) -> bool) -> u64 {
        let shards = self.shards.read();
        shards.iter().filter(|(shard, _)| wanted(**shard)).filter_map(|(_, namespaces)| namespaces.get(namespace)).sum()
    }

    /// Returns the bytes of each namespace in the shards that `wanted` names.
    pub(super) fn of(&self, wanted: impl Fn(Shard) -> bool) -> HashMap<Arc<str>, u64> {
        let mut all: HashMap<Arc<str>, u64> = HashMap::new();
        for (_, namespaces) in self.shards.read().iter().filter(|(shard, _)| wanted(**shard)) {
            for (namespace, bytes) in namespaces {
                *all.entry(Arc::clone(namespace)).or_default() += bytes;
            }
        }
        all
    }
}

impl Replica {
    /// Returns the maximum bytes of the events of one namespace; 0 for no limit.
    pub(super) fn namespace_share(&self) -> u64 {
        self.options.namespace_share.unwrap_or(self.options.max_bytes / 2)
    }

    /// Returns the bounds of an endpoint in this namespace, apart from its own.
    pub(super) fn shares(&self, shard: Shard, namespace: &str) -> Shares {
        let namespace_share = self.namespace_share();
        let elsewhere =
            if namespace_share == 0 { 0 } else { self.namespaces.of_one(namespace, |other| other != shard) };
        let journal = self.shard_bytes();
        let slack = (journal / RECLAIM_SHARE).min(RECLAIM_BYTES);
        Shares { namespace: namespace_share, elsewhere, journal, slack }
    }

    /// Returns the maximum bytes of one shard; 0 for no limit.
    pub(super) fn shard_bytes(&self) -> u64 {
        let shards = self.layout.shards().len() as u64;
        match self.options.max_bytes {
            0 => 0,
            max => (max / shards).max(1),
        }
    }

    /// Makes room for an append.
    ///
    /// # Errors
    ///
    /// [`JournalError::ShareExhausted`] and [`JournalError::Full`].
    pub(super) async fn make_room(&self, endpoint: &Incarnation, shard: Shard, room: Room) -> Result<()> {
        match self.owned(shard) {
            Some(owned) => self.make_own_room(&owned, endpoint, room).await,
            None if room.full || self.is_near_a_bound(endpoint, room) => self.ask_for_room(endpoint, shard, room).await,
            None => Ok(()),
        }
    }

    /// Makes room in a shard that this replica owns.
    pub(super) async fn make_own_room(&self, shard: &OwnedShard, endpoint: &Incarnation, room: Room) -> Result<()> {
        let Room { needed, max_bytes, full, now } = room;
        let mut shares = self.shares(shard.shard, &endpoint.key.namespace);
        let removals = {
            let mut state = shard.state();
            if full {
                shares.journal = state.bytes().max(1);
            }
            state.room(endpoint, needed, max_bytes, &shares)?
        };
        if full && removals.is_empty() {
            return Err(JournalError::Full(format!(
                "the events stream of shard {} has reached its maximum size, and none of its settled events is left to remove",
                shard.shard
            )));
        }
        shard.remove(removals, now).await
    }

    async fn ask_for_room(&self, endpoint: &Incarnation, shard: Shard, room: Room) -> Result<()> {
        let request = Request::Room { endpoint: endpoint.into(), room };
        match peer::ask(self, shard, &request).await {
            Ok(_) => Ok(()),
            // Without an owner the bytes are not counted: the brokers' own bound holds.
            Err(JournalError::Unavailable(_)) if !room.full => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn is_near_a_bound(&self, endpoint: &Incarnation, Room { needed, max_bytes, .. }: Room) -> bool {
        let is_near =
            |bytes: u64, max: u64| max > 0 && (bytes + needed).saturating_mul(100) >= max.saturating_mul(NEAR);
        let share = self.namespace_share();
        let namespace = || self.namespaces.of_one(&endpoint.key.namespace, |_| true);
        let own = || self.reports.storage(endpoint).map_or(0, |usage| usage.bytes);
        (share > 0 && is_near(namespace(), share)) || max_bytes.is_some_and(|max| is_near(own(), max))
    }
}
