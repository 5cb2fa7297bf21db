//! Questions to the replica that owns a shard.
//!
//! A request and its answer are JSON after a version byte: replicas of neighbouring versions understand each other, or
//! say that they do not. An answer is below the brokers' maximum payload, because every list is a bounded step.

mod serve;
mod wire;

use std::time::Duration;

use bytes::Bytes;

pub(super) use self::{
    serve::serve,
    wire::{Answer, Report, Request},
};
use super::{broker::BrokerError, layout::Shard, replica::Replica};
use crate::{JournalError, Result, limits::NATS_REQUEST_TIMEOUT};

/// Asks the owner of a shard. `timeout` bounds the wait for its answer.
pub(super) async fn ask(replica: &Replica, shard: Shard, request: &Request) -> Result<Answer> {
    ask_within(replica, shard, request, NATS_REQUEST_TIMEOUT).await
}

/// Asks the owner of a shard, and waits for its answer at most `timeout`.
pub(super) async fn ask_within(
    replica: &Replica,
    shard: Shard,
    request: &Request,
    timeout: Duration,
) -> Result<Answer> {
    let payload = Bytes::from(wire::encode(request)?);
    let subject = replica.layout.requests(shard);
    match replica.broker.request(subject, payload, timeout).await {
        Ok(answer) => wire::decode_answer(&answer)?,
        Err(BrokerError::NoResponders(_)) => Err(JournalError::Unavailable(format!(
            "no replica delivers the events of shard {shard} at present; one takes over within seconds"
        ))),
        Err(error) => Err(JournalError::Unavailable(format!("the replica that owns shard {shard}: {error}"))),
    }
}
