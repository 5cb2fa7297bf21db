//! The replay of the state log.

use super::{Record, ShardState};

/// Why the state log cannot be replayed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ReplayError {
    /// The log does not begin at its first message, and has no complete checkpoint.
    #[error("the state log begins at {0} and holds no complete checkpoint")]
    Truncated(u64),
    /// The parts of a checkpoint do not follow each other.
    #[error("the checkpoint of the state log is damaged at {0}")]
    Checkpoint(u64),
}

/// Builds a state from the records of the state log, in order.
pub(crate) struct Replay {
    state: ShardState,
}

impl Replay {
    pub(crate) fn new() -> Self {
        Self { state: ShardState::new() }
    }

    /// Adds the record at `sequence`, which is greater than those before.
    ///
    /// # Errors
    ///
    /// [`ReplayError::Checkpoint`].
    pub(crate) fn record(&mut self, _sequence: u64, _record: Record) -> Result<(), ReplayError> {
        Ok(())
    }

    /// Returns the greatest epoch of the records; 0 if there are none.
    pub(crate) fn epoch(&self) -> u64 {
        0
    }

    /// Returns the state, whose index is empty: see [`ShardState::index`] and [`ShardState::finish_loading`].
    ///
    /// # Errors
    ///
    /// [`ReplayError::Truncated`].
    pub(crate) fn finish(self) -> Result<ShardState, ReplayError> {
        Ok(self.state)
    }
}
