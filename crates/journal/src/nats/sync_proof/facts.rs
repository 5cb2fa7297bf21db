//! What a broker says of itself.

use bytes::Bytes;
use serde::Deserialize;

/// How long the leader may not have heard of a broker before it does not count as a part of the cluster: far longer than the
/// second between two signs of life.
const SILENCE_NANOS: i64 = 10_000_000_000;

/// A broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BrokerFacts {
    /// Its name in the cluster.
    pub(super) name: String,
    /// Its id, which is another one after each start.
    pub(super) id: String,
    /// Its version.
    pub(super) version: String,
    /// What it stores; `None` if it stores nothing.
    pub(super) storage: Option<Storage>,
}

/// What a broker says of its JetStream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Storage {
    /// Whether it syncs before it acknowledges.
    pub(super) syncs_always: bool,
    /// How many brokers with JetStream its cluster has; 1 without a cluster.
    pub(super) cluster_size: usize,
    /// The brokers that it, as the leader, has not heard of for a while.
    pub(super) silent: Vec<String>,
}

#[derive(Deserialize)]
struct Varz {
    server_id: String,
    server_name: String,
    version: String,
    #[serde(default)]
    jetstream: JetStream,
}

#[derive(Default, Deserialize)]
struct JetStream {
    config: Option<Config>,
    meta: Option<Meta>,
}

#[derive(Deserialize)]
struct Config {
    #[serde(default)]
    sync_always: bool,
}

#[derive(Deserialize)]
struct Meta {
    #[serde(default)]
    cluster_size: usize,
    #[serde(default)]
    replicas: Vec<Peer>,
}

#[derive(Deserialize)]
struct Peer {
    name: String,
    #[serde(default)]
    offline: bool,
    #[serde(default)]
    active: i64,
}

#[derive(Deserialize)]
struct SystemAnswer {
    data: Option<Varz>,
}

impl BrokerFacts {
    /// Reads an answer of a monitoring URL.
    pub(super) fn from_monitor(answer: &Bytes) -> Result<Self, String> {
        let varz: Varz =
            serde_json::from_slice(answer).map_err(|_| "the answer is not that of a NATS server's /varz")?;
        Ok(varz.into())
    }

    /// Reads an answer in the system account.
    pub(super) fn from_system(answer: &Bytes) -> Result<Self, String> {
        let answer: SystemAnswer =
            serde_json::from_slice(answer).map_err(|_| "a broker gave an answer that cannot be read")?;
        Ok(answer.data.ok_or("a broker refused to tell how it syncs")?.into())
    }
}

impl From<Varz> for BrokerFacts {
    fn from(varz: Varz) -> Self {
        let Varz { server_id: id, server_name: name, version, jetstream } = varz;
        let storage = jetstream.config.map(|config| {
            let meta = jetstream.meta.unwrap_or(Meta { cluster_size: 1, replicas: Vec::new() });
            let silent = meta.replicas.into_iter().filter(|peer| peer.offline || peer.active > SILENCE_NANOS);
            Storage {
                syncs_always: config.sync_always,
                cluster_size: meta.cluster_size.max(1),
                silent: silent.map(|peer| peer.name).collect(),
            }
        });
        Self { name, id, version, storage }
    }
}
