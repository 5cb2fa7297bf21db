//! Prometheus metrics.
//!
//! Series belong to objects: [`EndpointMetrics`] and [`SubscriptionMetrics`] hold the handles of one object, so that
//! the hot path neither builds label sets nor hashes them, and remove their series when they are dropped.
//!
//! ```
//! use std::sync::Arc;
//! use grapnel::telemetry::metrics::Metrics;
//!
//! let metrics = Metrics::new();
//! metrics.abandoned(&Arc::from("shop"), &Arc::from("billing"), 3);
//! assert!(metrics.encode().contains(r#"namespace="shop",subscription="billing"} 3"#));
//! ```

mod abandoned;
mod cluster;
mod endpoint;
mod journal;
mod subscription;

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Weak},
    time::Duration,
};

use parking_lot::Mutex;
use prometheus_client::{
    encoding::{EncodeLabelSet, text},
    metrics::{counter::Counter, family::Family, histogram::Histogram, info::Info},
    registry::{Registry, Unit},
};

pub use cluster::ClusterMetrics;
pub use endpoint::{EndpointMetrics, RequestTotals};
pub use journal::JournalMetrics;
pub use subscription::{AttemptTotals, Counts, SubscriptionMetrics};

/// Every metric of the process.
#[derive(Clone)]
pub struct Metrics {
    shared: Arc<Shared>,
}

struct Shared {
    registry: Registry,
    endpoint: Arc<endpoint::EndpointFamilies>,
    subscription: Arc<subscription::SubscriptionFamilies>,
    cluster: ClusterMetrics,
    abandoned: abandoned::Abandoned,
    journal: journal::Gauges,
    append_seconds: Histogram,
    journal_failures: Family<FailureLabels, Counter>,
    reconciles: Family<ReconcileLabels, Counter>,
    reconcile_seconds: Histogram,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReconcileLabels {
    kind: &'static str,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FailureLabels {
    reason: &'static str,
}

/// Buckets from half a millisecond to ten seconds.
pub(super) fn seconds() -> Histogram {
    Histogram::new([0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0])
}

/// Buckets from ten milliseconds to a day.
pub(super) fn long_seconds() -> Histogram {
    Histogram::new([0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 1800.0, 7200.0, 21_600.0, 86_400.0])
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// A registry with all metrics.
    pub fn new() -> Self {
        let mut registry = Registry::default();
        let endpoint = Arc::new(endpoint::EndpointFamilies::register(&mut registry));
        let subscription = Arc::new(subscription::SubscriptionFamilies::register(&mut registry));
        let cluster = ClusterMetrics::register(&mut registry);
        let append_seconds = seconds();
        let abandoned = abandoned::Abandoned::register(&mut registry);
        let journal = journal::Gauges::register(&mut registry);
        let journal_failures = Family::default();
        let reconciles = Family::default();
        let reconcile_seconds = seconds();
        registry.register_with_unit(
            "grapnel_journal_append",
            "Time until an append is durable",
            Unit::Seconds,
            append_seconds.clone(),
        );
        registry.register(
            "grapnel_journal_failures",
            "Events not confirmed by the journal, by reason (full, share_exhausted, too_large, unavailable, io, damaged, endpoint_replaced, timeout, closed)",
            journal_failures.clone(),
        );
        registry.register(
            "grapnel_reconcile",
            "Objects compiled, by kind and outcome (programmed or refused)",
            reconciles.clone(),
        );
        registry.register_with_unit(
            "grapnel_reconcile",
            "Time to compile an object",
            Unit::Seconds,
            reconcile_seconds.clone(),
        );
        registry.register("grapnel_build", "The running build", Info::new([("version", env!("CARGO_PKG_VERSION"))]));
        let shared = Shared {
            registry,
            endpoint,
            subscription,
            cluster,
            abandoned,
            journal,
            append_seconds,
            journal_failures,
            reconciles,
            reconcile_seconds,
        };
        Self { shared: Arc::new(shared) }
    }

    /// The series of one endpoint, created if necessary.
    pub fn endpoint(&self, namespace: &Arc<str>, name: &Arc<str>) -> Arc<EndpointMetrics> {
        EndpointMetrics::obtain(&self.shared.endpoint, namespace, name)
    }

    /// The series of one subscription, created if necessary.
    pub fn subscription(&self, namespace: &Arc<str>, name: &Arc<str>) -> Arc<SubscriptionMetrics> {
        SubscriptionMetrics::obtain(&self.shared.subscription, namespace, name)
    }

    /// The series of the Kubernetes side.
    pub fn cluster(&self) -> &ClusterMetrics {
        &self.shared.cluster
    }

    /// Records the duration of an append.
    pub fn appended(&self, time: Duration) {
        self.shared.append_seconds.observe(time.as_secs_f64());
    }

    /// Sets the gauges of the journal.
    pub fn journal(&self, reading: &JournalMetrics) {
        self.shared.journal.set(reading);
    }

    /// Counts the unsettled events of a deleted subscription.
    pub fn abandoned(&self, namespace: &Arc<str>, subscription: &Arc<str>, events: u64) {
        self.shared.abandoned.add(namespace, subscription, events);
    }

    /// Counts an event that the journal did not confirm; `reason` is one of a small, fixed set.
    pub fn journal_failed(&self, reason: &'static str) {
        self.shared.journal_failures.get_or_create(&FailureLabels { reason }).inc();
    }

    /// Records the compilation of an object.
    pub fn reconciled(&self, kind: &'static str, outcome: &'static str, time: Duration) {
        self.shared.reconciles.get_or_create(&ReconcileLabels { kind, outcome }).inc();
        self.shared.reconcile_seconds.observe(time.as_secs_f64());
    }

    /// Encodes all metrics as OpenMetrics text.
    pub fn encode(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = text::encode(&mut text, &self.shared.registry);
        text
    }
}

/// Namespace and name.
type Owner = (Arc<str>, Arc<str>);

/// The owners of the series. If an object is deleted and created again while a request still holds the old handles, it
/// neither loses its new series nor leaves the old ones behind.
struct Owners<M>(Arc<Mutex<HashMap<Owner, Weak<M>>>>);

impl<M> Clone for Owners<M> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<M> Default for Owners<M> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<M> Owners<M> {
    /// The owner's live handles, or new ones.
    fn obtain(&self, owner: Owner, make: impl FnOnce() -> M) -> Arc<M> {
        let mut owners = self.0.lock();
        if let Some(metrics) = owners.get(&owner).and_then(Weak::upgrade) {
            return metrics;
        }
        let metrics = Arc::new(make());
        owners.insert(owner, Arc::downgrade(&metrics));
        metrics
    }

