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
//! | `ConsumerState` | text namespace, text name, text uid, var endpoint, [`Durable`] |
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
//! the
//! sequence before, var sequence - first, var attempt, tag u8, zig time - base time; then by tag: 1 delivered: var
//! status,
//! var took; 2 skipped by filter, 3 skipped by type, 4 gone: nothing; 5 retry: zig due - time, failure; 6 dead:
//! failure. A
//! failure is var status (0 for none), var took, text reason, text message.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use grapnel_api::{Incarnation, ObjectKey};

use crate::{
    Exchange, Failure, Sequence, SkipReason,
    machine::{Durable, End, Ended, Micros, Retry},
    record::{
        RecordError,
        codec::{get_text, get_u8, get_var, put_bytes, put_var},
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

/// The durable state of an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct EndpointState {
    pub(super) key: ObjectKey,
    pub(super) uid: Box<str>,
    /// Incarnation number.
    pub(super) incarnation: u32,
    /// First sequence of this incarnation.
    pub(super) begin: Sequence,
    /// Newest sequence.
    pub(super) head: Sequence,
    /// Number of events ever stored.
    pub(super) appended: u64,
    pub(super) retention: Option<Duration>,
    /// When the last deduplication window of its ids ends.
    pub(super) ids_until: Micros,
    /// Earlier incarnations whose events may be kept or requested.
    pub(super) former: Vec<Former>,
    pub(super) removed: Vec<(Sequence, Sequence)>,
    pub(super) damaged: Vec<(Sequence, Sequence)>,
}

/// An earlier incarnation of an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Former {
    pub(super) uid: Box<str>,
    /// Its first sequence. Its last precedes the first of the next incarnation.
    pub(super) begin: Sequence,
    pub(super) retention: Option<Duration>,
}

/// The durable state of a consumer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ConsumerRow {
    pub(super) consumer: Incarnation,
    pub(super) endpoint: u32,
    pub(super) state: Durable,
}

/// The end of the states at the head of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct StateEnd {
    pub(super) endpoints: u64,
    pub(super) consumers: u64,
    pub(super) next_endpoint: u32,
    pub(super) next_consumer: u32,
    /// No forgotten endpoint had a greater sequence.
    pub(super) retired_head: Sequence,
}

/// A new endpoint, or a new incarnation of an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NewEndpoint {
    pub(super) endpoint: Incarnation,
    pub(super) incarnation: u32,
    pub(super) begin: Sequence,
}

/// A new consumer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NewConsumer {
    pub(super) consumer: Incarnation,
    pub(super) endpoint: u32,
    pub(super) start: Sequence,
    pub(super) appended_before: u64,
}

/// How far the log is durable, and the newest sequences written before the mark.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) durable: u64,
    pub(super) heads: Vec<(u32, Sequence)>,
}

fn put_zig(row: &mut impl BufMut, number: i64) {
    put_var(row, ((number << 1) ^ (number >> 63)) as u64);
}

fn get_zig(row: &mut Bytes, what: &'static str) -> Result<i64> {
    let number = get_var(row, what)?;
    Ok(((number >> 1) as i64) ^ -((number & 1) as i64))
}

fn get_u32(row: &mut Bytes, what: &'static str) -> Result<u32> {
    u32::try_from(get_var(row, what)?).map_err(|_| RecordError::Field(what, "number"))
}

fn get_i64(row: &mut Bytes, what: &'static str) -> Result<i64> {
    bytes::Buf::try_get_i64_le(row).map_err(|_| RecordError::Short(what))
}

/// Reads the number of elements that follow. Each takes at least one byte.
fn get_count(row: &mut Bytes, what: &'static str) -> Result<usize> {
    let count = get_var(row, what)?;
    usize::try_from(count).ok().filter(|count| *count <= row.len()).ok_or(RecordError::Short(what))
}

fn put_key(row: &mut impl BufMut, key: &ObjectKey, uid: &str) {
    put_bytes(row, key.namespace.as_bytes());
    put_bytes(row, key.name.as_bytes());
    put_bytes(row, uid.as_bytes());
}

