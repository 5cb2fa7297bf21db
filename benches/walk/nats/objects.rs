//! Many objects on two replicas: start, memory, idle CPU, and an event of each endpoint.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use grapnel_test_support::directory;
use tokio::task::JoinSet;

use super::brokers::Brokers;
use crate::{Options, load::Connection, objects, payload::Payloads, process::Server, receiver::Receiver, report};

/// Objects of each kind in the first of two runs; the second has as many as the options say.
const FEW: usize = 1_000;
const REPLICAS: usize = 2;
/// Connections over which events are sent.
const SENDERS: usize = 16;
/// From the start of the last replica until shards have moved to it.
const SETTLED: Duration = Duration::from_secs(15);

pub(crate) async fn run(options: &Options) {
    measure(options, FEW).await;
    if options.objects != FEW {
        measure(options, options.objects).await;
    }
}

async fn measure(options: &Options, objects: usize) {
    let directory = directory::temporary();
    let manifests = directory.path().join("manifests");
    let receiver = Receiver::start(0).await;
    objects::write(&manifests, objects, &format!("http://{}/", receiver.address));
    // Otherwise the files are so young that a reader may not trust their times.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let brokers = Brokers::start().await;
    let before = brokers.resident();
    println!("\n{objects} endpoints and {objects} subscriptions on NATS, {REPLICAS} replicas");
    let mut servers: Vec<Server> = Vec::new();
    for name in ["first", "second"] {
        let server = brokers.replica(options, &manifests).await;
        report::figure(&format!("the {name} replica: ready after"), report::time(server.started_in));
        let start = Instant::now();
        one_of_each(&server, objects, name).await;
        let taken = start.elapsed();
        receiver.wait(objects * (servers.len() + 1)).await;
        report::figure("then an event to each endpoint: taken in after", report::time(taken));
        report::figure("and all of them delivered after", report::time(start.elapsed()));
        servers.push(server);
    }

    tokio::time::sleep(SETTLED).await;
    let cpu = || (servers.iter().map(Server::cpu).collect::<Vec<_>>(), brokers.cpu());
    let ((own, of_brokers), since) = (cpu(), Instant::now());
    tokio::time::sleep(Duration::from_secs(options.seconds)).await;
    let ((own_after, of_brokers_after), time) = (cpu(), since.elapsed());
    let percent = |cpu: Duration| format!("{:.1} %", cpu.as_secs_f64() / time.as_secs_f64() * 100.0);
    for ((name, server), (before, after)) in
        ["first", "second"].iter().zip(&servers).zip(own.into_iter().zip(own_after))
    {
        report::figure(&format!("the {name} replica: CPU at idle"), percent(after - before));
        report::figure(&format!("the {name} replica: resident"), report::mebibytes(server.resident()));
    }
    report::figure("the brokers: CPU at idle", percent(of_brokers_after - of_brokers));
    report::figure("the largest broker: resident before", report::mebibytes(before));
    report::figure("the largest broker: resident", report::mebibytes(brokers.resident()));
    for server in servers {
        report::figure("SIGTERM takes", report::time(server.terminate()));
    }
}

/// Sends an event to each endpoint, and again while the answer is not 200.
async fn one_of_each(server: &Server, objects: usize, name: &str) {
    let payloads = Arc::new(Payloads::new());
    let (next, address) = (Arc::new(AtomicUsize::new(0)), server.address);
    let mut tasks = JoinSet::new();
    for _ in 0..SENDERS {
        let (payloads, next, name) = (Arc::clone(&payloads), Arc::clone(&next), name.to_owned());
        tasks.spawn(async move {
            let mut connection = Connection::open(address).await;
            let (mut request, start) = (Vec::new(), Instant::now());
            loop {
                let number = next.fetch_add(1, Relaxed);
                if number >= objects {
                    return;
                }
                payloads.request_to(&mut request, &format!("in-{number}"), &name, number);
                while connection.send(&request).await != 200 {
                    assert!(start.elapsed() < crate::PATIENCE, "an event is not taken in");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        });
    }
    tasks.join_all().await;
}
