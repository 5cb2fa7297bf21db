//! The payloads of records other than events.
//!
//! `var` is an unsigned LEB128 number of at most ten bytes, `zig` a signed one in zigzag form, `text` is `len` and that
//! many
//! bytes (see [`record`](crate::record)), `i64` is little-endian. Times are microseconds since 1970.
//!
//! | kind | payload |
//! |---|---|
//! | `Segment` | version u8, var last id that it covers, i64 time, var id and var end of the segment before (0 if unknown) |
//! | `EndpointState` | text namespace, text name, text uid, var incarnation, var begin, var head, var appended, var retention in seconds + 1 (0 for unknown), i64 time until which ids are known, var count of former incarnations and that many (text uid, var begin, var retention as above), ranges removed, ranges damaged |
//! | `ConsumerState` | text namespace, text name, text uid, var endpoint, `Durable` |
//! | `StateEnd` | var endpoints, var consumers, var next endpoint, var next consumer, var retired head |
//! | `Event` | var window in microseconds + 1 (0 for none), then an event as in [`record`](crate::record) |
//! | `Mark` | var durable offset, var count, that many (var endpoint, var sequence) |
//! | `Endpoint` | text namespace, text name, text uid, var incarnation, var begin |
//! | `Attach` | text namespace, text name, text uid, var endpoint, var start, var appended before |
//! | `Detach`, `End` | nothing |
//! | `Ended`, `Outcomes` | i64 base time, var count, that many ends (below) |
//! | `Redelivered`, `Hastened` | i64 due, sequences |
//! | `Purged` | sequences |
//! | `Retention` | var seconds |
//! | `Removed`, `Damaged` | ranges |
//!
//! `sequences` and `ranges` are a var count and as many differences to the number before. An end is: zig difference to
//! the sequence before, var sequence - first, var attempt, tag u8, zig time - base time; then by tag: 1 delivered: var
//! status, var took; 2 skipped by filter, 3 skipped by type, 4 gone, 7 skipped by mode Shadow: nothing; 5 retry: zig
//! due - time, failure; 6 dead: failure. A failure is var status (0 for none), var took, text reason, text message. Tags
//! are only added: a build that does not know one ignores its record, and delivers its events again.

mod identity;
mod state;
#[cfg(test)]
mod tests;

use bytes::{BufMut, Bytes, BytesMut};

pub(super) use self::{
    identity::{NewConsumer, NewEndpoint},
    state::{ConsumerRow, EndpointState, Former, StateEnd},
};
pub(super) use crate::record::ends::{decode_ends, encode_ends};
use crate::{
    Sequence,
    machine::Micros,
    record::{
        RecordError,
        codec::{get_u8, get_var, put_var},
        fields::{close, get_count, get_i64, get_ranges, get_sequences, get_u32, put_ranges, put_sequences},
    },
};

type Result<T> = std::result::Result<T, RecordError>;

/// The version of the payload layout, stored in the head of each segment.
pub(super) const VERSION: u8 = 1;

/// The head of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SegmentHead {
    /// The last segment whose contents are in this one; its own id, unless it was rewritten.
    pub(super) last: u64,
    /// When the segment was begun.
    pub(super) time: Micros,
    /// The previous segment and its end; 0 if unknown. Anything behind that end was never acknowledged.
    pub(super) previous: u64,
    pub(super) previous_end: u64,
}

/// How far the log is durable, and the newest sequences written before the mark.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) durable: u64,
    pub(super) heads: Vec<(u32, Sequence)>,
}

impl SegmentHead {
    pub(super) fn encode(&self) -> Bytes {
        let mut row = BytesMut::with_capacity(40);
        row.put_u8(VERSION);
        put_var(&mut row, self.last);
        row.put_i64_le(self.time.0);
        put_var(&mut row, self.previous);
        put_var(&mut row, self.previous_end);
        row.freeze()
    }

    pub(super) fn decode(mut row: Bytes) -> Result<Self> {
        const WHAT: &str = "segment head";
        match get_u8(&mut row, WHAT)? {
            VERSION => {}
            other => return Err(RecordError::Layout(WHAT, other)),
        }
        let last = get_var(&mut row, WHAT)?;
        let time = Micros(get_i64(&mut row, WHAT)?);
        let (previous, previous_end) = (get_var(&mut row, WHAT)?, get_var(&mut row, WHAT)?);
        close(&row, WHAT)?;
        Ok(Self { last, time, previous, previous_end })
    }
}

impl Mark {
    pub(super) fn encode(&self) -> Bytes {
        let mut row = BytesMut::with_capacity(16 + 8 * self.heads.len());
        put_var(&mut row, self.durable);
        put_var(&mut row, self.heads.len() as u64);
        for (endpoint, sequence) in &self.heads {
            put_var(&mut row, (*endpoint).into());
            put_var(&mut row, *sequence);
        }
        row.freeze()
    }

    pub(super) fn decode(mut row: Bytes) -> Result<Self> {
        const WHAT: &str = "mark";
        let durable = get_var(&mut row, WHAT)?;
        let count = get_count(&mut row, WHAT)?;
        let mut heads = Vec::with_capacity(count);
        for _ in 0..count {
            heads.push((get_u32(&mut row, WHAT)?, get_var(&mut row, WHAT)?));
        }
        close(&row, WHAT)?;
        Ok(Self { durable, heads })
    }
}

/// Encodes a payload of `Redelivered` or `Hastened`.
pub(super) fn encode_due(due: Micros, sequences: &[Sequence]) -> Bytes {
    let mut row = BytesMut::with_capacity(16 + 3 * sequences.len());
    row.put_i64_le(due.0);
    put_sequences(&mut row, sequences);
    row.freeze()
}

pub(super) fn decode_due(mut row: Bytes) -> Result<(Micros, Vec<Sequence>)> {
    const WHAT: &str = "redelivery";
    let due = Micros(get_i64(&mut row, WHAT)?);
    let sequences = get_sequences(&mut row, WHAT)?;
    close(&row, WHAT)?;
    Ok((due, sequences))
}

/// Encodes a payload of `Purged`.
pub(super) fn encode_sequences(sequences: &[Sequence]) -> Bytes {
    let mut row = BytesMut::with_capacity(8 + 3 * sequences.len());
    put_sequences(&mut row, sequences);
    row.freeze()
}

pub(super) fn decode_sequences(mut row: Bytes) -> Result<Vec<Sequence>> {
    const WHAT: &str = "list of sequences";
    let sequences = get_sequences(&mut row, WHAT)?;
    close(&row, WHAT)?;
    Ok(sequences)
}

/// Encodes a payload of `Removed` or `Damaged`.
pub(super) fn encode_ranges(ranges: &[(Sequence, Sequence)]) -> Bytes {
    let mut row = BytesMut::with_capacity(8 + 4 * ranges.len());
    put_ranges(&mut row, ranges);
    row.freeze()
}

pub(super) fn decode_ranges(mut row: Bytes) -> Result<Vec<(Sequence, Sequence)>> {
    const WHAT: &str = "list of ranges";
    let ranges = get_ranges(&mut row, WHAT)?;
    close(&row, WHAT)?;
    Ok(ranges)
}
