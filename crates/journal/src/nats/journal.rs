//! The contract of the journal: each call goes to the brokers, or to the owner of the shard concerned, which may be this
//! replica.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
};

use async_trait::async_trait;
use grapnel_api::Incarnation;
use jiff::Timestamp;
use tokio::sync::watch;

use super::{
    NatsJournal, append, board,
    broker::ReadFrom,
    error::from_broker,
    event_message::EventMessage,
    owner::{LoadedEvent, read_event},
    peer::{self, Answer, Request},
    run, unexpected,
};
use crate::{
    Appended, Arrival, Attached, AttachedConsumer, Board, Claim, Claimed, DeliveryPage, DeliveryQuery, Detached,
    EndpointUsage, EventPage, EventQuery, Journal, JournalError, JournalUsage, NamespaceUsage, Progress, Redelivered,
    RedeliveryStep, Replication, Result, Retention, Selection, Sequence, Settlement, Start, StoredEvent, Swept, Tenure,
    Vitals, limits::CLAIM_BYTES, record,
};

#[async_trait]
impl Journal for NatsJournal {
    async fn append(&self, events: Vec<Arrival>) -> Result<Vec<Appended>> {
        append::append(&self.replica, events).await
    }

    async fn attach(&self, consumer: &Incarnation, endpoint: &Incarnation, start: Start) -> Result<Attached> {
        let replica = &self.replica;
        replica.check_running()?;
        let shard = replica.layout.shard_of(&endpoint.key);
        let known = replica.place_of(&consumer.key);
        let same = known.as_ref().filter(|(_, known)| known.consumer == *consumer);
        if let Some((_, known)) = same.filter(|(_, known)| known.endpoint != endpoint.key) {
            let (consumer, endpoint) = (consumer.key.clone(), known.endpoint.clone());
            return Err(JournalError::EndpointChanged { consumer, endpoint });
        }
        replica.incarnations.begin(&replica.broker, &replica.layout, endpoint).await?;
        let mut attached = match replica.owned(shard) {
            Some(owned) => owned.attach(consumer, endpoint, start).await?,
            None => {
                let request = Request::Attach { consumer: consumer.into(), endpoint: endpoint.into(), start };
                match peer::ask(replica, shard, &request).await? {
                    Answer::Attached(attached) => attached,
                    other => return Err(unexpected(&other)),
                }
            }
        };
        if let Some((elsewhere, earlier)) = known.filter(|(elsewhere, _)| *elsewhere != shard) {
            attached.replaced = self.detach_in(elsewhere, &earlier.consumer).await?;
        }
        replica.attached(shard, consumer, &endpoint.key);
        Ok(attached)
    }

    async fn detach(&self, consumer: &Incarnation) -> Result<Option<Detached>> {
        self.replica.check_running()?;
        match self.replica.place_of(&consumer.key) {
            Some((shard, known)) if known.consumer == *consumer => self.detach_in(shard, consumer).await,
            _ => Ok(None),
        }
    }

    async fn consumers(&self) -> Result<Vec<AttachedConsumer>> {
        self.replica.check_running()?;
        let mut all = BTreeMap::new();
        for shard in self.replica.layout.shards() {
            let consumers = match self.replica.owned(shard) {
                Some(owned) => owned.state().consumers(),
                None => run::consumers_of(&self.replica, shard).await?,
            };
            all.extend(consumers.into_iter().map(|attached| (attached.consumer.clone(), attached)));
        }
        Ok(all.into_values().collect())
    }

    async fn claim(&self, consumer: &Incarnation, claim: Claim) -> Result<Claimed> {
        match self.replica.shard_of_consumer(&consumer.key) {
            Some(owned) => owned.claim(consumer, claim).await,
            // Another replica delivers its events.
            None if self.replica.reports.consumer(&consumer.key).is_some() => Ok(Claimed::default()),
            None => Err(self.not_here(consumer)),
        }
    }

    async fn ready(&self, consumer: &Incarnation) {
        match self.replica.shard_of_consumer(&consumer.key) {
            Some(owned) => owned.ready(consumer).await,
            None if self.replica.reports.consumer(&consumer.key).is_some() => {
                let mut tenure = self.replica.tenure.subscribe();
                let _ = tenure.changed().await;
            }
            None => {}
        }
    }

