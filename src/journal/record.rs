//! The on-disk format of the embedded journal.
//!
//! The directory holds `FORMAT` (one line of text: `grapnel-journal <version>`), `LOCK` (held by the
//! process that has the journal open) and `log/`, a `fjall` database of three keyspaces. A directory
//! whose version is greater than [`FORMAT_VERSION`] is refused before anything else is read.
//!
//! Integers in **keys** are big-endian, signed ones with the sign bit flipped, so that the order of
//! the bytes is the order of the numbers. In **values** integers are little-endian, `len` is an
//! unsigned LEB128 number, and text and bytes are `len` followed by that many bytes. `time` is 12
//! bytes: whole seconds since 1970 (i64) and nanoseconds (i32). Every value starts with the version
//! of its own layout, so that one kind of row can change without rewriting the others.
//!
//! | keyspace | key | value |
//! |---|---|---|
//! | `events` | endpoint u32, sequence u64 | version 1, flags u8, received time, id text, type text, \[content type text\], \[address 4 or 16 bytes\], len and that many (name text, value bytes), body to the end of the row |
//! | `index` | endpoint u32, `0`, id (at most 64 bytes) | version 1, sequence u64, received time, keep-until time |
//! | `index` | endpoint u32, `1`, SHA-256 of a longer id | the same |
//! | `state` | `E`, endpoint u32 | version 1, namespace text, name text, head u64, oldest u64, count u64, bytes u64 |
//! | `state` | `C`, consumer u32 | version 1, namespace text, name text, endpoint u32, start u64, floor u64, delivered u64, retrying u64, dead u64, missing u64, len and that many (first u64, last u64) |
//! | `state` | `X`, consumer u32, sequence u64 | version 1, `R` or `D`, attempt u32, due time, failure |
//! | `state` | `D`, consumer u32, due time, sequence u64 | version 1, attempt u32 |
//! | `state` | `K`, consumer u32, time of death, sequence u64 | version 1 |
//! | `state` | `S`, keep-until time, key in `index` | version 1, sequence u64 |
//! | `state` | `N` | version 1, next consumer number u32 |
//!
//! Flags of an event: 1 content type present, 2 IPv4 address, 4 IPv6 address. A failure is: time,
//! reason text, status u16 (0 for none), message text.
//!
//! - `E`: `head` is the last sequence handed out, `oldest` a lower bound of the first one still
//!   kept, `count` and `bytes` what is kept. Never removed, so no sequence is handed out twice.
//! - `C`: everything up to `floor` and in the ranges above it has been attempted: it is settled
//!   unless an `X` row says otherwise. What is in no range is new; what is in flight is known to
//!   memory alone. `missing` counts sequences above `floor` that had been swept before the consumer
//!   was attached. Consumer numbers are not used twice.
//! - `X`: retrying (`attempt` is the next one) or dead (`attempt` is how many were made, `due` is the
//!   time of death). `D` orders the retrying ones by due time, `K` the dead ones by time of death.
//!   A retrying one whose next attempt is 1 was settled or dead and has been queued once more, at
//!   `due`; its failure says nothing. Builds that knew no redelivery wrote no such rows, but claim and
//!   settle them as any retry, so that they need no format of their own.
//! - `S`: an index row that outlives its event, because the window in which its id is a duplicate is
//!   longer than the retention of the event.

mod codec;
pub mod key;
#[cfg(test)]
mod tests;

use std::net::IpAddr;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use jiff::Timestamp;

use self::codec::{
    ROW, close_row, get_array, get_bytes, get_len, get_text, get_time, get_u8, get_u64, open_row, put_bytes, put_len,
    put_time,
};
use super::{Arrival, Failure, Sequence, StoredEvent};

/// Newest version of the directory that this build reads and writes.
pub const FORMAT_VERSION: u32 = 1;

/// The attempt of a row `X` or `D` whose event was queued once more; a retry's is greater.
pub const QUEUED_ATTEMPT: u32 = 1;

const HAS_CONTENT_TYPE: u8 = 1;
const HAS_V4: u8 = 2;
const HAS_V6: u8 = 4;

