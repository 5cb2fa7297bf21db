//! Dispatch: consumer loops that deliver events to receivers.
//!
//! Every subscription has its own worker, so that a slow or dead receiver delays no other: claim → filter by type and
//! expression → breaker and rate permit → transform, build and sign → send (guarded) → classify → settle → observe.

mod admission;
mod attempt;
mod attempt_error;
mod backoff;
mod body;
mod circuit;
mod claim;
mod claimed_delivery;
pub mod client;
mod conclusion;
mod connect;
mod connection;
mod connection_age;
pub mod consumers;
mod dead_letter;
mod decoded_event;
mod detachment;
mod due_time;
mod envelope;
mod filter;
pub mod limits;
mod lru;
pub mod outcome;
mod pause_report;
mod pool;
pub mod preview;
mod proxy_connect;
mod random;
mod redact;
mod request;
mod resolver;
mod send_error;
mod shadow;
mod token;
mod track;
mod worker;

use std::{collections::HashMap, sync::Arc};

use grapnel_api::ObjectKey;
use grapnel_journal::{Journal, Tenure};
use grapnel_values::clock::Clock;
use tokio::{
    sync::watch,
    task::{Id, JoinError, JoinSet},
};
use tokio_util::sync::CancellationToken;

pub use self::{
    attempt_error::AttemptError,
    body::BuildError,
    client::{Client, ClientError, ClientOptions, FetchError},
    consumers::Consumers,
    detachment::LiveSubscriptions,
    filter::{FilterError, admits},
    resolver::Names,
    send_error::SendError,
    token::TokenError,
};
use self::{conclusion::Context, worker::Worker};
use crate::{
    catalog::{Snapshot, Subscription},
    fast_map::FastMap,
    telemetry::spans::Spans,
};

/// Why dispatch ended.
#[derive(Debug, thiserror::Error)]
pub enum DispatchError {
    /// A worker panicked, which is a bug.
    #[error("the worker of subscription {0} failed")]
    Failed(ObjectKey, #[source] JoinError),
    /// A worker ended without being asked to, which is a bug.
    #[error("the worker of subscription {0} ended unexpectedly")]
    Ended(ObjectKey),
}

/// Delivers the events of every subscription of the live snapshot.
pub struct Dispatcher {
    /// The live snapshot; [`Consumers::align`] has already run for it.
    pub snapshot: watch::Receiver<Arc<Snapshot>>,
    /// The source of events.
    pub journal: Arc<dyn Journal>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// The client that sends deliveries.
    pub client: Client,
    /// The source of attempt spans.
    pub spans: Spans,
}

impl Dispatcher {
    /// Delivers the subscriptions whose endpoint the journal's [`Tenure`] assigns to this process, until `shutdown`. It
    /// then ends within [`limits::SHUTDOWN_DELIVERIES`] and [`limits::SHUTDOWN_SETTLE`]. In-flight deliveries are
    /// ended and settled first, except those of an endpoint that another process delivers by then.
    ///
    /// # Errors
    /// Returns an error if a worker ends on its own, which is a bug.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), DispatchError> {
        let Self { mut snapshot, journal, clock, client, spans } = self;
        let mut tenure = journal.tenure();
        let mut workers = Workers {
            tenure: tenure.borrow_and_update().clone(),
            context: Arc::new(Context { journal, clock, client, spans }),
            handles: FastMap::default(),
            names: HashMap::new(),
            tasks: JoinSet::new(),
        };
        let mut live = Arc::clone(&snapshot.borrow_and_update());
        workers.align(&live);
        let (mut published, mut moves) = (true, true);
        let result = loop {
            tokio::select! {
                () = shutdown.cancelled() => break Ok(()),
                changed = snapshot.changed(), if published => {
                    // When the sender is gone, the last snapshot stays live.
                    published = changed.is_ok();
                    live = Arc::clone(&snapshot.borrow_and_update());
                    workers.align(&live);
                    workers.context.client.retain(&live);
                }
                changed = tenure.changed(), if moves => {
                    // A single-process engine never changes it.
                    moves = changed.is_ok();
                    workers.tenure = tenure.borrow_and_update().clone();
                    workers.align(&live);
                }
                Some(ended) = workers.tasks.join_next_with_id() => {
                    if let Err(error) = workers.ended(ended, &live) {
                        break Err(error);
                    }
                }
            }
        };
        result.and(workers.stop().await)
    }
}

