//! Outcomes in a checkpoint.
//!
//! A part is: tag 7 (u8), text namespace, text name, var count of texts and that many (text reason, text message), var
//! count of rows and that many: var difference to the sequence before, ending (u8: 1 delivered, 2 skipped by filter, 3 skipped by type, 4
//! retrying, 5 dead), var attempts, exchange, var position of the failure's texts + 1 (0 without a failure), and, with a
//! failure, exchange. An exchange is zig difference to the time before, var took, var status (0 for none).

use std::{collections::HashMap, sync::Arc};

use bytes::{BufMut, Bytes, BytesMut};
use grapnel_api::ObjectKey;

use super::{
    checkpoint::{CHECKPOINT, begin_part, get_rows},
    outcomes::{Ending, Exchanged, Failed, OutcomeRow, Outcomes},
    texts::FailureTexts,
};
use crate::{
    Sequence, SkipReason,
    machine::Micros,
    record::{
        RecordError,
        codec::{get_text, get_u8, get_var, put_bytes, put_var},
        fields::{get_u32, get_zig, put_zig},
    },
};

/// The tag of a part.
pub(super) const OUTCOMES: u8 = 7;

/// Maximum number of rows of a part.
const PART_ROWS: usize = 512;

/// A part is complete when its texts have this many bytes.
const PART_TEXTS_BYTES: usize = 32 << 10;

/// A part that is being encoded.
#[derive(Default)]
struct Pending {
    positions: HashMap<Arc<FailureTexts>, u64>,
    texts: BytesMut,
    rows: BytesMut,
    count: usize,
    before: Before,
}

/// What the numbers of a part are relative to.
#[derive(Default)]
struct Before {
    sequence: Sequence,
    time: i64,
}

impl Pending {
    fn add(&mut self, sequence: Sequence, row: &OutcomeRow) {
        put_var(&mut self.rows, sequence.wrapping_sub(self.before.sequence));
        self.before.sequence = sequence;
        self.rows.put_u8(match row.ending {
            Ending::Delivered => 1,
            Ending::Skipped(SkipReason::Filter) => 2,
            Ending::Skipped(SkipReason::Type) => 3,
            Ending::Retrying => 4,
            Ending::Dead => 5,
            Ending::Skipped(SkipReason::Shadow) => 6,
        });
        put_var(&mut self.rows, row.attempts.into());
        self.put_exchange(row.last);
        match &row.failure {
            None => put_var(&mut self.rows, 0),
            Some(failed) => {
                let position = self.position(&failed.texts);
                put_var(&mut self.rows, position + 1);
                self.put_exchange(failed.exchange);
            }
        }
        self.count += 1;
    }

    fn put_exchange(&mut self, Exchanged { time, took, status }: Exchanged) {
        put_zig(&mut self.rows, time.0.wrapping_sub(self.before.time));
        self.before.time = time.0;
        put_var(&mut self.rows, took.into());
        put_var(&mut self.rows, status.unwrap_or(0).into());
    }

    fn position(&mut self, texts: &Arc<FailureTexts>) -> u64 {
        if let Some(position) = self.positions.get(texts) {
            return *position;
        }
        let position = self.positions.len() as u64;
        self.positions.insert(Arc::clone(texts), position);
        put_bytes(&mut self.texts, texts.reason.as_bytes());
        put_bytes(&mut self.texts, texts.message.as_bytes());
        position
    }

    fn is_full(&self) -> bool {
        self.count >= PART_ROWS || self.texts.len() >= PART_TEXTS_BYTES
    }

    /// Returns the encoded part, and begins the next one.
    fn finish(&mut self, consumer: &ObjectKey) -> BytesMut {
        let Self { positions, texts, rows, count, .. } = std::mem::take(self);
        let mut part = begin_part(OUTCOMES, consumer);
        put_var(&mut part, positions.len() as u64);
        part.put_slice(&texts);
        put_var(&mut part, count as u64);
        part.put_slice(&rows);
        part
    }
}

/// Encodes all outcomes of a consumer.
pub(super) fn put_outcomes(consumer: &ObjectKey, outcomes: &Outcomes) -> Vec<BytesMut> {
    let (mut parts, mut pending) = (Vec::new(), Pending::default());
    for (sequence, row) in outcomes.iter() {
        pending.add(sequence, row);
        if pending.is_full() {
            parts.push(pending.finish(consumer));
        }
    }
    if pending.count > 0 {
        parts.push(pending.finish(consumer));
    }
    parts
}

/// Decodes a part after its key.
pub(super) fn get_outcomes(row: &mut Bytes) -> Result<Vec<(Sequence, OutcomeRow)>, RecordError> {
    let texts = get_rows(row, |row| {
        let (reason, message) = (get_text(row, CHECKPOINT)?, get_text(row, CHECKPOINT)?);
        Ok(Arc::new(FailureTexts { reason, message }))
    })?;
    let mut before = Before::default();
    get_rows(row, |row| {
        let sequence = before.sequence.wrapping_add(get_var(row, CHECKPOINT)?);
        before.sequence = sequence;
        let ending = match get_u8(row, CHECKPOINT)? {
            1 => Ending::Delivered,
            2 => Ending::Skipped(SkipReason::Filter),
            3 => Ending::Skipped(SkipReason::Type),
            6 => Ending::Skipped(SkipReason::Shadow),
            4 => Ending::Retrying,
            5 => Ending::Dead,
            _ => return Err(RecordError::Field(CHECKPOINT, "ending")),
        };
        let (attempts, last) = (get_u32(row, CHECKPOINT)?, get_exchange(row, &mut before)?);
        let failure = match get_var(row, CHECKPOINT)?.checked_sub(1) {
            None => None,
            Some(position) => {
                let found = usize::try_from(position).ok().and_then(|position| texts.get(position));
                let texts = Arc::clone(found.ok_or(RecordError::Field(CHECKPOINT, "failure"))?);
                Some(Box::new(Failed { exchange: get_exchange(row, &mut before)?, texts }))
            }
        };
        Ok((sequence, OutcomeRow { ending, attempts, last, failure }))
    })
}

fn get_exchange(row: &mut Bytes, before: &mut Before) -> Result<Exchanged, RecordError> {
    before.time = before.time.wrapping_add(get_zig(row, CHECKPOINT)?);
    let (time, took) = (Micros(before.time), get_u32(row, CHECKPOINT)?);
    let status = u16::try_from(get_var(row, CHECKPOINT)?).map_err(|_| RecordError::Field(CHECKPOINT, "status"))?;
    Ok(Exchanged { time, took, status: (status != 0).then_some(status) })
}
