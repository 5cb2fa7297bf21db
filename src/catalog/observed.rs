//! Facts that flow from the data plane to an object's status.
//!
//! The data plane only writes here, with atomics and locks that are held for an assignment; status writers read at
//! their own pace.

mod answers;
mod endpoint;

use std::{
    mem::{self, Discriminant},
    sync::Arc,
};

use grapnel_api::{Condition, ConditionType, Incarnation, Reason, ShadowCounts};
use grapnel_delivery::breaker::OpenCircuit;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1;
use parking_lot::Mutex;
use tokio::sync::Notify;

pub use self::answers::Answers;
pub use self::endpoint::{EndpointFacts, EndpointReading, LastRejection};

/// Transition times of an object's conditions, as last reported, for objects that do not store them. A change between
/// two reads gets the time of the later read.
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
        let mut last = self.0.lock();
        let previous = if previous.is_empty() { &last } else { previous };
        let stamped: Vec<_> = conditions.iter().map(|condition| condition.stamped(generation, now, previous)).collect();
        last.clone_from(&stamped);
        stamped
    }
}

/// Another writer of an object's status, while it overwrites what this operator writes.
#[derive(Debug, Default)]
pub struct Rival(Mutex<Option<Arc<str>>>);

impl Rival {
    /// Sets or clears the other writer.
    pub fn set(&self, writer: Option<Arc<str>>) {
        *self.0.lock() = writer;
    }

    /// The condition that names it.
    pub fn condition(&self) -> Option<Condition> {
        let writer = self.0.lock().clone()?;
        let message = format!(
            "{writer} overwrites this status, which is therefore written less often; let only one operator serve the \
             object: give each its own --class or --watch-namespaces"
        );
        Some(Condition::holds(ConditionType::Contested, Reason::OverwrittenByAnother, message))
    }
}

/// A subscription was deleted with events that were neither delivered nor skipped nor dead-lettered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AbandonedDeliveries {
    /// The deleted object.
    pub subscription: Incarnation,
    /// Number of events.
    pub events: u64,
    /// Number of its dead letters, which are no longer listed.
    pub dead_letters: u64,
}

/// Facts about a subscription's deliveries. The journal keeps the counts.
#[derive(Debug, Default)]
pub struct SubscriptionFacts {
    last: Mutex<SubscriptionReading>,
    /// What the replica that delivers the subscription says, while that is another one.
    remote: Mutex<Option<RemoteStanding>>,
    /// Requests the circuit breaker to probe the receiver at once.
    probe: Notify,
    /// Transition times of its conditions.
    pub since: Since,
    /// Another writer of its status.
    pub rival: Rival,
    /// What the receiver has answered lately.
    pub answers: Answers,
}

/// The result of the last attempt.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LastResult {
    /// No attempt yet.
    #[default]
    None,
    /// The last attempt succeeded.
    Succeeding,
    /// The last attempt failed.
    Failing,
    /// The receiver is permanently gone.
    Gone,
    /// The subscription's own filter or transformation failed on the last event.
    Unprepared,
}

/// A reading of [`SubscriptionFacts`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SubscriptionReading {
    /// The result of the last attempt.
    pub outcome: LastResult,
    /// The last successful delivery.
    pub last_delivery: Option<LastDelivery>,
    /// The last failed attempt.
    pub last_failure: Option<Failed>,
    /// What mode Shadow has counted, if it has been set.
    pub shadow: ShadowCounts,
    /// Why the journal does not read for this subscription, if it does not.
    pub unattached: Option<Unattached>,
    /// The circuit to the receiver, while it is open.
    pub circuit: Option<OpenCircuit>,
    /// Until when deliveries pause, because the receiver responded with `Retry-After`.
    pub pause: Option<Timestamp>,
    /// Whether the deletion of the subscription is delayed until its events are settled.
    pub draining: bool,
}

/// Why the journal does not read for a subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unattached {
    /// The journal refuses it until a person changes the object.
    Refused(String),
    /// The part of the journal that reads for it does not answer at present.
    Awaited(String),
}

