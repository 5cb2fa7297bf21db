//! Claiming and settling deliveries.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use grapnel_api::Incarnation;
use jiff::Timestamp;

use super::OwnedShard;
use crate::{
    Claim, Claimed, Delivery, Failure, JournalError, Result, Sequence, Settlement, StoredEvent,
    delivery::DAMAGED,
    limits::NATS_LOOKUPS,
    machine::Taken,
    nats::{
        broker::{Broker, ReadFrom},
        error::from_broker,
        event_message::EventMessage,
        shard::Change,
    },
    record,
};

/// An event that was read by its sequence.
pub(in crate::nats) enum LoadedEvent {
    Event(StoredEvent),
    /// It is not in the stream.
    Missing,
    /// It cannot be decoded.
    Damaged,
}

impl LoadedEvent {
    fn of(sequence: Sequence, row: Bytes) -> Self {
        record::decode_event(sequence, row).map_or(Self::Damaged, Self::Event)
    }
}

/// Reads an event from its stream.
pub(in crate::nats) async fn read_event(broker: &Broker, stream: &str, sequence: Sequence) -> Result<LoadedEvent> {
    let mut message = broker.get(stream, sequence, ReadFrom::Any).await.map_err(from_broker)?;
    if message.is_none() {
        // The broker that answered may lag behind.
        message = broker.get(stream, sequence, ReadFrom::Leader).await.map_err(from_broker)?;
    }
    let Some(message) = message else { return Ok(LoadedEvent::Missing) };
    Ok(match EventMessage::read(&message) {
        Ok(EventMessage::Event(_)) => LoadedEvent::of(sequence, message.payload),
        Ok(EventMessage::Tombstone { .. }) | Err(_) => LoadedEvent::Damaged,
    })
}

/// Releases taken deliveries when the claim fails or its future is dropped.
struct TakenGuard<'a> {
    shard: &'a OwnedShard,
    consumer: &'a Incarnation,
    taken: Vec<Taken>,
}

impl Drop for TakenGuard<'_> {
    fn drop(&mut self) {
        if !self.taken.is_empty() {
            let sequences = self.taken.iter().map(|taken| taken.sequence);
            self.shard.state().release(self.consumer, sequences);
        }
    }
}

/// Marks that are taken back when the changes of a settlement are not written.
struct Settling<'a> {
    shard: &'a OwnedShard,
    changes: Vec<Change>,
}

impl Drop for Settling<'_> {
    fn drop(&mut self) {
        if !self.changes.is_empty() {
            self.shard.state().abort_settle(&self.changes);
        }
    }
}

impl OwnedShard {
    /// Claims deliveries: see [`Journal::claim`](crate::Journal::claim).
    pub(in crate::nats) async fn claim(&self, consumer: &Incarnation, claim: Claim) -> Result<Claimed> {
        // Repeats only when none of the taken events can be read.
        loop {
            if !self.serves() {
                return Ok(Claimed::default());
            }
            let (taken, next_due) = {
                let mut state = self.state();
                // With the lock, so that what is claimed nevertheless is seen by `drain`.
                if self.tenancy.is_closing() {
                    return Ok(Claimed::default());
                }
                state.claim(consumer, &claim)?
            };
            let none_taken = taken.is_empty();
            let guard = TakenGuard { shard: self, consumer, taken };
            let deliveries = self.load(guard, claim.now).await?;
            if none_taken || !deliveries.is_empty() {
                return Ok(Claimed { deliveries, next_due });
            }
        }
    }

