//! Lists: events of an endpoint, deliveries of a consumer. Each call examines a bounded number of rows and returns
//! where to continue. Lists never touch the hot path.

use std::{collections::BTreeMap, sync::Arc};

use super::{Engine, consumer::Consumer, endpoint::Endpoint, entry, error::from_io, ids::IdHash};
use crate::{
    DeliveryPage, DeliveryQuery, DeliveryRecord, DeliveryState, EventEntry, EventPage, EventQuery, Exchange, Failure,
    Outcome, Result, Sequence, StoredEvent,
    limits::{LIST_BYTES, LIST_LIMIT, LIST_SCAN},
    machine::{End, Ended},
};

/// Returns one step of the events of an endpoint, ascending.
pub(super) fn events(
    engine: &Arc<Engine>,
    endpoint: &Arc<Endpoint>,
    begin: Sequence,
    query: &EventQuery,
) -> Result<EventPage> {
    let limit = query.limit.min(LIST_LIMIT);
    let mut page = EventPage::default();
    let after = query.after.max(begin.saturating_sub(1));
    let sequences = kept_after(endpoint, after, LIST_SCAN);
    let Some(last) = sequences.last().copied() else { return Ok(page) };
    let loaded = engine.load(endpoint, &sequences, LIST_BYTES)?;
    let mut looked_at = after;
    for (sequence, event) in loaded {
        if page.events.len() >= limit {
            break;
        }
        looked_at = sequence;
        let entry = match event {
            Some(event) if query.admits(&event) => EventEntry::Kept(event.summary()),
            Some(_) => continue,
            None if is_kept(endpoint, sequence) && query.kind.is_none() => EventEntry::Damaged(sequence),
            None => continue,
        };
        page.events.push(entry);
    }
    let more = looked_at < last || !kept_after(endpoint, last, 1).is_empty();
    page.next = more.then_some(looked_at);
    Ok(page)
}

impl EventQuery {
    fn admits(&self, event: &StoredEvent) -> bool {
        self.kind.as_ref().is_none_or(|kind| **kind == *event.kind)
            && self.since.is_none_or(|since| event.received >= since)
    }
}

/// Returns the kept sequences of an endpoint after a position, ascending.
pub(super) fn kept_after(endpoint: &Endpoint, after: Sequence, limit: usize) -> Vec<Sequence> {
    let head = endpoint.head();
    let state = endpoint.state.lock();
    let mut kept = Vec::new();
    let mut next = state.removed.next_outside(after.saturating_add(1));
    while next <= head && kept.len() < limit {
        kept.push(next);
        next = state.removed.next_outside(next + 1);
    }
    kept
}

fn is_kept(endpoint: &Endpoint, sequence: Sequence) -> bool {
    !endpoint.state.lock().removed.contains(sequence)
}

/// Returns the newest event of an id, if it is still kept.
pub(super) fn event(engine: &Arc<Engine>, endpoint: &Arc<Endpoint>, id: &str) -> Result<Option<StoredEvent>> {
    let Some(sequence) = find(engine, endpoint, id)? else { return Ok(None) };
    let event = engine.load(endpoint, &[sequence], LIST_BYTES)?.into_iter().next().and_then(|(_, event)| event);
    Ok(event.filter(|event| *event.id == *id))
}

/// Returns the sequence of the newest event of an id, if it is still kept.
pub(super) fn find(engine: &Engine, endpoint: &Endpoint, id: &str) -> Result<Option<Sequence>> {
    let id = IdHash::of(endpoint.number, endpoint.present_incarnation(), id);
    let known = engine.known_id(&id, None)?;
    Ok(known.map(|known| known.sequence).filter(|sequence| is_kept(endpoint, *sequence)))
}