/// What only the replica that delivers a subscription knows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RemoteStanding {
    /// The circuit to the receiver, while it is open.
    pub circuit: Option<OpenCircuit>,
    /// Until when deliveries pause.
    pub pause: Option<Timestamp>,
}

/// The parts of a [`SubscriptionReading`] that determine conditions. Cheap to compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeliveryHealth {
    /// The result of the last attempt.
    pub outcome: LastResult,
    /// What keeps the journal from reading for this subscription, if anything does.
    pub unattached: Option<Discriminant<Unattached>>,
    /// Since when the circuit has been open.
    pub circuit: Option<Timestamp>,
    /// Whether the deletion of the subscription is delayed until its events are settled.
    pub draining: bool,
}

/// A successful delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastDelivery {
    /// The time.
    pub time: Timestamp,
    /// Id of the event.
    pub event_id: Box<str>,
    /// Status of the response.
    pub status: u16,
    /// Duration of the exchange in milliseconds.
    pub duration_ms: u64,
}

/// A failed attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    /// The time.
    pub time: Timestamp,
    /// Id of the event.
    pub event_id: Box<str>,
    /// The kind of failure, in one word.
    pub reason: Box<str>,
    /// Status of the response, if there was one.
    pub status: Option<u16>,
    /// A message for users.
    pub message: Box<str>,
    /// When it is retried; `None` if there are no more retries.
    pub next_attempt: Option<Timestamp>,
    /// Whether the receiver is permanently gone.
    pub gone: bool,
    /// Whether the subscription's own filter or transformation failed; nothing was sent to the receiver.
    pub own: bool,
}

impl SubscriptionReading {
    /// When the last attempt ended.
    fn attempted(&self) -> Option<Timestamp> {
        let delivered = self.last_delivery.as_ref().map(|delivery| delivery.time);
        delivered.max(self.last_failure.as_ref().map(|failed| failed.time))
    }
}

/// Raises counts to those of another reading, where these are higher.
fn raise(counts: &mut ShadowCounts, other: ShadowCounts) {
    counts.would_send = counts.would_send.max(other.would_send);
    counts.failed = counts.failed.max(other.failed);
}

impl SubscriptionFacts {
    /// Records what another replica knows of deliveries, where that is newer. The replica that takes a subscription over
    /// counts on from what the earlier one has counted, so the higher counts are the newer ones.
    pub fn learn(&self, other: &SubscriptionReading) {
        let mut last = self.last.lock();
        raise(&mut last.shadow, other.shadow);
        if last.attempted() < other.attempted() {
            last.outcome = other.outcome;
        }
        let time = |delivery: &Option<LastDelivery>| delivery.as_ref().map(|delivery| delivery.time);
        if time(&last.last_delivery) < time(&other.last_delivery) {
            last.last_delivery.clone_from(&other.last_delivery);
        }
        let time = |failed: &Option<Failed>| failed.as_ref().map(|failed| failed.time);
        if time(&last.last_failure) < time(&other.last_failure) {
            last.last_failure.clone_from(&other.last_failure);
        }
    }

    /// Records what the replica that delivers the subscription says, while that is another one; `None` while it is this
    /// one.
    pub fn delivered_elsewhere(&self, remote: Option<RemoteStanding>) {
        *self.remote.lock() = remote;
    }

    /// Whether the journal refuses the subscription until a person changes the object.
    pub fn is_refused(&self) -> bool {
        matches!(self.last.lock().unattached, Some(Unattached::Refused(_)))
    }

    /// What this process knows itself of deliveries.
    pub fn told(&self) -> SubscriptionReading {
        SubscriptionReading { unattached: None, draining: false, ..self.last.lock().clone() }
    }

    /// Whether another process delivers the subscription, and says what it knows.
    pub fn is_delivered_elsewhere(&self) -> bool {
        self.remote.lock().is_some()
    }

    /// Records a successful delivery.
    pub fn delivered(&self, delivered: LastDelivery) {
        let mut last = self.last.lock();
        last.outcome = LastResult::Succeeding;
        last.last_delivery = Some(delivered);
    }

