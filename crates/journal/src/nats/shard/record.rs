//! Records of the state log.
//!
//! A record is: version 1 (u8), var epoch, u64 nonce, kind (u8), and the fields of the kind to the end. `var`, `zig` and
//! `text` are as in [`record`](crate::record) and its fields; `u64` and `i64` are little-endian.
//!
//! | kind | fields |
//! |---|---|
//! | 1 changes | as in `changes` |
//! | 2 taken over | text replica |
//! | 3 checkpoint | var number, parts as in [`checkpoint`](super::checkpoint) |
//! | 4 end of a checkpoint | var first |

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::{Change, CheckpointChunk, changes};
use crate::record::{
    RecordError,
    codec::{ROW, get_text, get_u8, get_var, open_row, put_bytes, put_var},
    fields::{close, get_u32},
};

/// What an error calls a record.
const STATE: &str = "shard state";

const CHANGES: u8 = 1;
const TAKEN_OVER: u8 = 2;
const CHECKPOINT: u8 = 3;
const CHECKPOINT_END: u8 = 4;

/// One message of the state log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    /// The epoch of the owner that wrote it.
    pub(crate) epoch: u64,
    /// A number by which the owner recognizes its own message.
    pub(crate) nonce: u64,
    pub(crate) entry: Entry,
}

/// What a record says.
#[derive(Debug, Clone, PartialEq, Eq)]
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

impl Record {
    /// Encodes the record.
    pub(crate) fn encode(&self) -> Bytes {
        let mut row = BytesMut::with_capacity(64);
        row.put_u8(ROW);
        put_var(&mut row, self.epoch);
        row.put_u64_le(self.nonce);
        match &self.entry {
            Entry::Changes(of) => {
                row.put_u8(CHANGES);
                changes::put_changes(&mut row, of);
            }
            Entry::TakenOver { replica } => {
                row.put_u8(TAKEN_OVER);
                put_bytes(&mut row, replica.as_bytes());
            }
            Entry::Checkpoint(CheckpointChunk { number, parts }) => {
                row.put_u8(CHECKPOINT);
                put_var(&mut row, (*number).into());
                row.put_slice(parts);
            }
            Entry::CheckpointEnd { first } => {
                row.put_u8(CHECKPOINT_END);
                put_var(&mut row, *first);
            }
        }
        row.freeze()
    }

    /// Decodes a record. The parts of a checkpoint are decoded when it is restored.
    ///
    /// # Errors
    ///
    /// The bytes are not a record of a known version.
    pub(crate) fn decode(row: Bytes) -> Result<Self, RecordError> {
        let mut row = open_row(row, STATE)?;
        let epoch = get_var(&mut row, STATE)?;
        let nonce = row.try_get_u64_le().map_err(|_| RecordError::Short(STATE))?;
        let entry = match get_u8(&mut row, STATE)? {
            CHANGES => Entry::Changes(changes::get_changes(&mut row)?),
            TAKEN_OVER => Entry::TakenOver { replica: get_text(&mut row, STATE)?.into() },
            CHECKPOINT => {
                let number = get_u32(&mut row, STATE)?;
                Entry::Checkpoint(CheckpointChunk { number, parts: row.split_off(0) })
            }
            CHECKPOINT_END => Entry::CheckpointEnd { first: get_var(&mut row, STATE)? },
            _ => return Err(RecordError::Field(STATE, "kind")),
        };
        close(&row, STATE)?;
        Ok(Self { epoch, nonce, entry })
    }
}
