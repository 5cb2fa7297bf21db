//! The pieces rows are made of.

use bytes::{Buf, BufMut, Bytes};
use jiff::Timestamp;

use super::{RecordError, Result};

/// The first byte of every value: the one layout there is so far.
pub(super) const ROW: u8 = 1;

pub(super) fn open_row(mut row: Bytes, what: &'static str) -> Result<Bytes> {
    match get_u8(&mut row, what)? {
        ROW => Ok(row),
        other => Err(RecordError::Layout(what, other)),
    }
}

pub(super) fn close_row(row: &Bytes, what: &'static str) -> Result<()> {
    if row.is_empty() { Ok(()) } else { Err(RecordError::Field(what, "length")) }
}

pub(super) fn put_len(row: &mut impl BufMut, len: usize) {
    let mut rest = len as u64;
    while rest >= 0x80 {
        row.put_u8((rest as u8) | 0x80);
        rest >>= 7;
    }
    row.put_u8(rest as u8);
}

pub(super) fn get_len(row: &mut Bytes, what: &'static str) -> Result<usize> {
    let mut len = 0u64;
    // Five groups of seven bits: no row comes near 32 GiB.
    for shift in [0, 7, 14, 21, 28] {
        let byte = get_u8(row, what)?;
        len |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return usize::try_from(len).map_err(|_| RecordError::Field(what, "length"));
        }
    }
    Err(RecordError::Field(what, "length"))
}

pub(super) fn put_bytes(row: &mut impl BufMut, bytes: &[u8]) {
    put_len(row, bytes.len());
    row.put_slice(bytes);
}

pub(super) fn get_bytes(row: &mut Bytes, what: &'static str) -> Result<Bytes> {
    let len = get_len(row, what)?;
    if len > row.len() {
        return Err(RecordError::Short(what));
    }
    Ok(row.split_to(len))
}

pub(super) fn get_text(row: &mut Bytes, what: &'static str) -> Result<Box<str>> {
    let bytes = get_bytes(row, what)?;
    std::str::from_utf8(&bytes).map(Box::from).map_err(|_| RecordError::Field(what, "text"))
}

pub(super) fn get_u8(row: &mut Bytes, what: &'static str) -> Result<u8> {
    row.try_get_u8().map_err(|_| RecordError::Short(what))
}

pub(super) fn get_u64(row: &mut Bytes, what: &'static str) -> Result<u64> {
    row.try_get_u64_le().map_err(|_| RecordError::Short(what))
}

pub(super) fn get_array<const N: usize>(row: &mut Bytes, what: &'static str) -> Result<[u8; N]> {
    let mut array = [0; N];
    row.try_copy_to_slice(&mut array).map_err(|_| RecordError::Short(what))?;
    Ok(array)
}

pub(super) fn put_time(row: &mut impl BufMut, time: Timestamp) {
    row.put_i64_le(time.as_second());
    row.put_i32_le(time.subsec_nanosecond());
}

pub(super) fn get_time(row: &mut Bytes, what: &'static str) -> Result<Timestamp> {
    let seconds = row.try_get_i64_le().map_err(|_| RecordError::Short(what))?;
    let nanoseconds = row.try_get_i32_le().map_err(|_| RecordError::Short(what))?;
    time(seconds, nanoseconds, what)
}

/// A time as it is written here: of all pairs that mean it, the one whose parts have the same sign. Any other was not
/// written by us, and a key of it would not be found by the time that it means.
fn time(seconds: i64, nanoseconds: i32, what: &'static str) -> Result<Timestamp> {
    Timestamp::new(seconds, nanoseconds)
        .ok()
        .filter(|time| time.as_second() == seconds && time.subsec_nanosecond() == nanoseconds)
        .ok_or(RecordError::Field(what, "time"))
}

// Seconds and nanoseconds have the same sign, so that the order of the pairs is the order in time.
pub(super) fn put_time_key(key: &mut impl BufMut, time: Timestamp) {
    key.put_i64(time.as_second() ^ i64::MIN);
    key.put_i32(time.subsec_nanosecond() ^ i32::MIN);
}

pub(super) fn get_time_key(key: &mut impl Buf, what: &'static str) -> Result<Timestamp> {
    let seconds = key.try_get_i64().map_err(|_| RecordError::Short(what))? ^ i64::MIN;
    let nanoseconds = key.try_get_i32().map_err(|_| RecordError::Short(what))? ^ i32::MIN;
    time(seconds, nanoseconds, what)
}
