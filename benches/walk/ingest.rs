//! Ingest against both floors.

use grapnel_test_support::directory;
use std::{net::SocketAddr, sync::Arc};

use crate::{
    Options,
    load::{Measured, Until, closed_loop},
    manifest::{self, Subscriptions},
    payload::Payloads,
    process::Server,
    report,
};

/// The servers take turns, so that a machine that is slower for a while is slower for all of them.
const TURNS: usize = 5;

pub(crate) async fn run(options: &Options) {
    let payloads = Arc::new(Payloads::new());
    let directory = directory::temporary();
    let manifest = directory.path().join("bench.yaml");
    let nobody = SocketAddr::from(([127, 0, 0, 1], 9));
    let none = Subscriptions { count: 0, receiver: nobody, in_flight: 1, suspended: true };
    manifest::write(&manifest, &manifest::bench(&none));
    let server = Server::grapnel(options, &manifest, &directory.path().join("data"));
    let idle = server.resident();
    let before = server.cpu();
    let servers = [Server::floor(None), Server::floor(Some(directory.path().join("floor"))), server];

    let mut turns: [Vec<Measured>; 3] = Default::default();
    for turn in 0..TURNS {
        for (server, turns) in servers.iter().zip(&mut turns) {
            let (events, name) = (Until::Events(options.events() / TURNS), format!("ingest-{turn}"));
            turns.push(closed_loop(server.address, &payloads, options.connections, events, &name).await);
        }
    }
    let [verifying, storing, grapnel] = turns.map(Measured::in_turns);
    let [_, _, server] = servers;
    let cpu = server.cpu() - before;

    report::head("ingest", &["of floor 1", "of floor 2"]);
    let floors = [verifying.rate(), storing.rate()];
    report::rate("floor 1: a handler that checks the HMAC", &verifying, &floors);
    report::rate("floor 2: and a file with group commit", &storing, &floors);
    report::rate("Grapnel: verified, stored, de-duplicated", &grapnel, &floors);
    report::figure("CPU for each event", format!("{:.1} us", cpu.as_secs_f64() * 1e6 / grapnel.count() as f64));
    report::figure("resident at idle", report::mebibytes(idle));
    report::figure("resident after", report::mebibytes(server.resident()));
}
