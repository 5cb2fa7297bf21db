//! Listings: events of an endpoint, deliveries of a consumer. They never touch the hot path.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;

use super::{
    consumer::{Consumer, Flight},
    cursor::Cursor,
    endpoint::Endpoint,
    settle::exception,
    store::{Store, from_fjall},
};
use crate::{
    journal::{
        DeliveryQuery, DeliveryRecord, DeliveryState, EventQuery, Result, Sequence, StoredEvent,
        record::{self, ExceptionRow, ExceptionState, IndexRow, QUEUED_ATTEMPT, key},
    },
    rules::limits::LIST_LIMIT,
};

/// Events of an endpoint, ascending.
pub(super) fn events(store: &Store, endpoint: &Endpoint, query: &EventQuery) -> Result<Vec<StoredEvent>> {
    let limit = query.limit.min(LIST_LIMIT);
    let mut found = Vec::new();
    let first = query.after.saturating_add(1).max(endpoint.row.lock().oldest);
    let head = endpoint.head();
    if limit == 0 || first > head {
        return Ok(found);
    }
    for row in store.events.range(key::event(endpoint.number, first)..=key::event(endpoint.number, head)) {
        let (key, row) = row.into_inner().map_err(from_fjall)?;
        let event = record::decode_event(key::event_sequence(&key)?, row.into())?;
        let wanted = query.kind.as_ref().is_none_or(|kind| **kind == *event.kind)
            && query.since.is_none_or(|since| event.received >= since);
        if wanted {
            found.push(event);
            if found.len() == limit {
                break;
            }
        }
    }
    Ok(found)
}

/// The newest event of an id, if it is still kept.
pub(super) fn event(store: &Store, endpoint: &Endpoint, id: &str) -> Result<Option<StoredEvent>> {
    let row = Store::get(&store.index, key::index(endpoint.number, id))?;
    let Some(index) = row.map(IndexRow::decode).transpose()? else { return Ok(None) };
    load(store, endpoint, index.sequence)
}

fn load(store: &Store, endpoint: &Endpoint, sequence: Sequence) -> Result<Option<StoredEvent>> {
    let row = Store::get(&store.events, key::event(endpoint.number, sequence))?;
    Ok(row.map(|row| record::decode_event(sequence, row)).transpose()?)
}

/// One consumer at one moment.
struct Snapshot {
    cursor: Cursor,
    flights: HashMap<Sequence, Flight>,
    consumer: Arc<Consumer>,
}

/// Deliveries of a consumer, ascending by sequence.
pub(super) fn deliveries(
    store: &Store,
    consumer: &Arc<Consumer>,
    query: &DeliveryQuery,
) -> Result<Vec<DeliveryRecord>> {
    let limit = query.limit.min(LIST_LIMIT);
    let snapshot = {
        let state = consumer.state();
        Snapshot { cursor: state.cursor.clone(), flights: state.flights.clone(), consumer: consumer.clone() }
    };
    let endpoint = &consumer.endpoint;
    let first = query.after.max(snapshot.cursor.start).saturating_add(1);
    let head = endpoint.head();
    let mut found = Vec::new();
    if limit == 0 || first > head {
        return Ok(found);
    }
    match query.state {
        // Few among many: found by their own rows, or in memory.
        Some(DeliveryState::Retrying | DeliveryState::DeadLettered) => {
            let range = key::exception(consumer.number, first)..=key::exception(consumer.number, head);
            for row in store.state.range(range) {
                let (key, row) = row.into_inner().map_err(from_fjall)?;
                let row = ExceptionRow::decode(Bytes::from(row))?;
                snapshot.push(store, key::exception_sequence(&key)?, Some(row), query.state, &mut found)?;
                if found.len() == limit {
                    break;
                }
            }
        }
        Some(DeliveryState::InFlight) => {
            let mut sequences: Vec<_> = snapshot.flights.keys().copied().filter(|s| *s >= first).collect();
            sequences.sort_unstable();
            for sequence in sequences.into_iter().take(limit) {
                let row = exception(store, consumer.number, sequence)?;
                snapshot.push(store, sequence, row, query.state, &mut found)?;
            }
        }
        Some(DeliveryState::Pending | DeliveryState::Settled) | None => {
            // What has been attempted is pending only if it has been queued once more.
            let again = snapshot.cursor.queued > 0;
            for row in store.events.range(key::event(endpoint.number, first)..=key::event(endpoint.number, head)) {
                let sequence = key::event_sequence(&row.key().map_err(from_fjall)?)?;
                let attempted = snapshot.cursor.contains(sequence);
                let wanted = match query.state {
                    Some(DeliveryState::Settled) => attempted,
                    Some(DeliveryState::Pending) => again || !attempted,
                    _ => true,
                };
                if !wanted {
                    continue;
                }
                let row = if attempted { exception(store, consumer.number, sequence)? } else { None };
                snapshot.push(store, sequence, row, query.state, &mut found)?;
                if found.len() == limit {
                    break;
                }
            }
        }
    }
    Ok(found)
}

impl Snapshot {
    fn push(
        &self,
        store: &Store,
        sequence: Sequence,
        exception: Option<ExceptionRow>,
        wanted: Option<DeliveryState>,
        found: &mut Vec<DeliveryRecord>,
    ) -> Result<()> {
        let flight = self.flights.get(&sequence);
        let (state, attempts) = match (flight, &exception) {
            (Some(flight), _) => (DeliveryState::InFlight, flight.attempt - 1),
            (None, Some(row)) => match row.state {
                ExceptionState::Retrying if row.attempt == QUEUED_ATTEMPT => (DeliveryState::Pending, 0),
                ExceptionState::Retrying => (DeliveryState::Retrying, row.attempt.saturating_sub(1)),
                ExceptionState::Dead => (DeliveryState::DeadLettered, row.attempt),
            },
            (None, None) if self.cursor.contains(sequence) => (DeliveryState::Settled, 0),
            (None, None) => (DeliveryState::Pending, 0),
        };
        if wanted.is_some_and(|wanted| wanted != state) {
            return Ok(());
        }
        // Settled events may be swept in the meantime.
        let Some(event) = load(store, &self.consumer.endpoint, sequence)? else { return Ok(()) };
        let due = exception.as_ref().filter(|_| state == DeliveryState::Retrying).map(|row| row.due);
        let failure = exception.filter(|row| row.attempt != QUEUED_ATTEMPT || row.state == ExceptionState::Dead);
        let failure = failure.map(|row| row.failure);
        found.push(DeliveryRecord { event: Arc::new(event), state, attempts, due, failure });
        Ok(())
    }
}
