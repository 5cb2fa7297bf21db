//! Metrics of the Kubernetes side.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

/// Metrics of the Kubernetes side. Their labels are of fixed, small sets.
pub struct ClusterMetrics {
    leader: Gauge,
    lease_failing: Gauge,
    watch_failures: Family<ResourceLabels, Counter>,
    status_writes: Family<OutcomeLabels, Counter>,
    events: Family<OutcomeLabels, Counter>,
    route_writes: Family<OutcomeLabels, Counter>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResourceLabels {
    resource: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    outcome: &'static str,
}

impl ClusterMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            leader: Gauge::default(),
            lease_failing: Gauge::default(),
            watch_failures: Family::default(),
            status_writes: Family::default(),
            events: Family::default(),
            route_writes: Family::default(),
        };
        registry.register("grapnel_leader", "1 while this replica writes statuses", metrics.leader.clone());
        registry.register(
            "grapnel_lease_failing",
            "1 while this replica cannot read or renew the Lease, without which it writes no status",
            metrics.lease_failing.clone(),
        );
        registry.register(
            "grapnel_watch_failures",
            "Watches of the API server that failed and were restarted",
            metrics.watch_failures.clone(),
        );
        registry.register(
            "grapnel_status_writes",
            "Writes of statuses, by outcome (ok, gone, failed, timeout, lost)",
            metrics.status_writes.clone(),
        );
        registry.register(
            "grapnel_kubernetes_events",
            "Kubernetes Events, by outcome (ok, failed, timeout, dropped)",
            metrics.events.clone(),
        );
        registry.register(
            "grapnel_route_writes",
            "Requests about HTTPRoutes: writes (ok), and failed ones (failed, timeout)",
            metrics.route_writes.clone(),
        );
        metrics
    }

    /// Sets whether this replica is the leader.
    pub fn leader(&self, leader: bool) {
        self.leader.set(leader.into());
    }

    /// Sets whether the Lease cannot be read or renewed.
    pub fn lease_failing(&self, failing: bool) {
        self.lease_failing.set(failing.into());
    }

    /// Counts a failed watch of a resource.
    pub fn watch_failed(&self, resource: &'static str) {
        self.watch_failures.get_or_create(&ResourceLabels { resource }).inc();
    }

    /// Counts a write of a status, by outcome.
    pub fn status_written(&self, outcome: &'static str) {
        self.status_writes.get_or_create(&OutcomeLabels { outcome }).inc();
    }

    /// Counts a request about an HTTPRoute, by outcome.
    pub fn route_written(&self, outcome: &'static str) {
        self.route_writes.get_or_create(&OutcomeLabels { outcome }).inc();
    }

    /// Counts a Kubernetes Event, by outcome.
    pub fn event(&self, outcome: &'static str) {
        self.events.get_or_create(&OutcomeLabels { outcome }).inc();
    }
}
