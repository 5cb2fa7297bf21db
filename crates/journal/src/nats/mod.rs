//! The replicated engine: events and state in the streams of a NATS cluster.

pub(crate) mod shard;
