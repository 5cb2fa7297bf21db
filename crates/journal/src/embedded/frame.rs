//! The frame around every log record: its kind, its location, and checksums.
//!
//! | bytes | field |
//! |---|---|
//! | 0–3 | `GRN3` |
//! | 4 | kind |
//! | 5–7 | of an event: the low 24 bits of the CRC-32 of the payload before the body, otherwise zero |
//! | 8–11 | length of the payload |
//! | 12–15 | CRC-32 of the payload |
//! | 16–23 | sequence of an event, otherwise zero |
//! | 24–27 | number of the endpoint or consumer, otherwise zero |
//! | 28–31 | incarnation of an event's endpoint, otherwise zero |
//! | 32–35 | CRC-32 of the journal's salt, the segment's name, the offset, and bytes 0–31 |
//!
//! The frame checksum covers the location, so that a record is valid only where it was written: bytes that a disk
//! returns from elsewhere count as damage. The salt is random and secret, so that a sender cannot put bytes into a body
//! that a search for the next intact record would accept as one.
//!
//! The checksum of an event's payload before its body lets a list read that part alone. Of 2^24 damaged ones it misses one,
//! which a list then shows; all else that reads an event verifies the whole payload.

use super::segment_name::SegmentName;
use crate::Sequence;

/// Length of a frame in bytes.
pub(super) const FRAME: usize = 36;

/// The first bytes of every frame.
pub(super) const MAGIC: [u8; 4] = *b"GRN3";

/// The kind of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    /// The first record of a segment.
    Segment = 1,
    /// The state of one endpoint, after the head of a segment.
    EndpointState = 2,
    /// The state of one consumer, after those of the endpoints.
    ConsumerState = 3,
    /// End of the states.
    StateEnd = 4,
    /// An event.
    Event = 5,
    /// How far the log is durable, and the newest sequences of the endpoints written before the mark.
    Mark = 6,
    /// A new endpoint, or a new incarnation of one.
    Endpoint = 7,
    /// A new consumer.
    Attach = 8,
    /// A consumer was detached.
    Detach = 9,
    /// Attempts have ended.
    Ended = 10,
    /// Events were queued again.
    Redelivered = 11,
    /// The due time of retries changed.
    Hastened = 12,
    /// Dead letters were removed.
    Purged = 13,
    /// Events were removed.
    Removed = 14,
    /// Events were found damaged.
    Damaged = 15,
    /// Outcomes that a rewrite has kept; changes no state.
    Outcomes = 16,
    /// The last record of a rewritten segment, or of a closed journal.
    End = 17,
    /// The retention of an endpoint changed.
    Retention = 18,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Segment,
            2 => Self::EndpointState,
            3 => Self::ConsumerState,
            4 => Self::StateEnd,
            5 => Self::Event,
            6 => Self::Mark,
            7 => Self::Endpoint,
            8 => Self::Attach,
            9 => Self::Detach,
            10 => Self::Ended,
            11 => Self::Redelivered,
            12 => Self::Hastened,
            13 => Self::Purged,
            14 => Self::Removed,
            15 => Self::Damaged,
            16 => Self::Outcomes,
            17 => Self::End,
            18 => Self::Retention,
            _ => return None,
        })
    }
}

/// The decoded fields of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) kind: Kind,
    /// Length of the payload.
    pub(super) len: u32,
    /// Checksum of the payload.
    pub(super) checksum: u32,
    /// [`head_checksum`] of an event's payload before the body; 0 of other records.
    pub(super) head: u32,
    pub(super) sequence: Sequence,
    /// Number of the endpoint or consumer.
    pub(super) number: u32,
    pub(super) incarnation: u32,
}

/// The location of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RecordLocation {
    pub(super) salt: u64,
    pub(super) segment: SegmentName,
    pub(super) offset: u64,
}

