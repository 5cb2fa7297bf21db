//! The machine of a consumer, and the tasks that wait for it.

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;

use crate::machine::ConsumerState;

/// What an endpoint knows of a consumer.
pub(super) struct ConsumerMachine {
    /// Number of the consumer.
    pub(super) number: u32,
    state: Mutex<ConsumerState>,
    /// Wakes the tasks that wait for something to claim.
    pub(super) notify: Notify,
}

impl ConsumerMachine {
    pub(super) fn new(number: u32, state: ConsumerState) -> Self {
        Self { number, state: Mutex::new(state), notify: Notify::new() }
    }

    /// Locks the state. The lock is held only briefly, never across a disk read or write. A holder may lock the
    /// endpoint's state, never the reverse.
    pub(super) fn state(&self) -> MutexGuard<'_, ConsumerState> {
        self.state.lock()
    }
}
