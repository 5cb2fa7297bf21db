//! The brokers, and Grapnel on them.

use std::{ffi::OsString, path::Path, time::Duration};

use grapnel_test_support::{
    nats::{NatsCluster, NatsSettings},
    program,
};
use serde_json::Value;

use crate::{
    Options,
    process::{self, Server},
};

/// Three brokers.
pub(crate) struct Brokers(pub(crate) NatsCluster);

impl Brokers {
    /// Starts them with empty directories.
    pub(crate) async fn start() -> Self {
        let settings = NatsSettings { sync_always: true, ..NatsSettings::default() };
        Self(NatsCluster::start(3, settings).await)
    }

    /// Starts a replica of Grapnel, and returns it when it is ready.
    pub(crate) async fn replica(&self, options: &Options, manifests: &Path) -> Server {
        let monitors = self.0.monitors().join(",");
        let flags = ["--journal", &self.0.url(), "--nats-monitor", &monitors].map(OsString::from);
        Server::grapnel_with(options, manifests, &flags).until_ready().await
    }

    /// The broker that leads the stream of the events: that with the most messages.
    pub(crate) async fn leader(&self) -> usize {
        let url = format!("{}/jsz?accounts=true&streams=true", self.0.monitors()[0]);
        let answer = program::client().get(url).send().await.unwrap();
        let known: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
        let accounts = known["account_details"].as_array().unwrap().iter();
        let streams = accounts.filter_map(|account| account["stream_detail"].as_array()).flatten();
        let events = streams.filter(|stream| stream["name"].as_str().unwrap().contains("_EV_"));
        let busiest = events.max_by_key(|stream| stream["state"]["messages"].as_u64()).unwrap();
        self.0.find(busiest["cluster"]["leader"].as_str().unwrap())
    }

    /// CPU time of all brokers.
    pub(crate) fn cpu(&self) -> Duration {
        (0..self.0.size()).map(|node| process::cpu(self.0.pid(node))).sum()
    }

    /// Resident memory of the largest broker, in bytes.
    pub(crate) fn resident(&self) -> u64 {
        let resident = (0..self.0.size()).map(|node| program::memory(self.0.pid(node), "VmRSS"));
        resident.max().unwrap_or_default()
    }
}
