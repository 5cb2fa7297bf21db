//! Bounds on what is kept.

use std::sync::Arc;

use grapnel_api::Incarnation;

use super::{Removal, ShardState};
use crate::{EndpointUsage, JournalError, Result};

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

impl ShardState {
    /// Returns the settled events to remove, oldest first, so that the endpoint has room for `needed` bytes. Removes
    /// nothing if there cannot be enough room. An append that is rejected is remembered until its scope has room.
    ///
    /// # Errors
    ///
    /// [`JournalError::ShareExhausted`] and [`JournalError::Full`].
    pub(crate) fn room(
        &mut self,
        _endpoint: &Incarnation,
        _needed: u64,
        _max_bytes: Option<u64>,
        _shares: &Shares,
    ) -> Result<Vec<Removal>> {
        Ok(Vec::new())
    }

    /// Returns the usage of one endpoint, and why its last append was rejected if it would be rejected now.
    pub(crate) fn storage(&self, _endpoint: &Incarnation, _shares: &Shares) -> EndpointUsage {
        EndpointUsage::default()
    }

    /// Returns why the last append that was rejected for lack of room in the shard would be rejected now.
    pub(crate) fn trouble(&self) -> Option<JournalError> {
        None
    }

    /// Returns the bytes of all kept events.
    pub(crate) fn bytes(&self) -> u64 {
        0
    }

    /// Returns the bytes of each namespace, sorted by name.
    pub(crate) fn namespaces(&self) -> Vec<NamespaceBytes> {
        Vec::new()
    }
}
