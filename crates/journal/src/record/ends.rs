//! The encoding of the ends of attempts.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};

use super::{
    RecordError, Result,
    codec::{get_text, get_u8, get_var, put_bytes, put_var},
    fields::{close, get_count, get_i64, get_u32, get_zig, micros, put_zig},
};
use crate::{
    Exchange, Failure, Sequence, SkipReason,
    machine::{End, Ended, Micros},
};

const DELIVERED: u8 = 1;
const SKIPPED_BY_FILTER: u8 = 2;
const SKIPPED_BY_TYPE: u8 = 3;
const GONE: u8 = 4;
const RETRY: u8 = 5;
const DEAD: u8 = 6;
const SKIPPED_BY_SHADOW: u8 = 7;

/// Encodes ends of attempts of one consumer.
pub(crate) fn encode_ends(ends: &[Ended]) -> Bytes {
    let time_of = |ended: &Ended| match &ended.end {
        End::Delivered(exchange) => Micros::floor(exchange.time),
        End::Skipped { time, .. } => *time,
        End::Retry { failure, .. } | End::Dead { failure } => Micros::floor(failure.time),
        End::Gone => Micros(0),
    };
    let base = ends.first().map_or(Micros(0), time_of);
    let mut row = BytesMut::with_capacity(16 + 20 * ends.len());
    row.put_i64_le(base.0);
    put_var(&mut row, ends.len() as u64);
    let mut before: Sequence = 0;
    for ended in ends {
        put_zig(&mut row, ended.sequence.wrapping_sub(before) as i64);
        before = ended.sequence;
        put_var(&mut row, ended.sequence.saturating_sub(ended.first));
        put_var(&mut row, ended.attempt.into());
        let tag = match &ended.end {
            End::Delivered(_) => DELIVERED,
            End::Skipped { reason: SkipReason::Filter, .. } => SKIPPED_BY_FILTER,
            End::Skipped { reason: SkipReason::Type, .. } => SKIPPED_BY_TYPE,
            End::Skipped { reason: SkipReason::Shadow, .. } => SKIPPED_BY_SHADOW,
            End::Gone => GONE,
            End::Retry { .. } => RETRY,
            End::Dead { .. } => DEAD,
        };
        row.put_u8(tag);
        let time = time_of(ended);
        put_zig(&mut row, time.0.wrapping_sub(base.0));
        match &ended.end {
            End::Delivered(exchange) => {
                put_var(&mut row, exchange.status.unwrap_or(0).into());
                put_var(&mut row, micros(exchange.took));
            }
            End::Skipped { .. } | End::Gone => {}
            End::Retry { due, failure } => {
                put_zig(&mut row, due.0.wrapping_sub(time.0));
                put_failure(&mut row, failure);
            }
            End::Dead { failure } => put_failure(&mut row, failure),
        }
    }
    row.freeze()
}

fn put_failure(row: &mut BytesMut, failure: &Failure) {
    put_var(row, failure.status.unwrap_or(0).into());
    put_var(row, micros(failure.took));
    put_bytes(row, failure.reason.as_bytes());
    put_bytes(row, failure.message.as_bytes());
}

fn get_status(row: &mut Bytes, what: &'static str) -> Result<Option<u16>> {
    let status = u16::try_from(get_var(row, what)?).map_err(|_| RecordError::Field(what, "status"))?;
    Ok((status != 0).then_some(status))
}

/// Decodes ends of attempts.
pub(crate) fn decode_ends(mut row: Bytes) -> Result<Vec<Ended>> {
    const WHAT: &str = "end of attempts";
    let row = &mut row;
    let base = Micros(get_i64(row, WHAT)?);
    let count = get_count(row, WHAT)?;
    let mut ends = Vec::with_capacity(count);
    let mut before: Sequence = 0;
    for _ in 0..count {
        let sequence = before.wrapping_add(get_zig(row, WHAT)? as u64);
        before = sequence;
        let first = sequence.saturating_sub(get_var(row, WHAT)?);
        let attempt = get_u32(row, WHAT)?;
        let tag = get_u8(row, WHAT)?;
        let time = Micros(base.0.wrapping_add(get_zig(row, WHAT)?));
        let failure = |row: &mut Bytes| -> Result<Failure> {
            Ok(Failure {
                time: time.timestamp(),
                status: get_status(row, WHAT)?,
                took: Duration::from_micros(get_var(row, WHAT)?),
                reason: get_text(row, WHAT)?,
                message: get_text(row, WHAT)?,
            })
        };
        let end = match tag {
            DELIVERED => End::Delivered(Exchange {
                time: time.timestamp(),
                status: get_status(row, WHAT)?,
                took: Duration::from_micros(get_var(row, WHAT)?),
            }),
            SKIPPED_BY_FILTER => End::Skipped { reason: SkipReason::Filter, time },
            SKIPPED_BY_TYPE => End::Skipped { reason: SkipReason::Type, time },
            SKIPPED_BY_SHADOW => End::Skipped { reason: SkipReason::Shadow, time },
            GONE => End::Gone,
            RETRY => {
                let due = Micros(time.0.wrapping_add(get_zig(row, WHAT)?));
                End::Retry { due, failure: failure(row)? }
            }
            DEAD => End::Dead { failure: failure(row)? },
            _ => return Err(RecordError::Field(WHAT, "tag")),
        };
        ends.push(Ended { sequence, first, attempt, end });
    }
    close(row, WHAT)?;
    Ok(ends)
}
