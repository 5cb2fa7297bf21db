//! A consumer of the embedded engine: its machine, and the endpoint that it reads.

use std::sync::Arc;

use grapnel_api::Incarnation;
use parking_lot::MutexGuard;

use super::{consumer_machine::ConsumerMachine, endpoint::Endpoint};
use crate::{Progress, Sequence, machine::ConsumerState};

/// The consumer of one subscription.
pub(super) struct Consumer {
    pub(super) object: Incarnation,
    pub(super) number: u32,
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) machine: Arc<ConsumerMachine>,
    /// Held by a claim, across its disk reads: claims of one consumer run one after another.
    pub(super) claiming: tokio::sync::Mutex<()>,
}

impl Consumer {
    pub(super) fn new(object: Incarnation, number: u32, endpoint: Arc<Endpoint>, state: ConsumerState) -> Self {
        Self {
            object,
            number,
            endpoint,
            machine: Arc::new(ConsumerMachine::new(number, state)),
            claiming: tokio::sync::Mutex::new(()),
        }
    }

    /// Locks the state of the machine: see [`ConsumerMachine::state`].
    pub(super) fn state(&self) -> MutexGuard<'_, ConsumerState> {
        self.machine.state()
    }

    pub(super) fn progress(&self) -> Progress {
        let appended = self.endpoint.state.lock().appended;
        self.machine.state().progress(appended)
    }

    /// Resolves once a claim would find deliveries: see [`Journal::ready`](crate::Journal::ready).
    pub(super) async fn ready(&self) {
        loop {
            let notified = self.machine.notify.notified();
            tokio::pin!(notified);
            // Registered before the check, so that no wake-up in between is missed.
            notified.as_mut().enable();
            if self.machine.state().is_ready(self.endpoint.head()) {
                return;
            }
            notified.await;
        }
    }

    /// Releases flights that never reached the worker.
    pub(super) fn give_back(&self, sequences: impl IntoIterator<Item = Sequence>) {
        let mut state = self.machine.state();
        let mut any = false;
        for sequence in sequences {
            any |= state.release(sequence);
        }
        drop(state);
        if any {
            self.machine.notify.notify_waiters();
        }
    }
}
