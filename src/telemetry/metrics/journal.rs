//! Gauges of the journal, set when metrics are scraped.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::{Registry, Unit},
};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct NamespaceLabels {
    namespace: Arc<str>,
}

/// Measurements of the journal at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JournalMetrics {
    /// Whether it accepts events.
    pub up: bool,
    /// Bytes of the retained events.
    pub bytes: u64,
    /// Total bytes on disk.
    pub disk_bytes: u64,
    /// The bound of `disk_bytes`; 0 for none.
    pub max_bytes: u64,
    /// Bytes of the log.
    pub log_bytes: u64,
    /// Bytes of everything derived from the log.
    pub index_bytes: u64,
    /// Time since the last checkpoint of the state; `None` for an engine without checkpoints.
    pub checkpoint_age: Option<Duration>,
    /// Bytes of the log written since then.
    pub since_checkpoint_bytes: u64,
    /// Bytes of appends waiting to be written.
    pub append_queue_bytes: u64,
    /// Settlements and other tasks waiting to be written.
    pub task_queue: u64,
    /// Retries held in memory.
    pub retrying: u64,
    /// Damaged records found since the process started.
    pub damaged_records: u64,
    /// Bytes of the retained events of each namespace.
    pub namespaces: Vec<(Arc<str>, u64)>,
}

#[derive(Clone)]
pub(super) struct Gauges {
    up: Gauge,
    bytes: Gauge,
    disk_bytes: Gauge,
    max_bytes: Gauge,
    log_bytes: Gauge,
    index_bytes: Gauge,
    checkpoint_age: Gauge,
    since_checkpoint_bytes: Gauge,
    append_queue_bytes: Gauge,
    task_queue: Gauge,
    retrying: Gauge,
    damaged_records: Counter,
    namespaces: Family<NamespaceLabels, Gauge>,
    /// Namespaces with a series. Locked while the gauges are set, so that two readings do not mix.
    shown: Arc<Mutex<Vec<Arc<str>>>>,
}

impl Gauges {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let gauges = Self {
            up: Gauge::default(),
            bytes: Gauge::default(),
            disk_bytes: Gauge::default(),
            max_bytes: Gauge::default(),
            log_bytes: Gauge::default(),
            index_bytes: Gauge::default(),
            checkpoint_age: Gauge::default(),
            since_checkpoint_bytes: Gauge::default(),
            append_queue_bytes: Gauge::default(),
            task_queue: Gauge::default(),
            retrying: Gauge::default(),
            damaged_records: Counter::default(),
            namespaces: Family::default(),
            shown: Arc::default(),
        };
        registry.register(
            "grapnel_journal_up",
            "1 while the journal accepts events, 0 while it rejects them",
            gauges.up.clone(),
        );
        for (name, help, gauge) in [
            ("grapnel_journal", "Bytes of retained events", &gauges.bytes),
            ("grapnel_journal_disk", "Bytes that the journal takes on disk", &gauges.disk_bytes),
            ("grapnel_journal_max", "Bound of the bytes on disk (--journal-max-bytes); 0 for none", &gauges.max_bytes),
            ("grapnel_journal_log", "Bytes of the journal's log", &gauges.log_bytes),
            ("grapnel_journal_index", "Bytes of the journal's index", &gauges.index_bytes),
            (
                "grapnel_journal_since_checkpoint",
                "Bytes of the log written since the last checkpoint, which a restart has to read",
                &gauges.since_checkpoint_bytes,
            ),
            ("grapnel_journal_append_queue", "Bytes of appends that wait to be written", &gauges.append_queue_bytes),
        ] {
            registry.register_with_unit(name, help, Unit::Bytes, gauge.clone());
        }
        registry.register_with_unit(
            "grapnel_journal_checkpoint_age",
            "Time since the journal's state was last written as a whole",
            Unit::Seconds,
            gauges.checkpoint_age.clone(),
        );
        registry.register(
            "grapnel_journal_task_queue",
            "Settlements and other tasks that wait to be written",
            gauges.task_queue.clone(),
        );
        registry.register(
            "grapnel_journal_retrying",
            "Retries that the journal holds in memory",
            gauges.retrying.clone(),
        );
        registry.register(
            "grapnel_journal_damaged_records",
            "Damaged records found since the process started",
            gauges.damaged_records.clone(),
        );
        registry.register_with_unit(
            "grapnel_journal_namespace",
            "Bytes of retained events of a namespace",
            Unit::Bytes,
            gauges.namespaces.clone(),
        );
        gauges
    }

    pub(super) fn set(&self, reading: &JournalMetrics) {
        let set = |gauge: &Gauge, value: u64| {
            gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        };
        let mut shown = self.shown.lock();
        set(&self.up, reading.up.into());
        set(&self.bytes, reading.bytes);
        set(&self.disk_bytes, reading.disk_bytes);
        set(&self.max_bytes, reading.max_bytes);
        set(&self.log_bytes, reading.log_bytes);
        set(&self.index_bytes, reading.index_bytes);
        set(&self.checkpoint_age, reading.checkpoint_age.unwrap_or_default().as_secs());
        set(&self.since_checkpoint_bytes, reading.since_checkpoint_bytes);
        set(&self.append_queue_bytes, reading.append_queue_bytes);
        set(&self.task_queue, reading.task_queue);
        set(&self.retrying, reading.retrying);
        self.damaged_records.inc_by(reading.damaged_records.saturating_sub(self.damaged_records.get()));
        shown.retain(|namespace| {
            let kept = reading.namespaces.iter().any(|(other, _)| other == namespace);
            if !kept {
                self.namespaces.remove(&NamespaceLabels { namespace: Arc::clone(namespace) });
            }
            kept
        });
        for (namespace, bytes) in &reading.namespaces {
            let labels = NamespaceLabels { namespace: Arc::clone(namespace) };
            set(&self.namespaces.get_or_create(&labels), *bytes);
            if !shown.contains(namespace) {
                shown.push(Arc::clone(namespace));
            }
        }
    }
}
