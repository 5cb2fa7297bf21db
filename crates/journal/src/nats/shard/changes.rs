//! The encoding of changes.
//!
//! First the objects that the changes name, each once: var count, and that many (text namespace, text name, text uid).
//! Then the changes to the end, each beginning with a tag (u8); `object` is a var position among the objects:
//!
//! | tag | fields |
//! |---|---|
//! | 1 endpoint | object |
//! | 2 attached | object consumer, object endpoint, var start |
//! | 3 detached | object |
//! | 4 ended | object, text-like length and ends as in [`encode_ends`]: several changes of one consumer |
//! | 5 queued, 6 hastened | object, var sequence, i64 due |
//! | 7 letter removed | object, var sequence |
//! | 8 retention | object, var seconds, var nanoseconds |
//! | 9 removed | object, var count, and that many (zig difference to the sequence before, zig difference of receipts) |

use std::{collections::HashMap, time::Duration};

use bytes::{BufMut, Bytes, BytesMut};
use grapnel_api::Incarnation;

use super::Change;
use crate::{
    Sequence,
    machine::{End, Ended, Micros},
    record::{
        RecordError,
        codec::{get_bytes, get_u8, get_var, put_bytes, put_var},
        ends::{decode_ends, encode_ends},
        fields::{get_count, get_i64, get_key, get_u32, get_zig, put_key, put_zig},
    },
};

/// What an error calls a change.
const CHANGE: &str = "shard change";

const ENDPOINT: u8 = 1;
const ATTACHED: u8 = 2;
const DETACHED: u8 = 3;
const ENDED: u8 = 4;
const QUEUED: u8 = 5;
const HASTENED: u8 = 6;
const LETTER_REMOVED: u8 = 7;
const RETENTION: u8 = 8;
const REMOVED: u8 = 9;

/// The objects that changes name.
#[derive(Default)]
struct Objects {
    positions: HashMap<Incarnation, u64>,
    encoded: BytesMut,
}

impl Objects {
    fn position(&mut self, object: &Incarnation) -> u64 {
        if let Some(position) = self.positions.get(object) {
            return *position;
        }
        let position = self.positions.len() as u64;
        self.positions.insert(object.clone(), position);
        put_key(&mut self.encoded, &object.key, &object.uid);
        position
    }
}

pub(super) fn put_changes(row: &mut BytesMut, changes: &[Change]) {
    let mut objects = Objects::default();
    let mut body = BytesMut::with_capacity(24 * changes.len());
    let mut rest = changes;
    while let Some((change, after)) = rest.split_first() {
        rest = after;
        if let Change::Ended { consumer, ended } = change {
            let mut ends = vec![ended.clone()];
            while let Some((Change::Ended { consumer: next, ended }, after)) = rest.split_first()
                && next == consumer
            {
                ends.push(ended.clone());
                rest = after;
            }
            put_head(&mut body, &mut objects, ENDED, consumer);
            put_bytes(&mut body, &encode_ends(&ends));
        } else {
            put_change(&mut body, &mut objects, change);
        }
    }
    put_var(row, objects.positions.len() as u64);
    row.put_slice(&objects.encoded);
    row.put_slice(&body);
}

fn put_head(body: &mut BytesMut, objects: &mut Objects, tag: u8, object: &Incarnation) {
    body.put_u8(tag);
    put_var(body, objects.position(object));
}

fn put_change(body: &mut BytesMut, objects: &mut Objects, change: &Change) {
    match change {
        Change::Endpoint { endpoint } => put_head(body, objects, ENDPOINT, endpoint),
        Change::Attached { consumer, endpoint, start } => {
            put_head(body, objects, ATTACHED, consumer);
            put_var(body, objects.position(endpoint));
            put_var(body, *start);
        }
        Change::Detached { consumer } => put_head(body, objects, DETACHED, consumer),
        Change::Ended { consumer, ended } => {
            put_head(body, objects, ENDED, consumer);
            put_bytes(body, &encode_ends(std::slice::from_ref(ended)));
        }
        Change::Queued { consumer, sequence, due } => {
            put_head(body, objects, QUEUED, consumer);
            put_var(body, *sequence);
            body.put_i64_le(due.0);
        }
        Change::Hastened { consumer, sequence, due } => {
            put_head(body, objects, HASTENED, consumer);
            put_var(body, *sequence);
            body.put_i64_le(due.0);
        }
        Change::LetterRemoved { consumer, sequence } => {
            put_head(body, objects, LETTER_REMOVED, consumer);
            put_var(body, *sequence);
        }
        Change::Retention { endpoint, retention } => {
            put_head(body, objects, RETENTION, endpoint);
            put_var(body, retention.as_secs());
            put_var(body, retention.subsec_nanos().into());
        }
        Change::Removed { endpoint, events } => {
            put_head(body, objects, REMOVED, &Incarnation::of_file(endpoint.clone()));
            put_removed(body, events);
        }
    }
}