fn get_key(row: &mut Bytes, what: &'static str) -> Result<(ObjectKey, Box<str>)> {
    let (namespace, name) = (get_text(row, what)?, get_text(row, what)?);
    Ok((ObjectKey::new(&*namespace, &*name), get_text(row, what)?))
}

fn put_ranges(row: &mut impl BufMut, ranges: &[(Sequence, Sequence)]) {
    put_var(row, ranges.len() as u64);
    let mut before = 0;
    for (first, last) in ranges {
        put_var(row, first.wrapping_sub(before));
        put_var(row, last.wrapping_sub(*first));
        before = *last;
    }
}

fn get_ranges(row: &mut Bytes, what: &'static str) -> Result<Vec<(Sequence, Sequence)>> {
    let count = get_count(row, what)?;
    let mut ranges = Vec::with_capacity(count);
    let mut before: Sequence = 0;
    for _ in 0..count {
        let first = before.checked_add(get_var(row, what)?).ok_or(RecordError::Field(what, "range"))?;
        let last = first.checked_add(get_var(row, what)?).ok_or(RecordError::Field(what, "range"))?;
        ranges.push((first, last));
        before = last;
    }
    Ok(ranges)
}

fn put_sequences(row: &mut impl BufMut, sequences: &[Sequence]) {
    put_var(row, sequences.len() as u64);
    let mut before = 0;
    for sequence in sequences {
        put_zig(row, sequence.wrapping_sub(before) as i64);
        before = *sequence;
    }
}

fn get_sequences(row: &mut Bytes, what: &'static str) -> Result<Vec<Sequence>> {
    let count = get_count(row, what)?;
    let mut sequences = Vec::with_capacity(count);
    let mut before: Sequence = 0;
    for _ in 0..count {
        before = before.wrapping_add(get_zig(row, what)? as u64);
        sequences.push(before);
    }
    Ok(sequences)
}

fn put_retention(row: &mut impl BufMut, retention: Option<Duration>) {
    put_var(row, retention.map_or(0, |retention| retention.as_secs().saturating_add(1)));
}