/// Why a row cannot be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The row ends too early.
    #[error("a {0} row ends too early")]
    Short(&'static str),
    /// The version of the row's layout is unknown.
    #[error("a {0} row has the unknown layout {1}")]
    Layout(&'static str, u8),
    /// A field holds what it cannot hold.
    #[error("a {0} row holds an impossible {1}")]
    Field(&'static str, &'static str),
}

type Result<T, E = RecordError> = std::result::Result<T, E>;

/// A row of the index: which event has this id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexRow {
    /// The newest event of the id.
    pub sequence: Sequence,
    /// When it was received: the beginning of its window.
    pub received: Timestamp,
    /// The row stays until then, also when the event has been removed.
    pub keep_until: Timestamp,
}

/// A row `E`: an endpoint's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointRow {
    /// `metadata.namespace`.
    pub namespace: Box<str>,
    /// `metadata.name`.
    pub name: Box<str>,
    /// Last sequence handed out.
    pub head: Sequence,
    /// No event below this sequence is kept.
    pub oldest: Sequence,
    /// Events kept.
    pub count: u64,
    /// Bytes of the events kept.
    pub bytes: u64,
}

/// A row `C`: a consumer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerRow {
    /// `metadata.namespace`.
    pub namespace: Box<str>,
    /// `metadata.name`.
    pub name: Box<str>,
    /// Number of the endpoint it reads.
    pub endpoint: u32,
    /// Its first event is the one after this sequence.
    pub start: Sequence,
    /// Everything up to here has been attempted.
    pub floor: Sequence,
    /// Events delivered.
    pub delivered: u64,
    /// Rows `X` that are retrying.
    pub retrying: u64,
    /// Rows `X` that are dead.
    pub dead: u64,
    /// Sequences above the floor, in no range, that no longer exist.
    pub missing: u64,
    /// What else has been attempted: disjoint, ascending, inclusive.
    pub ranges: Vec<(Sequence, Sequence)>,
}

/// What an exception is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExceptionState {
    /// Waits for its next attempt.
    Retrying,
    /// Given up.
    Dead,
}

/// A row `X`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExceptionRow {
    /// Which of the two.
    pub state: ExceptionState,
    /// The next attempt while retrying, the number of attempts made when dead.
    pub attempt: u32,
    /// When it is due, or when it died.
    pub due: Timestamp,
    /// The last failure.
    pub failure: Failure,
}

/// Encodes an event row: one allocation, one copy of the body.
pub fn encode_event(arrival: &Arrival) -> Bytes {
    let identity = arrival.validated.identity();
    let body = arrival.validated.body();
    let headers: usize = arrival.headers.iter().map(|(name, value)| name.len() + value.len() + 10).sum();
    let text = identity.id.len() + identity.kind.len() + arrival.content_type.as_ref().map_or(0, |t| t.len());
    let mut row = BytesMut::with_capacity(64 + text + headers + body.len());
    let address = match arrival.remote {
        None => 0,
        Some(IpAddr::V4(_)) => HAS_V4,
        Some(IpAddr::V6(_)) => HAS_V6,
    };
    row.put_u8(ROW);
    row.put_u8(address | if arrival.content_type.is_some() { HAS_CONTENT_TYPE } else { 0 });
    put_time(&mut row, arrival.received);
    put_bytes(&mut row, identity.id.as_bytes());
    put_bytes(&mut row, identity.kind.as_bytes());
    if let Some(content_type) = &arrival.content_type {
        put_bytes(&mut row, content_type.as_bytes());
    }
    match arrival.remote {
        None => {}
        Some(IpAddr::V4(address)) => row.put_slice(&address.octets()),
        Some(IpAddr::V6(address)) => row.put_slice(&address.octets()),
    }
    put_len(&mut row, arrival.headers.len());
    for (name, value) in &arrival.headers {
        put_bytes(&mut row, name.as_bytes());
        put_bytes(&mut row, value);
    }
    row.put_slice(body);
    row.freeze()
}

