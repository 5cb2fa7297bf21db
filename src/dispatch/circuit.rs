//! The circuit breaker of a worker, and what others are told of it.

use std::sync::Arc;

use grapnel_delivery::breaker::{Breaker, CircuitState, OpenCircuit, Permit};
use jiff::Timestamp;

use crate::catalog::Subscription;

/// The breaker with the subscription that it stands for. It lives as long as the worker: after a restart of the process,
/// and when a subscription has not been delivered for a while, the circuit is closed until the receiver fails again.
pub(super) struct Circuit {
    breaker: Breaker,
    subscription: Arc<Subscription>,
    /// What others were told last.
    told: Option<OpenCircuit>,
}

impl Circuit {
    pub(super) fn new(subscription: Arc<Subscription>) -> Self {
        let circuit = Self { breaker: Breaker::new(subscription.breaker), subscription, told: None };
        // An earlier worker may have left something else.
        circuit.publish();
        circuit
    }

    /// Goes on with a new configuration: in the same state, unless the settings are others. A target that has changed may
    /// have been mended, and is probed at once.
    pub(super) fn reconfigure(&mut self, subscription: &Arc<Subscription>, now: Timestamp) {
        if *self.breaker.policy() != subscription.breaker {
            self.breaker.renew(subscription.breaker);
        } else if self.subscription.target != subscription.target {
            self.breaker.hurry(now);
        }
        self.subscription = Arc::clone(subscription);
        self.told = self.breaker.circuit();
        self.publish();
    }

    /// Ends the pause: the receiver is probed at `now`.
    pub(super) fn probe_now(&mut self, now: Timestamp) {
        self.breaker.hurry(now);
        self.told = self.breaker.circuit();
        self.publish();
    }

    /// What may be begun at `now`.
    pub(super) fn circuit_state(&mut self, now: Timestamp) -> CircuitState {
        self.breaker.circuit_state(now)
    }

    /// Permission to begin an attempt at `now`.
    pub(super) fn acquire(&mut self, now: Timestamp) -> Option<Permit> {
        self.breaker.acquire(now)
    }

    /// An attempt has ended; `failed` is when it failed, if it did.
    pub(super) fn ended(&mut self, permit: Permit, failed: Option<Timestamp>) {
        match failed {
            Some(now) => self.breaker.failed(permit, now),
            None => self.breaker.succeeded(permit),
        }
        let circuit = self.breaker.circuit();
        if circuit != self.told {
            self.log(circuit);
            self.told = circuit;
            self.publish();
        }
    }

    /// An attempt was given back before its end.
    pub(super) fn released(&mut self, permit: Permit) {
        self.breaker.released(permit);
    }

    fn publish(&self) {
        self.subscription.facts.circuit(self.told);
        self.subscription.metrics.circuit(self.told.is_some());
    }

    fn log(&self, circuit: Option<OpenCircuit>) {
        let key = &self.subscription.key;
        match circuit {
            Some(circuit) if self.told.is_none() => tracing::warn!(
                namespace = %key.namespace,
                subscription = %key.name,
                failures = circuit.failures,
                next_probe = %circuit.next_probe,
                "circuit opened; deliveries pause"
            ),
            Some(_) => {}
            None => tracing::info!(
                namespace = %key.namespace,
                subscription = %key.name,
                "circuit closed; deliveries continue"
            ),
        }
    }
}
