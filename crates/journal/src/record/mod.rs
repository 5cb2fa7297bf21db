//! The encoding of events and of row fields, shared by the engines.
//!
//! Integers are little-endian, `len` is an unsigned LEB128 number, and text and bytes are `len` followed by that many
//! bytes. `time` is 12 bytes: whole seconds since 1970 (i64) and nanoseconds (i32) of the same sign.
//!
//! An event is: version 1 (u8), flags (u8), received time, id text, type text, \[content type text\], \[address of 4 or
//! 16
//! bytes\], len and that many headers (name text, value bytes), and the body to the end. Flags: 1 content type present,
//! 2 IPv4 address, 4 IPv6 address.

pub(crate) mod codec;
pub(crate) mod ends;
pub(crate) mod fields;
#[cfg(test)]
mod tests;

use std::net::IpAddr;

use bytes::{BufMut, Bytes, BytesMut};
use jiff::Timestamp;

use self::codec::{
    ROW, get_array, get_bytes, get_len, get_text, get_time, get_u8, open_row, put_bytes, put_len, put_time,
};
use super::{Arrival, EventSummary, Sequence, StoredEvent};

const HAS_CONTENT_TYPE: u8 = 1;
const HAS_V4: u8 = 2;
const HAS_V6: u8 = 4;

/// Why bytes cannot be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The data ends too early.
    #[error("a {0} record ends too early")]
    Short(&'static str),
    /// The version of the layout is unknown.
    #[error("a {0} record has the unknown layout {1}")]
    Layout(&'static str, u8),
    /// A field has an invalid value.
    #[error("a {0} record holds an impossible {1}")]
    Field(&'static str, &'static str),
}

type Result<T, E = RecordError> = std::result::Result<T, E>;

/// Encodes an event: one allocation, one copy of the body.
pub fn encode_event(arrival: &Arrival) -> Bytes {
    let mut row = BytesMut::with_capacity(event_len(arrival));
    put_event(&mut row, arrival);
    row.freeze()
}

/// Returns an upper bound of the length of an encoded event in bytes.
pub(crate) fn event_len(arrival: &Arrival) -> usize {
    let identity = arrival.validated.identity();
    let headers: usize = arrival.headers.iter().map(|(name, value)| name.len() + value.len() + 10).sum();
    let text = identity.id.len() + identity.kind.len() + arrival.content_type.as_ref().map_or(0, |text| text.len());
    64 + text + headers + arrival.validated.body().len()
}

/// Appends an encoded event to the row.
pub(crate) fn put_event(row: &mut BytesMut, arrival: &Arrival) {
    let identity = arrival.validated.identity();
    let address = match arrival.remote {
        None => 0,
        Some(IpAddr::V4(_)) => HAS_V4,
        Some(IpAddr::V6(_)) => HAS_V6,
    };
    row.put_u8(ROW);
    row.put_u8(address | if arrival.content_type.is_some() { HAS_CONTENT_TYPE } else { 0 });
    put_time(row, arrival.received);
    put_bytes(row, identity.id.as_bytes());
    put_bytes(row, identity.kind.as_bytes());
    if let Some(content_type) = &arrival.content_type {
        put_bytes(row, content_type.as_bytes());
    }
    match arrival.remote {
        None => {}
        Some(IpAddr::V4(address)) => row.put_slice(&address.octets()),
        Some(IpAddr::V6(address)) => row.put_slice(&address.octets()),
    }
    put_len(row, arrival.headers.len());
    for (name, value) in &arrival.headers {
        put_bytes(row, name.as_bytes());
        put_bytes(row, value);
    }
    row.put_slice(arrival.validated.body());
}

/// Decodes an event; headers and body are slices of the row.
pub fn decode_event(sequence: Sequence, row: Bytes) -> Result<StoredEvent> {
    let mut row = row;
    let Head { id, kind, received, content_type, remote, headers } = get_head(&mut row)?;
    let mut decoded = Vec::with_capacity(headers);
    for _ in 0..headers {
        decoded.push((get_text(&mut row, EVENT)?, get_bytes(&mut row, EVENT)?));
    }
    Ok(StoredEvent { sequence, id, kind, received, content_type, remote, headers: decoded, body: row })
}

/// Decodes an event of `len` bytes from the `start` of its row, without its headers and body. Also returns the number of
/// bytes before the body, all of which `start` must have.
pub(crate) fn decode_summary(sequence: Sequence, start: Bytes, len: usize) -> Result<(EventSummary, usize)> {
    let mut rest = start.clone();
    let Head { id, kind, received, content_type, remote, headers } = get_head(&mut rest)?;
    for _ in 0..headers {
        get_bytes(&mut rest, EVENT)?;
        get_bytes(&mut rest, EVENT)?;
    }
    let head = start.len() - rest.len();
    let bytes = len.checked_sub(head).ok_or(RecordError::Short(EVENT))?;
    Ok((EventSummary { sequence, id, kind, received, content_type, remote, bytes }, head))
}

/// What an error calls an event.
const EVENT: &str = "event";

/// The fields of an event before its headers.
struct Head {
    id: Box<str>,
    kind: Box<str>,
    received: Timestamp,
    content_type: Option<Box<str>>,
    remote: Option<IpAddr>,
    /// Number of headers.
    headers: usize,
}

fn get_head(row: &mut Bytes) -> Result<Head> {
    *row = open_row(row.clone(), EVENT)?;
    let flags = get_u8(row, EVENT)?;
    if flags & !(HAS_CONTENT_TYPE | HAS_V4 | HAS_V6) != 0 || flags & (HAS_V4 | HAS_V6) == HAS_V4 | HAS_V6 {
        return Err(RecordError::Field(EVENT, "set of flags"));
    }
    let received = get_time(row, EVENT)?;
    let id = get_text(row, EVENT)?;
    let kind = get_text(row, EVENT)?;
    let content_type = if flags & HAS_CONTENT_TYPE != 0 { Some(get_text(row, EVENT)?) } else { None };
    let remote = if flags & HAS_V4 != 0 {
        Some(IpAddr::from(get_array::<4>(row, EVENT)?))
    } else if flags & HAS_V6 != 0 {
        Some(IpAddr::from(get_array::<16>(row, EVENT)?))
    } else {
        None
    };
    let headers = get_len(row, EVENT)?;
    // Each header takes at least two bytes: an impossible count reserves no memory.
    if headers > row.len() / 2 {
        return Err(RecordError::Short(EVENT));
    }
    Ok(Head { id, kind, received, content_type, remote, headers })
}