/// Decodes an event row; headers and body are slices of it.
pub fn decode_event(sequence: Sequence, row: Bytes) -> Result<StoredEvent> {
    const WHAT: &str = "event";
    let mut row = open_row(row, WHAT)?;
    let flags = get_u8(&mut row, WHAT)?;
    if flags & !(HAS_CONTENT_TYPE | HAS_V4 | HAS_V6) != 0 || flags & (HAS_V4 | HAS_V6) == HAS_V4 | HAS_V6 {
        return Err(RecordError::Field(WHAT, "set of flags"));
    }
    let received = get_time(&mut row, WHAT)?;
    let id = get_text(&mut row, WHAT)?;
    let kind = get_text(&mut row, WHAT)?;
    let content_type = if flags & HAS_CONTENT_TYPE != 0 { Some(get_text(&mut row, WHAT)?) } else { None };
    let remote = if flags & HAS_V4 != 0 {
        Some(IpAddr::from(get_array::<4>(&mut row, WHAT)?))
    } else if flags & HAS_V6 != 0 {
        Some(IpAddr::from(get_array::<16>(&mut row, WHAT)?))
    } else {
        None
    };
    let count = get_len(&mut row, WHAT)?;
    // Each header takes at least two bytes: a count that cannot be true reserves no memory.
    if count > row.len() / 2 {
        return Err(RecordError::Short(WHAT));
    }
    let mut headers = Vec::with_capacity(count);
    for _ in 0..count {
        headers.push((get_text(&mut row, WHAT)?, get_bytes(&mut row, WHAT)?));
    }
    Ok(StoredEvent { sequence, id, kind, received, content_type, remote, headers, body: row })
}

/// When the event of this row was received.
pub fn decode_received(row: Bytes) -> Result<Timestamp> {
    const WHAT: &str = "event";
    let mut row = open_row(row, WHAT)?;
    get_u8(&mut row, WHAT)?;
    get_time(&mut row, WHAT)
}

impl IndexRow {
    /// The row's bytes.
    pub fn encode(&self) -> [u8; 33] {
        let mut row = [0; 33];
        let mut rest = row.as_mut_slice();
        rest.put_u8(ROW);
        rest.put_u64_le(self.sequence);
        put_time(&mut rest, self.received);
        put_time(&mut rest, self.keep_until);
        row
    }

    /// The row of these bytes.
    pub fn decode(row: Bytes) -> Result<Self> {
        const WHAT: &str = "index";
        let mut row = open_row(row, WHAT)?;
        let sequence = get_u64(&mut row, WHAT)?;
        let received = get_time(&mut row, WHAT)?;
        let keep_until = get_time(&mut row, WHAT)?;
        close_row(&row, WHAT)?;
        Ok(Self { sequence, received, keep_until })
    }
}

impl EndpointRow {
    /// The row's bytes.
    pub fn encode(&self) -> Bytes {
        let mut row = BytesMut::with_capacity(53 + self.namespace.len() + self.name.len());
        row.put_u8(ROW);
        put_bytes(&mut row, self.namespace.as_bytes());
        put_bytes(&mut row, self.name.as_bytes());
        for number in [self.head, self.oldest, self.count, self.bytes] {
            row.put_u64_le(number);
        }
        row.freeze()
    }

    /// The row of these bytes.
    pub fn decode(row: Bytes) -> Result<Self> {
        const WHAT: &str = "endpoint";
        let mut row = open_row(row, WHAT)?;
        let decoded = Self {
            namespace: get_text(&mut row, WHAT)?,
            name: get_text(&mut row, WHAT)?,
            head: get_u64(&mut row, WHAT)?,
            oldest: get_u64(&mut row, WHAT)?,
            count: get_u64(&mut row, WHAT)?,
            bytes: get_u64(&mut row, WHAT)?,
        };
        close_row(&row, WHAT)?;
        Ok(decoded)
    }
}

impl ConsumerRow {
    /// The row's bytes.
    pub fn encode(&self) -> Bytes {
        let mut row = BytesMut::with_capacity(80 + self.namespace.len() + self.name.len() + 16 * self.ranges.len());
        row.put_u8(ROW);
        put_bytes(&mut row, self.namespace.as_bytes());
        put_bytes(&mut row, self.name.as_bytes());
        row.put_u32_le(self.endpoint);
        for number in [self.start, self.floor, self.delivered, self.retrying, self.dead, self.missing] {
            row.put_u64_le(number);
        }
        put_len(&mut row, self.ranges.len());
        for (first, last) in &self.ranges {
            row.put_u64_le(*first);
            row.put_u64_le(*last);
        }
        row.freeze()
    }

