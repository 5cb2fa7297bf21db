//! Liveness and readiness of the process, reported by each part.

use std::{collections::BTreeMap, fmt::Write, sync::Arc, time::Duration};

use axum::{extract::State, http::StatusCode};
use parking_lot::Mutex;

use super::Shared;
use crate::admin::limits::{JOURNAL_STALLED, JOURNAL_STUCK};

/// The reports of all parts. Cheap to clone; clones share the reports.
#[derive(Debug, Clone, Default)]
pub struct Health {
    parts: Arc<Mutex<BTreeMap<&'static str, PartHealth>>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum PartHealth {
    Ready,
    NotReady(String),
    Failed(String),
}

/// The handle by which one part reports. The last report stays when it is dropped.
#[derive(Debug)]
pub struct HealthReporter {
    name: &'static str,
    health: Health,
}

impl Health {
    /// No parts yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// A part, not ready until it reports so. A second call with the same name returns another handle of the same part
    /// and resets it.
    pub fn part(&self, name: &'static str) -> HealthReporter {
        let part = HealthReporter { name, health: self.clone() };
        part.not_ready("starting");
        part
    }

    /// `Ok` if every part is ready, otherwise a line for each that is not.
    pub fn readiness(&self) -> Result<(), String> {
        self.lines(|report| match report {
            PartHealth::Ready => None,
            PartHealth::NotReady(reason) | PartHealth::Failed(reason) => Some(reason),
        })
    }

    /// `Ok` unless a part has failed permanently, otherwise a line for each that has.
    pub fn liveness(&self) -> Result<(), String> {
        self.lines(|report| match report {
            PartHealth::Ready | PartHealth::NotReady(_) => None,
            PartHealth::Failed(reason) => Some(reason),
        })
    }

    fn lines(&self, complaint: impl Fn(&PartHealth) -> Option<&String>) -> Result<(), String> {
        let mut lines = String::new();
        for (name, report) in self.parts.lock().iter() {
            if let Some(reason) = complaint(report) {
                // Writing to a String cannot fail.
                let _ = writeln!(lines, "{name}: {reason}");
            }
        }
        if lines.is_empty() { Ok(()) } else { Err(lines) }
    }
}

impl HealthReporter {
    /// Reports that this part is ready.
    pub fn ready(&self) {
        self.report(PartHealth::Ready);
    }

    /// Reports that this part is not ready for now: `/readyz` returns 503 with the reason.
    pub fn not_ready(&self, reason: impl Into<String>) {
        self.report(PartHealth::NotReady(reason.into()));
    }

    /// Reports that this part will not recover by itself: `/healthz` returns 503 too, so that the process is restarted.
    pub fn failed(&self, reason: impl Into<String>) {
        self.report(PartHealth::Failed(reason.into()));
    }

    fn report(&self, report: PartHealth) {
        self.health.parts.lock().insert(self.name, report);
    }
}

pub(super) async fn live(State(shared): State<Arc<Shared>>) -> (StatusCode, String) {
    let liveness = shared.admin.health.liveness();
    answer(match stalled(&shared, JOURNAL_STUCK) {
        None => liveness,
        Some(line) => Err(format!("{}{line}", liveness.err().unwrap_or_default())),
    })
}

pub(super) async fn ready(State(shared): State<Arc<Shared>>) -> (StatusCode, String) {
    let readiness = shared.admin.health.readiness();
    // The journal reports its own errors, and finds out by itself when they are over, even without traffic.
    let trouble = shared.admin.journal.trouble().map(|trouble| format!("journal: {trouble}\n"));
    answer(match trouble.or_else(|| stalled(&shared, JOURNAL_STALLED)) {
        None => readiness,
        Some(line) => Err(format!("{}{line}", readiness.err().unwrap_or_default())),
    })
}

/// A line if one write of the journal has taken longer than `most`.
fn stalled(shared: &Shared, most: Duration) -> Option<String> {
    let time = shared.admin.journal.stalled().filter(|time| *time > most)?;
    Some(format!("journal: a write has been in progress for {} s; the disk does not respond\n", time.as_secs()))
}

fn answer(found: Result<(), String>) -> (StatusCode, String) {
    match found {
        Ok(()) => (StatusCode::OK, "ok\n".into()),
        Err(lines) => (StatusCode::SERVICE_UNAVAILABLE, lines),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_when_every_part_is() {
        let health = Health::new();
        let journal = health.part("journal");
        let objects = health.part("objects");
        assert_eq!(health.readiness(), Err("journal: starting\nobjects: starting\n".into()));
        journal.ready();
        objects.not_ready("waiting for the first complete sync");
        assert_eq!(health.readiness(), Err("objects: waiting for the first complete sync\n".into()));
        objects.ready();
        drop((journal, objects));
        assert_eq!(health.readiness(), Ok(()));
    }

    #[test]
    fn not_being_ready_is_no_death_but_failing_is() {
        let health = Health::new();
        let part = health.part("ingress");
        assert_eq!(health.liveness(), Ok(()));
        part.failed("the listener is gone");
        assert_eq!(health.liveness(), Err("ingress: the listener is gone\n".into()));
        assert_eq!(health.readiness(), Err("ingress: the listener is gone\n".into()));
    }
}
