//! A journal that grows: rate, disk, and restarts.

use grapnel_test_support::directory;
use std::{net::SocketAddr, sync::Arc};

use crate::{
    BODY_BYTES, Options,
    load::{Until, closed_loop},
    manifest::{self, Subscriptions},
    payload::Payloads,
    process::Server,
    report,
};

pub(crate) async fn run(options: &Options) {
    let events = options.events.unwrap_or(3_000_000);
    let payloads = Arc::new(Payloads::new());
    let directory = directory::temporary();
    let (manifest, data) = (directory.path().join("bench.yaml"), directory.path().join("data"));
    let nobody = SocketAddr::from(([127, 0, 0, 1], 9));
    let suspended = Subscriptions { count: 1, receiver: nobody, in_flight: 1, suspended: true };
    manifest::write(&manifest, &manifest::bench(&suspended));
    let server = Server::grapnel(options, &manifest, &data);
    let ingest = closed_loop(server.address, &payloads, options.connections, Until::Events(events), "growth").await;
    let resident = server.resident();
    let disk = directory::allocated(&data);
    // By SIGKILL.
    drop(server);
    let server = Server::grapnel(options, &manifest, &data);
    let (ready, after) = (server.started_in, server.resident());
    let terminated = server.terminate();
    let server = Server::grapnel(options, &manifest, &data);
    let orderly = server.started_in;

    let (first, last) = ingest.tenths();
    let payload = (events * BODY_BYTES) as u64;
    println!("\n{events} events");
    report::figure("ingest in the first tenth, per s", format!("{first:.0}"));
    report::figure("ingest in the last tenth, per s", format!("{last:.0}"));
    report::figure("payload", report::mebibytes(payload));
    report::figure("data directory", report::mebibytes(disk));
    report::figure("data directory / payload", format!("{:.2}", disk as f64 / payload as f64));
    report::figure("resident", report::mebibytes(resident));
    report::figure("ready after SIGKILL", report::time(ready));
    report::figure("resident after that restart", report::mebibytes(after));
    report::figure("SIGTERM takes", report::time(terminated));
    report::figure("ready after SIGTERM", report::time(orderly));
}
