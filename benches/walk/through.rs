//! The whole way at once: requests come in while their events are delivered to one subscription.

use grapnel_test_support::directory;
use std::{
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
    let payloads = Arc::new(Payloads::new());
    report::head("ingest and delivery at once", &[]);
    let events = options.events();
    {
        let directory = directory::temporary();
        let receiver = Receiver::start(0).await;
        let server = start(options, directory.path(), &receiver);
        let start = Instant::now();
        let ingest =
            closed_loop(server.address, &payloads, options.connections, Until::Events(events), "through").await;
        receiver.wait(events).await;
        let whole = Measured::plain(events, start.elapsed());
        report::rate("ingest", &ingest, &[]);
        report::rate("from the first request to the last arrival", &whole, &[]);
        report::figure("resident after", report::mebibytes(server.resident()));
    }

    let directory = directory::temporary();
    let time = Duration::from_secs(options.seconds);
    let receiver = Receiver::start(options.rate * options.seconds as usize * 2).await;
    let server = start(options, directory.path(), &receiver);
    let arrivals = Arc::clone(receiver.arrivals());
    let sent = move |number| arrivals.sent(number);
    let before = server.cpu();
    let load = (options.rate, time);
    let ingest = fixed_rate(server.address, &payloads, options.connections, load, "fixed", sent).await;
    receiver.wait(ingest.count()).await;
    let cpu = server.cpu() - before;
    let latencies = receiver.arrivals().latencies();
    let at = |part| report::milliseconds(report::quantile(&latencies, part));
    report::rate(&format!("at {} requests a second: answers", options.rate), &ingest, &[]);
    println!("{:<44} {:>9} {:>9} {:>9}", "at that rate: from request to arrival", "", at(0.5), at(0.99));
    report::figure("CPU at that rate", format!("{:.0} %", cpu.as_secs_f64() / ingest.time.as_secs_f64() * 100.0));
}

fn start(options: &Options, directory: &std::path::Path, receiver: &Receiver) -> Server {
    let manifest = directory.join("bench.yaml");
    let one = Subscriptions { count: 1, receiver: receiver.address, in_flight: options.in_flight, suspended: false };
    manifest::write(&manifest, &manifest::bench(&one));
    Server::grapnel(options, &manifest, &directory.join("data"))
}
