//! Encoding primitives of the payloads of log records.

use std::time::Duration;

use bytes::{BufMut, Bytes};
use grapnel_api::ObjectKey;

use super::{
    RecordError, Result,
    codec::{get_text, get_var, put_bytes, put_var},
};
use crate::Sequence;

pub(crate) fn put_zig(row: &mut impl BufMut, number: i64) {
    put_var(row, ((number << 1) ^ (number >> 63)) as u64);
}

pub(crate) fn get_zig(row: &mut Bytes, what: &'static str) -> Result<i64> {
    let number = get_var(row, what)?;
    Ok(((number >> 1) as i64) ^ -((number & 1) as i64))
}

pub(crate) fn get_u32(row: &mut Bytes, what: &'static str) -> Result<u32> {
    u32::try_from(get_var(row, what)?).map_err(|_| RecordError::Field(what, "number"))
}

pub(crate) fn get_i64(row: &mut Bytes, what: &'static str) -> Result<i64> {
    bytes::Buf::try_get_i64_le(row).map_err(|_| RecordError::Short(what))
}

/// Reads the number of elements that follow. Each takes at least one byte.
pub(crate) fn get_count(row: &mut Bytes, what: &'static str) -> Result<usize> {
    let count = get_var(row, what)?;
    usize::try_from(count).ok().filter(|count| *count <= row.len()).ok_or(RecordError::Short(what))
}

pub(crate) fn put_key(row: &mut impl BufMut, key: &ObjectKey, uid: &str) {
    put_bytes(row, key.namespace.as_bytes());
    put_bytes(row, key.name.as_bytes());
    put_bytes(row, uid.as_bytes());
}

pub(crate) fn get_key(row: &mut Bytes, what: &'static str) -> Result<(ObjectKey, Box<str>)> {
    let (namespace, name) = (get_text(row, what)?, get_text(row, what)?);
    Ok((ObjectKey::new(&*namespace, &*name), get_text(row, what)?))
}

pub(crate) fn put_ranges(row: &mut impl BufMut, ranges: &[(Sequence, Sequence)]) {
    put_var(row, ranges.len() as u64);
    let mut before = 0;
    for (first, last) in ranges {
        put_var(row, first.wrapping_sub(before));
        put_var(row, last.wrapping_sub(*first));
        before = *last;
    }
}

pub(crate) fn get_ranges(row: &mut Bytes, what: &'static str) -> Result<Vec<(Sequence, Sequence)>> {
    let count = get_count(row, what)?;
    let mut ranges = Vec::with_capacity(count);
    let mut before: Sequence = 0;
    for _ in 0..count {
        let first = before.checked_add(get_var(row, what)?).ok_or(RecordError::Field(what, "range"))?;
        let last = first.checked_add(get_var(row, what)?).filter(|last| *last < Sequence::MAX);
        let last = last.ok_or(RecordError::Field(what, "range"))?;
        ranges.push((first, last));
        before = last;
    }
    Ok(ranges)
}

pub(crate) fn put_sequences(row: &mut impl BufMut, sequences: &[Sequence]) {
    put_var(row, sequences.len() as u64);
    let mut before = 0;
    for sequence in sequences {
        put_zig(row, sequence.wrapping_sub(before) as i64);
        before = *sequence;
    }
}

pub(crate) fn get_sequences(row: &mut Bytes, what: &'static str) -> Result<Vec<Sequence>> {
    let count = get_count(row, what)?;
    let mut sequences = Vec::with_capacity(count);
    let mut before: Sequence = 0;
    for _ in 0..count {
        before = before.wrapping_add(get_zig(row, what)? as u64);
        sequences.push(before);
    }
    Ok(sequences)
}

pub(crate) fn put_retention(row: &mut impl BufMut, retention: Option<Duration>) {
    put_var(row, retention.map_or(0, |retention| retention.as_secs().saturating_add(1)));
}

pub(crate) fn get_retention(row: &mut Bytes, what: &'static str) -> Result<Option<Duration>> {
    Ok(get_var(row, what)?.checked_sub(1).map(Duration::from_secs))
}

pub(crate) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

pub(crate) fn close(row: &Bytes, what: &'static str) -> Result<()> {
    if row.is_empty() { Ok(()) } else { Err(RecordError::Field(what, "length")) }
}
