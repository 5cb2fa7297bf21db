//! The replay of the state log.
//!
//! A checkpoint has the state as it was before its first chunk. Changes that follow that chunk are applied both to the
//! state before, in case the checkpoint is never completed, and to the restored one.

use super::{Change, CheckpointChunk, Entry, Record, ShardState, restore::restored};
use crate::record::RecordError;

/// Why the state log cannot be replayed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ReplayError {
    /// The log does not begin at its first message, and has no complete checkpoint.
    #[error("the state log begins at message {0} and has no complete checkpoint")]
    Truncated(u64),
    /// The end of a checkpoint does not follow its chunks.
    #[error("the checkpoint that ends at message {0} of the state log is not complete")]
    Incomplete(u64),
    /// A chunk of a checkpoint cannot be decoded.
    #[error("the checkpoint that ends at message {0} of the state log is damaged: {1}")]
    Damaged(u64, #[source] RecordError),
}

/// Builds a state from the records of the state log, in order.
#[derive(Debug)]
pub(crate) struct Replay {
    state: ShardState,
    origin: u64,
    /// The first message, if it is not the first of the log and no checkpoint was complete yet.
    truncated: Option<u64>,
    last: u64,
    epoch: u64,
    checkpoint: Option<Checkpoint>,
}

/// A checkpoint of which the end has not been read.
#[derive(Debug)]
struct Checkpoint {
    /// The message of the first chunk.
    first: u64,
    chunks: Vec<CheckpointChunk>,
    /// Changes that followed the first chunk.
    changes: Vec<Change>,
}

impl Replay {
    /// Begins the replay of a log whose first message has the sequence `origin`.
    pub(crate) fn new(origin: u64) -> Self {
        Self { state: ShardState::new(), origin, truncated: None, last: 0, epoch: 0, checkpoint: None }
    }

    /// Adds the record of the message `sequence`, which is greater than those before.
    ///
    /// # Errors
    ///
    /// [`ReplayError::Incomplete`] and [`ReplayError::Damaged`].
    pub(crate) fn record(&mut self, sequence: u64, record: Record) -> Result<(), ReplayError> {
        if self.last == 0 && sequence > self.origin {
            self.truncated = Some(sequence);
        }
        self.last = sequence;
        self.epoch = self.epoch.max(record.epoch);
        match record.entry {
            Entry::Changes(changes) => {
                for change in &changes {
                    self.state.apply(change);
                }
                if let Some(checkpoint) = &mut self.checkpoint {
                    checkpoint.changes.extend(changes);
                }
            }
            // The owner before has not completed its checkpoint.
            Entry::TakenOver { .. } => self.checkpoint = None,
            Entry::Checkpoint(chunk) if chunk.number == 0 => {
                self.checkpoint = Some(Checkpoint { first: sequence, chunks: vec![chunk], changes: Vec::new() });
            }
            Entry::Checkpoint(chunk) => {
                let checkpoint = self.checkpoint.as_mut();
                if let Some(checkpoint) = checkpoint.filter(|it| it.chunks.len() == chunk.number as usize) {
                    checkpoint.chunks.push(chunk);
                } else {
                    self.checkpoint = None;
                }
            }
            Entry::CheckpointEnd { first } => {
                let checkpoint = self.checkpoint.take().filter(|checkpoint| checkpoint.first == first);
                let Checkpoint { chunks, changes, .. } = checkpoint.ok_or(ReplayError::Incomplete(sequence))?;
                self.state = restored(&chunks).map_err(|error| ReplayError::Damaged(sequence, error))?;
                for change in &changes {
                    self.state.apply(change);
                }
                self.truncated = None;
            }
        }
        Ok(())
    }

    /// Returns the last message; 0 if there are none.
    #[cfg(test)]
    pub(crate) fn last(&self) -> u64 {
        self.last
    }

    /// Returns the state, whose index is empty: see [`ShardState::index`] and [`ShardState::finish_loading`].
    ///
    /// # Errors
    ///
    /// [`ReplayError::Truncated`].
    pub(crate) fn finish(self) -> Result<ShardState, ReplayError> {
        match self.truncated {
            None => Ok(self.state),
            Some(first) => Err(ReplayError::Truncated(first)),
        }
    }
}
