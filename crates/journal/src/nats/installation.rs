//! The streams of an installation: made if they are missing, compared if they are there.
//!
//! A row remembers when each stream was created. A stream that was deleted is made again: its content is lost, but the
//! sequences of a new events stream begin after those of the old one, so that every subscription goes on with new events.
//! A stream that somebody else made in its place is refused, because its sequences begin anew.

use std::collections::BTreeMap;

use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    NatsOptions,
    broker::{Broker, BrokerError, Discard, Expected, Publication, PublishError, ReadFrom, StreamConfig, StreamError},
    layout::{Layout, Shard},
};
use crate::limits::NATS_PUBLISH_TRY;

/// The version of the layout on the brokers.
const FORMAT: u32 = 1;

/// The key of the row.
const ROW: &str = "config";

/// How many sequences per second a lost stream is assumed to have given at most, since 1970.
const SEQUENCES_PER_SECOND: u64 = 1 << 20;

/// What an installation has decided once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Configuration {
    format: u32,
    shards: Shard,
    /// When each stream was created.
    created: BTreeMap<String, Timestamp>,
}

/// Why an installation cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum SetUpError {
    /// A stream cannot be made or is not as it has to be.
    #[error(transparent)]
    Stream(#[from] StreamError),
    #[error("the NATS servers cannot be asked: {0}")]
    Broker(#[from] BrokerError),
    #[error("the row of the configuration cannot be written: {0}")]
    Publish(#[from] PublishError),
    #[error("the row of the configuration is damaged: {0}")]
    Damaged(serde_json::Error),
    #[error("the installation has format {0}, this version writes {FORMAT}; use the version that made it")]
    Format(u32),
    #[error("the installation has {found} shards, which cannot be changed; set --nats-shards {found}")]
    Shards { found: Shard },
    #[error(
        "stream {0} was deleted and made again by somebody else, so its sequences begin anew; delete it, and it is made so that subscriptions go on"
    )]
    Recreated(String),
}

impl SetUpError {
    /// Whether the brokers did not answer, so that nothing is known about the streams.
    pub(super) fn is_passing(&self) -> bool {
        matches!(self, Self::Broker(_) | Self::Publish(_) | Self::Stream(StreamError::Request { .. }))
    }
}

/// Makes and compares the streams.
pub(super) async fn set_up(broker: &Broker, layout: &Layout, options: &NatsOptions) -> Result<(), SetUpError> {
    let meta = layout.meta_stream();
    broker.ensure_stream(&meta_config(layout, options)).await?;
    let row = broker.last(&meta, &layout.row(ROW), ReadFrom::Leader).await?;
    let (known, revision) = match row {
        None => (None, 0),
        Some(row) => {
            let known: Configuration = serde_json::from_slice(&row.payload).map_err(SetUpError::Damaged)?;
            (Some(known), row.sequence)
        }
    };
    if let Some(known) = &known {
        if known.format != FORMAT {
            return Err(SetUpError::Format(known.format));
        }
        if known.shards != layout.shards().end {
            return Err(SetUpError::Shards { found: known.shards });
        }
    }
    let mut created = BTreeMap::new();
    for shard in layout.shards() {
        for config in [events_config(layout, options, shard), state_config(layout, options, shard)] {
            let before = known.as_ref().and_then(|known| known.created.get(&config.name));
            created.insert(config.name.clone(), ensure(broker, config, before).await?);
        }
    }
    let configuration = Configuration { format: FORMAT, shards: layout.shards().end, created };
    if known.as_ref() == Some(&configuration) {
        return Ok(());
    }
    let publication = Publication {
        subject: layout.row(ROW),
        headers: Vec::new(),
        payload: Bytes::from(serde_json::to_vec(&configuration).map_err(SetUpError::Damaged)?),
        expected: Some(Expected::LastOnSubject(revision)),
        ttl: None,
    };
    broker.publish(&publication, NATS_PUBLISH_TRY).await?;
    Ok(())
}

/// Makes or compares one stream, which was created at `before` as far as known. Returns when it was created.
async fn ensure(
    broker: &Broker,
    mut config: StreamConfig,
    before: Option<&Timestamp>,
) -> Result<Timestamp, SetUpError> {
    let Some(before) = before else { return Ok(broker.ensure_stream(&config).await?.created) };
    let found = broker.stream(&config.name).await?;
    match found {
        Some(found) if found.created == *before => Ok(broker.ensure_stream(&config).await?.created),
        Some(found) if found.config.first_sequence == config.first_sequence => Err(SetUpError::Recreated(config.name)),
        // Another replica has made it again a moment ago, after all sequences of the one that is lost.
        Some(found) if found.config.first_sequence >= sequences_until(before) => Ok(found.created),
        Some(_) => Err(SetUpError::Recreated(config.name)),
        None => {
            config.first_sequence = sequences_until(&Timestamp::now());
            tracing::error!(stream = config.name, "the stream is missing and is made again: what it held is lost");
            Ok(broker.ensure_stream(&config).await?.created)
        }
    }
}

/// Returns a sequence that no stream has reached at this time.
fn sequences_until(time: &Timestamp) -> u64 {
    u64::try_from(time.as_second()).unwrap_or_default().saturating_mul(SEQUENCES_PER_SECOND)
}

fn meta_config(layout: &Layout, options: &NatsOptions) -> StreamConfig {
    StreamConfig {
        name: layout.meta_stream(),
        description: "Grapnel: configuration, replicas, incarnations of endpoints".into(),
        subjects: vec![layout.row(">")],
        replicas: options.replicas,
        max_bytes: None,
        max_msgs_per_subject: Some(1),
        discard: Discard::Old,
        allow_direct: true,
        allow_atomic: false,
        allow_msg_ttl: false,
        first_sequence: 0,
    }
}

fn events_config(layout: &Layout, options: &NatsOptions, shard: Shard) -> StreamConfig {
    let max_bytes = options.max_bytes / layout.shards().len() as u64;
    StreamConfig {
        name: layout.events_stream(shard),
        description: format!("Grapnel: the events of shard {shard}"),
        subjects: vec![layout.events(shard)],
        replicas: options.replicas,
        max_bytes: (options.max_bytes > 0).then_some(max_bytes.max(1)),
        max_msgs_per_subject: None,
        discard: Discard::New,
        allow_direct: true,
        allow_atomic: true,
        allow_msg_ttl: true,
        first_sequence: 0,
    }
}

fn state_config(layout: &Layout, options: &NatsOptions, shard: Shard) -> StreamConfig {
    StreamConfig {
        name: layout.state_stream(shard),
        description: format!("Grapnel: the deliveries of shard {shard}"),
        subjects: vec![layout.state(shard)],
        replicas: options.replicas,
        max_bytes: None,
        max_msgs_per_subject: None,
        discard: Discard::New,
        allow_direct: true,
        allow_atomic: false,
        allow_msg_ttl: false,
        first_sequence: 0,
    }
}
