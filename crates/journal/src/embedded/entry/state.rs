//! The state at the head of a segment.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use grapnel_api::{Incarnation, ObjectKey};

use super::Result;
use crate::{
    Sequence,
    machine::{Durable, Micros, Retry},
    record::{
        codec::{get_text, get_var, put_bytes, put_var},
        fields::{
            close, get_count, get_i64, get_key, get_ranges, get_retention, get_u32, put_key, put_ranges, put_retention,
        },
    },
};

/// The durable state of an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::embedded) struct EndpointState {
    pub(in crate::embedded) key: ObjectKey,
    pub(in crate::embedded) uid: Box<str>,
    /// Incarnation number.
    pub(in crate::embedded) incarnation: u32,
    /// First sequence of this incarnation.
    pub(in crate::embedded) begin: Sequence,
    /// Newest sequence.
    pub(in crate::embedded) head: Sequence,
    /// Number of events ever stored.
    pub(in crate::embedded) appended: u64,
    pub(in crate::embedded) retention: Option<Duration>,
    /// When the last deduplication window of its ids ends.
    pub(in crate::embedded) ids_until: Micros,
    /// Earlier incarnations whose events may be kept or requested.
    pub(in crate::embedded) former: Vec<Former>,
    pub(in crate::embedded) removed: Vec<(Sequence, Sequence)>,
    pub(in crate::embedded) damaged: Vec<(Sequence, Sequence)>,
}

/// An earlier incarnation of an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::embedded) struct Former {
    pub(in crate::embedded) uid: Box<str>,
    /// Its first sequence. Its last precedes the first of the next incarnation.
    pub(in crate::embedded) begin: Sequence,
    pub(in crate::embedded) retention: Option<Duration>,
}

/// The durable state of a consumer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::embedded) struct ConsumerRow {
    pub(in crate::embedded) consumer: Incarnation,
    pub(in crate::embedded) endpoint: u32,
    pub(in crate::embedded) state: Durable,
}

/// The end of the states at the head of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::embedded) struct StateEnd {
    pub(in crate::embedded) endpoints: u64,
    pub(in crate::embedded) consumers: u64,
    pub(in crate::embedded) next_endpoint: u32,
    pub(in crate::embedded) next_consumer: u32,
    /// No forgotten endpoint had a greater sequence.
    pub(in crate::embedded) retired_head: Sequence,
}

impl EndpointState {
    pub(in crate::embedded) fn encode(&self) -> Bytes {
        let mut row = BytesMut::with_capacity(128);
        put_key(&mut row, &self.key, &self.uid);
        put_var(&mut row, self.incarnation.into());
        for number in [self.begin, self.head, self.appended] {
            put_var(&mut row, number);
        }
        put_retention(&mut row, self.retention);
        row.put_i64_le(self.ids_until.0);
        put_var(&mut row, self.former.len() as u64);
        for former in &self.former {
            put_bytes(&mut row, former.uid.as_bytes());
            put_var(&mut row, former.begin);
            put_retention(&mut row, former.retention);
        }
        put_ranges(&mut row, &self.removed);
        put_ranges(&mut row, &self.damaged);
        row.freeze()
    }

    pub(in crate::embedded) fn decode(mut row: Bytes) -> Result<Self> {
        const WHAT: &str = "endpoint state";
        let (key, uid) = get_key(&mut row, WHAT)?;
        let incarnation = get_u32(&mut row, WHAT)?;
        let mut number = || get_var(&mut row, WHAT);
        let (begin, head, appended) = (number()?, number()?, number()?);
        let retention = get_retention(&mut row, WHAT)?;
        let ids_until = Micros(get_i64(&mut row, WHAT)?);
        let former = get_count(&mut row, WHAT)?;
        let get_former = |row: &mut Bytes| {
            let (uid, begin) = (get_text(row, WHAT)?, get_var(row, WHAT)?);
            Ok(Former { uid, begin, retention: get_retention(row, WHAT)? })
        };
        let former = (0..former).map(|_| get_former(&mut row)).collect::<Result<_>>()?;
        let (removed, damaged) = (get_ranges(&mut row, WHAT)?, get_ranges(&mut row, WHAT)?);
        close(&row, WHAT)?;
        Ok(Self { key, uid, incarnation, begin, head, appended, retention, ids_until, former, removed, damaged })
    }
}

