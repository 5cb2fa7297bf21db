//! What the rows of leases and members hold: JSON, so that an operator can read them.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// Beginning of the keys of leases.
pub(super) const LEASES: &str = "lease.";

/// Beginning of the keys of members.
pub(super) const MEMBERS: &str = "member.";

/// The key of a shard's lease.
pub(super) fn lease_key(shard: u16) -> String {
    format!("{LEASES}{shard}")
}

/// The key of a replica's member row.
pub(super) fn member_key(replica: &str) -> String {
    format!("{MEMBERS}{replica}")
}

/// The shard whose lease has the key.
pub(super) fn shard_of(key: &str) -> Option<u16> {
    key.strip_prefix(LEASES)?.parse().ok()
}

/// The replica whose member row has the key.
pub(super) fn replica_of(key: &str) -> Option<&str> {
    key.strip_prefix(MEMBERS)
}

/// A lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LeaseRow {
    /// The owner; `None` when the last one has given the shard back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) replica: Option<String>,
    /// The epoch of the owner, or of the last one.
    pub(super) epoch: u64,
}

/// The member row of a live replica.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct MemberRow {
    /// Shards that it does not want at present, because it could not load them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) declined: Vec<u16>,
}

/// Encodes a row.
pub(super) fn encode(row: &impl Serialize) -> Bytes {
    // Serializing these types cannot fail.
    serde_json::to_vec(row).unwrap_or_default().into()
}

/// Decodes a row. `None` if it is damaged or written by another version.
pub(super) fn decode<T: for<'a> Deserialize<'a>>(value: &[u8]) -> Option<T> {
    serde_json::from_slice(value).ok()
}
