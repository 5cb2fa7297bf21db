//! Consumers of a journal that several replicas share go only when it is certain that their subscription is gone.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use futures_util::future::{BoxFuture, FutureExt};
use grapnel::{
    catalog::Snapshot,
    dispatch::{
        Consumers, LiveSubscriptions,
        limits::{DETACH_AFTER, DETACH_UNCONFIRMED_AFTER},
    },
    telemetry::metrics::Metrics,
};
use grapnel_api::Incarnation;
use grapnel_journal::{Journal, Start};
use grapnel_test_support::{
    journal_front::Fronted,
    replicas::{Replica, SharedJournal},
};
use tokio::time;

use crate::stage::{endpoint, file};

/// A cluster that says what the test tells it to.
#[derive(Default)]
struct Cluster(AtomicU8);

const UNKNOWN: u8 = 0;
const EXISTS: u8 = 1;
const GONE: u8 = 2;

impl Cluster {
    fn says(&self, what: u8) {
        self.0.store(what, Ordering::SeqCst);
    }
}

impl LiveSubscriptions for Cluster {
    fn exists<'a>(&'a self, _: &'a Incarnation) -> BoxFuture<'a, Option<bool>> {
        let exists = match self.0.load(Ordering::SeqCst) {
            UNKNOWN => None,
            what => Some(what == EXISTS),
        };
        async move { exists }.boxed()
    }
}

/// A replica that delivers the endpoint of `billing`, which another one has attached.
struct Fixture {
    shared: Arc<SharedJournal>,
    replica: Arc<Replica>,
    journal: Arc<Fronted<Replica>>,
    consumers: Consumers,
}

impl Fixture {
    async fn new() -> Self {
        let shared = SharedJournal::new();
        let (replica, journal) = shared.replica();
        shared.give(&endpoint().key, &replica).await;
        let other = shared.replica().1;
        other.attach(&file("billing"), &endpoint(), Start::Now).await.unwrap();
        let consumers = Consumers::new(journal.clone(), Metrics::new());
        Self { shared, replica, journal, consumers }
    }

    /// Whether `billing` is attached after another look of this replica, whose configuration does not have it.
    async fn stays(&mut self) -> bool {
        let nothing = Snapshot::new([], []);
        self.consumers.align(&nothing).await.unwrap();
        self.consumers.tidy(&nothing).await.unwrap();
        !self.journal.consumers().await.unwrap().is_empty()
    }
}

#[tokio::test(start_paused = true)]
async fn a_consumer_stays_until_its_subscription_is_known_to_be_gone() {
    let mut fixture = Fixture::new().await;
    let cluster = Arc::new(Cluster::default());
    fixture.consumers.confirm(cluster.clone());
    cluster.says(GONE);
    assert!(fixture.stays().await, "it may have been attached just now");
    time::advance(DETACH_AFTER).await;
    for answer in [UNKNOWN, EXISTS] {
        cluster.says(answer);
        assert!(fixture.stays().await);
    }
    cluster.says(GONE);
    let elsewhere = fixture.shared.replica().0;
    fixture.shared.give(&endpoint().key, &elsewhere).await;
    assert!(fixture.stays().await, "it is the other replica's");
    fixture.shared.give(&endpoint().key, &fixture.replica).await;
    let incomplete = Snapshot::new([], []).incomplete();
    fixture.consumers.tidy(&incomplete).await.unwrap();
    assert!(!fixture.journal.consumers().await.unwrap().is_empty(), "the cluster has not been read completely");
    assert!(!fixture.stays().await);
}

#[tokio::test(start_paused = true)]
async fn the_wait_begins_anew_for_another_object_of_the_name() {
    let mut fixture = Fixture::new().await;
    let cluster = Arc::new(Cluster::default());
    cluster.says(GONE);
    fixture.consumers.confirm(cluster);
    assert!(fixture.stays().await);
    time::advance(DETACH_AFTER).await;
    let again = Incarnation::new(file("billing").key, "2");
    fixture.journal.attach(&again, &endpoint(), Start::Now).await.unwrap();
    assert!(fixture.stays().await);
    time::advance(DETACH_AFTER - Duration::from_secs(1)).await;
    assert!(fixture.stays().await);
    time::advance(Duration::from_secs(1)).await;
    assert!(!fixture.stays().await);
}

#[tokio::test(start_paused = true)]
async fn without_anyone_to_ask_the_wait_is_long() {
    let mut fixture = Fixture::new().await;
    assert!(fixture.stays().await);
    time::advance(DETACH_UNCONFIRMED_AFTER - Duration::from_secs(1)).await;
    assert!(fixture.stays().await);
    time::advance(Duration::from_secs(1)).await;
    assert!(!fixture.stays().await);
}

#[tokio::test(start_paused = true)]
async fn a_configuration_that_attaches_nothing_needs_no_journal() {
    let mut fixture = Fixture::new().await;
    fixture.shared.set_unreachable(true);
    let nothing = Snapshot::new([], []);
    fixture.consumers.align(&nothing).await.unwrap();
    fixture.consumers.tidy(&nothing).await.unwrap_err();
    fixture.shared.set_unreachable(false);
    assert!(fixture.stays().await);
}
