//! A board in memory, and replicas that share it.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use bytes::Bytes;
use grapnel_api::{Condition, ObjectKey};
use grapnel_journal::{Board, BoardRow, JournalError, Result, Tenure};
use grapnel_values::clock::Clock;
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::{
    catalog::{
        EndpointFacts, EndpointReading, Facts, ObjectKind, ObjectView, ObjectViews, RouteSpec, Snapshot,
        SubscriptionFacts, observed::LastRejection,
    },
    runtime::facts_exchange::FactsExchange,
};

/// The rows of all.
#[derive(Default)]
pub(super) struct Rows {
    pub(super) rows: BTreeMap<(String, String), (u64, Bytes)>,
    last: u64,
    pub(super) live: Vec<String>,
}

/// What goes wrong with the calls of one replica.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Faults {
    /// After this many more calls the process ends.
    pub(super) calls: Option<usize>,
    /// The last write before the end is stored, but the replica does not learn it.
    pub(super) is_stored: bool,
}

pub(super) struct MemoryBoard {
    replica: String,
    rows: Arc<Mutex<Rows>>,
    faults: Arc<Mutex<Faults>>,
}

impl MemoryBoard {
    fn call(&self) -> Result<()> {
        let mut faults = self.faults.lock();
        match &mut faults.calls {
            Some(0) => Err(JournalError::Unavailable("the connection is lost".into())),
            Some(calls) => {
                *calls -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }
}

#[async_trait]
impl Board for MemoryBoard {
    fn replica(&self) -> &str {
        &self.replica
    }

    async fn replicas(&self) -> Result<Vec<String>> {
        self.call()?;
        Ok(self.rows.lock().live.clone())
    }

    async fn read(&self, after: u64) -> Result<Vec<BoardRow>> {
        self.call()?;
        let rows = self.rows.lock();
        let row = |((author, key), (revision, value)): (&(String, String), &(u64, Bytes))| BoardRow {
            author: author.clone(),
            key: key.clone(),
            value: value.clone(),
            revision: *revision,
        };
        let mut rows: Vec<BoardRow> = rows.rows.iter().map(row).filter(|row| row.revision > after).collect();
        rows.sort_by_key(|row| row.revision);
        Ok(rows)
    }

    async fn write(&self, author: &str, key: &str, value: Bytes, expected: Option<u64>) -> Result<Option<u64>> {
        assert!(value.len() <= 64 * 1024, "a row of {} bytes", value.len());
        let called = self.call();
        if called.is_err() && !std::mem::take(&mut self.faults.lock().is_stored) {
            return called.map(|()| None);
        }
        let mut rows = self.rows.lock();
        let name = (author.to_owned(), key.to_owned());
        let revision = rows.rows.get(&name).map_or(0, |(revision, _)| *revision);
        if expected.is_some_and(|expected| expected != revision) {
            return called.map(|()| None);
        }
        rows.last += 1;
        let revision = rows.last;
        rows.rows.insert(name, (revision, value));
        called.map(|()| Some(revision))
    }

    async fn remove(&self, author: &str, key: &str, revision: u64) -> Result<()> {
        self.call()?;
        let mut rows = self.rows.lock();
        let name = (author.to_owned(), key.to_owned());
        if rows.rows.get(&name).is_some_and(|(stored, _)| *stored == revision) {
            rows.rows.remove(&name);
        }
        Ok(())
    }
}

/// The time that all replicas share.
#[derive(Clone)]
pub(super) struct Time {
    start: Instant,
    elapsed: Arc<Mutex<Duration>>,
}

impl Time {
    pub(super) fn pass(&self, time: Duration) {
        *self.elapsed.lock() += time;
    }

    pub(super) fn now(&self) -> Instant {
        self.start + *self.elapsed.lock()
    }
}

impl Clock for Time {
    fn now(&self) -> Timestamp {
        Timestamp::UNIX_EPOCH + *self.elapsed.lock()
    }
}

/// The replicas' surroundings: the board, and the statuses on the API server.
pub(super) struct World {
    pub(super) rows: Arc<Mutex<Rows>>,
    pub(super) statuses: Vec<EndpointReading>,
    pub(super) time: Time,
    uid: &'static str,
}

/// A replica.
pub(super) struct Replica {
    pub(super) name: String,
    pub(super) exchange: FactsExchange,
    pub(super) endpoints: Vec<Arc<EndpointFacts>>,
    pub(super) faults: Arc<Mutex<Faults>>,
    pub(super) subscription: Arc<SubscriptionFacts>,
    tenure: watch::Sender<Tenure>,
    views: watch::Sender<ObjectViews>,
}

/// A view of the endpoint of this number.
pub(super) fn view(number: usize, uid: &str, facts: &Arc<EndpointFacts>) -> ObjectView {
    ObjectView {
        kind: ObjectKind::Endpoint,
        key: ObjectKey::new("shop", format!("endpoint-{number}")),
        uid: Some(uid.into()),
        generation: Some(1),
        source: None,
        endpoint_ref: None,
        subscription_ref: None,
        path: None,
        url: None,
        event_id_from: None,
        conditions: Arc::<[Condition]>::from([]),
        in_use: true,
        unusable: false,
        route: RouteSpec::default(),
        facts: Facts::Endpoint(Arc::clone(facts)),
        spec: None,
    }
}

impl World {
    /// A world whose endpoints have these counts in their statuses.
    pub(super) fn new(received: &[u64]) -> Self {
        let status = |received: &u64| EndpointReading { received: *received, ..EndpointReading::default() };
        Self {
            rows: Arc::default(),
            statuses: received.iter().map(status).collect(),
            time: Time { start: Instant::now(), elapsed: Arc::default() },
            uid: "uid",
        }
    }

    /// Starts a process.
    pub(super) fn start(&self, name: &str) -> Replica {
        let (views, objects) = watch::channel(Arc::default());
        let (_, snapshots) = watch::channel(Arc::new(Snapshot::new([], [])));
        let faults = Arc::<Mutex<Faults>>::default();
        let board = MemoryBoard { replica: name.into(), rows: Arc::clone(&self.rows), faults: Arc::clone(&faults) };
        let clock = Arc::new(self.time.clone());
        let interval = Duration::from_secs(10);
        let tenure = watch::Sender::new(Tenure::of(|_| None));
        let exchange = FactsExchange::new(Arc::new(board), tenure.subscribe(), snapshots, objects, clock, interval);
        let subscription = Arc::<SubscriptionFacts>::default();
        let mut replica =
            Replica { name: name.into(), exchange, endpoints: Vec::new(), subscription, faults, tenure, views };
        self.see(&mut replica);
        self.rows.lock().live.push(name.into());
        self.rows.lock().live.sort();
        replica
    }

    /// Lets a replica read every object anew, as after a change of its class and back.
    pub(super) fn see(&self, replica: &mut Replica) {
        let resumed = |status: &EndpointReading| {
            let facts = Arc::<EndpointFacts>::default();
            facts.resume(status.clone());
            facts.share();
            facts
        };
        replica.endpoints = self.statuses.iter().map(resumed).collect();
        let views = replica.endpoints.iter().enumerate().map(|(number, facts)| view(number, self.uid, facts));
        let subscription = ObjectView {
            kind: ObjectKind::Subscription,
            endpoint_ref: Some(ObjectKey::new("shop", "endpoint-0")),
            facts: Facts::Subscription(Arc::clone(&replica.subscription)),
            ..view(0, self.uid, &Arc::default())
        };
        replica.views.send_replace(Arc::new(views.chain([subscription]).map(Arc::new).collect()));
    }

    /// Deletes every object and creates it again.
    pub(super) fn recreate(&mut self, uid: &'static str) {
        self.uid = uid;
        self.statuses.iter_mut().for_each(|status| *status = EndpointReading::default());
    }

    /// The replica is no longer seen by the others.
    pub(super) fn leave(&self, replica: &Replica) {
        self.rows.lock().live.retain(|live| *live != replica.name);
    }

    /// Writes the statuses as this replica shows them.
    pub(super) fn write_statuses(&mut self, replica: &Replica) {
        for (status, facts) in self.statuses.iter_mut().zip(&replica.endpoints) {
            *status = facts.read();
        }
    }
}

impl Replica {
    /// One tick, with counts written.
    pub(super) async fn tick(&mut self, world: &World) {
        self.exchange.written = None;
        let _ = self.exchange.tick(world.time.now()).await;
    }

    pub(super) fn receive(&self, endpoint: usize, count: u64, world: &World) {
        for _ in 0..count {
            self.endpoints[endpoint].received(world.time.now_wall());
        }
    }

    pub(super) fn reject(&self, endpoint: usize, message: &str, world: &World) {
        let time = world.time.now_wall();
        self.endpoints[endpoint].rejected(LastRejection {
            time,
            code: "invalid_signature".into(),
            message: message.into(),
        });
    }

    /// Begins or ends to deliver.
    pub(super) fn deliver(&self, delivers: bool) {
        self.tenure.send_replace(Tenure::of(move |_| delivers.then_some(1)));
    }

    /// What it shows as received.
    pub(super) fn shown(&self) -> Vec<u64> {
        self.endpoints.iter().map(|facts| facts.read().received).collect()
    }
}

impl Time {
    /// The time of day.
    pub(super) fn now_wall(&self) -> Timestamp {
        Clock::now(self)
    }
}
