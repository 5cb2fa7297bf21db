//! Calls that change which consumers there are, or what they deliver again. One at a time.

use futures_util::{StreamExt, TryStreamExt, stream};
use grapnel_api::Incarnation;

use super::OwnedShard;
use crate::{
    Attached, Detached, JournalError, Redelivered, RedeliveryStep, Result, Selection, Sequence, Start,
    limits::NATS_LOOKUPS,
    nats::{broker::ReadFrom, error::from_broker, event_message::EventMessage, shard::{Change, ShardState}},
};

/// Changes of a redelivery, whose events are not removed meanwhile. They are taken back when they are not written.
struct Holding<'a> {
    shard: &'a OwnedShard,
    changes: Vec<Change>,
}

impl Holding<'_> {
    fn written(mut self) {
        self.changes.clear();
    }
}

impl Drop for Holding<'_> {
    fn drop(&mut self) {
        if !self.changes.is_empty() {
            self.shard.state().abort_redeliver(&self.changes);
        }
    }
}

impl OwnedShard {
    /// Attaches a consumer: see [`Journal::attach`](crate::Journal::attach).
    pub(in crate::nats) async fn attach(
        &self,
        consumer: &Incarnation,
        endpoint: &Incarnation,
        start: Start,
    ) -> Result<Attached> {
        let _turn = self.turn.lock().await;
        let known = self.state().consumer_named(&consumer.key);
        if known.is_none_or(|known| known.consumer != *consumer) {
            // What was appended before is before the consumer's start.
            self.catch_up().await?;
        }
        let (changes, attached) = self.state().propose_attach(consumer, endpoint, start)?;
        self.commit(changes).await?;
        Ok(attached)
    }

    /// Detaches a consumer: see [`Journal::detach`](crate::Journal::detach).
    pub(in crate::nats) async fn detach(&self, consumer: &Incarnation) -> Result<Option<Detached>> {
        let _turn = self.turn.lock().await;
        let Some((changes, detached)) = self.state().propose_detach(consumer) else { return Ok(None) };
        self.commit(changes).await?;
        Ok(Some(detached))
    }

    /// Redelivers events: see [`Journal::redeliver`](crate::Journal::redeliver).
    pub(in crate::nats) async fn redeliver(
        &self,
        consumer: &Incarnation,
        selection: &Selection,
        step: RedeliveryStep,
    ) -> Result<Redelivered> {
        let _turn = self.turn.lock().await;
        let ids = ShardState::ids_of_step(selection, &step);
        let found = if ids.is_empty() { Vec::new() } else { self.look_up(consumer, ids).await? };
        let (changes, redelivered) = self.state().begin_redeliver(consumer, selection, &found, step)?;
        let holding = Holding { shard: self, changes: changes.clone() };
        self.commit(changes).await?;
        holding.written();
        Ok(redelivered)
    }

    /// Finds the newest events of ids.
    async fn look_up(&self, consumer: &Incarnation, ids: &[Box<str>]) -> Result<Vec<Option<Sequence>>> {
        let Some(endpoint) = self.state().current_endpoint_of(consumer) else {
            return Err(JournalError::UnknownConsumer(consumer.key.clone()));
        };
        let lookups: Vec<_> = ids.iter().map(|id| self.newest_of(&endpoint, id)).collect();
        stream::iter(lookups).buffered(NATS_LOOKUPS).try_collect().await
    }

    /// Returns the sequence of the newest event with that id, if it is kept.
    async fn newest_of(&self, endpoint: &Incarnation, id: &str) -> Result<Option<Sequence>> {
        let subject = self.layout.event(self.shard, endpoint, id);
        let stream = self.layout.events_stream(self.shard);
        let Some(message) = self.broker.last(&stream, &subject, ReadFrom::Leader).await.map_err(from_broker)? else {
            return Ok(None);
        };
        Ok(match EventMessage::read(&message) {
            Ok(EventMessage::Event(_)) => Some(message.sequence),
            Ok(EventMessage::Tombstone { .. }) | Err(_) => None,
        })
    }
}
