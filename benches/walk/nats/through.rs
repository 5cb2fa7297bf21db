//! The whole way at once, on the brokers.

use std::net::SocketAddr;

use grapnel_test_support::directory;

use super::brokers::Brokers;
use crate::{Options, report, through};

/// Requests a second at which the lag is measured.
const RATE: usize = 500;
/// Events of the closed loop.
const EVENTS: usize = 50_000;

pub(crate) async fn run(options: &Options) {
    let start = async |receiver: SocketAddr| {
        let directory = directory::temporary();
        let manifest = through::write(options, directory.path(), receiver);
        let brokers = Brokers::start().await;
        let server = brokers.replica(options, &manifest).await;
        ((brokers, directory), server)
    };
    report::head("ingest and delivery at once on NATS", &[]);
    through::whole_way(options, options.events.unwrap_or(EVENTS), start).await;
    through::lag(options, RATE, start).await;
}
