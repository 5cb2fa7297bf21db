//! The replicated engine: shards in NATS JetStream, each with one owner among the replicas.

// The parts come before what puts them together.
#![allow(dead_code, unused_imports)]

pub(crate) mod broker;
mod options;
mod sync_proof;

pub use self::options::{NatsServers, ServersError};
