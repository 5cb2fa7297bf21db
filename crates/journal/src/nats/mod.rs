//! The journal on NATS JetStream: any number of replicas, one log.
//!
//! Endpoints are spread over a fixed number of shards. Every replica appends to every shard. Each shard has one owner
//! among the replicas, which delivers to the subscriptions of its endpoints.
//!
//! ```text
//!   any replica ──append──▶ events stream of the shard ──tail──▶ owner: index + state in memory ──claim──▶ dispatch
//!                                                                   │  ▲
//!                                                           changes │  │ replay at a takeover
//!                                                                   ▼  │
//!                                                            state log of the shard
//! ```
//!
//! Both streams are replicated by the brokers. An append is a compare-and-set on the subject of the event's id, so that
//! of equal ids one is stored whichever replicas they reach. An entry of the state log is a compare-and-set on the end
//! of the log, so that a replica that has lost a shard without knowing it can write nothing.
//!
//! | module | content |
//! |---|---|
//! | `options`, `layout`, `installation` | names; the streams |
//! | `broker`, `sync_proof` | what is asked of NATS, and what has to be known of it before a 2xx |
//! | `append`, `event_message`, `incarnations`, `retry` | from arrivals to messages |
//! | `ownership`, `registry` | which replica owns which shard |
//! | `shard` | the state of a shard: pure |
//! | `owner` | a shard that this replica owns |
//! | `peer`, `reports`, `board` | what the replicas tell each other |
//! | `room` | bounds on what is kept |
//! | `replica`, `run` | what this replica knows and does |

mod append;
mod board;
mod broker;
mod error;
mod event_message;
mod incarnations;
mod installation;
mod layout;
mod options;
mod owner;
mod ownership;
mod peer;
mod registry;
mod replica;
mod reports;
mod retry;
mod room;
mod run;
mod settings;
mod shard;
mod sync_proof;
#[cfg(feature = "testing")]
pub mod testing;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
};

use async_trait::async_trait;
use grapnel_api::Incarnation;
use jiff::Timestamp;
use tokio::{sync::watch, task::JoinHandle};

use self::{
    broker::{Broker, BrokerOptions, ReadFrom},
    error::from_broker,
    event_message::EventMessage,
    layout::{Layout, Shard},
    owner::{LoadedEvent, read_event},
    ownership::Ownership,
    peer::{Answer, Request},
    replica::{Replica, Standing},
};
pub use self::{
    options::{NatsServers, ServersError},
    settings::{InstallationName, InvalidSetting, MonitorUrl, NatsSettings},
};
use crate::{
    Appended, Arrival, Attached, AttachedConsumer, Board, Claim, Claimed, DeliveryPage, DeliveryQuery, Detached,
    EndpointUsage, EventPage, EventQuery, Journal, JournalError, JournalUsage, NamespaceUsage, Progress, Redelivered,
    RedeliveryStep, Replication, Result, Retention, Selection, Sequence, Settlement, Start, StoredEvent, Swept, Tenure,
    Vitals, limits::CLAIM_BYTES, record,
};

/// Where the brokers are, and how this installation uses them.
#[derive(Debug, Clone)]
pub struct NatsOptions {
    /// The brokers.
    pub servers: NatsServers,
    /// A file of credentials.
    pub credentials: Option<PathBuf>,
    /// A file with certificates of authorities, instead of those of the system.
    pub ca: Option<PathBuf>,
    /// A file with the client's certificate.
    pub certificate: Option<PathBuf>,
    /// A file with the key of that certificate.
    pub key: Option<PathBuf>,
    /// URLs of the brokers' monitoring, by which they prove that they sync before they acknowledge.
    pub monitors: Vec<String>,
    /// Whether somebody vouches for that instead.
    pub trust_sync: bool,
    /// The name of the installation: letters, digits and `-`. Installations with different names share nothing.
    pub name: String,
    /// Number of shards, fixed when the installation is made.
    pub shards: u16,
    /// On how many brokers each stream is kept.
    pub replicas: usize,
    /// The name of this replica, different for each process that runs at the same time.
    pub replica: String,
    /// Maximum bytes of all events; 0 for no limit.
    pub max_bytes: u64,
    /// Maximum bytes of the events of one namespace; `None` for half of `max_bytes`.
    pub namespace_share: Option<u64>,
}

/// Why the engine cannot begin: a file of credentials or certificates cannot be used.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct NatsOpenError(#[from] broker::ConnectError);