/// Returns one step of the deliveries of a consumer, ascending by sequence.
pub(super) fn deliveries(
    engine: &Arc<Engine>,
    consumer: &Arc<Consumer>,
    query: &DeliveryQuery,
) -> Result<DeliveryPage> {
    let limit = query.limit.min(LIST_LIMIT);
    let mut page = DeliveryPage::default();
    let (start, head) = (consumer.state().start(), consumer.endpoint.head());
    let after = query.after.max(start);
    if limit == 0 || after >= head {
        return Ok(page);
    }
    // Rare states are looked up directly; for the others, the rows are scanned.
    let few = query.state.and_then(|state| consumer.state().in_state(state, after + 1, LIST_SCAN.min(limit)));
    let all_found = few.as_ref().is_none_or(|few| few.len() < LIST_SCAN.min(limit));
    let sequences = few.unwrap_or_else(|| kept_after(&consumer.endpoint, after, LIST_SCAN));
    let Some(last) = sequences.last().copied() else { return Ok(page) };
    let mut wanted = Vec::new();
    let mut looked_at = after;
    {
        let state = consumer.state();
        for sequence in sequences {
            if wanted.len() >= limit {
                break;
            }
            looked_at = sequence;
            let (found, attempts, due) = state.state_of(sequence);
            if query.state.is_none_or(|wanted| wanted == found) {
                wanted.push((sequence, found, attempts, due));
            }
        }
    }
    let sequences: Vec<_> = wanted.iter().map(|(sequence, ..)| *sequence).collect();
    let loaded = engine.load(&consumer.endpoint, &sequences, LIST_BYTES)?;
    if let Some((last_loaded, _)) = loaded.last().filter(|_| loaded.len() < sequences.len()) {
        looked_at = *last_loaded;
    }
    let outcomes = outcomes(engine, consumer, &sequences)?;
    for ((sequence, event), (_, state, attempts, due)) in loaded.into_iter().zip(wanted) {
        let event = match event {
            Some(event) => EventEntry::Kept(event.summary()),
            None if is_kept(&consumer.endpoint, sequence) => EventEntry::Damaged(sequence),
            // Settled events may be removed in the meantime.
            None => continue,
        };
        let known = outcomes.get(&sequence).cloned().unwrap_or_default();
        page.deliveries.push(known.record(event, state, attempts, due.map(crate::machine::Micros::timestamp)));
    }
    let more = match query.state.filter(|_| all_found) {
        Some(DeliveryState::DeadLettered | DeliveryState::Retrying | DeliveryState::InFlight) => looked_at < last,
        _ => looked_at < head,
    };
    page.next = more.then_some(looked_at);
    Ok(page)
}

/// What the log records about the ends of one event's attempts.
#[derive(Debug, Clone, Default)]
struct Ends {
    last: Option<Ended>,
    failure: Option<Failure>,
}

impl Ends {
    fn record(
        self,
        event: EventEntry,
        state: DeliveryState,
        attempts: u32,
        due: Option<jiff::Timestamp>,
    ) -> DeliveryRecord {
        let Self { last, failure } = self;
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

/// Returns how the attempts of events ended, as far as the log knows. The sequences ascend.
fn outcomes(engine: &Engine, consumer: &Consumer, sequences: &[Sequence]) -> Result<BTreeMap<Sequence, Ends>> {
    let mut found: BTreeMap<Sequence, Ends> = BTreeMap::new();
    let (Some(first), Some(last)) = (sequences.first(), sequences.last()) else { return Ok(found) };
    for segment in engine.segments.all() {
        let rows = engine.outcome_rows(&segment, consumer.number, *first, *last)?;
        if rows.is_empty() {
            continue;
        }
        let reader = segment.reader().map_err(|error| from_io(segment.path().display(), error))?;
        let mut decoded: Option<(u32, Vec<Ended>)> = None;
        for (sequence, offset) in rows {
            if sequences.binary_search(&sequence).is_err() {
                continue;
            }
            if decoded.as_ref().is_none_or(|(at, _)| *at != offset) {
                let record = reader.record(offset.into(), None);
                let record = record.map_err(|error| from_io(segment.path().display(), error))?;
                let record = record.filter(|record| record.frame.number == consumer.number);
                let ends = record.and_then(|record| entry::decode_ends(record.payload).ok()).unwrap_or_default();
                decoded = Some((offset, ends));
            }
            let ends = decoded.iter().flat_map(|(_, ends)| ends).filter(|ended| ended.sequence == sequence);
            for ended in ends {
                let known = found.entry(sequence).or_default();
                if ended.attempt <= 1 {
                    // The first attempt, or the first since the event was redelivered.
                    known.failure = None;
                }
                if let End::Retry { failure, .. } | End::Dead { failure } = &ended.end {
                    known.failure = Some(failure.clone());
                }
                known.last = Some(ended.clone());
            }
        }
    }
    Ok(found)
}