fn get_retention(row: &mut Bytes, what: &'static str) -> Result<Option<Duration>> {
    Ok(get_var(row, what)?.checked_sub(1).map(Duration::from_secs))
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn close(row: &Bytes, what: &'static str) -> Result<()> {
    if row.is_empty() { Ok(()) } else { Err(RecordError::Field(what, "length")) }
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

impl EndpointState {
    pub(super) fn encode(&self) -> Bytes {
        let mut row = BytesMut::with_capacity(128);
        put_key(&mut row, &self.key, &self.uid);
        put_var(&mut row, self.incarnation.into());
        for number in [self.begin, self.head, self.appended] {
            put_var(&mut row, number);
        }
        put_retention(&mut row, self.retention);
        row.put_i64_le(self.ids_until.0);
        put_var(&mut row, self.former.len() as u64);
        for former in &self.former {
            put_bytes(&mut row, former.uid.as_bytes());
            put_var(&mut row, former.begin);
            put_retention(&mut row, former.retention);
        }
        put_ranges(&mut row, &self.removed);
        put_ranges(&mut row, &self.damaged);
        row.freeze()
    }

    pub(super) fn decode(mut row: Bytes) -> Result<Self> {
        const WHAT: &str = "endpoint state";
        let (key, uid) = get_key(&mut row, WHAT)?;
        let incarnation = get_u32(&mut row, WHAT)?;
        let mut number = || get_var(&mut row, WHAT);
        let (begin, head, appended) = (number()?, number()?, number()?);
        let retention = get_retention(&mut row, WHAT)?;
        let ids_until = Micros(get_i64(&mut row, WHAT)?);
        let former = get_count(&mut row, WHAT)?;
        let get_former = |row: &mut Bytes| {
            let (uid, begin) = (get_text(row, WHAT)?, get_var(row, WHAT)?);
            Ok(Former { uid, begin, retention: get_retention(row, WHAT)? })
        };
        let former = (0..former).map(|_| get_former(&mut row)).collect::<Result<_>>()?;
        let (removed, damaged) = (get_ranges(&mut row, WHAT)?, get_ranges(&mut row, WHAT)?);
        close(&row, WHAT)?;
        Ok(Self { key, uid, incarnation, begin, head, appended, retention, ids_until, former, removed, damaged })
    }
}

impl ConsumerRow {
    pub(super) fn encode(&self) -> Bytes {
        let Durable { start, appended_before, attempts_begun, delivered, attempted, retries, dead } = &self.state;
        let mut row = BytesMut::with_capacity(128 + 16 * retries.len() + 12 * dead.len());
        put_key(&mut row, &self.consumer.key, &self.consumer.uid);
        put_var(&mut row, self.endpoint.into());
        for number in [start, appended_before, attempts_begun, delivered] {
            put_var(&mut row, *number);
        }
        put_ranges(&mut row, attempted);
        put_var(&mut row, retries.len() as u64);
        let mut before = 0;
        for (sequence, retry) in retries {
            put_var(&mut row, sequence.wrapping_sub(before));
            put_var(&mut row, retry.attempt.into());
            row.put_i64_le(retry.due.0);
            before = *sequence;
        }
        put_var(&mut row, dead.len() as u64);
        before = 0;
        for (sequence, time) in dead {
            put_var(&mut row, sequence.wrapping_sub(before));
            row.put_i64_le(time.0);
            before = *sequence;
        }
        row.freeze()
    }

    pub(super) fn decode(mut row: Bytes) -> Result<Self> {
        const WHAT: &str = "consumer state";
        let (key, uid) = get_key(&mut row, WHAT)?;
        let endpoint = get_u32(&mut row, WHAT)?;
        let mut number = || get_var(&mut row, WHAT);
        let (start, appended_before, attempts_begun, delivered) = (number()?, number()?, number()?, number()?);
        let attempted = get_ranges(&mut row, WHAT)?;
        let count = get_count(&mut row, WHAT)?;
        let mut retries = Vec::with_capacity(count);
        let mut before: Sequence = 0;
        for _ in 0..count {
            before = before.wrapping_add(get_var(&mut row, WHAT)?);
            let attempt = get_u32(&mut row, WHAT)?;
            retries.push((before, Retry { due: Micros(get_i64(&mut row, WHAT)?), attempt }));
        }
        let count = get_count(&mut row, WHAT)?;
        let mut dead = Vec::with_capacity(count);
        before = 0;
        for _ in 0..count {
            before = before.wrapping_add(get_var(&mut row, WHAT)?);
            dead.push((before, Micros(get_i64(&mut row, WHAT)?)));
        }
        close(&row, WHAT)?;
        let state = Durable { start, appended_before, attempts_begun, delivered, attempted, retries, dead };
        Ok(Self { consumer: Incarnation::new(key, &*uid), endpoint, state })
    }
}

impl StateEnd {
    pub(super) fn encode(&self) -> Bytes {
        let mut row = BytesMut::with_capacity(40);
        let numbers = [self.next_endpoint.into(), self.next_consumer.into(), self.retired_head];
        for number in [self.endpoints, self.consumers].into_iter().chain(numbers) {
            put_var(&mut row, number);
        }
        row.freeze()
    }

    pub(super) fn decode(mut row: Bytes) -> Result<Self> {
        const WHAT: &str = "end of states";
        let (endpoints, consumers) = (get_var(&mut row, WHAT)?, get_var(&mut row, WHAT)?);
        let (next_endpoint, next_consumer) = (get_u32(&mut row, WHAT)?, get_u32(&mut row, WHAT)?);
        let retired_head = get_var(&mut row, WHAT)?;
        close(&row, WHAT)?;
        Ok(Self { endpoints, consumers, next_endpoint, next_consumer, retired_head })
    }
}

impl NewEndpoint {
    pub(super) fn encode(&self) -> Bytes {
        let mut row = BytesMut::with_capacity(64);
        put_key(&mut row, &self.endpoint.key, &self.endpoint.uid);
        put_var(&mut row, self.incarnation.into());
        put_var(&mut row, self.begin);
        row.freeze()
    }

    pub(super) fn decode(mut row: Bytes) -> Result<Self> {
        const WHAT: &str = "endpoint";
        let (key, uid) = get_key(&mut row, WHAT)?;
        let (incarnation, begin) = (get_u32(&mut row, WHAT)?, get_var(&mut row, WHAT)?);
        close(&row, WHAT)?;
        Ok(Self { endpoint: Incarnation::new(key, &*uid), incarnation, begin })
    }
}

impl NewConsumer {
    pub(super) fn encode(&self) -> Bytes {
        let mut row = BytesMut::with_capacity(64);
        put_key(&mut row, &self.consumer.key, &self.consumer.uid);
        put_var(&mut row, self.endpoint.into());
        put_var(&mut row, self.start);
        put_var(&mut row, self.appended_before);
        row.freeze()
    }

    pub(super) fn decode(mut row: Bytes) -> Result<Self> {
        const WHAT: &str = "consumer";
        let (key, uid) = get_key(&mut row, WHAT)?;
        let endpoint = get_u32(&mut row, WHAT)?;
        let (start, appended_before) = (get_var(&mut row, WHAT)?, get_var(&mut row, WHAT)?);
        close(&row, WHAT)?;
        Ok(Self { consumer: Incarnation::new(key, &*uid), endpoint, start, appended_before })
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

const DELIVERED: u8 = 1;
const SKIPPED_BY_FILTER: u8 = 2;
const SKIPPED_BY_TYPE: u8 = 3;
const GONE: u8 = 4;
const RETRY: u8 = 5;
const DEAD: u8 = 6;

/// Encodes a payload of `Ended` or `Outcomes`.
pub(super) fn encode_ends(ends: &[Ended]) -> Bytes {
    let time_of = |ended: &Ended| match &ended.end {
        End::Delivered(exchange) => Micros::floor(exchange.time),
        End::Skipped { time, .. } => *time,
        End::Retry { failure, .. } | End::Dead { failure } => Micros::floor(failure.time),
        End::Gone => Micros(0),
    };
    let base = ends.first().map_or(Micros(0), time_of);
    let mut row = BytesMut::with_capacity(16 + 20 * ends.len());
    row.put_i64_le(base.0);
    put_var(&mut row, ends.len() as u64);
    let mut before: Sequence = 0;
    for ended in ends {
        put_zig(&mut row, ended.sequence.wrapping_sub(before) as i64);
        before = ended.sequence;
        put_var(&mut row, ended.sequence.saturating_sub(ended.first));
        put_var(&mut row, ended.attempt.into());
        let tag = match &ended.end {
            End::Delivered(_) => DELIVERED,
            End::Skipped { reason: SkipReason::Filter, .. } => SKIPPED_BY_FILTER,
            End::Skipped { reason: SkipReason::Type, .. } => SKIPPED_BY_TYPE,
            End::Gone => GONE,
            End::Retry { .. } => RETRY,
            End::Dead { .. } => DEAD,
        };
        row.put_u8(tag);
        let time = time_of(ended);
        put_zig(&mut row, time.0.wrapping_sub(base.0));
        match &ended.end {
            End::Delivered(exchange) => {
                put_var(&mut row, exchange.status.unwrap_or(0).into());
                put_var(&mut row, micros(exchange.took));
            }
            End::Skipped { .. } | End::Gone => {}
            End::Retry { due, failure } => {
                put_zig(&mut row, due.0.wrapping_sub(time.0));
                put_failure(&mut row, failure);
            }
            End::Dead { failure } => put_failure(&mut row, failure),
        }
    }
    row.freeze()
}

fn put_failure(row: &mut BytesMut, failure: &Failure) {
    put_var(row, failure.status.unwrap_or(0).into());
    put_var(row, micros(failure.took));
    put_bytes(row, failure.reason.as_bytes());
    put_bytes(row, failure.message.as_bytes());
}

fn get_status(row: &mut Bytes, what: &'static str) -> Result<Option<u16>> {
    let status = u16::try_from(get_var(row, what)?).map_err(|_| RecordError::Field(what, "status"))?;
    Ok((status != 0).then_some(status))
}

pub(super) fn decode_ends(mut row: Bytes) -> Result<Vec<Ended>> {
    const WHAT: &str = "end of attempts";
    let row = &mut row;
    let base = Micros(get_i64(row, WHAT)?);
    let count = get_count(row, WHAT)?;
    let mut ends = Vec::with_capacity(count);
    let mut before: Sequence = 0;
    for _ in 0..count {
        let sequence = before.wrapping_add(get_zig(row, WHAT)? as u64);
        before = sequence;
        let first = sequence.saturating_sub(get_var(row, WHAT)?);
        let attempt = get_u32(row, WHAT)?;
        let tag = get_u8(row, WHAT)?;
        let time = Micros(base.0.wrapping_add(get_zig(row, WHAT)?));
        let failure = |row: &mut Bytes| -> Result<Failure> {
            Ok(Failure {
                time: time.timestamp(),
                status: get_status(row, WHAT)?,
                took: Duration::from_micros(get_var(row, WHAT)?),
                reason: get_text(row, WHAT)?,
                message: get_text(row, WHAT)?,
            })
        };
        let end = match tag {
            DELIVERED => End::Delivered(Exchange {
                time: time.timestamp(),
                status: get_status(row, WHAT)?,
                took: Duration::from_micros(get_var(row, WHAT)?),
            }),
            SKIPPED_BY_FILTER => End::Skipped { reason: SkipReason::Filter, time },
            SKIPPED_BY_TYPE => End::Skipped { reason: SkipReason::Type, time },
            GONE => End::Gone,
            RETRY => {
                let due = Micros(time.0.wrapping_add(get_zig(row, WHAT)?));
                End::Retry { due, failure: failure(row)? }
            }
            DEAD => End::Dead { failure: failure(row)? },
            _ => return Err(RecordError::Field(WHAT, "tag")),
        };
        ends.push(Ended { sequence, first, attempt, end });
    }
    close(row, WHAT)?;
    Ok(ends)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ended() -> impl Strategy<Value = Ended> {
        let time = -1_000_000_000_000_000i64..4_000_000_000_000_000;
        let texts = ("[a-z]{0,9}", any::<String>());
        (any::<u64>(), 0u64..300, any::<u32>(), 0u8..6, time, any::<i32>(), any::<u16>(), texts).prop_map(
            |(sequence, covered, attempt, tag, time, took, status, (reason, message))| {
                let (time, took) = (Micros(time), Duration::from_micros(took.unsigned_abs().into()));
                let status = (status != 0).then_some(status);
                let failure = || Failure {
                    time: time.timestamp(),
                    reason: reason.as_str().into(),
                    status,
                    took,
                    message: message.as_str().into(),
                };
                let end = match tag {
                    0 => End::Delivered(Exchange { time: time.timestamp(), status, took }),
                    1 => End::Skipped { reason: SkipReason::Filter, time },
                    2 => End::Skipped { reason: SkipReason::Type, time },
                    3 => End::Gone,
                    4 => End::Retry { due: Micros(time.0 + 77), failure: failure() },
                    _ => End::Dead { failure: failure() },
                };
                Ended { sequence, first: sequence.saturating_sub(covered), attempt, end }
            },
        )
    }

    fn ranges() -> impl Strategy<Value = Vec<(Sequence, Sequence)>> {
        prop::collection::vec((1u64..1000, 0u64..1000), 0..20).prop_map(|gaps| {
            let mut at = 0;
            let mut range = |(gap, more)| {
                let first = at + gap;
                at = first + more;
                (first, at)
            };
            gaps.into_iter().map(&mut range).collect()
        })
    }

    fn uid() -> impl Strategy<Value = (ObjectKey, Box<str>)> {
        ("[a-z]{1,9}", "[a-z.]{1,9}", any::<String>())
            .prop_map(|(namespace, name, uid)| (ObjectKey::new(namespace, name), uid.into_boxed_str()))
    }

    proptest! {
        #[test]
        fn decoding_inverts_encoding(
            ends in prop::collection::vec(ended(), 0..20),
            (removed, damaged, attempted) in (ranges(), ranges(), ranges()),
            (key, uid) in uid(),
            n in any::<[u64; 6]>(),
            sequences in prop::collection::vec(any::<u64>(), 0..20),
            retention in prop::option::of(0u64..u64::MAX - 1),
        ) {
            prop_assert_eq!(decode_ends(encode_ends(&ends)).unwrap(), ends);
            let endpoint = EndpointState {
                key: key.clone(), uid: uid.clone(), incarnation: n[0] as u32, begin: n[1], head: n[2], appended: n[3],
                retention: retention.map(Duration::from_secs), ids_until: Micros(9), former: vec![Former { uid: uid.clone(), begin: n[2], retention: None }],
                removed, damaged,
            };
            prop_assert_eq!(EndpointState::decode(endpoint.encode()).unwrap(), endpoint);
            let dead: Vec<_> = attempted.iter().map(|(first, last)| (*first, Micros(*last as i64))).collect();
            let retries = dead.iter().map(|(first, due)| (*first, Retry { due: *due, attempt: 3 })).collect();
            let state = Durable {
                start: n[0], appended_before: n[1], attempts_begun: n[2], delivered: n[3], attempted, retries, dead,
            };
            let consumer = ConsumerRow { consumer: Incarnation::new(key.clone(), &*uid), endpoint: 7, state };
            prop_assert_eq!(ConsumerRow::decode(consumer.encode()).unwrap(), consumer);
            let end = StateEnd { endpoints: n[0], consumers: n[1], next_endpoint: 5, next_consumer: 6, retired_head: n[2] };
            prop_assert_eq!(StateEnd::decode(end.encode()).unwrap(), end);
            let new = NewEndpoint { endpoint: Incarnation::new(key.clone(), &*uid), incarnation: 3, begin: n[0] };
            prop_assert_eq!(NewEndpoint::decode(new.encode()).unwrap(), new);
            let new = NewConsumer { consumer: Incarnation::new(key, &*uid), endpoint: 3, start: n[0], appended_before: n[1] };
            prop_assert_eq!(NewConsumer::decode(new.encode()).unwrap(), new);
            let mark = Mark { durable: n[0], heads: sequences.iter().map(|s| (*s as u32, *s)).collect() };
            prop_assert_eq!(Mark::decode(mark.encode()).unwrap(), mark);
            let head = SegmentHead { last: n[0], time: Micros(n[1] as i64), previous: n[3], previous_end: n[2] };
            prop_assert_eq!(SegmentHead::decode(head.encode()).unwrap(), head);
            prop_assert_eq!(decode_due(encode_due(Micros(5), &sequences)).unwrap(), (Micros(5), sequences.clone()));
            prop_assert_eq!(decode_sequences(encode_sequences(&sequences)).unwrap(), sequences);
        }

        #[test]
        fn garbage_does_not_panic(row in prop::collection::vec(any::<u8>(), 0..200)) {
            let row = Bytes::from(row);
            let _ = (decode_ends(row.clone()), EndpointState::decode(row.clone()), ConsumerRow::decode(row.clone()));
            let _ = (StateEnd::decode(row.clone()), NewEndpoint::decode(row.clone()), NewConsumer::decode(row.clone()));
            let _ = (Mark::decode(row.clone()), SegmentHead::decode(row.clone()), decode_due(row.clone()));
            let _ = (decode_sequences(row.clone()), decode_ranges(row));
        }
    }
}
