//! Ingest against a plain publish loop on the same brokers.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use grapnel_test_support::directory;

use super::{
    brokers::Brokers,
    publish_loop::{Promise, PublishLoop},
};
use crate::{
    Options,
    load::{Measured, Until, closed_loop},
    manifest::{self, Subscriptions},
    payload::Payloads,
    report,
};

/// The floors and Grapnel take turns, so that a machine that is slower for a while is slower for all of them.
const TURNS: usize = 5;
/// Events of each: the brokers sync them all.
const EVENTS: usize = 50_000;

pub(crate) async fn run(options: &Options) {
    let payloads = Arc::new(Payloads::new());
    let directory = directory::temporary();
    let manifest = directory.path().join("bench.yaml");
    let nobody = SocketAddr::from(([127, 0, 0, 1], 9));
    let none = Subscriptions { count: 0, receiver: nobody, in_flight: 1, suspended: true };
    manifest::write(&manifest, &manifest::bench(&none));
    let brokers = Brokers::start().await;
    let floor = PublishLoop::start(&brokers).await;
    let server = brokers.replica(options, &manifest).await;
    let idle = server.resident();

    let events = options.events.unwrap_or(EVENTS) / TURNS;
    let mut turns: [Vec<Measured>; 3] = Default::default();
    let (mut cpu, mut cpu_of_brokers) = (Duration::ZERO, Duration::ZERO);
    for turn in 0..TURNS {
        let [plain, once, grapnel] = &mut turns;
        let name = format!("plain-{turn}");
        plain.push(floor.run(&payloads, options.connections, events, &name, Promise::Stored).await);
        let name = format!("once-{turn}");
        once.push(floor.run(&payloads, options.connections, events, &name, Promise::StoredOnce).await);
        let (own, of_brokers) = (server.cpu(), brokers.cpu());
        let (until, name) = (Until::Events(events), format!("ingest-{turn}"));
        grapnel.push(closed_loop(server.address, &payloads, options.connections, until, &name).await);
        cpu += server.cpu() - own;
        cpu_of_brokers += brokers.cpu() - of_brokers;
    }
    let [plain, once, grapnel] = turns.map(Measured::in_turns);

    report::head("ingest on NATS", &["of floor 1", "of floor 2"]);
    let floors = [plain.rate(), once.rate()];
    report::rate("floor 1: a plain publish loop", &plain, &floors);
    report::rate("floor 2: and one message for each id", &once, &floors);
    report::rate("Grapnel: verified, stored, de-duplicated", &grapnel, &floors);
    let each = |cpu: Duration| format!("{:.1} us", cpu.as_secs_f64() * 1e6 / grapnel.count() as f64);
    report::figure("CPU for each event", each(cpu));
    report::figure("CPU of the brokers for each event", each(cpu_of_brokers));
    report::figure("resident at idle", report::mebibytes(idle));
    report::figure("resident after", report::mebibytes(server.resident()));
    report::figure("largest broker, resident after", report::mebibytes(brokers.resident()));
}
