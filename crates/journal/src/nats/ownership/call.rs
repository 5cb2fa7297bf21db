//! What [`Contender`](super::contender::Contender) asks of the registry.

use std::sync::Arc;

use bytes::Bytes;

use super::registry::{RegistryError, Row};

/// A call of the registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum RegistryCall {
    /// Read every lease. `written` counts the writes begun or ended before.
    ReadLeases { written: u64 },
    /// Read every member row.
    ReadMembers,
    /// Read the newest lease of a shard.
    ReadLease { shard: u16 },
    /// Read the newest member row of this replica.
    ReadMember { replica: Arc<str> },
    /// Write the member row of this replica.
    WriteMember { replica: Arc<str>, value: Bytes, expected: u64 },
    /// Remove a member row.
    RemoveMember { replica: Arc<str>, revision: u64 },
    /// Write the lease of a shard.
    WriteLease { shard: u16, value: Bytes, expected: u64, write: LeaseWrite },
}

/// Why a lease is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LeaseWrite {
    /// A new tenancy.
    Take { epoch: u64 },
    /// The tenancy goes on.
    Renew,
    /// The tenancy has ended.
    GiveBack,
}

/// The result of a [`RegistryCall`].
#[derive(Debug)]
pub(super) enum RegistryAnswer {
    /// Of a read of several rows.
    Rows(Vec<(String, Row)>),
    /// Of a read of one row.
    Row(Option<Row>),
    /// Of a write: the new revision.
    Written(u64),
    /// Of a removal.
    Removed,
    /// Of any call.
    Failed(RegistryError),
}
