//! Taking over a shard.

use std::sync::Arc;

use super::{
    OwnedShard,
    log::{LogWriter, WriteError},
};
use crate::{
    JournalError, Result, Sequence,
    limits::{NATS_LOAD_BYTES, NATS_LOAD_ENTRIES},
    nats::{
        broker::Broker,
        error::from_broker,
        event_message::EventMessage,
        layout::{Layout, Shard},
        ownership::Tenancy,
        shard::{Entry, Record, Replay, ShardState},
    },
};

/// The pause before a broker that lags behind is asked again.
const AGAIN: std::time::Duration = std::time::Duration::from_millis(20);

/// Takes over a shard: ends the tenure of the replica before, and restores the state. Its tasks run until the tenure
/// ends.
pub(in crate::nats) async fn load(
    broker: &Broker,
    layout: &Layout,
    shard: Shard,
    replica: &str,
    tenancy: Tenancy,
) -> Result<Arc<OwnedShard>> {
    let begun = tokio::time::Instant::now();
    let writer = take_over(broker, layout, shard, replica, &tenancy).await?;
    let (mut state, bytes) = replay(broker, layout, shard, writer.last(), &tenancy).await?;
    index(broker, layout, shard, &mut state).await?;
    state.finish_loading();
    if !tenancy.is_valid() {
        return Err(ended());
    }
    tracing::info!(
        shard,
        consumers = state.consumers().len(),
        log_bytes = bytes,
        took_ms = begun.elapsed().as_millis() as u64,
        "this replica delivers the events of the shard"
    );
    let (owned, inbox) = OwnedShard::new(broker.clone(), layout.clone(), shard, tenancy, state);
    tokio::spawn(Arc::clone(&owned).write_log(writer, inbox, bytes));
    tokio::spawn(Arc::clone(&owned).follow());
    Ok(owned)
}

fn damaged(what: &str, error: &dyn std::error::Error) -> JournalError {
    JournalError::Damaged(format!("{what}: {error}"))
}

fn ended() -> JournalError {
    JournalError::Unavailable("the lease of the shard ran out".into())
}

/// Writes the entry from which on no other replica can write to the log.
async fn take_over(
    broker: &Broker,
    layout: &Layout,
    shard: Shard,
    replica: &str,
    tenancy: &Tenancy,
) -> Result<LogWriter> {
    let stream = layout.state_stream(shard);
    loop {
        let info = broker.stream(&stream).await.map_err(from_broker)?;
        let info = info.ok_or_else(|| JournalError::Unavailable(format!("the stream {stream} is missing")))?;
        let mut writer = LogWriter::new(broker.clone(), layout, shard, tenancy.epoch, info.last_sequence);
        let record = writer.record(Entry::TakenOver { replica: replica.into() });
        let written = match record {
            Ok(record) => writer.write(&record, || tenancy.is_valid()).await,
            Err(error) => Err(error),
        };
        match written {
            Ok(_) => return Ok(writer),
            // The replica before has written meanwhile.
            Err(WriteError::Deposed) => {}
            Err(WriteError::Ended) => return Err(ended()),
            Err(WriteError::Failed(error)) => return Err(error),
        }
    }
}

/// Returns the state after the entries of the log up to `last`, and their length in bytes.
async fn replay(
    broker: &Broker,
    layout: &Layout,
    shard: Shard,
    last: Sequence,
    tenancy: &Tenancy,
) -> Result<(ShardState, u64)> {
    let (stream, subject) = (layout.state_stream(shard), layout.state(shard));
    let info = broker.stream(&stream).await.map_err(from_broker)?;
    // That of a stream that was made again is not 1.
    let origin = info.map_or(1, |info| info.config.first_sequence.max(1));
    let mut replay = Replay::new(origin);
    let (mut next, mut bytes) = (origin, 0);
    while next <= last {
        if !tenancy.is_valid() {
            return Err(ended());
        }
        let batch = broker.batch(&stream, next, &subject, NATS_LOAD_ENTRIES, NATS_LOAD_BYTES).await;
        let batch = batch.map_err(from_broker)?;
        if batch.messages.is_empty() {
            tokio::time::sleep(AGAIN).await;
        }
        for message in batch.messages.into_iter().filter(|message| message.sequence <= last) {
            let sequence = message.sequence;
            next = sequence + 1;
            bytes += message.payload.len() as u64;
            let record = Record::decode(message.payload)
                .map_err(|error| damaged(&format!("message {sequence} of the stream {stream}"), &error))?;
            replay.record(sequence, record).map_err(|error| damaged(&stream, &error))?;
        }
    }
    Ok((replay.finish().map_err(|error| damaged(&stream, &error))?, bytes))
}

/// Rebuilds the index of the events from their headers.
async fn index(broker: &Broker, layout: &Layout, shard: Shard, state: &mut ShardState) -> Result<()> {
    let (stream, events) = (layout.events_stream(shard), layout.events(shard));
    let last = broker
        .heads(&stream, 1, &events, &mut |message| match (
            EventMessage::read(&message),
            layout.endpoint_of(&message.subject),
        ) {
            (Ok(EventMessage::Event(head)), Some(endpoint)) => {
                state.index(&head.indexed(message.sequence, endpoint));
            }
            (Ok(EventMessage::Tombstone { .. }), _) => state.set_tail(message.sequence),
            (Err(_), _) | (_, None) => {
                tracing::error!(
                    shard,
                    sequence = message.sequence,
                    subject = message.subject,
                    "a message of the events stream is not an event"
                );
                state.set_tail(message.sequence);
            }
        })
        .await
        .map_err(from_broker)?;
    if state.tail() < last {
        state.set_tail(last);
    }
    Ok(())
}