    /// Reads the taken events: from memory if recent, otherwise from the brokers. Those that cannot be read become dead
    /// letters.
    async fn load(&self, mut guard: TakenGuard<'_>, now: Timestamp) -> Result<Vec<Delivery>> {
        let sequences: Vec<Sequence> = guard.taken.iter().map(|taken| taken.sequence).collect();
        let mut events = stream::iter(sequences).map(|sequence| self.event_at(sequence)).buffered(NATS_LOOKUPS);
        let mut loaded = Vec::with_capacity(guard.taken.len());
        while let Some(event) = events.next().await {
            loaded.push(event?);
        }
        drop(events);
        let mut deliveries = Vec::with_capacity(loaded.len());
        let mut damaged = Vec::new();
        for (taken, event) in guard.taken.iter().copied().zip(loaded) {
            match event {
                LoadedEvent::Event(event) => {
                    deliveries.push(Delivery { event: Arc::new(event), attempt: taken.flight.attempt });
                }
                LoadedEvent::Damaged => damaged.push(taken.sequence),
                LoadedEvent::Missing => self.lose(guard.consumer, taken.sequence),
            }
        }
        if !damaged.is_empty() {
            self.bury(guard.consumer, &damaged, now).await?;
        }
        // From here on the caller has them.
        guard.taken.clear();
        Ok(deliveries)
    }

    /// Forgets an event that somebody else has deleted from the stream.
    fn lose(&self, consumer: &Incarnation, sequence: Sequence) {
        let mut state = self.state();
        let Some(attached) = state.consumer_named(&consumer.key) else { return };
        if state.forget(&attached.endpoint, sequence) {
            let endpoint = attached.endpoint;
            tracing::error!(shard = self.shard, sequence, %endpoint, "an event is missing in the NATS stream");
        }
    }

    /// Reads an event of the index.
    pub(in crate::nats) async fn event_at(&self, sequence: Sequence) -> Result<LoadedEvent> {
        let row = self.recent.lock().get(sequence);
        match row {
            Some(row) => Ok(LoadedEvent::of(sequence, row)),
            None => read_event(&self.broker, &self.layout.events_stream(self.shard), sequence).await,
        }
    }

    /// Dead-letters events that cannot be read, with the reason `damaged`.
    async fn bury(&self, consumer: &Incarnation, lost: &[Sequence], now: Timestamp) -> Result<()> {
        tracing::error!(%consumer, events = lost.len(), shard = self.shard, "events are damaged in the NATS stream");
        let failure = || Failure {
            time: now,
            reason: DAMAGED.into(),
            status: None,
            took: Duration::ZERO,
            message: "the event is damaged in its NATS stream".into(),
        };
        let settlements = lost.iter().map(|sequence| (*sequence, Settlement::Dead { failure: failure() })).collect();
        self.settle(consumer, settlements).await
    }

    /// Ends attempts: see [`Journal::settle`](crate::Journal::settle).
    pub(in crate::nats) async fn settle(
        &self,
        consumer: &Incarnation,
        settlements: Vec<(Sequence, Settlement)>,
    ) -> Result<()> {
        if !self.serves() {
            return Err(JournalError::Moved(consumer.key.clone()));
        }
        let changes = self.state().begin_settle(consumer, settlements)?;
        if changes.is_empty() {
            return Ok(());
        }
        let mut settling = Settling { shard: self, changes };
        let permit = self.commits.reserve().await.map_err(|_| JournalError::Moved(consumer.key.clone()))?;
        // From here on the log's task decides, whether or not the caller waits.
        let changes = std::mem::take(&mut settling.changes);
        let (answer, answered) = tokio::sync::oneshot::channel();
        permit.send(super::log::Commit { changes, answer });
        match answered.await {
            Ok(answer) => answer,
            Err(_) => Err(JournalError::Moved(consumer.key.clone())),
        }
    }

    /// Waits until a claim may find more: see [`Journal::ready`](crate::Journal::ready).
    pub(in crate::nats) async fn ready(&self, consumer: &Incarnation) {
        loop {
            let Some(notifies) = self.state().notifies_of(consumer) else { return };
            let (appended, changed) = (notifies.endpoint.notified(), notifies.consumer.notified());
            tokio::pin!(appended, changed);
            // Registered before the check, so that no change in between is missed.
            appended.as_mut().enable();
            changed.as_mut().enable();
            if self.tenancy.is_closing() {
                return self.was_ended().await;
            }
            if !self.serves() || self.state().is_ready(consumer) {
                return;
            }
            tokio::select! {
                () = appended => {}
                () = changed => {}
                () = self.was_ended() => return,
            }
        }
    }
}
