//! Series of an endpoint.

use std::{collections::HashMap, sync::Arc, time::Duration};

use parking_lot::RwLock;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};

use super::{Owners, seconds};
use crate::telemetry::limits::{TYPE_LABEL_CHARS, TYPE_LABELS};

/// The label of types beyond the bound.
const OTHER: &str = "other";
/// The label of requests rejected before their type was known.
const UNKNOWN: &str = "unknown";

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EndpointLabels {
    namespace: Arc<str>,
    endpoint: Arc<str>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TypeLabels {
    namespace: Arc<str>,
    endpoint: Arc<str>,
    r#type: Arc<str>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FailureLabels {
    namespace: Arc<str>,
    endpoint: Arc<str>,
    r#type: Arc<str>,
    error: &'static str,
}

/// The metric families shared by all endpoints.
#[derive(Clone)]
pub(super) struct EndpointFamilies {
    received: Family<TypeLabels, Counter>,
    processed: Family<TypeLabels, Counter>,
    failed: Family<FailureLabels, Counter>,
    duplicates: Family<EndpointLabels, Counter>,
    exhausted: Family<EndpointLabels, Gauge>,
    processing: Family<TypeLabels, Histogram, fn() -> Histogram>,
    owners: Owners<EndpointMetrics>,
}

impl EndpointFamilies {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let families = Self {
            received: Family::default(),
            processed: Family::default(),
            failed: Family::default(),
            duplicates: Family::default(),
            exhausted: Family::default(),
            processing: Family::new_with_constructor(seconds),
            owners: Owners::default(),
        };
        registry.register("webhook_received", "Verified events received", families.received.clone());
        registry.register("webhook_processed", "Events stored and responded to with 2xx", families.processed.clone());
        registry.register("webhook_failed", "Requests rejected, by code", families.failed.clone());
        registry.register("webhook_duplicates", "Duplicate events", families.duplicates.clone());
        registry.register(
            "webhook_storage_exhausted",
            "1 while events are rejected because the share of the endpoint or of its namespace is exhausted",
            families.exhausted.clone(),
        );
        registry.register_with_unit(
            "webhook_processing_time",
            "Time from receipt of a request until its event is durable",
            Unit::Seconds,
            families.processing.clone(),
        );
        families
    }
}

/// Handles of one type of one endpoint.
struct OfType {
    received: Counter,
    processed: Counter,
    processing: Histogram,
}

/// Counts of the requests to an endpoint.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RequestTotals {
    /// Events stored.
    pub accepted: u64,
    /// Events deduplicated.
    pub duplicates: u64,
    /// Requests rejected.
    pub rejected: u64,
}

/// The series of one endpoint; they are removed when this is dropped.
pub struct EndpointMetrics {
    families: Arc<EndpointFamilies>,
    namespace: Arc<str>,
    endpoint: Arc<str>,
    types: RwLock<HashMap<Arc<str>, Arc<OfType>>>,
    failures: RwLock<HashMap<(Arc<str>, &'static str), Counter>>,
    duplicates: Counter,
    exhausted: Gauge,
}

impl EndpointMetrics {
    pub(super) fn obtain(families: &Arc<EndpointFamilies>, namespace: &Arc<str>, endpoint: &Arc<str>) -> Arc<Self> {
        let owner = (Arc::clone(namespace), Arc::clone(endpoint));
        families.owners.obtain(owner.clone(), || Self::new(Arc::clone(families), owner.0, owner.1))
    }

    fn new(families: Arc<EndpointFamilies>, namespace: Arc<str>, endpoint: Arc<str>) -> Self {
        let labels = EndpointLabels { namespace: Arc::clone(&namespace), endpoint: Arc::clone(&endpoint) };
        let duplicates = families.duplicates.get_or_create_owned(&labels);
        let exhausted = families.exhausted.get_or_create_owned(&labels);
        let (types, failures) = (RwLock::default(), RwLock::default());
        Self { families, namespace, endpoint, types, failures, duplicates, exhausted }
    }

