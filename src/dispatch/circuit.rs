//! Reports the circuit of a worker: in its facts, its metrics and the log.

use std::sync::Arc;

use grapnel_delivery::breaker::OpenCircuit;

use crate::catalog::Subscription;

/// The reported state of the circuit of one subscription. The circuit lives as long as the worker: after a restart of the
/// process, or when the subscription has not been delivered for a while, it is closed until the receiver fails again.
pub(super) struct CircuitReport {
    subscription: Arc<Subscription>,
    /// The state published last.
    reported: Option<OpenCircuit>,
}

impl CircuitReport {
    pub(super) fn new(subscription: Arc<Subscription>) -> Self {
        let report = Self { subscription, reported: None };
        // An earlier worker may have left another state.
        report.publish();
        report
    }

    /// Publishes the state after a new configuration or a requested probe.
    pub(super) fn renew(&mut self, subscription: &Arc<Subscription>, circuit: Option<OpenCircuit>) {
        self.subscription = Arc::clone(subscription);
        self.reported = circuit;
        self.publish();
    }

    /// Publishes and logs the state after an attempt, if it has changed.
    pub(super) fn update(&mut self, circuit: Option<OpenCircuit>) {
        if circuit != self.reported {
            self.log(circuit);
            self.reported = circuit;
            self.publish();
        }
    }

    fn publish(&self) {
        self.subscription.facts.circuit(self.reported);
        self.subscription.metrics.circuit(self.reported.is_some());
    }

    fn log(&self, circuit: Option<OpenCircuit>) {
        let key = &self.subscription.key;
        match circuit {
            Some(circuit) if self.reported.is_none() => tracing::warn!(
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
