//! The circuit breaker of a worker, and the state that it publishes.

use std::sync::Arc;

use grapnel_delivery::breaker::{Breaker, CircuitState, OpenCircuit, Permit};
use jiff::Timestamp;

use crate::catalog::Subscription;

/// The breaker of one subscription. It lives as long as the worker: after a restart of the process, or when the
/// subscription has not been delivered for a while, the circuit is closed until the receiver fails again.
pub(super) struct Circuit {
    breaker: Breaker,
    subscription: Arc<Subscription>,
    /// The state published last.
    told: Option<OpenCircuit>,
}

impl Circuit {
    pub(super) fn new(subscription: Arc<Subscription>) -> Self {
        let circuit = Self { breaker: Breaker::new(subscription.breaker), subscription, told: None };
        // An earlier worker may have left another state.
        circuit.publish();
        circuit
    }

    /// Applies a new configuration. The state is kept unless the breaker settings have changed. A changed target is
    /// probed at once, since it may work now.
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

    /// The state of the circuit at `now`.
    pub(super) fn circuit_state(&mut self, now: Timestamp) -> CircuitState {
        self.breaker.circuit_state(now)
    }

    /// Acquires a permit to begin an attempt at `now`.
    pub(super) fn acquire(&mut self, now: Timestamp) -> Option<Permit> {
        self.breaker.acquire(now)
    }

    /// Records the end of an attempt; `failed` is when it failed, if it did.
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

    /// Returns the permit of an attempt that was released before its end.
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
