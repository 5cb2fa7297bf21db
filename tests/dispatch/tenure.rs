//! Endpoints that another process delivers.

use std::{future::pending, path::Path, sync::Arc};

use async_trait::async_trait;
use grapnel::{
    catalog::Snapshot,
    dispatch::{Client, ClientOptions, Consumers, Dispatcher},
    telemetry::{metrics::Metrics, spans::Spans},
};
use grapnel_api::Incarnation;
use grapnel_delivery::egress::EgressPolicy;
use grapnel_journal::{Arrival, Claim, Claimed, Journal, JournalError, Settlement, Tenure};
use grapnel_test_support::replicas::SharedJournal;
use grapnel_values::clock::ManualClock;
use tokio::{
    sync::{Semaphore, watch},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use crate::{
    front::{Front, Fronted},
    stage::{Log, Receiver, arrival, endpoint, eventually, file, open_journal, start, status, subscription},
};

/// A real journal whose tenure the test decides, and whose claims can be made to answer late.
struct Moving {
    journal: Arc<dyn Journal>,
    tenure: watch::Sender<Tenure>,
    /// One permit lets one claim answer.
    claims: Semaphore,
    /// One permit for every claim that has found something.
    claimed: Semaphore,
}

impl Moving {
    fn new(directory: &Path, tenure: Tenure, claims: usize) -> Arc<Self> {
        let (claims, claimed) = (Semaphore::new(claims), Semaphore::new(0));
        let journal = Arc::new(open_journal(directory, 0));
        Arc::new(Self { journal, tenure: watch::Sender::new(tenure), claims, claimed })
    }
}

#[async_trait]
impl Front for Moving {
    fn journal(&self) -> &dyn Journal {
        &*self.journal
    }
    async fn claim(&self, consumer: &Incarnation, claim: Claim) -> Result<Claimed, JournalError> {
        let claimed = self.journal.claim(consumer, claim).await?;
        if !claimed.deliveries.is_empty() {
            self.claimed.add_permits(1);
            self.claims.acquire().await.unwrap().forget();
        }
        Ok(claimed)
    }
    fn tenure(&self) -> watch::Receiver<Tenure> {
        self.tenure.subscribe()
    }
}

#[tokio::test]
async fn only_the_endpoints_of_the_tenure_are_delivered_and_it_may_change() {
    let directory = tempfile::tempdir().unwrap();
    let (mut own, mut others) = (Receiver::statuses(&[200]).await, Receiver::statuses(&[200]).await);
    let github = || file("github").key;
    let tenure = Tenure::of(move |endpoint| (*endpoint != github()).then_some(1));
    let moving = Moving::new(directory.path(), tenure, Semaphore::MAX_PERMITS);
    let journal = Arc::new(Fronted(Arc::clone(&moving)));
    let metrics = Metrics::new();
    let mut moved = subscription("moved", &others.url, &metrics);
    moved.endpoint = file("github");
    let subscriptions = [subscription("own", &own.url, &metrics), moved].map(Arc::new);
    let snapshot = Arc::new(Snapshot::new([], subscriptions));
    Consumers::new(journal.clone(), metrics).align(&snapshot).await.unwrap();
    let (_live, snapshot) = watch::channel(snapshot);
    let egress = EgressPolicy::default().allowing(vec!["127.0.0.0/8".parse().unwrap()]);
    let shutdown = CancellationToken::new();
    let dispatcher = Dispatcher {
        snapshot,
        journal: journal.clone(),
        clock: Arc::new(ManualClock::new(start())),
        client: Client::new(ClientOptions::new(egress)).unwrap(),
        spans: Spans::default(),
    };
    let running = tokio::spawn(dispatcher.run(shutdown.clone()));
    let append = async |id: &str| {
        let events = [endpoint(), file("github")].map(|endpoint| {
            let event = arrival(id, "t", b"{}", start());
            Arrival { endpoint, ..event }
        });
        journal.append(events.into()).await.unwrap();
    };
    append("evt_1").await;
    assert_eq!(own.next().await.header("webhook-id"), "evt_1");
    let progress = |name: &str| journal.progress(&file(name)).unwrap();
    eventually("settled", async || progress("own").delivered == 1).await;
    assert_eq!((progress("moved").pending, others.rest().len()), (1, 0));

    // It comes here, and what was here goes elsewhere.
    moving.tenure.send_replace(Tenure::of(move |endpoint| (*endpoint == github()).then_some(2)));
    assert_eq!(others.next().await.header("webhook-id"), "evt_1");
    append("evt_2").await;
    assert_eq!(others.next().await.header("webhook-id"), "evt_2");
    eventually("settled", async || progress("moved").delivered == 2).await;
    assert_eq!((progress("own").pending, own.rest().len()), (1, 0));
    shutdown.cancel();
    running.await.unwrap().unwrap();
}

/// A dispatcher of one replica, with one subscription.
struct Running {
    shutdown: CancellationToken,
    task: JoinHandle<Result<(), grapnel::dispatch::DispatchError>>,
    _live: watch::Sender<Arc<Snapshot>>,
}

impl Running {
    async fn start(journal: Arc<dyn Journal>, receiver: &Receiver) -> Self {
        let metrics = Metrics::new();
        let billing = Arc::new(subscription("billing", &receiver.url, &metrics));
        let snapshot = Arc::new(Snapshot::new([], [billing]));
        Consumers::new(journal.clone(), metrics).align(&snapshot).await.unwrap();
        let (live, snapshot) = watch::channel(snapshot);
        let egress = EgressPolicy::default().allowing(vec!["127.0.0.0/8".parse().unwrap()]);
        let shutdown = CancellationToken::new();
        let dispatcher = Dispatcher {
            snapshot,
            journal,
            clock: Arc::new(ManualClock::new(start())),
            client: Client::new(ClientOptions::new(egress)).unwrap(),
            spans: Spans::default(),
        };
        Self { task: tokio::spawn(dispatcher.run(shutdown.clone())), shutdown, _live: live }
    }

    async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.unwrap().unwrap();
    }
}

