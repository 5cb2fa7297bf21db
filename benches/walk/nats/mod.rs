//! Grapnel on three NATS brokers, which sync what they store before they acknowledge it.

mod brokers;
pub(crate) mod failover;
pub(crate) mod ingest;
pub(crate) mod objects;
mod publish_loop;
mod senders;
pub(crate) mod through;