    /// Called from `Drop`: removes the series unless they have a new owner.
    fn retire(&self, owner: &Owner, dropped: *const M, remove: impl FnOnce()) {
        let mut owners = self.0.lock();
        if owners.get(owner).is_some_and(|current| std::ptr::eq(current.as_ptr(), dropped)) {
            owners.remove(owner);
            remove();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Arc<str> {
        Arc::from(text)
    }

    #[test]
    fn names_are_those_that_dashboards_know() {
        let metrics = Metrics::new();
        let endpoint = metrics.endpoint(&name("shop"), &name("stripe"));
        endpoint.accepted("invoice.paid", Duration::from_millis(3));
        endpoint.duplicate("invoice.paid", Duration::from_millis(1));
        endpoint.failed(None, "invalid_signature");
        let subscription = metrics.subscription(&name("shop"), &name("billing"));
        subscription.attempted("delivered", Duration::from_millis(8));
        subscription.delivered(Duration::from_millis(9));
        subscription.counts(Counts { pending: 3, retrying: 2, dead: 1 });
        subscription.circuit(true);
        metrics.appended(Duration::from_millis(1));
        subscription.skipped("filter");
        endpoint.storage_exhausted(true);
        metrics.abandoned(&name("shop"), &name("former"), 4);
        metrics.journal(&JournalMetrics {
            up: true,
            bytes: 7,
            disk_bytes: 8,
            max_bytes: 9,
            checkpoint_age: Some(Duration::from_secs(3)),
            damaged_records: 1,
            namespaces: vec![("shop".into(), 7)],
            ..JournalMetrics::default()
        });
        metrics.journal_failed("full");
        metrics.reconciled("WebhookEndpoint", "programmed", Duration::from_millis(1));
        let text = metrics.encode();
        for line in [
            r#"webhook_received_total{namespace="shop",endpoint="stripe",type="invoice.paid"} 2"#,
            r#"webhook_processed_total{namespace="shop",endpoint="stripe",type="invoice.paid"} 1"#,
            r#"webhook_failed_total{namespace="shop",endpoint="stripe",type="unknown",error="invalid_signature"} 1"#,
            r#"webhook_duplicates_total{namespace="shop",endpoint="stripe"} 1"#,
            r#"webhook_processing_time_seconds_count{namespace="shop",endpoint="stripe",type="invoice.paid"} 2"#,
            r#"webhook_delivery_attempts_total{namespace="shop",subscription="billing",outcome="delivered"} 1"#,
            r#"webhook_delivery_duration_seconds_count{namespace="shop",subscription="billing"} 1"#,
            r#"webhook_delivery_lag_seconds_count{namespace="shop",subscription="billing"} 1"#,
            r#"webhook_deliveries_pending{namespace="shop",subscription="billing"} 3"#,
            r#"webhook_deliveries_retrying{namespace="shop",subscription="billing"} 2"#,
            r#"webhook_dead_letters{namespace="shop",subscription="billing"} 1"#,
            r#"webhook_circuit_open{namespace="shop",subscription="billing"} 1"#,
            r#"webhook_deliveries_skipped_total{namespace="shop",subscription="billing",reason="filter"} 1"#,
            r#"webhook_deliveries_abandoned_total{namespace="shop",subscription="former"} 4"#,
            r#"webhook_storage_exhausted{namespace="shop",endpoint="stripe"} 1"#,
            "grapnel_journal_append_seconds_count 1",
            "grapnel_journal_bytes 7",
            "grapnel_journal_disk_bytes 8",
            "grapnel_journal_max_bytes 9",
            "grapnel_journal_log_bytes 0",
            "grapnel_journal_index_bytes 0",
            "grapnel_journal_checkpoint_age_seconds 3",
            "grapnel_journal_append_queue_bytes 0",
            "grapnel_journal_task_queue 0",
            "grapnel_journal_retrying 0",
            "grapnel_journal_damaged_records_total 1",
            r#"grapnel_journal_namespace_bytes{namespace="shop"} 7"#,
            "grapnel_journal_up 1",
            r#"grapnel_journal_failures_total{reason="full"} 1"#,
            r#"grapnel_reconcile_total{kind="WebhookEndpoint",outcome="programmed"} 1"#,
            "grapnel_reconcile_seconds_count 1",
            "grapnel_build_info{version=",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn types_beyond_the_bound_are_other() {
        let metrics = Metrics::new();
        let endpoint = metrics.endpoint(&name("n"), &name("e"));
        for number in 0..200 {
            endpoint.accepted(&format!("type.{number}"), Duration::ZERO);
        }
        endpoint.accepted(&"long".repeat(20), Duration::ZERO);
        endpoint.failed(Some("never.accepted"), "schema_violation");
        let text = metrics.encode();
        let series = text.lines().filter(|line| line.starts_with("webhook_received_total{")).count();
        assert_eq!(series, crate::telemetry::limits::TYPE_LABELS + 1, "the bound and `other`");
        assert!(
            text.contains(
                r#"webhook_failed_total{namespace="n",endpoint="e",type="other",error="schema_violation"} 1"#
            )
        );
        assert!(!text.contains("never.accepted"));
    }

    #[test]
    fn series_go_with_their_object_but_not_with_its_predecessor() {
        let metrics = Metrics::new();
        let old = metrics.endpoint(&name("n"), &name("e"));
        old.accepted("t", Duration::ZERO);
        assert!(Arc::ptr_eq(&old, &metrics.endpoint(&name("n"), &name("e"))), "one object has one set of handles");
        drop(old);
        assert!(!metrics.encode().contains(r#"endpoint="e""#));
        metrics.endpoint(&name("n"), &name("e")).failed(None, "timeout");
        let subscription = metrics.subscription(&name("n"), &name("s"));
        subscription.attempted("timeout", Duration::ZERO);
        assert!(metrics.encode().contains(r#"subscription="s""#));
        drop(subscription);
        let text = metrics.encode();
        assert!(!text.contains(r#"subscription="s""#) && !text.contains(r#"endpoint="e""#), "{text}");
    }
}
