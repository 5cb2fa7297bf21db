//! Several replicas of one journal in memory, each of which delivers the endpoints that the test gives it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard},
};

use async_trait::async_trait;
use grapnel_api::{Incarnation, ObjectKey};
use grapnel_journal::{
    Appended, Arrival, Attached, AttachedConsumer, Claim, Claimed, Detached, Journal, JournalError, Result, Sequence,
    Settlement, Start, Tenure, memory::MemoryJournal,
};
use tokio::sync::watch;

use crate::journal_front::{Front, Fronted};

/// The store that the replicas share.
pub struct SharedJournal {
    journal: MemoryJournal,
    state: Mutex<State>,
    /// Changes with `state.owners`.
    moved: watch::Sender<()>,
}

#[derive(Default)]
struct State {
    replicas: Vec<watch::Sender<Tenure>>,
    /// Who delivers an endpoint, and the epoch.
    owners: BTreeMap<ObjectKey, (usize, u64)>,
    epoch: u64,
    /// The endpoint of each consumer.
    endpoints: BTreeMap<Incarnation, ObjectKey>,
    in_flight: BTreeMap<Incarnation, BTreeSet<Sequence>>,
    /// Whether every call fails.
    unreachable: bool,
}

/// One replica. Use it as a [`Journal`] by [`SharedJournal::replica`].
pub struct Replica {
    number: usize,
    shared: Arc<SharedJournal>,
    tenure: watch::Sender<Tenure>,
    settled: Mutex<Vec<(Sequence, Settlement)>>,
}

impl SharedJournal {
    /// A journal without replicas.
    pub fn new() -> Arc<Self> {
        let (state, moved) = (Mutex::default(), watch::Sender::new(()));
        Arc::new(Self { journal: MemoryJournal::new(Default::default()), state, moved })
    }

    /// Another replica, which delivers nothing yet.
    pub fn replica(self: &Arc<Self>) -> (Arc<Replica>, Arc<Fronted<Replica>>) {
        let tenure = watch::Sender::new(Tenure::of(|_| None));
        let mut state = self.state();
        let number = state.replicas.len();
        state.replicas.push(tenure.clone());
        drop(state);
        let replica = Replica { number, shared: Arc::clone(self), tenure, settled: Mutex::default() };
        let replica = Arc::new(replica);
        (Arc::clone(&replica), Arc::new(Fronted(replica)))
    }

    /// The journal as it is, whichever replica delivers.
    pub fn journal(&self) -> &MemoryJournal {
        &self.journal
    }

    /// Makes every call of every replica fail, or no longer.
    pub fn set_unreachable(&self, unreachable: bool) {
        self.state().unreachable = unreachable;
    }

    /// Lets a replica deliver an endpoint, as a new tenure even if it had it before. What was in flight can be claimed
    /// again.
    pub async fn give(&self, endpoint: &ObjectKey, to: &Replica) {
        let released = {
            let state = &mut *self.state();
            state.epoch += 1;
            state.owners.insert(endpoint.clone(), (to.number, state.epoch));
            let (owners, endpoints) = (&state.owners, &state.endpoints);
            for (number, tenure) in state.replicas.iter().enumerate() {
                let own = owners.iter().filter(|(_, (owner, _))| *owner == number);
                let own: BTreeMap<ObjectKey, u64> = own.map(|(key, (_, epoch))| (key.clone(), *epoch)).collect();
                tenure.send_replace(Tenure::of(move |endpoint| own.get(endpoint).copied()));
            }
            let (moved, rest) = std::mem::take(&mut state.in_flight)
                .into_iter()
                .partition::<BTreeMap<_, _>, _>(|(consumer, _)| endpoints.get(consumer) == Some(endpoint));
            state.in_flight = rest;
            moved
        };
        for (consumer, sequences) in released {
            let ends = sequences.into_iter().map(|sequence| (sequence, Settlement::Released)).collect();
            self.journal.settle(&consumer, ends).await.unwrap();
        }
        self.moved.send_replace(());
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

impl Replica {
    /// What it has settled.
    pub fn settled(&self) -> Vec<(Sequence, Settlement)> {
        self.settled.lock().unwrap().clone()
    }

    fn reachable(&self) -> Result<MutexGuard<'_, State>> {
        let state = self.shared.state();
        if state.unreachable { Err(JournalError::Unavailable("cut off".to_owned())) } else { Ok(state) }
    }

    fn delivers(&self, state: &State, consumer: &Incarnation) -> bool {
        let endpoint = state.endpoints.get(consumer);
        endpoint.and_then(|endpoint| state.owners.get(endpoint)).is_some_and(|(owner, _)| *owner == self.number)
    }
}

#[async_trait]
impl Front for Replica {
    fn journal(&self) -> &dyn Journal {
        &self.shared.journal
    }

    async fn append(&self, events: Vec<Arrival>) -> Result<Vec<Appended>> {
        drop(self.reachable()?);
        self.shared.journal.append(events).await
    }

    async fn attach(&self, consumer: &Incarnation, endpoint: &Incarnation, start: Start) -> Result<Attached> {
        self.reachable()?.endpoints.insert(consumer.clone(), endpoint.key.clone());
        self.shared.journal.attach(consumer, endpoint, start).await
    }

    async fn detach(&self, consumer: &Incarnation) -> Result<Option<Detached>> {
        drop(self.reachable()?);
        self.shared.journal.detach(consumer).await
    }

    async fn consumers(&self) -> Result<Vec<AttachedConsumer>> {
        drop(self.reachable()?);
        self.shared.journal.consumers().await
    }

    async fn claim(&self, consumer: &Incarnation, claim: Claim) -> Result<Claimed> {
        if !self.delivers(&*self.reachable()?, consumer) {
            return Ok(Claimed::default());
        }
        let claimed = self.shared.journal.claim(consumer, claim).await?;
        let mut state = self.shared.state();
        let in_flight = state.in_flight.entry(consumer.clone()).or_default();
        in_flight.extend(claimed.deliveries.iter().map(|delivery| delivery.event.sequence));
        Ok(claimed)
    }

    async fn ready(&self, consumer: &Incarnation) {
        let mut moved = self.shared.moved.subscribe();
        while !self.delivers(&self.shared.state(), consumer) {
            if moved.changed().await.is_err() {
                return;
            }
        }
        self.shared.journal.ready(consumer).await;
    }

    async fn settle(&self, consumer: &Incarnation, ends: Vec<(Sequence, Settlement)>) -> Result<()> {
        {
            let mut state = self.reachable()?;
            self.settled.lock().unwrap().extend(ends.iter().cloned());
            if !self.delivers(&state, consumer) {
                return Err(JournalError::Moved(consumer.key.clone()));
            }
            let in_flight = state.in_flight.entry(consumer.clone()).or_default();
            in_flight.retain(|sequence| ends.iter().all(|(ended, _)| ended != sequence));
        }
        self.shared.journal.settle(consumer, ends).await
    }

    fn tenure(&self) -> watch::Receiver<Tenure> {
        self.tenure.subscribe()
    }

    fn replicas(&self) -> usize {
        self.shared.state().replicas.len()
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn trouble(&self) -> Option<JournalError> {
        self.reachable().err()
    }
}
