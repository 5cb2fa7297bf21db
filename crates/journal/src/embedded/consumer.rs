//! A consumer of the embedded engine: the state of the machine and the tasks waiting for it.

use std::sync::Arc;

use grapnel_api::Incarnation;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;

use super::endpoint::Endpoint;
use crate::{Progress, Sequence, machine::ConsumerState};

/// The consumer of one subscription.
pub(super) struct Consumer {
    pub(super) object: Incarnation,
    pub(super) number: u32,
    pub(super) endpoint: Arc<Endpoint>,
    state: Mutex<ConsumerState>,
    /// Wakes [`Consumer::ready`].
    pub(super) notify: Notify,
    /// Held by a claim, across its disk reads: claims of one consumer run one after another.
    pub(super) claiming: tokio::sync::Mutex<()>,
}

impl Consumer {
    pub(super) fn new(object: Incarnation, number: u32, endpoint: Arc<Endpoint>, state: ConsumerState) -> Self {
        Self {
            object,
            number,
            endpoint,
            state: Mutex::new(state),
            notify: Notify::new(),
            claiming: tokio::sync::Mutex::new(()),
        }
    }

    /// Locks the state. The lock is held only briefly, never across a disk read or write. A holder may lock the
    /// endpoint's state, never the reverse.
    pub(super) fn state(&self) -> MutexGuard<'_, ConsumerState> {
        self.state.lock()
    }

    pub(super) fn progress(&self) -> Progress {
        let appended = self.endpoint.state.lock().appended;
        self.state.lock().progress(appended)
    }

    /// Resolves once a claim would find deliveries: see [`Journal::ready`](crate::Journal::ready).
    pub(super) async fn ready(&self) {
        loop {
            let notified = self.notify.notified();
            tokio::pin!(notified);
            // Registered before the check, so that no wake-up in between is missed.
            notified.as_mut().enable();
            if self.state.lock().is_ready(self.endpoint.head()) {
                return;
            }
            notified.await;
        }
    }

    /// Releases flights that never reached the worker.
    pub(super) fn give_back(&self, sequences: impl IntoIterator<Item = Sequence>) {
        let mut state = self.state.lock();
        let mut any = false;
        for sequence in sequences {
            any |= state.release(sequence);
        }
        drop(state);
        if any {
            self.notify.notify_waiters();
        }
    }
}
