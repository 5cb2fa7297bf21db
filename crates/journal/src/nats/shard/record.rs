//! Records of the state log.

use bytes::Bytes;

use super::Change;
use crate::record::RecordError;

/// One message of the state log.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Record {
    /// The epoch of the owner that wrote it.
    pub(crate) epoch: u64,
    /// A number that the owner chooses to recognize its own message.
    pub(crate) nonce: u64,
    pub(crate) entry: Entry,
}

/// What a record says.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Entry {
    /// Changes, all or none of which are durable.
    Changes(Vec<Change>),
    /// A new owner: everything later is its own.
    TakenOver {
        /// Name of the replica.
        replica: String,
    },
    /// A part of the whole state as it was before the first part.
    Checkpoint(CheckpointChunk),
    /// The checkpoint whose first part is the message `first` is complete. Everything before it is obsolete.
    CheckpointEnd {
        /// Sequence of that message in the state log.
        first: u64,
    },
}

/// A part of a checkpoint.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct CheckpointChunk {
    /// 0 for the first part, ascending by 1.
    pub(crate) number: u32,
}

impl Record {
    /// Encodes the record.
    pub(crate) fn encode(&self) -> Bytes {
        Bytes::new()
    }

    /// Decodes a record.
    ///
    /// # Errors
    ///
    /// The bytes are not a record of a known version.
    pub(crate) fn decode(_row: Bytes) -> Result<Self, RecordError> {
        Err(RecordError::Short("state"))
    }
}

impl Change {
    /// Returns an upper bound of the bytes that this change adds to an encoded record.
    pub(crate) fn encoded_len(&self) -> usize {
        0
    }
}
