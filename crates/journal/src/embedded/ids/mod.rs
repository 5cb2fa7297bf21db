//! The known ids: for deduplication, and to find an event by its id.
//!
//! The ids of the segment being written are in memory. When the segment is complete, they become a [`Run`]: a sorted
//! file with a filter. Neighbouring runs of about the same size are merged, so that there are few; a run whose last
//! window has ended is deleted as a whole. Runs are derived from the log, and missing or damaged runs are rebuilt from
//! it, as long as the events are kept; the id of a removed event is known only from its run.
//!
//! Memory: 12 bits per id for the filter, up to [`ID_FILTER_BYTES`](crate::limits::ID_FILTER_BYTES) over all runs
//! (filters beyond that are read block by block as needed), and 8 bytes for each block of rows.

mod filter;
mod merge;
mod run;

use std::collections::HashMap;

use sha2::{Digest as _, Sha256};

pub(super) use self::{
    merge::{merge, next_merge},
    run::{Run, RunName},
};
use crate::{Sequence, machine::Micros};

/// The hash of an id within one incarnation of an endpoint: half a SHA-256, so that a sender cannot construct two ids
/// that collide.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct IdHash([u8; 16]);

impl IdHash {
    pub(super) fn of(endpoint: u32, incarnation: u32, id: &str) -> Self {
        let mut hasher = Sha256::new();
        hasher.update(endpoint.to_le_bytes());
        hasher.update(incarnation.to_le_bytes());
        hasher.update(id.as_bytes());
        let digest = hasher.finalize();
        Self(digest.first_chunk().copied().unwrap_or_default())
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Self {
        Self(bytes.first_chunk().copied().unwrap_or_default())
    }

    pub(super) fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// Returns the first half, by which rows are sorted.
    pub(super) fn high(self) -> u64 {
        self.0.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
    }

    /// Returns the second half, which the filter uses.
    pub(super) fn low(self) -> u64 {
        self.0.last_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
    }
}

/// The newest event of an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct KnownId {
    pub(super) sequence: Sequence,
    pub(super) received: Micros,
}

/// The ids of the segment being written.
#[derive(Debug, Default)]
pub(super) struct ActiveIds {
    known: HashMap<IdHash, KnownId, std::hash::BuildHasherDefault<Spread>>,
    /// When the last deduplication window ends.
    keep_until: Micros,
}

impl ActiveIds {
    pub(super) fn get(&self, id: &IdHash) -> Option<KnownId> {
        self.known.get(id).copied()
    }

    pub(super) fn insert(&mut self, id: IdHash, known: KnownId, keep_until: Micros) {
        self.known.insert(id, known);
        self.keep_until = self.keep_until.max(keep_until);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    pub(super) fn keep_until(&self) -> Micros {
        self.keep_until
    }

    /// Returns every id, sorted.
    pub(super) fn sorted(&self) -> Vec<(IdHash, KnownId)> {
        let mut all: Vec<_> = self.known.iter().map(|(id, known)| (*id, *known)).collect();
        all.sort_unstable_by_key(|(id, _)| *id);
        all
    }
}

/// A hasher for [`IdHash`], which is evenly distributed already.
#[derive(Debug, Default)]
pub(super) struct Spread(u64);

impl std::hash::Hasher for Spread {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        if let Some(word) = bytes.first_chunk() {
            self.0 = u64::from_le_bytes(*word);
        }
    }

    fn write_usize(&mut self, _: usize) {}
}