    /// Sets whether events are rejected because a share of the journal is exhausted.
    pub fn storage_exhausted(&self, exhausted: bool) {
        self.exhausted.set(exhausted.into());
    }

    /// Records a stored event; `time` is from receipt to its durable confirmation.
    pub fn accepted(&self, kind: &str, time: Duration) {
        let of_type = self.of_type(kind);
        of_type.received.inc();
        of_type.processed.inc();
        of_type.processing.observe(time.as_secs_f64());
    }

    /// Records a duplicate event.
    pub fn duplicate(&self, kind: &str, time: Duration) {
        let of_type = self.of_type(kind);
        of_type.received.inc();
        of_type.processing.observe(time.as_secs_f64());
        self.duplicates.inc();
    }

    /// Records a rejected request. `kind` is its type, if known; it never adds a label value.
    pub fn failed(&self, kind: Option<&str>, error: &'static str) {
        let kind = match kind {
            None => Arc::from(UNKNOWN),
            Some(kind) => {
                self.types.read().get_key_value(kind).map_or_else(|| Arc::from(OTHER), |(kind, _)| Arc::clone(kind))
            }
        };
        let key = (kind, error);
        if let Some(counter) = self.failures.read().get(&key) {
            counter.inc();
            return;
        }
        let labels = self.failure_labels(&key);
        let counter = self.families.failed.get_or_create_owned(&labels);
        counter.inc();
        self.failures.write().insert(key, counter);
    }

    /// The counts of requests since the series exist.
    pub fn totals(&self) -> RequestTotals {
        RequestTotals {
            accepted: self.types.read().values().map(|of_type| of_type.processed.get()).sum(),
            duplicates: self.duplicates.get(),
            rejected: self.failures.read().values().map(Counter::get).sum(),
        }
    }

    /// The handles of a type. Types that are too long or too many are counted as `other`.
    fn of_type(&self, kind: &str) -> Arc<OfType> {
        if let Some(of_type) = self.types.read().get(kind) {
            return Arc::clone(of_type);
        }
        let mut types = self.types.write();
        let kind =
            if kind.chars().nth(TYPE_LABEL_CHARS).is_some() || types.len() >= TYPE_LABELS { OTHER } else { kind };
        if let Some(of_type) = types.get(kind) {
            return Arc::clone(of_type);
        }
        let kind: Arc<str> = Arc::from(kind);
        let labels = self.type_labels(&kind);
        let of_type = Arc::new(OfType {
            received: self.families.received.get_or_create_owned(&labels),
            processed: self.families.processed.get_or_create_owned(&labels),
            processing: self.families.processing.get_or_create_owned(&labels),
        });
        types.insert(kind, Arc::clone(&of_type));
        of_type
    }

    fn type_labels(&self, kind: &Arc<str>) -> TypeLabels {
        TypeLabels {
            namespace: Arc::clone(&self.namespace),
            endpoint: Arc::clone(&self.endpoint),
            r#type: Arc::clone(kind),
        }
    }

    fn failure_labels(&self, (kind, error): &(Arc<str>, &'static str)) -> FailureLabels {
        FailureLabels {
            namespace: Arc::clone(&self.namespace),
            endpoint: Arc::clone(&self.endpoint),
            r#type: Arc::clone(kind),
            error,
        }
    }
}

impl Drop for EndpointMetrics {
    fn drop(&mut self) {
        let owner = (Arc::clone(&self.namespace), Arc::clone(&self.endpoint));
        self.families.owners.retire(&owner, self, || {
            for kind in self.types.read().keys() {
                let labels = self.type_labels(kind);
                self.families.received.remove(&labels);
                self.families.processed.remove(&labels);
                self.families.processing.remove(&labels);
            }
            for key in self.failures.read().keys() {
                self.families.failed.remove(&self.failure_labels(key));
            }
            let labels =
                EndpointLabels { namespace: Arc::clone(&self.namespace), endpoint: Arc::clone(&self.endpoint) };
            self.families.duplicates.remove(&labels);
            self.families.exhausted.remove(&labels);
        });
    }
}
