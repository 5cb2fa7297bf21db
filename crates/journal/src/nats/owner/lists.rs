//! Lists of events and deliveries: one bounded step each.

use futures_util::{StreamExt, stream};
use grapnel_api::Incarnation;

use super::{OwnedShard, claim::LoadedEvent};
use crate::{
    DeliveryPage, DeliveryQuery, DeliveryRecord, EventEntry, EventPage, EventQuery, JournalError, Result, Sequence,
    limits::{LIST_BYTES, LIST_LIMIT, LIST_SCAN, NATS_LIST_READS},
    machine::Micros,
    nats::shard::ListedEvents,
};

impl OwnedShard {
    /// Lists events: see [`Journal::events`](crate::Journal::events).
    pub(in crate::nats) async fn events(&self, endpoint: &Incarnation, query: &EventQuery) -> Result<EventPage> {
        let limit = query.limit.min(LIST_LIMIT);
        let ListedEvents { sequences, next } =
            self.state().list_events(endpoint, query.since, query.after, query.newest_first, LIST_SCAN);
        let mut page = EventPage { events: Vec::new(), next };
        let mut last = query.after;
        let mut bytes = 0;
        let mut events = stream::iter(sequences.clone()).map(|sequence| self.listed(sequence)).buffered(NATS_LIST_READS);
        while page.events.len() < limit && bytes <= LIST_BYTES {
            let Some(read) = events.next().await else { return Ok(page) };
            let (sequence, event) = read?;
            last = sequence;
            let event = match event {
                LoadedEvent::Event(event) => event,
                // Unless it was removed meanwhile, it is damaged.
                LoadedEvent::Damaged | LoadedEvent::Missing => {
                    if self.state().keeps(&endpoint.key, sequence) && query.kind.is_none() {
                        page.events.push(EventEntry::Damaged(sequence));
                    }
                    continue;
                }
            };
            bytes += event.body.len();
            let matches = query.kind.as_ref().is_none_or(|kind| **kind == *event.kind)
                && query.since.is_none_or(|since| event.received >= since);
            if matches {
                page.events.push(EventEntry::Kept(event.summary()));
            }
        }
        let is_end = next.is_none() && sequences.last().is_none_or(|end| *end == last);
        page.next = if is_end { None } else { Some(last) };
        Ok(page)
    }

    /// Lists deliveries: see [`Journal::deliveries`](crate::Journal::deliveries).
    pub(in crate::nats) async fn deliveries(
        &self,
        consumer: &Incarnation,
        query: &DeliveryQuery,
    ) -> Result<DeliveryPage> {
        let (listed, next, endpoint) = {
            let state = self.state();
            let endpoint = state.current_endpoint_of(consumer);
            let endpoint = endpoint.ok_or_else(|| JournalError::UnknownConsumer(consumer.key.clone()))?;
            let (listed, next) = state.list_deliveries(consumer, query)?;
            (listed, next, endpoint.key)
        };
        let mut page = DeliveryPage { deliveries: Vec::new(), next };
        let mut bytes = 0;
        let all = listed.len();
        let sequences: Vec<Sequence> = listed.iter().map(|delivery| delivery.sequence).collect();
        let mut events = stream::iter(sequences).map(|sequence| self.listed(sequence)).buffered(NATS_LIST_READS);
        for (done, delivery) in listed.into_iter().enumerate() {
            let Some(read) = events.next().await else { break };
            let (sequence, event) = read?;
            let event = match event {
                LoadedEvent::Event(event) => {
                    bytes += event.body.len();
                    EventEntry::Kept(event.summary())
                }
                LoadedEvent::Damaged | LoadedEvent::Missing if self.state().keeps(&endpoint, sequence) => {
                    EventEntry::Damaged(sequence)
                }
                LoadedEvent::Damaged | LoadedEvent::Missing => continue,
            };
            page.deliveries.push(DeliveryRecord {
                event,
                state: delivery.state,
                outcome: delivery.outcome,
                attempts: delivery.attempts,
                due: delivery.due.map(Micros::timestamp),
                last: delivery.last,
                failure: delivery.failure,
            });
            if bytes > LIST_BYTES && done + 1 < all {
                page.next = Some(sequence);
                break;
            }
        }
        Ok(page)
    }

    async fn listed(&self, sequence: Sequence) -> Result<(Sequence, LoadedEvent)> {
        Ok((sequence, self.event_at(sequence).await?))
    }
}
