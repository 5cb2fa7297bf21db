//! Lists of events and of deliveries.

use std::ops::RangeInclusive;

use grapnel_api::Incarnation;
use jiff::Timestamp;

use super::{
    ShardState,
    consumer::ShardConsumer,
    endpoint::ShardEndpoint,
    outcomes::{Exchanged, OutcomeRow},
    rows::Row,
};
use crate::{
    DeliveryQuery, DeliveryState, Exchange, Failure, Outcome, Result, Sequence,
    limits::{LIST_LIMIT, LIST_SCAN},
    machine::Micros,
};

/// The events of one step of a list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ListedEvents {
    /// In the order of the list.
    pub(crate) sequences: Vec<Sequence>,
    /// Everything up to this sequence was examined; `None` at the end of the list.
    pub(crate) next: Option<Sequence>,
}

/// A delivery in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ListedDelivery {
    pub(crate) sequence: Sequence,
    pub(crate) state: DeliveryState,
    pub(crate) outcome: Outcome,
    pub(crate) attempts: u32,
    pub(crate) due: Option<Micros>,
    pub(crate) last: Option<Exchange>,
    pub(crate) failure: Option<Failure>,
}

impl ShardState {
    /// Lists events of the endpoint that were received at or after `since`, to the microsecond: the caller reads them
    /// and compares exactly. Examines at most `scan` events. An earlier object of the same name has none.
    pub(crate) fn list_events(
        &self,
        endpoint: &Incarnation,
        since: Option<Timestamp>,
        after: Sequence,
        newest_first: bool,
        scan: usize,
    ) -> ListedEvents {
        let mut listed = ListedEvents::default();
        let log = self.endpoints.get(&endpoint.key);
        let Some((log, life)) = log.and_then(|log| Some((log, log.current()?))) else { return listed };
        if life.uid != endpoint.uid {
            return listed;
        }
        let since = since.map_or(Micros(i64::MIN), Micros::floor);
        let Some(span) = span_of(after, newest_first, 0) else { return listed };
        let mut last = None;
        let rows = in_order(log, span, newest_first).filter(|row| row.life == life.number);
        for (examined, row) in rows.enumerate() {
            if examined == scan.max(1) {
                listed.next = last;
                break;
            }
            last = Some(row.sequence);
            if row.received >= since {
                listed.sequences.push(row.sequence);
            }
        }
        listed
    }

    /// Lists deliveries of a consumer: one bounded step. Also returns the `after` of the next one.
    ///
    /// # Errors
    ///
    /// [`JournalError::UnknownConsumer`](crate::JournalError::UnknownConsumer).
    pub(crate) fn list_deliveries(
        &self,
        consumer: &Incarnation,
        query: &DeliveryQuery,
    ) -> Result<(Vec<ListedDelivery>, Option<Sequence>)> {
        let DeliveryQuery { state: wanted, after, newest_first, limit } = *query;
        let consumer = self.consumer(consumer)?;
        let mut listed = Vec::new();
        let span = span_of(after, newest_first, consumer.machine.start());
        let (Some(log), Some(mut span)) = (self.log_of(consumer), span.filter(|_| limit > 0)) else {
            return Ok((listed, None));
        };
        let mut next = None;
        for _ in 0..LIST_SCAN {
            // Skips everything that cannot be in the state, and everything that is not kept.
            let candidate = match newest_first {
                true => consumer.machine.previous_candidate(wanted, *span.end()),
                false => consumer.machine.next_candidate(wanted, *span.start()),
            };
            let Some(candidate) = candidate.filter(|candidate| span.contains(candidate)) else {
                return Ok((listed, None));
            };
            let rest = if newest_first { *span.start()..=candidate } else { candidate..=*span.end() };
            let row = in_order(log, rest, newest_first).find(|row| consumer.reads(row));
            let Some(row) = row else { return Ok((listed, None)) };
            if listed.len() >= limit.min(LIST_LIMIT) {
                break;
            }
            let delivery = delivery_of(consumer, row.sequence);
            if wanted.is_none_or(|wanted| wanted == delivery.state) {
                listed.push(delivery);
            }
            next = Some(row.sequence);
            match span_of(row.sequence, newest_first, consumer.machine.start()) {
                Some(rest) => span = rest,
                None => return Ok((listed, None)),
            }
        }
        Ok((listed, next))
    }
}

fn delivery_of(consumer: &ShardConsumer, sequence: Sequence) -> ListedDelivery {
    let (state, _, due) = consumer.machine.state_of(sequence);
    let known = consumer.outcomes.get(sequence);
    let outcome = match known {
        Some(known) => known.outcome(),
        None if state == DeliveryState::Settled => Outcome::Unknown,
        None => Outcome::Pending,
    };
    ListedDelivery {
        sequence,
        state,
        outcome,
        attempts: known.map_or(0, |known| known.attempts),
        due,
        last: known.map(|known| known.last).map(Exchanged::exchange),
        failure: known.and_then(OutcomeRow::failure),
    }
}

/// Returns the sequences of a list that continues at `after`, all of which are greater than `start`; `None` if there are
/// none.
fn span_of(after: Sequence, newest_first: bool, start: Sequence) -> Option<RangeInclusive<Sequence>> {
    let first = start.saturating_add(1);
    let span = match newest_first {
        true if after == 0 => first..=Sequence::MAX,
        true => first..=after - 1,
        false => first.max(after.saturating_add(1))..=Sequence::MAX,
    };
    (!span.is_empty()).then_some(span)
}

/// Iterates over the events of a span in the order of a list.
fn in_order(log: &ShardEndpoint, span: RangeInclusive<Sequence>, newest_first: bool) -> impl Iterator<Item = &Row> {
    let (first, last) = span.into_inner();
    let descending = newest_first.then(|| log.rows.descending(last).take_while(move |row| row.sequence >= first));
    let ascending = (!newest_first).then(|| log.rows.ascending(first).take_while(move |row| row.sequence <= last));
    descending.into_iter().flatten().chain(ascending.into_iter().flatten())
}
