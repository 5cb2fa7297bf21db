//! Gauges of a replica among others, set when metrics are scraped. All are 0 with a journal of one process.

use std::sync::atomic::{AtomicI64, AtomicU64};

use prometheus_client::{
    metrics::{counter::Counter, gauge::Gauge},
    registry::Registry,
};

/// How this replica stands among the others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReplicaMetrics {
    /// Live replicas.
    pub members: u64,
    /// Shards that this replica delivers.
    pub shards_owned: u64,
    /// Shards that it has taken over.
    pub takeovers: u64,
    /// Whether it is connected to the servers of the journal.
    pub connected: bool,
    /// Whether it is proven that these sync events before they acknowledge them.
    pub proven: bool,
    /// Whether it accepts events.
    pub ready: bool,
}

#[derive(Clone, Default)]
pub(super) struct Gauges {
    members: Gauge<i64, AtomicI64>,
    shards_owned: Gauge<i64, AtomicI64>,
    takeovers: Counter<u64, AtomicU64>,
    connected: Gauge<i64, AtomicI64>,
    proven: Gauge<i64, AtomicI64>,
    ready: Gauge<i64, AtomicI64>,
}

impl Gauges {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let gauges = Self::default();
        for (name, help, gauge) in [
            ("grapnel_replica_members", "Live replicas, as this one sees them", &gauges.members),
            ("grapnel_replica_shards_owned", "Shards whose endpoints this replica delivers", &gauges.shards_owned),
            ("grapnel_replica_connected", "1 while it is connected to the NATS servers", &gauges.connected),
            (
                "grapnel_replica_sync_proven",
                "1 while it is proven that the NATS servers sync events before they acknowledge them",
                &gauges.proven,
            ),
            ("grapnel_replica_ready", "1 while this replica accepts events", &gauges.ready),
        ] {
            registry.register(name, help, gauge.clone());
        }
        let help = "Shards that this replica has taken over since the process started";
        registry.register("grapnel_replica_takeovers", help, gauges.takeovers.clone());
        gauges
    }

    pub(super) fn set(&self, reading: &ReplicaMetrics) {
        let set = |gauge: &Gauge<i64, AtomicI64>, value: u64| {
            gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        };
        set(&self.members, reading.members);
        set(&self.shards_owned, reading.shards_owned);
        set(&self.connected, reading.connected.into());
        set(&self.proven, reading.proven.into());
        set(&self.ready, reading.ready.into());
        self.takeovers.inc_by(reading.takeovers.saturating_sub(self.takeovers.get()));
    }
}