    /// Records a failed attempt.
    pub fn failed(&self, failed: Failed) {
        let mut last = self.last.lock();
        last.outcome = match &failed {
            Failed { gone: true, .. } => LastResult::Gone,
            Failed { own: true, .. } => LastResult::Unprepared,
            _ => LastResult::Failing,
        };
        last.last_failure = Some(failed);
    }

    /// Records an event that mode Shadow would have sent.
    pub fn shadowed(&self) {
        self.last.lock().shadow.would_send += 1;
    }

    /// Records an event whose filter or transformation failed in mode Shadow. It is no result of the receiver.
    pub fn shadow_failed(&self, failed: Failed) {
        let mut last = self.last.lock();
        last.shadow.failed += 1;
        last.last_failure = Some(failed);
    }

    /// Resumes from an earlier reading, unless something has been recorded since.
    pub fn resume(&self, earlier: SubscriptionReading) {
        let mut last = self.last.lock();
        raise(&mut last.shadow, earlier.shadow);
        if last.outcome == LastResult::None {
            last.outcome = earlier.outcome;
            last.last_delivery = earlier.last_delivery;
            last.last_failure = earlier.last_failure;
        }
    }

    /// The inputs of the conditions.
    pub fn standing(&self) -> DeliveryHealth {
        let remote = *self.remote.lock();
        let last = self.last.lock();
        DeliveryHealth {
            outcome: last.outcome,
            unattached: last.unattached.as_ref().map(mem::discriminant),
            circuit: remote.map_or(last.circuit, |remote| remote.circuit).map(|circuit| circuit.since),
            draining: last.draining,
        }
    }

    /// Records that the circuit to the receiver is open, or closed (`None`).
    pub fn circuit(&self, circuit: Option<OpenCircuit>) {
        self.last.lock().circuit = circuit;
    }

    /// Records until when deliveries pause, because the receiver responded with `Retry-After`; `None` if they do not.
    pub fn pause(&self, until: Option<Timestamp>) {
        self.last.lock().pause = until;
    }

    /// Requests the worker of this subscription to probe the receiver at once, if its circuit is open.
    pub fn request_probe(&self) {
        self.probe.notify_one();
    }

    /// Resolves once for each requested probe. For the worker of the subscription.
    pub async fn probe_requested(&self) {
        self.probe.notified().await;
    }

    /// Records that the journal reads for this subscription (`None`), or why it does not.
    pub fn attached(&self, unattached: Option<Unattached>) {
        self.last.lock().unattached = unattached;
    }

    /// Records whether the deletion of the subscription is delayed until its events are settled.
    pub fn draining(&self, draining: bool) {
        self.last.lock().draining = draining;
    }

    /// The current facts.
    pub fn read(&self) -> SubscriptionReading {
        let mut reading = self.last.lock().clone();
        if let Some(RemoteStanding { circuit, pause }) = *self.remote.lock() {
            (reading.circuit, reading.pause) = (circuit, pause);
        }
        reading
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::limits::REJECTIONS_KEPT;

    fn rejection(second: i64) -> LastRejection {
        let time = Timestamp::from_second(second).unwrap();
        LastRejection { time, code: "not_found".into(), message: second.to_string() }
    }

    #[test]
    fn the_last_rejections_are_kept() {
        let facts = EndpointFacts::default();
        facts.resume(EndpointReading { last_rejection: Some(rejection(1)), ..EndpointReading::default() });
        assert_eq!(facts.rejections(), [rejection(1)]);
        for second in 2..=30 {
            facts.rejected(rejection(second));
        }
        let seconds = facts.rejections().iter().map(|rejection| rejection.time.as_second()).collect::<Vec<_>>();
        assert_eq!(seconds, (30 - REJECTIONS_KEPT as i64 + 1..=30).rev().collect::<Vec<_>>());
        // A status that was written before tells nothing new.
        facts.resume(EndpointReading { last_rejection: Some(rejection(20)), ..EndpointReading::default() });
        assert_eq!(facts.read().last_rejection, Some(rejection(30)));
        assert_eq!(facts.rejections().len(), REJECTIONS_KEPT);
    }
}
