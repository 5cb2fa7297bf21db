//! Checkpoints: the whole durable state, in chunks.
//!
//! A chunk is a list of parts, each beginning with a tag (u8). A part that continues another one has the same key.
//!
//! | tag | fields |
//! |---|---|
//! | 1 endpoint | text namespace, text name, var count of incarnations, and that many (var number, text uid, var retention: 0 for unknown, otherwise seconds + 1 and nanoseconds) |
//! | 2 gaps | text namespace, text name, var count, and that many (var first, var last - first, var events, i64 earliest, i64 latest) |
//! | 3 consumer | text namespace, text name, text uid, text namespace and text name of the endpoint, var incarnation, var start, var delivered |
//! | 4 attempted | text namespace, text name, ranges |
//! | 5 retries | text namespace, text name, var count, and that many (var sequence, var attempt, i64 due) |
//! | 6 dead letters | text namespace, text name, var count, and that many (var sequence, i64 time) |
//! | 7 outcomes | as in [`outcome_rows`](super::outcome_rows) |

use std::{collections::VecDeque, time::Duration};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use grapnel_api::{Incarnation, ObjectKey};

use super::{
    ShardState,
    consumer::ShardConsumer,
    endpoint::{Life, ShardEndpoint},
    gaps::Gap,
    outcome_rows::{OUTCOMES, get_outcomes, put_outcomes},
    outcomes::OutcomeRow,
};
use crate::{
    Sequence,
    machine::{Micros, Retry},
    record::{
        RecordError,
        codec::{get_text, get_u8, get_var, put_bytes, put_var},
        fields::{get_count, get_i64, get_ranges, get_u32, put_ranges},
    },
};

/// What an error calls a checkpoint.
pub(super) const CHECKPOINT: &str = "checkpoint";

/// A chunk is complete when it has this many bytes. One part more fits in 256 KiB.
const CHUNK_BYTES: usize = 160 << 10;

/// Maximum number of rows of a part. A row takes less than 64 bytes.
const PART_ROWS: usize = 1024;

const ENDPOINT: u8 = 1;
const GAPS: u8 = 2;
const CONSUMER: u8 = 3;
const ATTEMPTED: u8 = 4;
const RETRIES: u8 = 5;
const DEAD: u8 = 6;

/// A part of a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CheckpointChunk {
    /// 0 for the first chunk, ascending by 1.
    pub(crate) number: u32,
    /// The encoded parts.
    pub(super) parts: Bytes,
}

/// What one part adds to a state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    Endpoint { endpoint: ObjectKey, lives: Vec<Life> },
    Gaps { endpoint: ObjectKey, gaps: Vec<Gap> },
    Consumer { consumer: Incarnation, endpoint: ObjectKey, life: u32, start: Sequence, delivered: u64 },
    Attempted { consumer: ObjectKey, ranges: Vec<(Sequence, Sequence)> },
    Retries { consumer: ObjectKey, retries: Vec<(Sequence, Retry)> },
    Dead { consumer: ObjectKey, dead: Vec<(Sequence, Micros)> },
    Outcomes { consumer: ObjectKey, rows: Vec<(Sequence, OutcomeRow)> },
}

impl ShardState {
    /// Returns the whole durable state, without the index. It is that of this moment only if nothing is applied before
    /// the last chunk has been taken.
    pub(crate) fn checkpoint(&self) -> impl Iterator<Item = CheckpointChunk> + '_ {
        let endpoints = self.endpoints.iter().flat_map(|(key, endpoint)| parts_of_endpoint(key, endpoint));
        let consumers = self.consumers.values().flat_map(parts_of_consumer);
        let mut parts = endpoints.chain(consumers).peekable();
        let mut number = 0;
        std::iter::from_fn(move || {
            // An empty state has a chunk too.
            if parts.peek().is_none() && number > 0 {
                return None;
            }
            let mut chunk = BytesMut::with_capacity(CHUNK_BYTES);
            while chunk.len() < CHUNK_BYTES
                && let Some(part) = parts.next()
            {
                chunk.put_slice(&part);
            }
            number += 1;
            Some(CheckpointChunk { number: number - 1, parts: chunk.freeze() })
        })
    }
}

impl CheckpointChunk {
    /// Decodes the parts.
    pub(super) fn parts(&self) -> Result<Vec<Part>, RecordError> {
        let mut row = self.parts.clone();
        let mut parts = Vec::new();
        while row.has_remaining() {
            parts.push(get_part(&mut row)?);
        }
        Ok(parts)
    }
}

/// Begins a part.
pub(super) fn begin_part(tag: u8, key: &ObjectKey) -> BytesMut {
    let mut part = BytesMut::with_capacity(64);
    part.put_u8(tag);
    put_object_key(&mut part, key);
    part
}

fn put_object_key(part: &mut BytesMut, key: &ObjectKey) {
    put_bytes(part, key.namespace.as_bytes());
    put_bytes(part, key.name.as_bytes());
}

fn get_object_key(row: &mut Bytes) -> Result<ObjectKey, RecordError> {
    let (namespace, name) = (get_text(row, CHECKPOINT)?, get_text(row, CHECKPOINT)?);
    Ok(ObjectKey::new(&*namespace, &*name))
}