impl ConsumerRow {
    pub(in crate::embedded) fn encode(&self) -> Bytes {
        let Durable { start, appended_before, attempts_begun, delivered, attempted, retries, dead } = &self.state;
        let mut row = BytesMut::with_capacity(128 + 16 * retries.len() + 12 * dead.len());
        put_key(&mut row, &self.consumer.key, &self.consumer.uid);
        put_var(&mut row, self.endpoint.into());
        for number in [start, appended_before, attempts_begun, delivered] {
            put_var(&mut row, *number);
        }
        put_ranges(&mut row, attempted);
        put_var(&mut row, retries.len() as u64);
        let mut before = 0;
        for (sequence, retry) in retries {
            put_var(&mut row, sequence.wrapping_sub(before));
            put_var(&mut row, retry.attempt.into());
            row.put_i64_le(retry.due.0);
            before = *sequence;
        }
        put_var(&mut row, dead.len() as u64);
        before = 0;
        for (sequence, time) in dead {
            put_var(&mut row, sequence.wrapping_sub(before));
            row.put_i64_le(time.0);
            before = *sequence;
        }
        row.freeze()
    }

    pub(in crate::embedded) fn decode(mut row: Bytes) -> Result<Self> {
        const WHAT: &str = "consumer state";
        let (key, uid) = get_key(&mut row, WHAT)?;
        let endpoint = get_u32(&mut row, WHAT)?;
        let mut number = || get_var(&mut row, WHAT);
        let (start, appended_before, attempts_begun, delivered) = (number()?, number()?, number()?, number()?);
        let attempted = get_ranges(&mut row, WHAT)?;
        let count = get_count(&mut row, WHAT)?;
        let mut retries = Vec::with_capacity(count);
        let mut before: Sequence = 0;
        for _ in 0..count {
            before = before.wrapping_add(get_var(&mut row, WHAT)?);
            let attempt = get_u32(&mut row, WHAT)?;
            retries.push((before, Retry { due: Micros(get_i64(&mut row, WHAT)?), attempt }));
        }
        let count = get_count(&mut row, WHAT)?;
        let mut dead = Vec::with_capacity(count);
        before = 0;
        for _ in 0..count {
            before = before.wrapping_add(get_var(&mut row, WHAT)?);
            dead.push((before, Micros(get_i64(&mut row, WHAT)?)));
        }
        close(&row, WHAT)?;
        let state = Durable { start, appended_before, attempts_begun, delivered, attempted, retries, dead };
        Ok(Self { consumer: Incarnation::new(key, &*uid), endpoint, state })
    }
}

impl StateEnd {
    pub(in crate::embedded) fn encode(&self) -> Bytes {
        let mut row = BytesMut::with_capacity(40);
        let numbers = [self.next_endpoint.into(), self.next_consumer.into(), self.retired_head];
        for number in [self.endpoints, self.consumers].into_iter().chain(numbers) {
            put_var(&mut row, number);
        }
        row.freeze()
    }

    pub(in crate::embedded) fn decode(mut row: Bytes) -> Result<Self> {
        const WHAT: &str = "end of states";
        let (endpoints, consumers) = (get_var(&mut row, WHAT)?, get_var(&mut row, WHAT)?);
        let (next_endpoint, next_consumer) = (get_u32(&mut row, WHAT)?, get_u32(&mut row, WHAT)?);
        let retired_head = get_var(&mut row, WHAT)?;
        close(&row, WHAT)?;
        Ok(Self { endpoints, consumers, next_endpoint, next_consumer, retired_head })
    }
}