impl Frame {
    /// Creates the frame for a payload that is not an event.
    pub(super) fn of(kind: Kind, number: u32, payload: &[u8]) -> Self {
        // Payloads are bounded far below 4 GiB.
        let len = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        Self { kind, len, checksum: crc32fast::hash(payload), head: 0, sequence: 0, number, incarnation: 0 }
    }

    /// Returns the length of the frame and its payload.
    pub(super) fn total(&self) -> u64 {
        FRAME as u64 + u64::from(self.len)
    }

    /// Encodes the frame for a location.
    pub(super) fn encode(&self, place: RecordLocation) -> [u8; FRAME] {
        let mut bytes = [0; FRAME];
        let (head, checksum) = bytes.split_at_mut(FRAME - 4);
        // The kind is the low byte.
        let kind = (self.head << 8) | u32::from(self.kind as u8);
        let fields: [&[u8]; 7] = [
            &MAGIC,
            &kind.to_le_bytes(),
            &self.len.to_le_bytes(),
            &self.checksum.to_le_bytes(),
            &self.sequence.to_le_bytes(),
            &self.number.to_le_bytes(),
            &self.incarnation.to_le_bytes(),
        ];
        let mut rest = &mut *head;
        for field in fields {
            let (target, after) = std::mem::take(&mut rest).split_at_mut(field.len());
            target.copy_from_slice(field);
            rest = after;
        }
        let sum = place.checksum(head);
        checksum.copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// Decodes the frame at a location, if it is intact and was written there.
    pub(super) fn decode(bytes: &[u8], place: RecordLocation) -> Option<Self> {
        let bytes: &[u8; FRAME] = bytes.first_chunk()?;
        let (head, checksum) = bytes.split_at(FRAME - 4);
        if !head.starts_with(&MAGIC) || u32::from_le_bytes(*checksum.first_chunk()?) != place.checksum(head) {
            return None;
        }
        let word = |at: usize| Some(u32::from_le_bytes(*head.get(at..)?.first_chunk()?));
        Some(Self {
            kind: Kind::from_byte(*head.get(4)?)?,
            len: word(8)?,
            checksum: word(12)?,
            head: word(4)? >> 8,
            sequence: u64::from_le_bytes(*head.get(16..)?.first_chunk()?),
            number: word(24)?,
            incarnation: word(28)?,
        })
    }
}

/// Reduces a CRC-32 to the part that a frame has room for.
pub(super) fn head_checksum(crc: u32) -> u32 {
    crc & 0x00ff_ffff
}

impl RecordLocation {
    /// Returns the location at another offset of the same segment.
    pub(super) fn at(self, offset: u64) -> Self {
        Self { offset, ..self }
    }

    fn checksum(&self, head: &[u8]) -> u32 {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&self.salt.to_le_bytes());
        hasher.update(&self.segment.id.to_le_bytes());
        hasher.update(&self.segment.generation.to_le_bytes());
        hasher.update(&self.offset.to_le_bytes());
        hasher.update(head);
        hasher.finalize()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn valid_only_where_it_was_written() {
        let place = RecordLocation { salt: 7, segment: SegmentName { id: 3, generation: 1 }, offset: 4096 };
        let frame = Frame { sequence: 9, incarnation: 2, head: 0x00ab_cdef, ..Frame::of(Kind::Event, 5, b"payload") };
        let bytes = frame.encode(place);
        assert_eq!(Frame::decode(&bytes, place), Some(frame));
        assert_eq!(Frame::decode(&bytes, place.at(4097)), None);
        assert_eq!(Frame::decode(&bytes, RecordLocation { salt: 8, ..place }), None);
        let generation = SegmentName { id: 3, generation: 2 };
        assert_eq!(Frame::decode(&bytes, RecordLocation { segment: generation, ..place }), None);
        for at in 0..FRAME {
            let mut flipped = bytes;
            flipped[at] ^= 1;
            assert_eq!(Frame::decode(&flipped, place), None, "byte {at}");
        }
        assert_eq!(Frame::decode(&bytes[..FRAME - 1], place), None);
    }
}
