//! What senders and receivers notice of a crash, with two replicas.

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use grapnel_test_support::directory;

use super::{
    brokers::Brokers,
    senders::{Senders, Waits},
};
use crate::{Options, payload::Payloads, process::Server, receiver::Receiver, report, through};

/// From the start of the replicas until each has its shards.
const SETTLED: Duration = Duration::from_secs(15);
/// Load before the crash, and after it.
const BEFORE: Duration = Duration::from_secs(3);
const AFTER: Duration = Duration::from_secs(20);
/// Events whose times are looked at: more than the senders send.
const NUMBERS: usize = 100_000;

/// What crashes.
#[derive(Clone, Copy)]
enum Crash {
    Replica(usize),
    LeadingBroker,
}

pub(crate) async fn run(options: &Options) {
    report::head("two replicas on NATS", &[]);
    // One of the two replicas delivers the events of the endpoint; each is killed in a run of its own.
    let crashes = [
        ("the first replica is killed", Crash::Replica(0)),
        ("the second replica is killed", Crash::Replica(1)),
        ("the broker that leads the stream is killed", Crash::LeadingBroker),
    ];
    for (name, crash) in crashes {
        println!("{name}");
        measure(options, crash).await;
    }
}

async fn measure(options: &Options, crash: Crash) {
    let payloads = Arc::new(Payloads::new());
    let directory = directory::temporary();
    let receiver = Receiver::start(NUMBERS).await;
    let manifest = through::write(options, directory.path(), receiver.address);
    let mut brokers = Brokers::start().await;
    let mut replicas = start(options, &brokers, &manifest).await;
    let addresses: Vec<SocketAddr> = replicas.iter().map(|replica| replica.address).collect();
    tokio::time::sleep(SETTLED).await;

    let senders = Senders::start(&payloads, receiver.arrivals(), [addresses[0], addresses[1]]);
    tokio::time::sleep(BEFORE).await;
    match crash {
        // By SIGKILL.
        Crash::Replica(number) => drop(replicas.remove(number)),
        Crash::LeadingBroker => {
            let leader = brokers.leader().await;
            brokers.0.kill(leader);
        }
    }
    tokio::time::sleep(AFTER).await;
    let Waits { events, failed, longest } = senders.end().await;
    // A repeated delivery counts twice, so that this may be too early for the last ones.
    receiver.wait(events).await;
    tokio::time::sleep(BEFORE).await;
    let latencies = receiver.arrivals().latencies();
    let longest_way = latencies.last().copied().unwrap_or_default();
    report::figure("  events", events);
    report::figure("  of them delivered", latencies.len());
    report::figure("  deliveries repeated", receiver.count().saturating_sub(latencies.len()));
    report::figure("  failed attempts of senders", failed);
    report::figure("  longest wait of a sender", report::time(longest));
    report::figure("  longest from first attempt to arrival", report::time(longest_way));
}

async fn start(options: &Options, brokers: &Brokers, manifest: &Path) -> Vec<Server> {
    let mut replicas = Vec::new();
    for _ in 0..2 {
        replicas.push(brokers.replica(options, manifest).await);
    }
    replicas
}
