//! How the attempts of events ended, as far as the log knows.

use std::{collections::BTreeMap, io, sync::Arc};

use super::{Engine, consumer::Consumer, entry, error::from_io, index::Index, segment::Reader, segments::Segment};
use crate::{
    DeliveryRecord, DeliveryState, EventEntry, Exchange, Failure, JournalError, Outcome, Result, Sequence,
    machine::{End, Ended},
};

/// What the log records about the ends of one event's attempts.
#[derive(Debug, Clone, Default)]
pub(super) struct Ends {
    last: Option<Ended>,
    failure: Option<Failure>,
    /// Earlier ends change nothing.
    complete: bool,
}

impl Ends {
    /// Combines it with what the machine knows.
    pub(super) fn record(
        self,
        event: EventEntry,
        state: DeliveryState,
        attempts: u32,
        due: Option<jiff::Timestamp>,
    ) -> DeliveryRecord {
        let Self { last, failure, .. } = self;
        let exchange = last.as_ref().and_then(|ended| match &ended.end {
            End::Delivered(exchange) => Some(*exchange),
            End::Retry { failure, .. } | End::Dead { failure } => {
                Some(Exchange { time: failure.time, status: failure.status, took: failure.took })
            }
            End::Skipped { time, .. } => {
                Some(Exchange { time: time.timestamp(), status: None, took: Default::default() })
            }
            End::Gone => None,
        });
        let outcome = match (state, last.as_ref().map(|ended| &ended.end)) {
            (DeliveryState::DeadLettered, _) => Outcome::Dead,
            (DeliveryState::Retrying, _) => Outcome::Retrying,
            (DeliveryState::InFlight, _) if attempts > 0 => Outcome::Retrying,
            (DeliveryState::InFlight | DeliveryState::Pending, _) => Outcome::Pending,
            (DeliveryState::Settled, Some(End::Delivered(_))) => Outcome::Delivered,
            (DeliveryState::Settled, Some(End::Skipped { reason, .. })) => Outcome::Skipped(*reason),
            // The retention of the dead letter has passed.
            (DeliveryState::Settled, Some(End::Dead { .. })) => Outcome::Dead,
            (DeliveryState::Settled, _) => Outcome::Unknown,
        };
        // The machine forgets the attempts of settled events; the log does not.
        let attempts = match (state, &last) {
            (DeliveryState::Settled, Some(Ended { end: End::Skipped { .. }, attempt, .. })) => {
                attempt.saturating_sub(1)
            }
            (DeliveryState::Settled | DeliveryState::DeadLettered, Some(ended)) => ended.attempt,
            _ => attempts,
        };
        // A redelivered event begins anew.
        let again = state == DeliveryState::Pending || (state == DeliveryState::InFlight && attempts == 0);
        let (last, failure) = if again { (None, None) } else { (exchange, failure) };
        DeliveryRecord { event, state, outcome, attempts, due, last, failure }
    }
}

/// How often the ends are looked up anew because a segment was rewritten or deleted in the meantime.
const REWRITES: usize = 8;

/// Looks up how the attempts of events ended. The sequences ascend. Adds the bytes read to `read`.
pub(super) fn find(
    engine: &Engine,
    consumer: &Consumer,
    sequences: &[Sequence],
    read: &mut usize,
) -> Result<BTreeMap<Sequence, Ends>> {
    for _ in 0..REWRITES {
        if let Some(found) = find_in(engine, &engine.segments.all(), consumer, sequences, read)? {
            return Ok(found);
        }
    }
    Err(JournalError::Io("the log is rewritten faster than it can be read".into(), None))
}

/// Looks up how the attempts of events ended; `None` if one of the segments is no longer part of the log.
fn find_in(
    engine: &Engine,
    segments: &[Arc<Segment>],
    consumer: &Consumer,
    sequences: &[Sequence],
    read: &mut usize,
) -> Result<Option<BTreeMap<Sequence, Ends>>> {
    let mut found: BTreeMap<Sequence, Ends> = BTreeMap::new();
    // The newest first: of many attempts, only the last ones count.
    for segment in segments.iter().rev() {
        let is_complete = |sequence: &Sequence| found.get(sequence).is_some_and(|ends| ends.complete);
        let open: Vec<Sequence> = sequences.iter().copied().filter(|sequence| !is_complete(sequence)).collect();
        let (Some(first), Some(last)) = (open.first(), open.last()) else { return Ok(Some(found)) };
        let outcomes = |index: &Index| index.outcomes(consumer.number, *first, *last);
        let Some(mut rows) = engine.read_segment_index(segment, outcomes)? else { return Ok(None) };
        rows.retain(|(sequence, _)| open.binary_search(sequence).is_ok());
        if rows.is_empty() {
            continue;
        }
        rows.sort_unstable_by_key(|(_, offset)| std::cmp::Reverse(*offset));
        let Some(mut records) = Records::of(engine, segment, consumer)? else { return Ok(None) };
        for (sequence, offset) in rows {
            let ends = found.entry(sequence).or_default();
            if !ends.complete {
                records
                    .ends(offset, read)?
                    .iter()
                    .rev()
                    .filter(|end| end.sequence == sequence)
                    .for_each(|end| ends.add(end));
            }
        }
    }
    Ok(Some(found))
}

impl Ends {
    /// Adds the end before those that are known.
    fn add(&mut self, end: &Ended) {
        if self.complete {
            return;
        }
        if let End::Retry { failure, .. } | End::Dead { failure } = &end.end {
            self.failure = Some(failure.clone());
        }
        // The first attempt, or the first since the event was redelivered.
        self.complete = self.failure.is_some() || end.attempt <= 1;
        self.last.get_or_insert_with(|| end.clone());
    }
}

/// The records of ends in a segment, of which the last one read is kept.
struct Records<'a> {
    segment: &'a Segment,
    consumer: u32,
    reader: Reader,
    last: Option<(u32, Vec<Ended>)>,
}

impl<'a> Records<'a> {
    /// Opens a segment; `None` if it is no longer part of the log.
    fn of(engine: &Engine, segment: &'a Segment, consumer: &Consumer) -> Result<Option<Self>> {
        match segment.reader() {
            Ok(reader) => Ok(Some(Self { segment, consumer: consumer.number, reader, last: None })),
            Err(error) if error.kind() == io::ErrorKind::NotFound && !engine.segments.has(segment.name) => Ok(None),
            Err(error) => Err(from_io(segment.path().display(), error)),
        }
    }

    /// Returns the ends in the record at `offset`; none if it is damaged.
    fn ends(&mut self, offset: u32, read: &mut usize) -> Result<&[Ended]> {
        let (at, ends) = match self.last.take().filter(|(at, _)| *at == offset) {
            Some(last) => last,
            None => (offset, self.read(offset, read)?),
        };
        Ok(&self.last.insert((at, ends)).1)
    }

    fn read(&self, offset: u32, read: &mut usize) -> Result<Vec<Ended>> {
        let record = self.reader.record(offset.into(), None);
        let record = record.map_err(|error| from_io(self.segment.path().display(), error))?;
        *read = read.saturating_add(record.as_ref().map_or(0, |record| record.frame.total() as usize));
        let record = record.filter(|record| record.frame.number == self.consumer);
        Ok(record.and_then(|record| entry::decode_ends(record.payload).ok()).unwrap_or_default())
    }
}
