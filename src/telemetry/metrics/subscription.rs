//! Series of a subscription.

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock},
    time::Duration,
};

use parking_lot::RwLock;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};

use super::{Owners, long_seconds, seconds};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    namespace: Arc<str>,
    subscription: Arc<str>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    namespace: Arc<str>,
    subscription: Arc<str>,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabels {
    namespace: Arc<str>,
    subscription: Arc<str>,
    reason: &'static str,
}

/// The metric families shared by all subscriptions.
#[derive(Clone)]
pub(super) struct SubscriptionFamilies {
    attempts: Family<OutcomeLabels, Counter>,
    duration: Family<Labels, Histogram, fn() -> Histogram>,
    lag: Family<Labels, Histogram, fn() -> Histogram>,
    pending: Family<Labels, Gauge>,
    retrying: Family<Labels, Gauge>,
    dead: Family<Labels, Gauge>,
    circuit: Family<Labels, Gauge>,
    paused: Family<Labels, Gauge>,
    passed_on: Family<OutcomeLabels, Counter>,
    skipped: Family<ReasonLabels, Counter>,
    shadowed: Family<OutcomeLabels, Counter>,
    owners: Owners<SubscriptionMetrics>,
}

impl SubscriptionFamilies {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let families = Self {
            attempts: Family::default(),
            duration: Family::new_with_constructor(seconds),
            lag: Family::new_with_constructor(long_seconds),
            pending: Family::default(),
            retrying: Family::default(),
            dead: Family::default(),
            circuit: Family::default(),
            paused: Family::default(),
            passed_on: Family::default(),
            skipped: Family::default(),
            shadowed: Family::default(),
            owners: Owners::default(),
        };
        registry.register("webhook_delivery_attempts", "Delivery attempts, by outcome", families.attempts.clone());
        registry.register_with_unit(
            "webhook_delivery_duration",
            "Time of a delivery attempt",
            Unit::Seconds,
            families.duration.clone(),
        );
        registry.register_with_unit(
            "webhook_delivery_lag",
            "Time from the event's receipt to the receiver's 2xx",
            Unit::Seconds,
            families.lag.clone(),
        );
        registry.register(
            "webhook_deliveries_pending",
            "Unsettled events: pending, in flight or waiting for a retry",
            families.pending.clone(),
        );
        registry.register("webhook_deliveries_retrying", "Events that wait for a retry", families.retrying.clone());
        registry.register("webhook_dead_letters", "Dead letters", families.dead.clone());
        registry.register(
            "webhook_circuit_open",
            "1 while the circuit of the subscription is open",
            families.circuit.clone(),
        );
        registry.register(
            "webhook_delivery_paused",
            "1 while deliveries pause, because the receiver responded with Retry-After",
            families.paused.clone(),
        );
        registry.register(
            "webhook_dead_letters_passed_on",
            "Dead letters to forward to deadLetter.endpointRef, by outcome",
            families.passed_on.clone(),
        );
        registry.register(
            "webhook_deliveries_skipped",
            "Events skipped by a subscription, by reason (filter, type or shadow)",
            families.skipped.clone(),
        );
        registry.register(
            "webhook_shadow_deliveries",
            "Events that a subscription with mode Shadow would have sent, or whose filter or transform failed, by outcome",
            families.shadowed.clone(),
        );
        families
    }
}

/// Counts of a subscription at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Events that are not settled yet.
    pub pending: u64,
    /// Events waiting for a retry.
    pub retrying: u64,
    /// Retained dead letters.
    pub dead: u64,
}

/// The outcome of a successful attempt.
const DELIVERED: &str = "delivered";

/// Counts of the attempts of a subscription.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AttemptTotals {
    /// Attempts that succeeded.
    pub delivered: u64,
    /// Attempts that failed.
    pub failed: u64,
}

/// The series of one subscription; they are removed when this is dropped.
pub struct SubscriptionMetrics {
    families: Arc<SubscriptionFamilies>,
    labels: Labels,
    attempts: RwLock<HashMap<&'static str, Counter>>,
    passed_on: RwLock<HashMap<&'static str, Counter>>,
    skipped: RwLock<HashMap<&'static str, Counter>>,
    shadowed: RwLock<HashMap<&'static str, Counter>>,
    /// Created by the first attempt, since it takes most of the memory of a subscription's series.
    duration: OnceLock<Histogram>,
    lag: OnceLock<Histogram>,
    pending: Gauge,
    retrying: Gauge,
    dead: Gauge,
    circuit: Gauge,
    paused: Gauge,
}

impl SubscriptionMetrics {
    pub(super) fn obtain(
        families: &Arc<SubscriptionFamilies>,
        namespace: &Arc<str>,
        subscription: &Arc<str>,
    ) -> Arc<Self> {
        let owner = (Arc::clone(namespace), Arc::clone(subscription));
        families.owners.obtain(owner.clone(), || Self::new(Arc::clone(families), owner.0, owner.1))
    }