    async fn settle(&self, consumer: &Incarnation, settlements: Vec<(Sequence, Settlement)>) -> Result<()> {
        match self.replica.shard_of_consumer(&consumer.key) {
            Some(owned) => owned.settle(consumer, settlements).await,
            None => Err(self.not_here(consumer)),
        }
    }

    async fn redeliver(
        &self,
        consumer: &Incarnation,
        selection: &Selection,
        step: RedeliveryStep,
    ) -> Result<Redelivered> {
        if let Some(owned) = self.replica.shard_of_consumer(&consumer.key) {
            return owned.redeliver(consumer, selection, step).await;
        }
        let request = Request::Redeliver { consumer: consumer.into(), selection: selection.clone(), step };
        match self.ask_about(consumer, request).await? {
            Answer::Redelivered(redelivered) => Ok(redelivered),
            other => Err(unexpected(&other)),
        }
    }

    fn progress(&self, consumer: &Incarnation) -> Option<Progress> {
        if let Some(owned) = self.replica.shard_of_consumer(&consumer.key) {
            return owned.state().progress(consumer);
        }
        let (_, known, progress) = self.replica.reports.consumer(&consumer.key)?;
        (known.consumer == *consumer).then_some(progress)
    }

    async fn events(&self, endpoint: &Incarnation, query: EventQuery) -> Result<EventPage> {
        let shard = self.replica.layout.shard_of(&endpoint.key);
        if let Some(owned) = self.replica.owned(shard) {
            return owned.events(endpoint, &query).await;
        }
        self.replica.check_running()?;
        match peer::ask(&self.replica, shard, &Request::Events { endpoint: endpoint.into(), query }).await? {
            Answer::Events(page) => Ok(page),
            other => Err(unexpected(&other)),
        }
    }

    async fn event(&self, endpoint: &Incarnation, id: &str) -> Result<Option<StoredEvent>> {
        let replica = &self.replica;
        if !replica.incarnations.is_current(&replica.broker, &replica.layout, endpoint).await? {
            return Ok(None);
        }
        let shard = replica.layout.shard_of(&endpoint.key);
        let (stream, subject) = (replica.layout.events_stream(shard), replica.layout.event(shard, endpoint, id));
        let message = replica.broker.last(&stream, &subject, ReadFrom::Leader).await.map_err(from_broker)?;
        let Some(message) = message else { return Ok(None) };
        let damaged = |error| JournalError::Damaged(format!("message {} of {stream}: {error}", message.sequence));
        match EventMessage::read(&message).map_err(damaged)? {
            EventMessage::Tombstone { .. } => Ok(None),
            EventMessage::Event(_) => {
                record::decode_event(message.sequence, message.payload.clone()).map(Some).map_err(damaged)
            }
        }
    }

    async fn peek(&self, consumer: &Incarnation, sequences: &[Sequence]) -> Result<Vec<Option<StoredEvent>>> {
        let replica = &self.replica;
        let (shard, belonging) = match replica.shard_of_consumer(&consumer.key) {
            Some(owned) => (owned.shard, owned.state().belonging(consumer, sequences)?),
            None => {
                let shard = self.reported_shard(consumer).await?;
                let request = Request::Belonging { consumer: consumer.into(), sequences: sequences.to_vec() };
                match peer::ask(replica, shard, &request).await? {
                    Answer::Belonging(belonging) => (shard, belonging),
                    other => return Err(unexpected(&other)),
                }
            }
        };
        let stream = replica.layout.events_stream(shard);
        let (mut events, mut bytes) = (Vec::with_capacity(sequences.len()), 0);
        for (sequence, belongs) in sequences.iter().zip(belonging) {
            let event = match belongs {
                true => read_event(&replica.broker, &stream, *sequence).await?,
                false => LoadedEvent::Missing,
            };
            let event = match event {
                LoadedEvent::Event(event) => Some(event),
                LoadedEvent::Missing | LoadedEvent::Damaged => None,
            };
            bytes += event.as_ref().map_or(0, |event| event.body.len());
            if bytes > CLAIM_BYTES && !events.is_empty() {
                break;
            }
            events.push(event);
        }
        Ok(events)
    }

