//! Keys of the rows.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use super::{
    RecordError, Result, Sequence,
    codec::{get_time_key, put_time_key},
};

/// Ids up to this many bytes are index keys as they are; of longer ones the hash is.
const PLAIN_ID_BYTES: usize = 64;

/// Prefix of every endpoint row.
pub const ENDPOINTS: u8 = b'E';
/// Prefix of every consumer row.
pub const CONSUMERS: u8 = b'C';
/// Prefix of every exception.
pub const EXCEPTIONS: u8 = b'X';
/// Prefix of the due-time order.
pub const DUE: u8 = b'D';
/// Prefix of the time-of-death order.
pub const DEATHS: u8 = b'K';
/// Prefix of the index rows that outlive their events.
pub const STUBS: u8 = b'S';
/// The row of the next consumer number.
pub const NUMBERS: [u8; 1] = *b"N";

/// Key in `events`.
pub fn event(endpoint: u32, sequence: Sequence) -> [u8; 12] {
    let mut key = [0; 12];
    let mut rest = key.as_mut_slice();
    rest.put_u32(endpoint);
    rest.put_u64(sequence);
    key
}

/// The sequence in a key of `events`.
pub fn event_sequence(mut key: &[u8]) -> Result<Sequence> {
    key.try_get_u32().map_err(|_| RecordError::Short("event key"))?;
    key.try_get_u64().map_err(|_| RecordError::Short("event key"))
}

/// Key in `index`.
pub fn index(endpoint: u32, id: &str) -> Bytes {
    let mut key = BytesMut::with_capacity(5 + id.len().min(PLAIN_ID_BYTES));
    key.put_u32(endpoint);
    if id.len() <= PLAIN_ID_BYTES {
        key.put_u8(0);
        key.put_slice(id.as_bytes());
    } else {
        key.put_u8(1);
        key.put_slice(&Sha256::digest(id.as_bytes()));
    }
    key.freeze()
}

/// Key of an endpoint or consumer row.
pub fn numbered(prefix: u8, number: u32) -> [u8; 5] {
    let mut key = [0; 5];
    let mut rest = key.as_mut_slice();
    rest.put_u8(prefix);
    rest.put_u32(number);
    key
}

/// The number in a key that starts with a prefix and a number.
pub fn number(mut key: &[u8]) -> Result<u32> {
    key.try_get_u8().map_err(|_| RecordError::Short("state key"))?;
    key.try_get_u32().map_err(|_| RecordError::Short("state key"))
}

/// Key of an exception.
pub fn exception(consumer: u32, sequence: Sequence) -> [u8; 13] {
    let mut key = [0; 13];
    let mut rest = key.as_mut_slice();
    rest.put_u8(EXCEPTIONS);
    rest.put_u32(consumer);
    rest.put_u64(sequence);
    key
}

/// The sequence in the key of an exception.
pub fn exception_sequence(mut key: &[u8]) -> Result<Sequence> {
    number(key)?;
    key.advance(5);
    key.try_get_u64().map_err(|_| RecordError::Short("exception key"))
}

/// Key in the due-time or time-of-death order.
pub fn timed(prefix: u8, consumer: u32, time: Timestamp, sequence: Sequence) -> [u8; 25] {
    let mut key = [0; 25];
    let mut rest = key.as_mut_slice();
    rest.put_u8(prefix);
    rest.put_u32(consumer);
    put_time_key(&mut rest, time);
    rest.put_u64(sequence);
    key
}

/// Time and sequence in such a key.
pub fn timed_parts(mut key: &[u8]) -> Result<(Timestamp, Sequence)> {
    number(key)?;
    key.advance(5);
    let time = get_time_key(&mut key, "timed key")?;
    Ok((time, key.try_get_u64().map_err(|_| RecordError::Short("timed key"))?))
}

/// Key of a stub.
pub fn stub(keep_until: Timestamp, index_key: &[u8]) -> Bytes {
    let mut key = BytesMut::with_capacity(13 + index_key.len());
    key.put_u8(STUBS);
    put_time_key(&mut key, keep_until);
    key.put_slice(index_key);
    key.freeze()
}

/// Time and index key in the key of a stub.
pub fn stub_parts(key: &Bytes) -> Result<(Timestamp, Bytes)> {
    let mut rest = key.clone();
    rest.try_get_u8().map_err(|_| RecordError::Short("stub key"))?;
    let time = get_time_key(&mut rest, "stub key")?;
    Ok((time, rest))
}
