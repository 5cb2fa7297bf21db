//! Distinguishes objects that cannot be written from an API server that accepts no write.
//!
//! One object fails again and again without delaying any other. When [`limits::STATUS_FAILING_AFTER`] objects have failed
//! and none was written in between, the gate closes: one write at a time is let through, after pauses that double, until
//! one succeeds.

use std::{
    collections::HashSet,
    hash::Hash,
    time::{Duration, Instant},
};

use super::schedule::backoff;
use crate::controller::limits;

/// The gate for writes of the objects `K`.
pub(super) struct Gate<K> {
    /// Objects that have failed since the last success; at most [`limits::STATUS_FAILING_AFTER`].
    failed: HashSet<K>,
    closed: Option<Closed<K>>,
}

/// A closed gate.
struct Closed<K> {
    /// When the next write is let through.
    until: Instant,
    /// Failed probes in a row.
    probes: u32,
    /// The write that was let through.
    probe: Option<K>,
}

impl<K> Default for Gate<K> {
    fn default() -> Self {
        Self { failed: HashSet::new(), closed: None }
    }
}

impl<K: Clone + Eq + Hash> Gate<K> {
    /// How many writes may be in flight.
    pub(super) fn most_in_flight(&self) -> usize {
        if self.closed.is_some() { 1 } else { limits::STATUS_WRITES_AT_ONCE }
    }

    /// Whether a write may begin now.
    pub(super) fn is_open(&self, now: Instant) -> bool {
        self.opens().is_none_or(|opens| opens <= now)
    }

    /// When the next write may begin, if the gate is closed.
    pub(super) fn opens(&self) -> Option<Instant> {
        self.closed.as_ref().map(|closed| closed.until)
    }

    /// Records that a write begins.
    pub(super) fn began(&mut self, key: &K) {
        if let Some(closed) = &mut self.closed {
            closed.probe = Some(key.clone());
        }
    }

    /// Records a success. It opens the gate, unless the write began before the gate was closed.
    pub(super) fn succeeded(&mut self, key: &K) {
        self.failed.clear();
        self.closed.take_if(|closed| closed.probe.as_ref() == Some(key));
    }

    /// Records a failure. Returns whether it says nothing about the object, because every write fails.
    pub(super) fn failed(&mut self, key: &K, now: Instant, retry_after: Option<Duration>, random: f64) -> bool {
        let pause = |probes: u32| backoff(limits::STATUS_PROBE, limits::STATUS_PROBE_MAX, probes, random);
        let requested = retry_after.map(|pause| now + pause.min(limits::RETRY_AFTER_MAX));
        match &mut self.closed {
            Some(closed) => {
                if closed.probe.as_ref() == Some(key) {
                    closed.probe = None;
                    closed.probes = closed.probes.saturating_add(1);
                    closed.until = now + pause(closed.probes);
                }
                closed.until = closed.until.max(requested.unwrap_or(now));
                true
            }
            None => {
                self.failed.insert(key.clone());
                let is_general = self.failed.len() >= limits::STATUS_FAILING_AFTER || requested.is_some();
                if is_general {
                    let until = requested.unwrap_or_else(|| now + pause(1));
                    self.closed = Some(Closed { until, probes: 1, probe: None });
                }
                is_general
            }
        }
    }
}