fn put_removed(body: &mut BytesMut, events: &[(Sequence, Micros)]) {
    put_var(body, events.len() as u64);
    let (mut before, mut time) = (0, 0);
    for (sequence, received) in events {
        put_zig(body, sequence.wrapping_sub(before) as i64);
        put_zig(body, received.0.wrapping_sub(time));
        (before, time) = (*sequence, received.0);
    }
}

fn get_removed(row: &mut Bytes) -> Result<Vec<(Sequence, Micros)>, RecordError> {
    let count = get_count(row, CHANGE)?;
    let mut events = Vec::with_capacity(count);
    let (mut sequence, mut received): (Sequence, i64) = (0, 0);
    for _ in 0..count {
        sequence = sequence.wrapping_add(get_zig(row, CHANGE)? as u64);
        received = received.wrapping_add(get_zig(row, CHANGE)?);
        events.push((sequence, Micros(received)));
    }
    Ok(events)
}

pub(super) fn get_changes(row: &mut Bytes) -> Result<Vec<Change>, RecordError> {
    let count = get_count(row, CHANGE)?;
    let mut objects = Vec::with_capacity(count);
    for _ in 0..count {
        let (key, uid) = get_key(row, CHANGE)?;
        objects.push(Incarnation::new(key, &*uid));
    }
    let object = |row: &mut Bytes| -> Result<Incarnation, RecordError> {
        let position = usize::try_from(get_var(row, CHANGE)?).ok();
        let found = position.and_then(|position| objects.get(position));
        found.cloned().ok_or(RecordError::Field(CHANGE, "object"))
    };
    let mut changes = Vec::new();
    while !row.is_empty() {
        let tag = get_u8(row, CHANGE)?;
        let named = object(row)?;
        changes.push(match tag {
            ENDPOINT => Change::Endpoint { endpoint: named },
            ATTACHED => Change::Attached { consumer: named, endpoint: object(row)?, start: get_var(row, CHANGE)? },
            DETACHED => Change::Detached { consumer: named },
            ENDED => {
                let ends = decode_ends(get_bytes(row, CHANGE)?)?;
                changes.extend(ends.into_iter().map(|ended| Change::Ended { consumer: named.clone(), ended }));
                continue;
            }
            QUEUED => {
                let (sequence, due) = (get_var(row, CHANGE)?, Micros(get_i64(row, CHANGE)?));
                Change::Queued { consumer: named, sequence, due }
            }
            HASTENED => {
                let (sequence, due) = (get_var(row, CHANGE)?, Micros(get_i64(row, CHANGE)?));
                Change::Hastened { consumer: named, sequence, due }
            }
            LETTER_REMOVED => Change::LetterRemoved { consumer: named, sequence: get_var(row, CHANGE)? },
            RETENTION => {
                let (seconds, nanoseconds) = (get_var(row, CHANGE)?, get_u32(row, CHANGE)?);
                if nanoseconds >= 1_000_000_000 {
                    return Err(RecordError::Field(CHANGE, "retention"));
                }
                Change::Retention { endpoint: named, retention: Duration::new(seconds, nanoseconds) }
            }
            REMOVED => Change::Removed { endpoint: named.key, events: get_removed(row)? },
            _ => return Err(RecordError::Field(CHANGE, "tag")),
        });
    }
    Ok(changes)
}

impl Change {
    /// Returns an upper bound of the bytes that this change adds to an encoded record.
    pub(crate) fn encoded_len(&self) -> usize {
        // A tag, a position, and three numbers.
        const FIXED: usize = 48;
        // A number takes at most ten bytes; an end has six besides its texts.
        const ENDED: usize = 96;
        let object = |object: &Incarnation| object.key.namespace.len() + object.key.name.len() + object.uid.len() + 15;
        FIXED
            + match self {
                Self::Endpoint { endpoint } | Self::Retention { endpoint, .. } => object(endpoint),
                Self::Attached { consumer, endpoint, .. } => object(consumer) + object(endpoint),
                Self::Detached { consumer }
                | Self::Queued { consumer, .. }
                | Self::Hastened { consumer, .. }
                | Self::LetterRemoved { consumer, .. } => object(consumer),
                Self::Ended { consumer, ended: Ended { end, .. } } => {
                    let texts = match end {
                        End::Retry { failure, .. } | End::Dead { failure } => {
                            failure.reason.len() + failure.message.len()
                        }
                        End::Delivered(_) | End::Skipped { .. } | End::Gone => 0,
                    };
                    object(consumer) + ENDED + texts
                }
                Self::Removed { endpoint, events } => {
                    endpoint.namespace.len() + endpoint.name.len() + 15 + 20 * events.len()
                }
            }
    }
}