    async fn deliveries(&self, consumer: &Incarnation, query: DeliveryQuery) -> Result<DeliveryPage> {
        if let Some(owned) = self.replica.shard_of_consumer(&consumer.key) {
            return owned.deliveries(consumer, &query).await;
        }
        match self.ask_about(consumer, Request::Deliveries { consumer: consumer.into(), query }).await? {
            Answer::Deliveries(page) => Ok(page),
            other => Err(unexpected(&other)),
        }
    }

    async fn sweep(&self, retention: Retention, now: Timestamp) -> Result<Swept> {
        self.replica.check_running()?;
        let (mut swept, mut failed) = (Swept::default(), None);
        for owned in self.replica.all_owned() {
            match owned.sweep(retention.clone(), now).await {
                Ok(Swept { events, dead_letters }) => {
                    swept.events += events;
                    swept.dead_letters += dead_letters;
                }
                // The other shards are swept nevertheless.
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        let listed = retention.endpoints.into_iter().map(|(endpoint, _)| endpoint.key).collect();
        let names = self.replica.sweep_names(&listed, now).await;
        failed.or(names.err()).map_or(Ok(swept), Err)
    }

    fn tenure(&self) -> watch::Receiver<Tenure> {
        self.replica.tenure.subscribe()
    }

    fn replicas(&self) -> usize {
        self.ownership.borrow().as_ref().map_or(1, |ownership| ownership.members())
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn usage(&self) -> JournalUsage {
        let bytes = self.replica.kept_by_namespace().values().sum();
        let disk_bytes = self.replica.disk_bytes.load(Ordering::Acquire).max(bytes);
        JournalUsage { bytes, disk_bytes, max_bytes: self.replica.options.max_bytes }
    }

    fn storage(&self, endpoint: &Incarnation) -> EndpointUsage {
        let shard = self.replica.layout.shard_of(&endpoint.key);
        match self.replica.owned(shard) {
            Some(owned) => owned.state().storage(endpoint, &self.replica.shares(shard, &endpoint.key.namespace)),
            None => self.replica.reports.storage(endpoint).unwrap_or_default(),
        }
    }

    fn namespaces(&self) -> Vec<NamespaceUsage> {
        let max_bytes = self.replica.namespace_share();
        let usage =
            |(namespace, bytes): (Arc<str>, u64)| NamespaceUsage { namespace: namespace.to_string(), bytes, max_bytes };
        self.replica.kept_by_namespace().into_iter().map(usage).collect()
    }

    fn vitals(&self) -> Vitals {
        let retrying = self.replica.all_owned().iter().map(|owned| owned.state().retrying()).sum();
        Vitals { log_bytes: self.replica.disk_bytes.load(Ordering::Acquire), retrying, ..Vitals::default() }
    }

    fn trouble(&self) -> Option<JournalError> {
        match self.replica.check_running() {
            Err(error @ JournalError::Unavailable(_)) => Some(error),
            Ok(()) | Err(_) => self.replica.all_owned().iter().find_map(|owned| owned.state().trouble()),
        }
    }

    fn replication(&self) -> Option<Replication> {
        let replica = &self.replica;
        Some(Replication {
            members: self.ownership.borrow().as_ref().map_or(1, |ownership| ownership.members()),
            shards: replica.layout.shards().len(),
            owned: replica.all_owned().len(),
            takeovers: replica.takeovers.load(Ordering::Relaxed),
            is_connected: replica.broker.is_connected(),
            unproven: self.unproven(),
        })
    }

    fn unproven(&self) -> Option<String> {
        self.replica.obstacles.lock().proof.clone()
    }

    fn board(&self) -> Option<Arc<dyn Board>> {
        Some(Arc::new(board::NatsBoard(Arc::clone(&self.replica))))
    }

    async fn close(&self) -> Result<()> {
        if self.replica.closed.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        for owned in self.replica.all_owned() {
            owned.finish().await;
        }
        let ownership = self.ownership.borrow().clone();
        if let Some(ownership) = ownership {
            ownership.release().await;
        }
        self.replica.broker.close().await;
        Ok(())
    }
}
