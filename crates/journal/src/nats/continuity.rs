//! Whether an events stream is still the one that this replica knows.
//!
//! The sequences of a stream ascend, and a stream that is made again begins after those of the one that is lost (see
//! `installation`). A message that is sent when a sequence is known therefore gets a higher one, unless another client has
//! recreated the stream: events in that one are not delivered.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::{layout::Shard, replica::Replica};
use crate::{JournalError, Result, Sequence};

/// The highest known sequence of the events stream of each shard.
pub(super) struct KnownSequences(Box<[AtomicU64]>);

impl KnownSequences {
    /// Knows none.
    pub(super) fn new(shards: usize) -> Self {
        Self((0..shards).map(|_| AtomicU64::new(0)).collect())
    }

    /// The highest known sequence of a shard; 0 if none is.
    pub(super) fn last(&self, shard: Shard) -> Sequence {
        self.0.get(usize::from(shard)).map_or(0, |last| last.load(Relaxed))
    }

    /// Takes a sequence into account that the brokers have acknowledged.
    pub(super) fn learn(&self, shard: Shard, sequence: Sequence) {
        if let Some(last) = self.0.get(usize::from(shard)) {
            last.fetch_max(sequence, Relaxed);
        }
    }
}

impl Replica {
    /// Checks the sequence of a message that was sent when `after` was known. If the stream is another one, nothing is
    /// accepted until the streams have been compared.
    ///
    /// # Errors
    ///
    /// [`JournalError::Unavailable`] if the stream is not the one that this replica knows.
    pub(super) fn check_sequence(&self, shard: Shard, after: Sequence, stored: Sequence) -> Result<()> {
        if stored > after {
            return Ok(());
        }
        let stream = self.layout.events_stream(shard);
        let why =
            format!("stream {stream} acknowledged sequence {stored} after {after}: another client has recreated it");
        self.streams_doubted(why.clone());
        Err(JournalError::Unavailable(why))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_sequence_of_each_shard_counts() {
        let known = KnownSequences::new(2);
        known.learn(1, 7);
        known.learn(1, 5);
        known.learn(9, 1);
        assert_eq!([0, 1, 9].map(|shard| known.last(shard)), [0, 7, 0]);
    }
}
