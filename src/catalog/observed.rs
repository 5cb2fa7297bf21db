//! Facts of the data plane that flow back up to an object's status.
//!
//! The data plane only ever writes here, with atomics and locks held for an assignment; whoever
//! writes statuses reads at its own pace.

use std::{
    borrow::Cow,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use grapnel_api::{Condition, Incarnation};
use grapnel_delivery::breaker::OpenCircuit;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1;
use parking_lot::Mutex;
use tokio::sync::Notify;

/// Since when an object's conditions are as they are: what was said last, for where no object keeps it. A status that
/// changes while nobody looks has the time of the next look.
#[derive(Debug, Default)]
pub struct Since(Mutex<Vec<v1::Condition>>);

impl Since {
    /// The Kubernetes form of conditions. `previous` are those of the object itself, if it has any.
    pub fn stamp(
        &self,
        conditions: &[Condition],
        generation: Option<i64>,
        now: Timestamp,
        previous: &[v1::Condition],
    ) -> Vec<v1::Condition> {
        let mut said = self.0.lock();
        let previous = if previous.is_empty() { &said } else { previous };
        let stamped: Vec<_> = conditions.iter().map(|condition| condition.stamped(generation, now, previous)).collect();
        said.clone_from(&stamped);
        stamped
    }
}

/// A deleted subscription left events behind that it had neither delivered nor skipped nor dead-lettered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AbandonedDeliveries {
    /// The deleted object.
    pub subscription: Incarnation,
    /// How many events.
    pub events: u64,
    /// How many dead letters it had besides; they are no longer listed.
    pub dead_letters: u64,
}

/// What happened at an endpoint: since the process started, and before that as far as the object's status tells.
#[derive(Debug, Default)]
pub struct EndpointFacts {
    received: AtomicU64,
    rejected: AtomicU64,
    duplicates: AtomicU64,
    last_received: Mutex<Option<Timestamp>>,
    last_rejection: Mutex<Option<Rejection>>,
    /// Since when its conditions are as they are.
    pub since: Since,
}

/// A refused request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// When.
    pub time: Timestamp,
    /// Code of the answer.
    pub code: Cow<'static, str>,
    /// Sentence of the answer.
    pub message: String,
}

/// A reading of [`EndpointFacts`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EndpointReading {
    /// Events accepted.
    pub received: u64,
    /// Requests rejected.
    pub rejected: u64,
    /// Duplicate events.
    pub duplicates: u64,
    /// When the last event was accepted.
    pub last_received: Option<Timestamp>,
    /// The last rejected request.
    pub last_rejection: Option<Rejection>,
}

impl EndpointFacts {
    /// An event was accepted.
    pub fn received(&self, time: Timestamp) {
        self.received.fetch_add(1, Relaxed);
        *self.last_received.lock() = Some(time);
    }

    /// An event had been accepted before.
    pub fn duplicate(&self) {
        self.duplicates.fetch_add(1, Relaxed);
    }

    /// A request was refused.
    pub fn rejected(&self, rejection: Rejection) {
        self.rejected.fetch_add(1, Relaxed);
        *self.last_rejection.lock() = Some(rejection);
    }

    /// Goes on from an earlier reading, so that counters survive a restart and never go back.
    pub fn resume(&self, earlier: EndpointReading) {
        self.received.fetch_max(earlier.received, Relaxed);
        self.rejected.fetch_max(earlier.rejected, Relaxed);
        self.duplicates.fetch_max(earlier.duplicates, Relaxed);
        let mut received = self.last_received.lock();
        *received = (*received).max(earlier.last_received);
        drop(received);
        let mut rejection = self.last_rejection.lock();
        if rejection.as_ref().map(|rejection| rejection.time) < earlier.last_rejection.as_ref().map(|it| it.time) {
            *rejection = earlier.last_rejection;
        }
    }

    /// What is known now.
    pub fn read(&self) -> EndpointReading {
        EndpointReading {
            received: self.received.load(Relaxed),
            rejected: self.rejected.load(Relaxed),
            duplicates: self.duplicates.load(Relaxed),
            last_received: *self.last_received.lock(),
            last_rejection: self.last_rejection.lock().clone(),
        }
    }
}

/// What happened to a subscription's deliveries. Counts are the journal's.
#[derive(Debug, Default)]
pub struct SubscriptionFacts {
    last: Mutex<SubscriptionReading>,
    /// Asks the circuit breaker to probe the receiver at once.
    probe: Notify,
    /// Since when its conditions are as they are.
    pub since: Since,
}

