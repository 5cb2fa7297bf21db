//! Endpoints that another process delivers.

use std::sync::Arc;

use grapnel::{
    catalog::Snapshot,
    dispatch::{Client, ClientOptions, Consumers, Dispatcher},
    telemetry::{metrics::Metrics, spans::Spans},
};
use grapnel_delivery::egress::EgressPolicy;
use grapnel_journal::{Arrival, Journal, Tenure};
use grapnel_values::clock::ManualClock;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{
    front::{Front, Fronted},
    stage::{Receiver, arrival, endpoint, eventually, file, open_journal, start, subscription},
};

/// A real journal whose tenure the test decides.
struct Moving {
    journal: Arc<dyn Journal>,
    tenure: watch::Sender<Tenure>,
}

impl Front for Moving {
    fn journal(&self) -> &dyn Journal {
        &*self.journal
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
    let tenure = watch::Sender::new(Tenure::of(move |endpoint| *endpoint != github()));
    let moving = Arc::new(Moving { journal: Arc::new(open_journal(directory.path(), 0)), tenure });
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
    moving.tenure.send_replace(Tenure::of(move |endpoint| *endpoint == github()));
    assert_eq!(others.next().await.header("webhook-id"), "evt_1");
    append("evt_2").await;
    assert_eq!(others.next().await.header("webhook-id"), "evt_2");
    eventually("settled", async || progress("moved").delivered == 2).await;
    assert_eq!((progress("own").pending, own.rest().len()), (1, 0));
    shutdown.cancel();
    running.await.unwrap().unwrap();
}
