//! `/metrics`: gauges that others keep are read when somebody looks.

use std::sync::Arc;

use axum::{
    extract::{RawPathParams, State},
    http::{Uri, header},
    response::{IntoResponse, Response},
};

use super::{
    Shared,
    answer::Problem,
    authority::{Ask, Resource, Verb},
};
use crate::{rules::limits::JOURNAL_STALLED, telemetry::metrics::Counts};

/// What `Metrics::encode` writes.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What a scraper must be allowed where metrics are guarded.
pub(super) fn asks(_: &RawPathParams, _: &Uri) -> Result<Vec<Ask>, Problem> {
    Ok(vec![Ask { verb: Verb::Get, resource: Resource::Metrics, namespace: None, name: None }])
}

/// `GET /metrics`
pub(super) async fn metrics(State(shared): State<Arc<Shared>>) -> Response {
    let admin = &shared.admin;
    let snapshot = Arc::clone(&admin.snapshot.borrow());
    for subscription in snapshot.subscriptions() {
        let progress = admin.journal.progress(&subscription.key).unwrap_or_default();
        subscription.metrics.counts(Counts {
            pending: progress.pending.saturating_add(progress.in_flight).saturating_add(progress.retrying),
            retrying: progress.retrying,
            dead: progress.dead,
        });
    }
    admin.metrics.journal_bytes(admin.journal.usage().bytes);
    let stalled = admin.journal.stalled().is_some_and(|time| time > JOURNAL_STALLED);
    admin.metrics.journal_up(admin.journal.trouble().is_none() && !stalled);
    ([(header::CONTENT_TYPE, OPENMETRICS)], admin.metrics.encode()).into_response()
}
