//! The admin server: liveness, readiness, metrics, and a JSON API for objects, events and deliveries.
//!
//! `/healthz` and `/readyz` are for probes and need no authentication, nor does `/metrics` by default. Requests below
//! `/api/` pass [`authn`] first, because they return payloads. In a cluster the cluster's own rules decide: see
//! [`authz`].

pub mod authn;
pub mod authz;
mod deliveries;
mod events;
pub mod health;
pub mod limits;
mod metrics;
mod objects;
mod query;
mod read;
mod redeliver;
mod response;
mod server;
mod stream;
mod tracked_body;

use std::{path::PathBuf, sync::Arc};

use axum::{
    Router, middleware,
    routing::{get, post},
};
use tokio::{
    net::TcpListener,
    sync::{Semaphore, watch},
};
use tokio_util::sync::CancellationToken;

pub use authn::Access;
#[doc(hidden)]
use authn::Guard;
pub use authz::Authority;
#[doc(hidden)]
use grapnel_journal::Journal;
use grapnel_values::clock::Clock;
pub use health::{Health, Part};
pub use query::understands_query;
pub use redeliver::understands_order;

use crate::{
    admin::limits::ADMIN_JOURNAL_READS,
    catalog::{Snapshot, status::ObjectView},
    telemetry::metrics::Metrics,
};

/// Options of the admin server.
#[derive(Debug, Clone)]
pub struct AdminOptions {
    /// Who may use the API.
    pub access: Access,
    /// Whether metrics require the same access. They name the objects of all namespaces and show the traffic of each.
    pub guarded_metrics: bool,
}

/// Everything that the server shows.
pub struct Admin {
    /// The live configuration.
    pub snapshot: watch::Receiver<Arc<Snapshot>>,
    /// Every object, compiled or not.
    pub objects: watch::Receiver<Arc<Vec<ObjectView>>>,
    /// Events and deliveries.
    pub journal: Arc<dyn Journal>,
    /// What `/metrics` shows.
    pub metrics: Metrics,
    /// The clock, for `since` and for statuses.
    pub clock: Arc<dyn Clock>,
    /// What `/healthz` and `/readyz` report.
    pub health: Health,
    /// Options.
    pub options: AdminOptions,
}

/// Why the server cannot run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AdminError {
    /// The token file cannot be used.
    #[error("the token file {path} cannot be used: {reason}; it must contain the bearer token for the admin API")]
    TokenFile {
        /// The path of the file.
        path: PathBuf,
        /// The cause.
        reason: authn::TokenFileError,
    },
}

/// State shared by all handlers.
struct Shared {
    admin: Admin,
    /// Limits concurrent reads of the journal, whose events may be large.
    reads: Arc<Semaphore>,
}

/// Serves until `shutdown`, then waits for requests in flight for at most
/// [`ADMIN_DRAIN`](crate::admin::limits::ADMIN_DRAIN).
///
/// # Errors
/// Returns an error if the token file cannot be used at the start, or the listener fails. While a token file cannot be
/// used later, callers are rejected.
pub async fn serve(admin: Admin, listener: TcpListener, shutdown: CancellationToken) -> Result<(), AdminError> {
    if let Access::TokenFile(path) = &admin.options.access {
        authn::read_token(path).await.map_err(|reason| AdminError::TokenFile { path: path.clone(), reason })?;
    }
    server::run(router(admin), listener, shutdown).await;
    Ok(())
}

fn router(admin: Admin) -> Router {
    let shared = Arc::new(Shared { admin, reads: Arc::new(Semaphore::new(ADMIN_JOURNAL_READS)) });
    let guard = |asks| middleware::from_fn_with_state(Guard::new(&shared, asks), authn::guard);
    let metrics = get(metrics::metrics);
    let metrics =
        if shared.admin.options.guarded_metrics { metrics.route_layer(guard(metrics::asks)) } else { metrics };
    let api = Router::new()
        .route("/api/v1/objects", get(objects::list).route_layer(guard(objects::asks)))
        .route(
            "/api/v1/namespaces/{namespace}/endpoints/{name}/events",
            get(events::list).route_layer(guard(events::asks)),
        )
        .route(
            "/api/v1/namespaces/{namespace}/endpoints/{name}/events/{id}",
            get(events::show).route_layer(guard(events::asks)),
        )
        .route(
            "/api/v1/namespaces/{namespace}/subscriptions/{name}/deliveries",
            get(deliveries::list).route_layer(guard(deliveries::asks)),
        )
        .route(
            "/api/v1/namespaces/{namespace}/subscriptions/{name}/redeliver",
            post(redeliver::order).route_layer(guard(redeliver::asks)),
        )
        .route(
            "/api/v1/namespaces/{namespace}/subscriptions/{name}/resume",
            post(redeliver::resume).route_layer(guard(redeliver::asks)),
        );
    Router::new()
        .route("/healthz", get(health::live))
        .route("/readyz", get(health::ready))
        .route("/metrics", metrics)
        .merge(api)
        .fallback(response::no_such_path)
        .method_not_allowed_fallback(response::wrong_method)
        .with_state(shared)
}
