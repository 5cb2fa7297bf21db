//! Events as messages of a stream.
//!
//! The body of a message is the event's record. A header repeats what the index of a shard needs, so that reading the
//! headers alone is enough to rebuild it:
//!
//! version 1 (u8), nonce (8 bytes), received and the end of the window (i64 microseconds each, little-endian), length of
//! the record (LEB128), uid (text), all in base64. A tombstone, which stands for an event that is removed before its
//! window ends, also has the sequence of that event in a second header, and no body.

use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use bytes::{BufMut, Bytes, BytesMut};
use grapnel_api::ObjectKey;

use super::broker::Message;
use crate::{
    Arrival, Sequence,
    machine::Micros,
    nats::shard::Head,
    record::{
        RecordError,
        codec::{ROW, get_array, get_text, get_var, open_row, put_bytes, put_var},
    },
};

/// The header with the fields of an event.
pub(super) const HEAD: &str = "Grapnel-Head";

/// The header of a tombstone: the sequence of the removed event.
pub(super) const TOMBSTONE: &str = "Grapnel-Removed";

/// Bytes that an event counts for in addition to its record: its subject, its headers, and what the broker adds.
pub(super) const EVENT_OVERHEAD_BYTES: u64 = 256;

/// What an error calls this header.
const WHAT: &str = "event head";

/// Tells the attempts to publish one event from those to publish another one with the same id.
pub(super) type Nonce = [u8; 8];

/// The content of [`HEAD`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct MessageHead {
    pub(super) nonce: Nonce,
    pub(super) received: Micros,
    /// The end of the event's window; `received` if it has none.
    pub(super) until: Micros,
    /// Length of the record.
    pub(super) len: u64,
    pub(super) uid: Box<str>,
}

impl MessageHead {
    /// Returns the head of an arriving event, whose record has `len` bytes.
    pub(super) fn of(arrival: &Arrival, nonce: Nonce, len: usize) -> Self {
        let received = Micros::floor(arrival.received);
        let until = arrival.window.map_or(received, |window| received.after(window));
        Self { nonce, received, until, len: len as u64, uid: (&*arrival.endpoint.uid).into() }
    }

    /// Returns the bytes that the event counts for.
    pub(super) fn counted(&self) -> u64 {
        self.len.saturating_add(EVENT_OVERHEAD_BYTES)
    }

    /// Returns the text of the header.
    pub(super) fn encode(&self) -> String {
        let mut row = BytesMut::with_capacity(40 + self.uid.len());
        row.put_u8(ROW);
        row.put_slice(&self.nonce);
        row.put_i64_le(self.received.0);
        row.put_i64_le(self.until.0);
        put_var(&mut row, self.len);
        put_bytes(&mut row, self.uid.as_bytes());
        STANDARD_NO_PAD.encode(row)
    }

    /// Reads the text of the header.
    pub(super) fn decode(text: &str) -> Result<Self, RecordError> {
        let row = STANDARD_NO_PAD.decode(text).map_err(|_| RecordError::Field(WHAT, "base64 text"))?;
        let mut row = open_row(Bytes::from(row), WHAT)?;
        let nonce = get_array(&mut row, WHAT)?;
        let received = Micros(i64::from_le_bytes(get_array(&mut row, WHAT)?));
        let until = Micros(i64::from_le_bytes(get_array(&mut row, WHAT)?));
        let len = get_var(&mut row, WHAT)?;
        let uid = get_text(&mut row, WHAT)?;
        Ok(Self { nonce, received, until, len, uid })
    }
}

/// A message of an events stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum EventMessage {
    /// A kept event.
    Event(MessageHead),
    /// What is left of a removed event.
    Tombstone {
        head: MessageHead,
        /// The sequence that the event had.
        removed: Sequence,
    },
}

impl EventMessage {
    /// Reads the headers of a message.
    pub(super) fn read(message: &Message) -> Result<Self, RecordError> {
        let head = MessageHead::decode(message.header(HEAD).ok_or(RecordError::Short(WHAT))?)?;
        match message.header(TOMBSTONE) {
            None => Ok(Self::Event(head)),
            Some(removed) => {
                let removed = removed.parse().map_err(|_| RecordError::Field(WHAT, "sequence"))?;
                Ok(Self::Tombstone { head, removed })
            }
        }
    }

    pub(super) fn head(&self) -> &MessageHead {
        match self {
            Self::Event(head) | Self::Tombstone { head, .. } => head,
        }
    }
}

impl MessageHead {
    /// Returns what the index of a shard keeps of the event.
    pub(super) fn indexed(&self, sequence: Sequence, endpoint: ObjectKey) -> Head {
        Head {
            sequence,
            endpoint,
            uid: (&*self.uid).into(),
            received: self.received,
            until: self.until,
            bytes: u32::try_from(self.counted()).unwrap_or(u32::MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn decoding_inverts_encoding(nonce: Nonce, received: i64, until: i64, len: u64, uid: String) {
            let (received, until) = (Micros(received), Micros(until));
            let head = MessageHead { nonce, received, until, len, uid: uid.into() };
            prop_assert_eq!(MessageHead::decode(&head.encode()), Ok(head));
        }

        #[test]
        fn garbage_does_not_panic(text: String, row: Vec<u8>) {
            let _ = MessageHead::decode(&text);
            let _ = MessageHead::decode(&STANDARD_NO_PAD.encode(row));
        }
    }
}
