//! Every operation and every error, with real brokers.

mod core;
mod failures;
mod publish;
mod read;
mod stream;

use std::time::Duration;

use grapnel_test_support::{
    eventually,
    nats::{NatsCluster, NatsSettings},
};

use super::*;

const TIMEOUT: Duration = Duration::from_secs(10);

/// One broker and a connection to it.
async fn one() -> (NatsCluster, Broker) {
    one_with(NatsSettings::default()).await
}

async fn one_with(settings: NatsSettings) -> (NatsCluster, Broker) {
    let cluster = NatsCluster::start(1, settings).await;
    let broker = connect(&cluster).await;
    (cluster, broker)
}

async fn connect(cluster: &NatsCluster) -> Broker {
    let broker = Broker::connect(options(cluster)).await.unwrap();
    eventually("a connection", async || broker.is_connected()).await;
    broker
}

fn options(cluster: &NatsCluster) -> BrokerOptions {
    BrokerOptions { urls: cluster.urls(), name: "test".into(), ..BrokerOptions::default() }
}

/// A stream with everything that the engine uses.
fn config(name: &str) -> StreamConfig {
    StreamConfig {
        name: name.into(),
        description: "a test".into(),
        subjects: vec![format!("{name}.>")],
        replicas: 1,
        max_bytes: None,
        max_msgs_per_subject: None,
        discard: Discard::New,
        allow_direct: true,
        allow_atomic: true,
        allow_msg_ttl: true,
        first_sequence: 0,
    }
}

fn message(subject: &str) -> Publication {
    let headers = vec![("Grapnel-Head", format!("head of {subject}"))];
    Publication { subject: subject.into(), headers, payload: "body".into(), ..Publication::default() }
}

/// A message that is stored only if its subject has this last sequence.
fn after(subject: &str, sequence: u64) -> Publication {
    Publication { expected: Some(Expected::LastOnSubject(sequence)), ..message(subject) }
}
