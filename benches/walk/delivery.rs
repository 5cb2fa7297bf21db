//! Delivery of a backlog, against a plain client.

use grapnel_test_support::directory;
use std::sync::Arc;

use crate::{
    Options,
    load::{Measured, Until, closed_loop},
    manifest::{self, Subscriptions},
    payload::Payloads,
    process::Server,
    receiver::Receiver,
    report,
};

pub(crate) async fn run(options: &Options) {
    let payloads = Arc::new(Payloads::new());
    let events = options.events();
    let plain = Receiver::start(0).await.plain_loop(&payloads, events, options.in_flight).await;
    let plain = Measured::plain(events, plain);

    let directory = directory::temporary();
    let receiver = Receiver::start(0).await;
    let manifest = directory.path().join("bench.yaml");
    let mut subscriptions =
        Subscriptions { count: 1, receiver: receiver.address, in_flight: options.in_flight, suspended: true };
    manifest::write(&manifest, &manifest::bench(&subscriptions));
    let server = Server::grapnel(options, &manifest, &directory.path().join("data"));
    closed_loop(server.address, &payloads, options.connections, Until::Events(events), "delivery").await;
    subscriptions.suspended = false;
    manifest::write(&manifest, &manifest::bench(&subscriptions));
    let delivered = Measured::plain(events, receiver.wait(events).await);

    report::head("delivery", &["of floor"]);
    report::rate("floor: a plain client loop", &plain, &[plain.rate()]);
    report::rate("Grapnel: a backlog, signed", &delivered, &[plain.rate()]);
    report::figure("resident after", report::mebibytes(server.resident()));
}