    fn new(families: Arc<SubscriptionFamilies>, namespace: Arc<str>, subscription: Arc<str>) -> Self {
        let labels = Labels { namespace, subscription };
        Self {
            duration: OnceLock::new(),
            lag: OnceLock::new(),
            pending: families.pending.get_or_create_owned(&labels),
            retrying: families.retrying.get_or_create_owned(&labels),
            dead: families.dead.get_or_create_owned(&labels),
            circuit: families.circuit.get_or_create_owned(&labels),
            paused: families.paused.get_or_create_owned(&labels),
            attempts: RwLock::default(),
            passed_on: RwLock::default(),
            skipped: RwLock::default(),
            shadowed: RwLock::default(),
            families,
            labels,
        }
    }

    /// Records an attempt. `outcome` is `delivered` or one of the fixed failure reasons.
    pub fn attempted(&self, outcome: &'static str, time: Duration) {
        let duration = self.duration.get_or_init(|| self.families.duration.get_or_create_owned(&self.labels));
        duration.observe(time.as_secs_f64());
        count(&self.attempts, outcome, || self.families.attempts.get_or_create_owned(&self.outcome_labels(outcome)));
    }

    /// The counts of attempts since the series exist.
    pub fn totals(&self) -> AttemptTotals {
        let attempts = self.attempts.read();
        let delivered = attempts.get(DELIVERED).map_or(0, Counter::get);
        let all: u64 = attempts.values().map(Counter::get).sum();
        AttemptTotals { delivered, failed: all.saturating_sub(delivered) }
    }

    /// Counts a dead letter for another endpoint. `outcome` is one of a fixed set of words.
    pub fn passed_on(&self, outcome: &'static str) {
        count(&self.passed_on, outcome, || self.families.passed_on.get_or_create_owned(&self.outcome_labels(outcome)));
    }

    /// Counts an event that is not delivered. `reason` is one of a fixed set of words.
    pub fn skipped(&self, reason: &'static str) {
        count(&self.skipped, reason, || self.families.skipped.get_or_create_owned(&self.reason_labels(reason)));
    }

    /// Counts an event that mode Shadow has processed. `outcome` is `would_send` or one of the fixed failure reasons.
    pub fn shadowed(&self, outcome: &'static str) {
        count(&self.shadowed, outcome, || self.families.shadowed.get_or_create_owned(&self.outcome_labels(outcome)));
    }

    /// Records the time from the receipt of an event to its delivery.
    pub fn delivered(&self, lag: Duration) {
        let histogram = self.lag.get_or_init(|| self.families.lag.get_or_create_owned(&self.labels));
        histogram.observe(lag.as_secs_f64());
    }

    /// Sets the number of waiting events by state.
    pub fn counts(&self, counts: Counts) {
        self.pending.set(i64::try_from(counts.pending).unwrap_or(i64::MAX));
        self.retrying.set(i64::try_from(counts.retrying).unwrap_or(i64::MAX));
        self.dead.set(i64::try_from(counts.dead).unwrap_or(i64::MAX));
    }

    /// Sets whether the circuit to the receiver is open.
    pub fn circuit(&self, open: bool) {
        self.circuit.set(i64::from(open));
    }

    /// Sets whether deliveries pause, because the receiver responded with `Retry-After`.
    pub fn paused(&self, paused: bool) {
        self.paused.set(i64::from(paused));
    }

    fn reason_labels(&self, reason: &'static str) -> ReasonLabels {
        ReasonLabels {
            namespace: Arc::clone(&self.labels.namespace),
            subscription: Arc::clone(&self.labels.subscription),
            reason,
        }
    }

    fn outcome_labels(&self, outcome: &'static str) -> OutcomeLabels {
        OutcomeLabels {
            namespace: Arc::clone(&self.labels.namespace),
            subscription: Arc::clone(&self.labels.subscription),
            outcome,
        }
    }
}

/// Counts under a label of a fixed set, whose counter is cached.
fn count(known: &RwLock<HashMap<&'static str, Counter>>, label: &'static str, create: impl FnOnce() -> Counter) {
    if let Some(counter) = known.read().get(label) {
        counter.inc();
        return;
    }
    let counter = create();
    counter.inc();
    known.write().insert(label, counter);
}

impl Drop for SubscriptionMetrics {
    fn drop(&mut self) {
        let owner = (Arc::clone(&self.labels.namespace), Arc::clone(&self.labels.subscription));
        self.families.owners.retire(&owner, self, || {
            for outcome in self.attempts.read().keys() {
                self.families.attempts.remove(&self.outcome_labels(outcome));
            }
            for outcome in self.passed_on.read().keys() {
                self.families.passed_on.remove(&self.outcome_labels(outcome));
            }
            for reason in self.skipped.read().keys() {
                self.families.skipped.remove(&self.reason_labels(reason));
            }
            for outcome in self.shadowed.read().keys() {
                self.families.shadowed.remove(&self.outcome_labels(outcome));
            }
            self.families.duration.remove(&self.labels);
            self.families.lag.remove(&self.labels);
            self.families.pending.remove(&self.labels);
            self.families.retrying.remove(&self.labels);
            self.families.dead.remove(&self.labels);
            self.families.circuit.remove(&self.labels);
            self.families.paused.remove(&self.labels);
        });
    }
}
