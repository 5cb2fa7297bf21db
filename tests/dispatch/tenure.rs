//! Endpoints that another process delivers.

use std::sync::Arc;

use async_trait::async_trait;
use grapnel::{
    api::Incarnation,
    catalog::Snapshot,
    dispatch::{Client, ClientOptions, Consumers, Dispatcher},
    journal::{
        Appended, Arrival, Attached, AttachedConsumer, Claim, Claimed, DeliveryPage, DeliveryQuery, Detached,
        EventPage, EventQuery, Journal, NamespaceUsage, Progress, Redelivered, Result, Retention, Selection, Sequence,
        Settlement, Start, Step, Storage, StoredEvent, Swept, Tenure, Usage,
    },
    rules::{clock::ManualClock, egress::EgressPolicy},
    telemetry::{metrics::Metrics, spans::Spans},
};
use jiff::Timestamp;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::stage::{Receiver, arrival, endpoint, eventually, file, open_journal, start, subscription};

/// A real journal whose tenure the test decides.
struct Moving {
    journal: Arc<dyn Journal>,
    tenure: watch::Sender<Tenure>,
}

#[async_trait]
impl Journal for Moving {
    async fn append(&self, events: Vec<Arrival>) -> Result<Vec<Appended>> {
        self.journal.append(events).await
    }
    async fn attach(&self, consumer: &Incarnation, endpoint: &Incarnation, start: Start) -> Result<Attached> {
        self.journal.attach(consumer, endpoint, start).await
    }
    async fn detach(&self, consumer: &Incarnation) -> Result<Option<Detached>> {
        self.journal.detach(consumer).await
    }
    async fn consumers(&self) -> Result<Vec<AttachedConsumer>> {
        self.journal.consumers().await
    }
    async fn claim(&self, consumer: &Incarnation, claim: Claim) -> Result<Claimed> {
        self.journal.claim(consumer, claim).await
    }
    async fn ready(&self, consumer: &Incarnation) {
        self.journal.ready(consumer).await;
    }
    async fn settle(&self, consumer: &Incarnation, ends: Vec<(Sequence, Settlement)>) -> Result<()> {
        self.journal.settle(consumer, ends).await
    }
    async fn redeliver(&self, consumer: &Incarnation, selection: &Selection, step: Step) -> Result<Redelivered> {
        self.journal.redeliver(consumer, selection, step).await
    }
    fn progress(&self, consumer: &Incarnation) -> Option<Progress> {
        self.journal.progress(consumer)
    }
    async fn events(&self, endpoint: &Incarnation, query: EventQuery) -> Result<EventPage> {
        self.journal.events(endpoint, query).await
    }
    async fn event(&self, endpoint: &Incarnation, id: &str) -> Result<Option<StoredEvent>> {
        self.journal.event(endpoint, id).await
    }
    async fn deliveries(&self, consumer: &Incarnation, query: DeliveryQuery) -> Result<DeliveryPage> {
        self.journal.deliveries(consumer, query).await
    }
    async fn sweep(&self, retention: Retention, now: Timestamp) -> Result<Swept> {
        self.journal.sweep(retention, now).await
    }
    fn tenure(&self) -> watch::Receiver<Tenure> {
        self.tenure.subscribe()
    }
    fn usage(&self) -> Usage {
        self.journal.usage()
    }
    fn storage(&self, endpoint: &Incarnation) -> Storage {
        self.journal.storage(endpoint)
    }
    fn namespaces(&self) -> Vec<NamespaceUsage> {
        self.journal.namespaces()
    }
    async fn close(&self) -> Result<()> {
        self.journal.close().await
    }
}

#[tokio::test]
async fn only_the_endpoints_of_the_tenure_are_delivered_and_it_may_change() {
    let directory = tempfile::tempdir().unwrap();
    let (mut own, mut others) = (Receiver::statuses(&[200]).await, Receiver::statuses(&[200]).await);
    let github = || file("github").key;
    let tenure = watch::Sender::new(Tenure::of(move |endpoint| *endpoint != github()));
    let journal = Arc::new(Moving { journal: Arc::new(open_journal(directory.path(), 0)), tenure });
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
    journal.tenure.send_replace(Tenure::of(move |endpoint| *endpoint == github()));
    assert_eq!(others.next().await.header("webhook-id"), "evt_1");
    append("evt_2").await;
    assert_eq!(others.next().await.header("webhook-id"), "evt_2");
    eventually("settled", async || progress("moved").delivered == 2).await;
    assert_eq!((progress("own").pending, own.rest().len()), (1, 0));
    shutdown.cancel();
    running.await.unwrap().unwrap();
}
