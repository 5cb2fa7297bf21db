//! `/metrics`: gauges of other parts are read when metrics are scraped.

use std::sync::Arc;

use axum::{
    extract::{RawPathParams, State},
    http::{Uri, header},
    response::{IntoResponse, Response},
};

use super::{
    Admin, Shared,
    authz::{Ask, Resource, Verb},
    response::Problem,
};
use crate::{
    admin::limits::JOURNAL_STALLED,
    telemetry::metrics::{Counts, JournalMetrics, ReplicaMetrics},
};

/// The content type of what `Metrics::encode` writes.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The access that a scraper requires if metrics are guarded.
pub(super) fn asks(_: &RawPathParams, _: &Uri) -> Result<Vec<Ask>, Problem> {
    Ok(vec![Ask { verb: Verb::Get, resource: Resource::Metrics, namespace: None, name: None }])
}

/// `GET /metrics`
pub(super) async fn metrics(State(shared): State<Arc<Shared>>) -> Response {
    let admin = &shared.admin;
    let snapshot = Arc::clone(&admin.snapshot.borrow());
    let tenure = admin.journal.tenure().borrow().clone();
    for subscription in snapshot.subscriptions() {
        // Each delivery is counted by one replica, so that the sum over the replicas is right.
        let delivers = tenure.serves(&subscription.endpoint.key);
        let progress = admin.journal.progress(&subscription.incarnation()).filter(|_| delivers).unwrap_or_default();
        subscription.metrics.counts(Counts {
            pending: progress.pending.saturating_add(progress.in_flight).saturating_add(progress.retrying),
            retrying: progress.retrying,
            dead: progress.dead,
        });
    }
    for endpoint in snapshot.endpoints() {
        endpoint.metrics.storage_exhausted(admin.journal.storage(&endpoint.incarnation()).exhausted.is_some());
    }
    admin.metrics.journal(&measure(admin));
    if let Some(replication) = admin.journal.replication() {
        let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        admin.metrics.replica(&ReplicaMetrics {
            members: count(replication.members),
            shards_owned: count(replication.owned),
            takeovers: replication.takeovers,
            connected: replication.is_connected,
            proven: replication.unproven.is_none(),
            ready: admin.journal.trouble().is_none(),
        });
    }
    ([(header::CONTENT_TYPE, OPENMETRICS)], admin.metrics.encode()).into_response()
}

/// The journal's current measurements; read from memory.
fn measure(admin: &Admin) -> JournalMetrics {
    let journal = &*admin.journal;
    let (usage, vitals) = (journal.usage(), journal.vitals());
    let stalled = journal.stalled().is_some_and(|time| time > JOURNAL_STALLED);
    let now = admin.clock.now();
    JournalMetrics {
        up: journal.trouble().is_none() && !stalled,
        bytes: usage.bytes,
        disk_bytes: usage.disk_bytes,
        max_bytes: usage.max_bytes,
        log_bytes: vitals.log_bytes,
        index_bytes: vitals.index_bytes,
        checkpoint_age: vitals.checkpoint.map(|time| now.duration_since(time).try_into().unwrap_or_default()),
        since_checkpoint_bytes: vitals.since_checkpoint_bytes,
        append_queue_bytes: vitals.append_queue_bytes,
        task_queue: vitals.task_queue,
        retrying: vitals.retrying,
        damaged_records: vitals.damaged_records,
        namespaces: journal.namespaces().into_iter().map(|usage| (usage.namespace.into(), usage.bytes)).collect(),
    }
}
