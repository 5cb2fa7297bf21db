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
//! | `journal` | the contract: each call goes to the brokers or to the owner of the shard |
//! | `options`, `layout`, `installation`, `continuity` | names; the streams |
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
mod continuity;
mod error;
mod event_message;
mod incarnations;
mod installation;
mod journal;
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

use std::{path::PathBuf, sync::Arc};

use grapnel_api::Incarnation;
use tokio::{sync::watch, task::JoinHandle};

use self::{
    broker::{Broker, BrokerOptions},
    layout::{Layout, Shard},
    ownership::Ownership,
    peer::{Answer, Request},
    replica::{Replica, Standing},
};
pub use self::{
    options::{NatsServers, ServersError},
    settings::{InstallationName, InvalidSetting, MonitorUrl, NatsSettings},
};
use crate::{Detached, Journal, JournalError, Result};

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