/// A receiver that never answers its first request.
async fn silent_at_first() -> Receiver {
    Receiver::new(|request| async move {
        if request == 0 {
            pending::<()>().await;
        }
        status(200)
    })
    .await
}

#[tokio::test]
async fn deliveries_in_flight_are_aborted_and_not_settled_when_another_replica_takes_them_over() {
    let log = Log::start();
    let mut receiver = silent_at_first().await;
    let shared = SharedJournal::new();
    let ((first, journal), (second, other_journal)) = (shared.replica(), shared.replica());
    shared.give(&endpoint().key, &first).await;
    let (running, other) =
        (Running::start(journal, &receiver).await, Running::start(other_journal.clone(), &receiver).await);
    other_journal.append(vec![arrival("evt_1", "t", b"{}", start())]).await.unwrap();
    assert_eq!(receiver.next().await.header("grapnel-attempt"), "1");

    shared.give(&endpoint().key, &second).await;
    let again = receiver.next().await;
    assert_eq!((again.header("webhook-id"), again.header("grapnel-attempt")), ("evt_1", "1"));
    let progress = || shared.journal().progress(&file("billing")).unwrap();
    eventually("settled", async || progress().delivered == 1).await;
    running.stop().await;
    let settled = first.settled();
    assert!(settled.iter().all(|(_, end)| *end == Settlement::Released), "{settled:?}");
    assert_eq!(log.lines("attempts in flight are aborted").len(), 1);
    assert_eq!(log.lines("WARN"), [""; 0]);
    other.stop().await;
    assert!(matches!(second.settled()[..], [(_, Settlement::Delivered(_))]));
}

#[tokio::test]
async fn a_tenure_that_is_lost_and_regained_begins_anew() {
    let mut receiver = silent_at_first().await;
    let shared = SharedJournal::new();
    let (replica, journal) = shared.replica();
    shared.give(&endpoint().key, &replica).await;
    let running = Running::start(journal.clone(), &receiver).await;
    journal.append(vec![arrival("evt_1", "t", b"{}", start())]).await.unwrap();
    receiver.next().await;
    // The worker may see only the second of the two changes.
    let elsewhere = shared.replica().0;
    shared.give(&endpoint().key, &elsewhere).await;
    shared.give(&endpoint().key, &replica).await;
    assert_eq!(receiver.next().await.header("grapnel-attempt"), "1");
    eventually("settled", async || shared.journal().progress(&file("billing")).unwrap().delivered == 1).await;
    running.stop().await;
    let mut settled = replica.settled();
    settled.retain(|(_, end)| *end != Settlement::Released);
    assert!(matches!(settled[..], [(_, Settlement::Delivered(_))]), "{settled:?}");
}

#[tokio::test]
async fn what_was_claimed_after_the_tenure_began_anew_does_not_stay_in_flight() {
    let directory = tempfile::tempdir().unwrap();
    let mut receiver = Receiver::statuses(&[200]).await;
    let moving = Moving::new(directory.path(), Tenure::of(|_| Some(1)), 0);
    let running = Running::start(Arc::new(Fronted(Arc::clone(&moving))), &receiver).await;
    moving.journal.append(vec![arrival("evt_1", "t", b"{}", start())]).await.unwrap();
    moving.claimed.acquire().await.unwrap().forget();
    moving.tenure.send_replace(Tenure::of(|_| Some(2)));
    moving.claims.add_permits(Semaphore::MAX_PERMITS);
    assert_eq!(receiver.next().await.header("webhook-id"), "evt_1");
    eventually("settled", async || moving.journal.progress(&file("billing")).unwrap().delivered == 1).await;
    running.stop().await;
    assert!(receiver.rest().is_empty());
}
