//! Retention, usage and measurements of a journal.

use std::time::Duration;

use grapnel_api::{Incarnation, ObjectKey};
use jiff::Timestamp;

use super::ShareExhausted;

/// What [`Journal::sweep`](super::Journal::sweep) may remove.
#[derive(Debug, Clone, Default)]
pub struct Retention {
    /// The retention of settled events of each endpoint. An endpoint that is not listed keeps the retention that it was
    /// last listed with since the journal has known it, or [`DEFAULT_RETENTION`](crate::limits::DEFAULT_RETENTION).
    pub endpoints: Vec<(Incarnation, Duration)>,
    /// The retention of dead letters of each consumer. A consumer that is not listed has
    /// [`DEFAULT_DEAD_LETTER_RETENTION`](crate::limits::DEFAULT_DEAD_LETTER_RETENTION).
    pub consumers: Vec<(ObjectKey, Duration)>,
}

/// The result of a sweep.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Swept {
    /// Number of events removed.
    pub events: u64,
    /// Number of dead letters removed because their retention had passed.
    pub dead_letters: u64,
}

/// The usage of the journal.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct JournalUsage {
    /// Bytes of the kept events, with the data that belongs to them.
    pub bytes: u64,
    /// Bytes on disk of everything the engine stores, as far as known.
    pub disk_bytes: u64,
    /// Maximum of `disk_bytes`; 0 for no limit.
    pub max_bytes: u64,
}

/// The usage of one endpoint.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct EndpointUsage {
    /// Bytes of its kept events.
    pub bytes: u64,
    /// Why its events are rejected, if its share, or that of its namespace, is exhausted.
    pub exhausted: Option<ShareExhausted>,
}

/// The usage of one namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct NamespaceUsage {
    /// The namespace.
    pub namespace: String,
    /// Bytes of its kept events.
    pub bytes: u64,
    /// Maximum bytes that it may keep; 0 for no limit.
    pub max_bytes: u64,
}

/// How a replica stands among those that share the journal.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Replication {
    /// Number of live replicas, this one included.
    pub members: usize,
    /// Number of shards over which endpoints are distributed.
    pub shards: usize,
    /// Number of shards that this replica delivers.
    pub owned: usize,
    /// Number of times that this replica has taken over a shard.
    pub takeovers: u64,
    /// Whether it is connected to the servers.
    pub is_connected: bool,
    /// Why it is not proven that the servers sync events before they acknowledge them, if it is not.
    pub unproven: Option<String>,
}

/// Measurements for metrics and the watchdog, from memory.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Vitals {
    /// Bytes of the log.
    pub log_bytes: u64,
    /// Bytes of everything derived from the log.
    pub index_bytes: u64,
    /// When the whole state was last written; `None` if the engine does not do that.
    pub checkpoint: Option<Timestamp>,
    /// Bytes of the log written since then, which a restart has to read.
    pub since_checkpoint_bytes: u64,
    /// Bytes of appends waiting to be written.
    pub append_queue_bytes: u64,
    /// Number of settlements and other tasks waiting to be written.
    pub task_queue: u64,
    /// Number of retries held in memory.
    pub retrying: u64,
    /// Number of damaged records found since the process started.
    pub damaged_records: u64,
}