/// How the last outcomes were.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Outcome {
    /// No attempt yet.
    #[default]
    None,
    /// The last attempt succeeded.
    Succeeding,
    /// The last attempt failed.
    Failing,
    /// The receiver said that it is gone for good.
    Gone,
    /// The subscription's own filter or transformation failed on the last event.
    Unprepared,
}

/// A reading of [`SubscriptionFacts`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SubscriptionReading {
    /// How the last attempt ended.
    pub outcome: Outcome,
    /// The last successful delivery.
    pub last_delivery: Option<Delivered>,
    /// The last failed attempt.
    pub last_failure: Option<Failed>,
    /// Why the journal does not read for this subscription, if it does not.
    pub refusal: Option<String>,
    /// The circuit to the receiver, while it is open.
    pub circuit: Option<OpenCircuit>,
    /// The deletion of the subscription is held until its events are settled.
    pub draining: bool,
}

/// All of a [`SubscriptionReading`] that decides over conditions, and cheap to compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeliveryHealth {
    /// How the last attempt ended.
    pub outcome: Outcome,
    /// The journal reads for this subscription.
    pub attached: bool,
    /// Since when the circuit is open.
    pub circuit: Option<Timestamp>,
    /// The deletion of the subscription is held until its events are settled.
    pub draining: bool,
}

/// A successful delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivered {
    /// When.
    pub time: Timestamp,
    /// Id of the event.
    pub event_id: Box<str>,
    /// HTTP status of the response.
    pub status: u16,
    /// Duration of the attempt in milliseconds.
    pub duration_ms: u64,
}

/// A failed attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    /// When.
    pub time: Timestamp,
    /// Id of the event.
    pub event_id: Box<str>,
    /// Reason of the failure, in one word.
    pub reason: Box<str>,
    /// HTTP status of the response, if there was one.
    pub status: Option<u16>,
    /// Description of the failure.
    pub message: Box<str>,
    /// When it will be tried again; `None` when it was given up.
    pub next_attempt: Option<Timestamp>,
    /// The receiver said that it is gone for good.
    pub gone: bool,
    /// The subscription's own filter or transformation failed; the receiver was not asked.
    pub own: bool,
}

impl SubscriptionFacts {
    /// A delivery succeeded.
    pub fn delivered(&self, delivered: Delivered) {
        let mut last = self.last.lock();
        last.outcome = Outcome::Succeeding;
        last.last_delivery = Some(delivered);
    }

    /// An attempt failed.
    pub fn failed(&self, failed: Failed) {
        let mut last = self.last.lock();
        last.outcome = match &failed {
            Failed { gone: true, .. } => Outcome::Gone,
            Failed { own: true, .. } => Outcome::Unprepared,
            _ => Outcome::Failing,
        };
        last.last_failure = Some(failed);
    }

    /// Goes on from an earlier reading, unless something has happened since.
    pub fn resume(&self, earlier: SubscriptionReading) {
        let mut last = self.last.lock();
        if last.outcome == Outcome::None {
            last.outcome = earlier.outcome;
            last.last_delivery = earlier.last_delivery;
            last.last_failure = earlier.last_failure;
        }
    }

    /// What conditions come from.
    pub fn standing(&self) -> DeliveryHealth {
        let last = self.last.lock();
        DeliveryHealth {
            outcome: last.outcome,
            attached: last.refusal.is_none(),
            circuit: last.circuit.map(|circuit| circuit.since),
            draining: last.draining,
        }
    }

    /// The circuit to the receiver is open, or is not (`None`).
    pub fn circuit(&self, circuit: Option<OpenCircuit>) {
        self.last.lock().circuit = circuit;
    }

    /// Asks the worker of this subscription to probe the receiver at once, if its circuit is open.
    pub fn request_probe(&self) {
        self.probe.notify_one();
    }

    /// Resolves once for each probe that was requested. For the worker of the subscription.
    pub async fn probe_requested(&self) {
        self.probe.notified().await;
    }

    /// The journal reads for this subscription (`None`), or does not, and why.
    pub fn attached(&self, refusal: Option<String>) {
        self.last.lock().refusal = refusal;
    }

    /// The deletion of the subscription is held until its events are settled, or no longer.
    pub fn draining(&self, draining: bool) {
        self.last.lock().draining = draining;
    }

    /// What is known now.
    pub fn read(&self) -> SubscriptionReading {
        self.last.lock().clone()
    }
}