/// The replicated engine. Dropping it ends its tasks; [`Journal::close`] also gives its shards back.
pub struct NatsJournal {
    replica: Arc<Replica>,
    ownership: watch::Receiver<Option<Arc<Ownership>>>,
    task: JoinHandle<()>,
}

impl NatsJournal {
    /// Begins to connect. Returns at once: until the brokers are reached, every call returns
    /// [`JournalError::Unavailable`]. Must be called in a runtime of tokio.
    ///
    /// # Errors
    ///
    /// Files of credentials or certificates that cannot be used.
    pub async fn open(options: NatsOptions) -> Result<Self, NatsOpenError> {
        let broker = Broker::connect(BrokerOptions {
            urls: options.servers.urls(),
            name: options.replica.clone(),
            credentials: options.credentials.clone(),
            ca: options.ca.clone(),
            certificate: options.certificate.clone(),
            key: options.key.clone(),
        })
        .await?;
        let layout = Layout::new(&options.name, options.shards);
        let replica = Arc::new(Replica::new(broker, layout, options));
        let (sender, ownership) = watch::channel(None);
        let task = tokio::spawn(run::run(Arc::clone(&replica), sender));
        Ok(Self { replica, ownership, task })
    }

    /// Waits until this replica accepts events and delivers those of every shard.
    pub async fn serves_all(&self) {
        let mut tenure = self.replica.tenure.subscribe();
        let mut standing = self.replica.standing.subscribe();
        loop {
            let all = self.replica.all_owned().len() == self.replica.layout.shards().len();
            if all && *standing.borrow_and_update() == Standing::Running {
                return;
            }
            tokio::select! {
                _ = tenure.changed() => {}
                _ = standing.changed() => {}
            }
        }
    }

    /// Asks the owner of the shard that the consumer belongs to, if that is another replica.
    async fn ask_about(&self, consumer: &Incarnation, request: Request) -> Result<Answer> {
        let shard = self.reported_shard(consumer).await?;
        peer::ask(&self.replica, shard, &request).await
    }

    /// Returns the shard of another replica that the consumer belongs to.
    ///
    /// # Errors
    ///
    /// [`JournalError::UnknownConsumer`] only if every shard has been asked.
    async fn reported_shard(&self, consumer: &Incarnation) -> Result<Shard> {
        if let Some((shard, ..)) = self.replica.reports.consumer(&consumer.key) {
            return Ok(shard);
        }
        // A shard may have moved since the last reports, and then its consumers are not known yet.
        self.consumers().await?;
        self.replica.reports.consumer(&consumer.key).map(|(shard, ..)| shard).ok_or_else(|| self.unknown(consumer))
    }

    /// Detaches a consumer of a shard.
    async fn detach_in(&self, shard: Shard, consumer: &Incarnation) -> Result<Option<Detached>> {
        let detached = match self.replica.owned(shard) {
            Some(owned) => owned.detach(consumer).await?,
            None => match peer::ask(&self.replica, shard, &Request::Detach { consumer: consumer.into() }).await? {
                Answer::Detached(detached) => detached,
                other => return Err(unexpected(&other)),
            },
        };
        self.replica.detached(shard, consumer);
        Ok(detached)
    }

    /// Returns why a consumer is not found: it is not attached, or nothing is known yet.
    fn unknown(&self, consumer: &Incarnation) -> JournalError {
        if let Err(error) = self.replica.check_running() {
            return error;
        }
        if self.knows_all() {
            return JournalError::UnknownConsumer(consumer.key.clone());
        }
        // It may be in a shard that moves.
        JournalError::Unavailable("the owner of a shard has not reported yet".into())
    }

    /// Returns why events of a consumer cannot be claimed or settled here.
    fn not_here(&self, consumer: &Incarnation) -> JournalError {
        let key = &consumer.key;
        match self.replica.check_running() {
            // What was claimed before the shard moved must not be settled when it is back.
            Ok(()) if self.replica.reports.consumer(key).is_some() || !self.knows_all() => {
                JournalError::Moved(key.clone())
            }
            _ => self.unknown(consumer),
        }
    }

    /// Returns whether the consumers of every shard are known.
    fn knows_all(&self) -> bool {
        let is_known = |shard| self.replica.owned(shard).is_some() || self.replica.reports.knows(shard);
        self.replica.layout.shards().all(is_known)
    }
}

impl Drop for NatsJournal {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn unexpected(answer: &Answer) -> JournalError {
    JournalError::Io(format!("a replica answered another question: {answer:?}"), None)
}

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