    /// The row of these bytes.
    pub fn decode(row: Bytes) -> Result<Self> {
        const WHAT: &str = "consumer";
        let mut row = open_row(row, WHAT)?;
        let namespace = get_text(&mut row, WHAT)?;
        let name = get_text(&mut row, WHAT)?;
        let endpoint = row.try_get_u32_le().map_err(|_| RecordError::Short(WHAT))?;
        let start = get_u64(&mut row, WHAT)?;
        let floor = get_u64(&mut row, WHAT)?;
        let delivered = get_u64(&mut row, WHAT)?;
        let retrying = get_u64(&mut row, WHAT)?;
        let dead = get_u64(&mut row, WHAT)?;
        let missing = get_u64(&mut row, WHAT)?;
        let count = get_len(&mut row, WHAT)?;
        if count > row.len() / 16 {
            return Err(RecordError::Short(WHAT));
        }
        let mut ranges = Vec::with_capacity(count);
        let mut before = floor;
        for _ in 0..count {
            let (first, last) = (get_u64(&mut row, WHAT)?, get_u64(&mut row, WHAT)?);
            if first <= before || last < first {
                return Err(RecordError::Field(WHAT, "range"));
            }
            before = last;
            ranges.push((first, last));
        }
        close_row(&row, WHAT)?;
        Ok(Self { namespace, name, endpoint, start, floor, delivered, retrying, dead, missing, ranges })
    }
}

impl ExceptionRow {
    /// The row's bytes.
    pub fn encode(&self) -> Bytes {
        let mut row = BytesMut::with_capacity(64 + self.failure.reason.len() + self.failure.message.len());
        row.put_u8(ROW);
        row.put_u8(match self.state {
            ExceptionState::Retrying => b'R',
            ExceptionState::Dead => b'D',
        });
        row.put_u32_le(self.attempt);
        put_time(&mut row, self.due);
        put_time(&mut row, self.failure.time);
        put_bytes(&mut row, self.failure.reason.as_bytes());
        row.put_u16_le(self.failure.status.unwrap_or(0));
        put_bytes(&mut row, self.failure.message.as_bytes());
        row.freeze()
    }

    /// The row of these bytes.
    pub fn decode(row: Bytes) -> Result<Self> {
        const WHAT: &str = "exception";
        let mut row = open_row(row, WHAT)?;
        let state = match get_u8(&mut row, WHAT)? {
            b'R' => ExceptionState::Retrying,
            b'D' => ExceptionState::Dead,
            _ => return Err(RecordError::Field(WHAT, "state")),
        };
        let attempt = row.try_get_u32_le().map_err(|_| RecordError::Short(WHAT))?;
        let due = get_time(&mut row, WHAT)?;
        let time = get_time(&mut row, WHAT)?;
        let reason = get_text(&mut row, WHAT)?;
        let status = row.try_get_u16_le().map_err(|_| RecordError::Short(WHAT))?;
        let message = get_text(&mut row, WHAT)?;
        close_row(&row, WHAT)?;
        let failure = Failure { time, reason, status: (status != 0).then_some(status), message };
        Ok(Self { state, attempt, due, failure })
    }
}

/// Encodes the value of a row `D` or `N`.
pub fn encode_u32(number: u32) -> [u8; 5] {
    let mut row = [ROW; 5];
    let (_, mut rest) = row.as_mut_slice().split_at_mut(1);
    rest.put_u32_le(number);
    row
}

/// Decodes the value of a row `D` or `N`.
pub fn decode_u32(row: Bytes) -> Result<u32> {
    const WHAT: &str = "number";
    let mut row = open_row(row, WHAT)?;
    let number = row.try_get_u32_le().map_err(|_| RecordError::Short(WHAT))?;
    close_row(&row, WHAT)?;
    Ok(number)
}

/// Encodes the value of a row `S`.
pub fn encode_u64(number: u64) -> [u8; 9] {
    let mut row = [ROW; 9];
    let (_, mut rest) = row.as_mut_slice().split_at_mut(1);
    rest.put_u64_le(number);
    row
}

/// Decodes the value of a row `S`.
pub fn decode_u64(row: Bytes) -> Result<u64> {
    const WHAT: &str = "stub";
    let mut row = open_row(row, WHAT)?;
    let number = get_u64(&mut row, WHAT)?;
    close_row(&row, WHAT)?;
    Ok(number)
}

/// The value of a row `K`, whose key says everything.
pub const EMPTY_ROW: [u8; 1] = [ROW];
