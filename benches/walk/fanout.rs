//! Ingest while many subscriptions of one endpoint deliver.

use grapnel_test_support::directory;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    Options,
    load::{Until, closed_loop},
    manifest::{self, Subscriptions},
    payload::Payloads,
    process::Server,
    receiver::Receiver,
    report,
};

/// Events before the measurement, so that all subscriptions have something to deliver while it lasts.
const BACKLOG: usize = 5_000;
/// `maxInFlight` of each subscription: the default of the API.
const IN_FLIGHT: usize = 16;

pub(crate) async fn run(options: &Options) {
    let payloads = Arc::new(Payloads::new());
    let directory = directory::temporary();
    let receiver = Receiver::start(0).await;
    let manifest = directory.path().join("bench.yaml");
    let subscriptions = Subscriptions {
        count: options.subscriptions,
        receiver: receiver.address,
        in_flight: IN_FLIGHT,
        suspended: false,
    };
    manifest::write(&manifest, &manifest::bench(&subscriptions));
    let server = Server::grapnel(options, &manifest, &directory.path().join("data"));
    closed_loop(server.address, &payloads, options.connections, Until::Events(BACKLOG), "backlog").await;

    let seconds = Until::Time(Duration::from_secs(options.seconds));
    let rate = |before: usize, since: Instant| {
        format!("{:.0}", (receiver.count() - before) as f64 / since.elapsed().as_secs_f64())
    };
    let (before, since) = (receiver.count(), Instant::now());
    tokio::time::sleep(Duration::from_secs(options.seconds) / 2).await;
    let alone = rate(before, since);
    let (before, since) = (receiver.count(), Instant::now());
    let ingest = closed_loop(server.address, &payloads, options.connections, seconds, "fanout").await;
    let meanwhile = rate(before, since);

    report::head(&format!("{} subscriptions", options.subscriptions), &[]);
    report::rate("ingest while they deliver", &ingest, &[]);
    report::figure("deliveries meanwhile, per s", meanwhile);
    report::figure("deliveries without ingest, per s", alone);
    report::figure("resident after", report::mebibytes(server.resident()));
}
