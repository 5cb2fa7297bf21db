//! Periods of the ownership of shards.

use std::time::Duration;

use crate::limits;

/// Periods of the ownership of shards.
///
/// `deadline` must be shorter than `expiry`: the owner stops before another replica may begin. Both are counted on one
/// machine each, so clocks need not agree, only run at the same rate.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timings {
    /// Interval at which a replica rewrites its member row.
    pub(crate) member: Duration,
    /// Interval at which an owner renews a lease.
    pub(crate) renew: Duration,
    /// A lease or a member row that is seen unchanged for this long belongs to no live replica.
    pub(crate) expiry: Duration,
    /// How long after the owner sent its last successful renewal it stops.
    pub(crate) deadline: Duration,
    /// How long a replica must be alive before shards are handed over to it.
    pub(crate) join: Duration,
    /// How long a shard that is to be handed over waits for what is in flight.
    pub(crate) hand_over: Duration,
    /// Interval at which the rows of the other replicas are read, and at which failed writes are repeated.
    pub(crate) poll: Duration,
    /// Timeout of one call of the registry.
    pub(crate) call: Duration,
}

impl Default for Timings {
    fn default() -> Self {
        Self {
            member: limits::MEMBER_INTERVAL,
            renew: limits::SHARD_LEASE_RENEWAL,
            expiry: limits::SHARD_LEASE_EXPIRY,
            deadline: limits::SHARD_LEASE_DEADLINE,
            join: limits::MEMBER_JOIN,
            hand_over: limits::SHARD_HAND_OVER,
            poll: limits::OWNERSHIP_POLL,
            call: limits::REGISTRY_TIMEOUT,
        }
    }
}