struct Workers {
    context: Arc<Context>,
    /// Which endpoints this process delivers.
    tenure: Tenure,
    handles: FastMap<ObjectKey, Handle>,
    names: HashMap<Id, ObjectKey>,
    tasks: JoinSet<()>,
}

/// The handle of a worker: its configuration, or the order to finish.
struct Handle {
    /// Uid of the subscription object: the worker does not outlive it.
    uid: Arc<str>,
    /// The endpoint whose events it delivers, and the epoch of its tenure.
    endpoint: ObjectKey,
    epoch: u64,
    /// Cancelled when another process may deliver: the worker ends at once, without settling.
    lost: CancellationToken,
    /// `None` while the worker finishes its in-flight attempts because its subscription is gone.
    config: Option<watch::Sender<Arc<Subscription>>>,
}

impl Handle {
    /// Ends the worker if its tenure or its subscription has ended.
    fn align(&mut self, subscription: Option<&Arc<Subscription>>, tenure: &Tenure) {
        if tenure.epoch(&self.endpoint) != Some(self.epoch) {
            self.lost.cancel();
            self.config = None;
            return;
        }
        let Some(subscription) = subscription.filter(|it| it.uid == self.uid) else {
            self.config = None;
            return;
        };
        let endpoint = &subscription.endpoint.key;
        if *endpoint != self.endpoint {
            match tenure.epoch(endpoint) {
                Some(epoch) => (self.endpoint, self.epoch) = (endpoint.clone(), epoch),
                None => self.config = None,
            }
        }
    }
}

impl Workers {
    /// Starts, reconfigures and stops workers.
    fn align(&mut self, snapshot: &Snapshot) {
        for (key, handle) in &mut self.handles {
            handle.align(snapshot.subscription(key), &self.tenure);
        }
        for subscription in snapshot.subscriptions() {
            let Some(epoch) = self.tenure.epoch(&subscription.endpoint.key) else { continue };
            match self.handles.get(&subscription.key) {
                // The subscription is back before its old worker has finished. The new worker starts after the old one
                // has ended, so that its bounds hold.
                Some(Handle { config: None, .. }) => {}
                Some(Handle { config: Some(config), .. }) => {
                    config.send_if_modified(|current| {
                        let changed = !Arc::ptr_eq(current, subscription);
                        if changed {
                            *current = Arc::clone(subscription);
                        }
                        changed
                    });
                }
                None => self.start(subscription, epoch),
            }
        }
    }

    fn start(&mut self, subscription: &Arc<Subscription>, epoch: u64) {
        let (config, changes) = watch::channel(Arc::clone(subscription));
        let lost = CancellationToken::new();
        let worker = Worker::new(Arc::clone(&self.context), changes);
        let task = self.tasks.spawn(worker.run(lost.clone()));
        self.names.insert(task.id(), subscription.key.clone());
        let (uid, endpoint) = (Arc::clone(&subscription.uid), subscription.endpoint.key.clone());
        let handle = Handle { uid, endpoint, epoch, lost, config: Some(config) };
        self.handles.insert(subscription.key.clone(), handle);
    }

    /// Records the end of a worker, and starts another if its subscription has come back meanwhile.
    fn ended(&mut self, ended: Result<(Id, ()), JoinError>, live: &Snapshot) -> Result<(), DispatchError> {
        let id = match &ended {
            Ok((id, ())) => *id,
            Err(error) => error.id(),
        };
        let Some(key) = self.names.remove(&id) else { return Ok(()) };
        let unexpected = self.handles.remove(&key).is_some_and(|handle| handle.config.is_some());
        match ended {
            Err(error) => return Err(DispatchError::Failed(key, error)),
            Ok(_) if unexpected => return Err(DispatchError::Ended(key)),
            Ok(_) => {}
        }
        if let Some(subscription) = live.subscription(&key)
            && let Some(epoch) = self.tenure.epoch(&subscription.endpoint.key)
        {
            self.start(subscription, epoch);
        }
        Ok(())
    }

    /// Asks every worker to finish and waits for all of them.
    async fn stop(mut self) -> Result<(), DispatchError> {
        for handle in self.handles.values_mut() {
            handle.config = None;
        }
        let nothing = Snapshot::default();
        let mut result = Ok(());
        while let Some(ended) = self.tasks.join_next_with_id().await {
            result = result.and(self.ended(ended, &nothing));
        }
        result
    }
}
