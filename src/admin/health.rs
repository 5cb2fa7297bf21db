//! Liveness and readiness of the process, reported by each part.

use std::{
    collections::BTreeMap,
    fmt::Write,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use axum::{
    extract::{RawQuery, State},
    http::StatusCode,
};
use grapnel_journal::JournalError;
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
    /// Ready, with a remark for `?verbose`.
    Remark(String),
    /// Ready, but something does not work.
    Degraded(String),
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
        let blocks = |report: &PartHealth| matches!(report, PartHealth::NotReady(_) | PartHealth::Failed(_));
        if !self.parts.lock().values().any(blocks) {
            return Ok(());
        }
        // What else does not work may be the cause.
        self.lines(|report| match report {
            PartHealth::Ready | PartHealth::Remark(_) => None,
            PartHealth::Degraded(reason) | PartHealth::NotReady(reason) | PartHealth::Failed(reason) => Some(reason),
        })
    }

    /// A line for each part.
    pub fn details(&self) -> String {
        let mut lines = String::new();
        for (name, report) in self.parts.lock().iter() {
            // Writing to a String cannot fail.
            let _ = match report {
                PartHealth::Ready => writeln!(lines, "[+] {name}: ok"),
                PartHealth::Remark(remark) => writeln!(lines, "[+] {name}: ok: {remark}"),
                PartHealth::Degraded(reason) => writeln!(lines, "[!] {name}: degraded: {reason}"),
                PartHealth::NotReady(reason) => writeln!(lines, "[-] {name}: not ready: {reason}"),
                PartHealth::Failed(reason) => writeln!(lines, "[-] {name}: failed: {reason}"),
            };
        }
        lines
    }

    /// `Ok` unless a part has failed permanently, otherwise a line for each that has.
    pub fn liveness(&self) -> Result<(), String> {
        self.lines(|report| match report {
            PartHealth::Failed(reason) => Some(reason),
            _ => None,
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

    /// Reports that this part is ready, with a remark that `/readyz?verbose` shows.
    pub fn remark(&self, remark: impl Into<String>) {
        self.report(PartHealth::Remark(remark.into()));
    }

    /// Reports that something does not work although the process can serve: `/readyz?verbose` shows the reason, and
    /// `/readyz` too if another part is not ready.
    pub fn degraded(&self, reason: impl Into<String>) {
        self.report(PartHealth::Degraded(reason.into()));
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

pub(super) async fn ready(State(shared): State<Arc<Shared>>, RawQuery(query): RawQuery) -> (StatusCode, String) {
    let readiness = shared.admin.health.readiness();
    let (journal, is_ready) = journal(&shared);
    let (status, lines) = answer(match (&journal, readiness) {
        (None, readiness) => readiness,
        (Some(_), Ok(())) if is_ready => Ok(()),
        (Some(line), readiness) => Err(format!("{}{line}", readiness.err().unwrap_or_default())),
    });
    if !is_verbose(query.as_deref()) {
        return (status, lines);
    }
    let mark = if is_ready { "[!]" } else { "[-]" };
    let journal = journal.map_or_else(|| "[+] journal: ok\n".into(), |line| format!("{mark} {line}"));
    (status, format!("{}{journal}", shared.admin.health.details()))
}

/// A line if the journal does not accept events, and whether the process is ready nevertheless. The journal finds out by
/// itself when its errors are over, even without traffic.
///
/// If the servers of a journal of several replicas are away, all replicas would be unready at once: senders would get no
/// answer instead of one that says when to try again. So a replica is not ready only until the journal has worked once.
fn journal(shared: &Shared) -> (Option<String>, bool) {
    let journal = &shared.admin.journal;
    let Some(trouble) = journal.trouble() else {
        shared.has_worked.store(true, Relaxed);
        let stalled = stalled(shared, JOURNAL_STALLED);
        let is_ready = stalled.is_none();
        return (stalled, is_ready);
    };
    let is_away = matches!(trouble, JournalError::Unavailable(_)) && journal.replication().is_some();
    (Some(format!("journal: {trouble}\n")), is_away && shared.has_worked.load(Relaxed))
}

/// Whether the query has the parameter `verbose`, as for the probes of Kubernetes' own components.
fn is_verbose(query: Option<&str>) -> bool {
    let mut pairs = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
    pairs.any(|(name, value)| name == "verbose" && value != "false" && value != "0")
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

    #[test]
    fn what_does_not_work_is_in_the_details_and_explains_what_is_not_ready() {
        let health = Health::new();
        let (objects, cluster, statuses) = (health.part("objects"), health.part("cluster"), health.part("statuses"));
        cluster.degraded("cannot list namespaces: 403");
        statuses.remark("another replica holds the Lease");
        assert_eq!(
            health.readiness(),
            Err("cluster: cannot list namespaces: 403\nobjects: starting\n".into()),
            "it may be the reason"
        );
        objects.ready();
        assert_eq!(health.readiness(), Ok(()));
        assert_eq!(health.liveness(), Ok(()));
        assert_eq!(
            health.details(),
            "[!] cluster: degraded: cannot list namespaces: 403\n[+] objects: ok\n[+] statuses: ok: another replica \
             holds the Lease\n"
        );
    }

    #[test]
    fn details_are_shown_on_request() {
        for (query, verbose) in
            [("verbose", true), ("verbose=true", true), ("a=b&verbose=1", true), ("verbose=false", false)]
        {
            assert_eq!(is_verbose(Some(query)), verbose, "{query}");
        }
        assert!(!is_verbose(None) && !is_verbose(Some("")));
    }
}
