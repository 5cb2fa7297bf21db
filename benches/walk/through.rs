//! The whole way at once: requests come in while their events are delivered to one subscription.

use grapnel_test_support::directory;
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    Options,
    load::{Measured, Until, closed_loop, fixed_rate},
    manifest::{self, Subscriptions},
    payload::Payloads,
    process::Server,
    receiver::Receiver,
    report,
};

pub(crate) async fn run(options: &Options) {
    let start = async |receiver: SocketAddr| {
        let directory = directory::temporary();
        let manifest = write(options, directory.path(), receiver);
        let server = Server::grapnel(options, &manifest, &directory.path().join("data"));
        (directory, server)
    };
    report::head("ingest and delivery at once", &[]);
    whole_way(options, options.events(), start).await;
    lag(options, options.rate, start).await;
}

/// Measures how fast events go in and out. `start` starts Grapnel with one subscription to the receiver at an address,
/// and returns what has to live as long, and Grapnel.
pub(crate) async fn whole_way<T>(options: &Options, events: usize, start: impl AsyncFn(SocketAddr) -> (T, Server)) {
    let payloads = Arc::new(Payloads::new());
    let receiver = Receiver::start(0).await;
    let (_kept, server) = start(receiver.address).await;
    let start = Instant::now();
    let ingest = closed_loop(server.address, &payloads, options.connections, Until::Events(events), "through").await;
    receiver.wait(events).await;
    let whole = Measured::plain(events, start.elapsed());
    report::rate("ingest", &ingest, &[]);
    report::rate("from the first request to the last arrival", &whole, &[]);
    report::figure("resident after", report::mebibytes(server.resident()));
}

/// Measures the time from a request to the arrival of its event, at so many requests a second.
pub(crate) async fn lag<T>(options: &Options, rate: usize, start: impl AsyncFn(SocketAddr) -> (T, Server)) {
    let payloads = Arc::new(Payloads::new());
    let time = Duration::from_secs(options.seconds);
    let receiver = Receiver::start(rate * options.seconds as usize * 2).await;
    let (_kept, server) = start(receiver.address).await;
    let arrivals = Arc::clone(receiver.arrivals());
    let sent = move |number| arrivals.sent(number);
    let before = server.cpu();
    let ingest = fixed_rate(server.address, &payloads, options.connections, (rate, time), "fixed", sent).await;
    receiver.wait(ingest.count()).await;
    let cpu = server.cpu() - before;
    let latencies = receiver.arrivals().latencies();
    let at = |part| report::milliseconds(report::quantile(&latencies, part));
    report::rate(&format!("at {rate} requests a second: answers"), &ingest, &[]);
    println!("{:<44} {:>9} {:>9} {:>9}", "at that rate: from request to arrival", "", at(0.5), at(0.99));
    report::figure("CPU at that rate", format!("{:.0} %", cpu.as_secs_f64() / ingest.time.as_secs_f64() * 100.0));
}

/// Writes the manifest of an endpoint with one subscription to the receiver.
pub(crate) fn write(options: &Options, directory: &Path, receiver: SocketAddr) -> PathBuf {
    let manifest = directory.join("bench.yaml");
    let one = Subscriptions { count: 1, receiver, in_flight: options.in_flight, suspended: false };
    manifest::write(&manifest, &manifest::bench(&one));
    manifest
}
