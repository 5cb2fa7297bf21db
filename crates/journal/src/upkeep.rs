//! Retention, and what an operator wants to know of a journal.

use std::time::Duration;

use grapnel_api::{Incarnation, ObjectKey};
use jiff::Timestamp;

use super::ShareExhausted;

/// What [`Journal::sweep`](super::Journal::sweep) may remove.
#[derive(Debug, Clone, Default)]
pub struct Retention {
    /// How long settled events of each endpoint stay. An endpoint that is not listed keeps the retention that it was
    /// listed with last since the journal has known it, or [`DEFAULT_RETENTION`](crate::limits::DEFAULT_RETENTION).
    pub endpoints: Vec<(Incarnation, Duration)>,
    /// How long dead letters of each consumer stay. A consumer that is not listed keeps
    /// [`DEFAULT_DEAD_LETTER_RETENTION`](crate::limits::DEFAULT_DEAD_LETTER_RETENTION).
    pub consumers: Vec<(ObjectKey, Duration)>,
}

/// What a sweep did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Swept {
    /// Events removed.
    pub events: u64,
    /// Dead letters whose retention had passed.
    pub dead_letters: u64,
}

/// How full the journal is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes that the kept events take, with what belongs to them.
    pub bytes: u64,
    /// Bytes that the engine takes on disk for everything, as far as it knows.
    pub disk_bytes: u64,
    /// The bound of `disk_bytes`; 0 for none.
    pub max_bytes: u64,
}

/// What one endpoint keeps.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Storage {
    /// Bytes that its kept events take.
    pub bytes: u64,
    /// Why its events are refused, if its share, or that of its namespace, is exhausted.
    pub exhausted: Option<ShareExhausted>,
}

/// What one namespace keeps.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NamespaceUsage {
    /// The namespace.
    pub namespace: String,
    /// Bytes that its kept events take.
    pub bytes: u64,
    /// Bytes that it may keep; 0 for no bound.
    pub max_bytes: u64,
}

/// Measurements for metrics and for the watchdog; from memory.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Vitals {
    /// Bytes of the log.
    pub log_bytes: u64,
    /// Bytes of everything that is derived from it.
    pub index_bytes: u64,
    /// When the state was last written as a whole; `None` if the engine does not do that.
    pub checkpoint: Option<Timestamp>,
    /// Bytes of the log written since then: what a restart has to read.
    pub since_checkpoint_bytes: u64,
    /// Bytes of appends that wait to be written.
    pub append_queue_bytes: u64,
    /// Settlements and other tasks that wait to be written.
    pub task_queue: u64,
    /// Retries held in memory.
    pub retrying: u64,
    /// Damaged records found since the process started.
    pub damaged_records: u64,
}
