//! Encoding primitives for rows.

use bytes::{Buf, BufMut, Bytes};
use jiff::Timestamp;

use super::{RecordError, Result};

/// The first byte of every value: the only layout so far.
pub(crate) const ROW: u8 = 1;

pub(crate) fn open_row(mut row: Bytes, what: &'static str) -> Result<Bytes> {
    match get_u8(&mut row, what)? {
        ROW => Ok(row),
        other => Err(RecordError::Layout(what, other)),
    }
}

pub(crate) fn put_var(row: &mut impl BufMut, number: u64) {
    let mut rest = number;
    while rest >= 0x80 {
        row.put_u8((rest as u8) | 0x80);
        rest >>= 7;
    }
    row.put_u8(rest as u8);
}

pub(crate) fn get_var(row: &mut Bytes, what: &'static str) -> Result<u64> {
    let mut number = 0u64;
    for shift in 0..10 {
        let byte = get_u8(row, what)?;
        if shift == 9 && byte > 1 {
            break;
        }
        number |= u64::from(byte & 0x7f) << (7 * shift);
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(RecordError::Field(what, "number"))
}

pub(crate) fn put_len(row: &mut impl BufMut, len: usize) {
    put_var(row, len as u64);
}

pub(crate) fn get_len(row: &mut Bytes, what: &'static str) -> Result<usize> {
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

pub(crate) fn put_bytes(row: &mut impl BufMut, bytes: &[u8]) {
    put_len(row, bytes.len());
    row.put_slice(bytes);
}

pub(crate) fn get_bytes(row: &mut Bytes, what: &'static str) -> Result<Bytes> {
    let len = get_len(row, what)?;
    if len > row.len() {
        return Err(RecordError::Short(what));
    }
    Ok(row.split_to(len))
}

pub(crate) fn get_text(row: &mut Bytes, what: &'static str) -> Result<Box<str>> {
    let bytes = get_bytes(row, what)?;
    std::str::from_utf8(&bytes).map(Box::from).map_err(|_| RecordError::Field(what, "text"))
}

pub(crate) fn get_u8(row: &mut Bytes, what: &'static str) -> Result<u8> {
    row.try_get_u8().map_err(|_| RecordError::Short(what))
}

pub(crate) fn get_array<const N: usize>(row: &mut Bytes, what: &'static str) -> Result<[u8; N]> {
    let mut array = [0; N];
    row.try_copy_to_slice(&mut array).map_err(|_| RecordError::Short(what))?;
    Ok(array)
}

pub(crate) fn put_time(row: &mut impl BufMut, time: Timestamp) {
    row.put_i64_le(time.as_second());
    row.put_i32_le(time.subsec_nanosecond());
}

pub(crate) fn get_time(row: &mut Bytes, what: &'static str) -> Result<Timestamp> {
    let seconds = row.try_get_i64_le().map_err(|_| RecordError::Short(what))?;
    let nanoseconds = row.try_get_i32_le().map_err(|_| RecordError::Short(what))?;
    time(seconds, nanoseconds, what)
}

/// Decodes a time in its canonical form: of all pairs that represent it, the one whose parts have the same sign. Any
/// other was not written by this code, and a key with it would not be found by the time that it represents.
fn time(seconds: i64, nanoseconds: i32, what: &'static str) -> Result<Timestamp> {
    Timestamp::new(seconds, nanoseconds)
        .ok()
        .filter(|time| time.as_second() == seconds && time.subsec_nanosecond() == nanoseconds)
        .ok_or(RecordError::Field(what, "time"))
}