fn parts_of_endpoint(key: &ObjectKey, endpoint: &ShardEndpoint) -> VecDeque<BytesMut> {
    let mut parts = VecDeque::new();
    for lives in endpoint.lives.chunks(PART_ROWS) {
        let mut part = begin_part(ENDPOINT, key);
        put_var(&mut part, lives.len() as u64);
        for life in lives {
            put_var(&mut part, life.number.into());
            put_bytes(&mut part, life.uid.as_bytes());
            match life.retention {
                None => put_var(&mut part, 0),
                Some(retention) => {
                    put_var(&mut part, retention.as_secs().saturating_add(1));
                    put_var(&mut part, retention.subsec_nanos().into());
                }
            }
        }
        parts.push_back(part);
    }
    let gaps: Vec<_> = endpoint.gaps.iter().collect();
    for gaps in gaps.chunks(PART_ROWS) {
        let mut part = begin_part(GAPS, key);
        put_var(&mut part, gaps.len() as u64);
        for gap in gaps {
            put_var(&mut part, gap.first);
            put_var(&mut part, gap.last.saturating_sub(gap.first));
            put_var(&mut part, gap.events);
            part.put_i64_le(gap.earliest.0);
            part.put_i64_le(gap.latest.0);
        }
        parts.push_back(part);
    }
    parts
}

fn parts_of_consumer(consumer: &ShardConsumer) -> VecDeque<BytesMut> {
    let durable = consumer.machine.durable();
    let key = &consumer.object.key;
    let mut head = begin_part(CONSUMER, key);
    put_bytes(&mut head, consumer.object.uid.as_bytes());
    put_object_key(&mut head, &consumer.endpoint);
    for number in [consumer.life.into(), durable.start, durable.delivered] {
        put_var(&mut head, number);
    }
    let mut parts = VecDeque::from([head]);
    for ranges in durable.attempted.chunks(PART_ROWS) {
        let mut part = begin_part(ATTEMPTED, key);
        put_ranges(&mut part, ranges);
        parts.push_back(part);
    }
    for retries in durable.retries.chunks(PART_ROWS) {
        let mut part = begin_part(RETRIES, key);
        put_var(&mut part, retries.len() as u64);
        for (sequence, retry) in retries {
            put_var(&mut part, *sequence);
            put_var(&mut part, retry.attempt.into());
            part.put_i64_le(retry.due.0);
        }
        parts.push_back(part);
    }
    for dead in durable.dead.chunks(PART_ROWS) {
        let mut part = begin_part(DEAD, key);
        put_var(&mut part, dead.len() as u64);
        for (sequence, time) in dead {
            put_var(&mut part, *sequence);
            part.put_i64_le(time.0);
        }
        parts.push_back(part);
    }
    parts.extend(put_outcomes(key, &consumer.outcomes));
    parts
}

fn get_part(row: &mut Bytes) -> Result<Part, RecordError> {
    let (tag, key) = (get_u8(row, CHECKPOINT)?, get_object_key(row)?);
    Ok(match tag {
        ENDPOINT => Part::Endpoint { endpoint: key, lives: get_rows(row, get_life)? },
        GAPS => Part::Gaps { endpoint: key, gaps: get_rows(row, get_gap)? },
        CONSUMER => {
            let uid = get_text(row, CHECKPOINT)?;
            let (endpoint, life) = (get_object_key(row)?, get_u32(row, CHECKPOINT)?);
            let (start, delivered) = (get_var(row, CHECKPOINT)?, get_var(row, CHECKPOINT)?);
            Part::Consumer { consumer: Incarnation::new(key, &*uid), endpoint, life, start, delivered }
        }
        ATTEMPTED => Part::Attempted { consumer: key, ranges: get_ranges(row, CHECKPOINT)? },
        RETRIES => Part::Retries { consumer: key, retries: get_rows(row, get_retry)? },
        DEAD => {
            let letter = |row: &mut Bytes| Ok((get_var(row, CHECKPOINT)?, Micros(get_i64(row, CHECKPOINT)?)));
            Part::Dead { consumer: key, dead: get_rows(row, letter)? }
        }
        OUTCOMES => Part::Outcomes { consumer: key, rows: get_outcomes(row)? },
        _ => return Err(RecordError::Field(CHECKPOINT, "tag")),
    })
}

/// Decodes a count and that many rows.
pub(super) fn get_rows<T>(
    row: &mut Bytes,
    mut get: impl FnMut(&mut Bytes) -> Result<T, RecordError>,
) -> Result<Vec<T>, RecordError> {
    (0..get_count(row, CHECKPOINT)?).map(|_| get(row)).collect()
}

fn get_life(row: &mut Bytes) -> Result<Life, RecordError> {
    let (number, uid) = (get_u32(row, CHECKPOINT)?, get_text(row, CHECKPOINT)?);
    let retention = match get_var(row, CHECKPOINT)?.checked_sub(1) {
        None => None,
        Some(seconds) => match get_u32(row, CHECKPOINT)? {
            nanoseconds @ 0..1_000_000_000 => Some(Duration::new(seconds, nanoseconds)),
            _ => return Err(RecordError::Field(CHECKPOINT, "retention")),
        },
    };
    Ok(Life::new(number, uid.into(), retention))
}

fn get_gap(row: &mut Bytes) -> Result<Gap, RecordError> {
    let first = get_var(row, CHECKPOINT)?;
    let last = first.checked_add(get_var(row, CHECKPOINT)?).ok_or(RecordError::Field(CHECKPOINT, "gap"))?;
    let events = get_var(row, CHECKPOINT)?;
    let (earliest, latest) = (Micros(get_i64(row, CHECKPOINT)?), Micros(get_i64(row, CHECKPOINT)?));
    Ok(Gap { first, last, events, earliest, latest })
}

fn get_retry(row: &mut Bytes) -> Result<(Sequence, Retry), RecordError> {
    let (sequence, attempt) = (get_var(row, CHECKPOINT)?, get_u32(row, CHECKPOINT)?);
    Ok((sequence, Retry { due: Micros(get_i64(row, CHECKPOINT)?), attempt }))
}
