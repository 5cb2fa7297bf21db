//! The admin server: liveness, readiness, metrics, and a JSON API for objects, events and deliveries.
//!
//! [`contract`] has the operations and their types. `/healthz` and `/readyz` are for probes and need no authentication,
//! nor does `/metrics` by default, nor the OpenAPI document ([`openapi`]). All other requests below `/api/` pass [`authn`]
//! first, because they return payloads. In a cluster the cluster's own rules decide: see [`authz`]. `console` has pages
//! for people, under the same guards.

pub mod authn;
pub mod authz;
mod bearer;
mod configuration;
mod console;
pub mod contract;
mod deliveries;
mod events;
pub mod health;
mod history;
pub mod limits;
mod metrics;
mod objects;
pub mod openapi;
mod query;
mod read;
mod redeliver;
mod response;
mod server;
mod stream;
mod tracked_body;

use std::{
    path::PathBuf,
    sync::{Arc, atomic::AtomicBool},
};

use axum::{
    Router, middleware,
    routing::{MethodRouter, get, post},
};
use tokio::{
    net::TcpListener,
    sync::{Semaphore, watch},
};
use tokio_util::sync::CancellationToken;

pub use authn::Access;
#[doc(hidden)]
use authn::Guard;
use authz::Asks;
pub use authz::Authority;
use console::csrf::FormKey;
pub use console::rates::Rates;
use contract::Operation;
#[doc(hidden)]
use grapnel_journal::Journal;
use grapnel_values::clock::Clock;
pub use health::{Health, HealthReporter};
pub use query::understands_query;
pub use redeliver::understands_order;

use crate::{
    admin::limits::{ADMIN_JOURNAL_READS, CONSOLE_TAILS},
    catalog::{Snapshot, status::ObjectViews},
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
    pub objects: watch::Receiver<ObjectViews>,
    /// Events and deliveries.
    pub journal: Arc<dyn Journal>,
    /// What `/metrics` shows.
    pub metrics: Metrics,
    /// The clock, for `since` and for statuses.
    pub clock: Arc<dyn Clock>,
    /// The counts of the last hour, for the console.
    pub rates: Arc<Rates>,
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
    /// Whether `/readyz` has ever reported that everything is ready.
    was_ready: AtomicBool,
    /// Limits concurrent live views of the console.
    tails: Arc<Semaphore>,
    /// The key of the forms of the console.
    form_key: Option<FormKey>,
    /// Ends live views.
    shutdown: CancellationToken,
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
    server::run(router(admin, shutdown.clone()), listener, shutdown).await;
    Ok(())
}

fn router(admin: Admin, shutdown: CancellationToken) -> Router {
    let shared = Arc::new(Shared {
        admin,
        reads: Arc::new(Semaphore::new(ADMIN_JOURNAL_READS)),
        was_ready: AtomicBool::new(false),
        tails: Arc::new(Semaphore::new(CONSOLE_TAILS)),
        form_key: FormKey::new(),
        shutdown,
    });
    let mut router = console::routes(&shared);
    for operation in Operation::ALL {
        let handler = match asks(operation, &shared.admin.options) {
            Some(asks) => {
                let guard = middleware::from_fn_with_state(Guard::new(&shared, asks), authn::guard);
                handler(operation).route_layer(guard)
            }
            None => handler(operation),
        };
        router = router.route(operation.path(), handler);
    }
    router.fallback(response::no_such_path).method_not_allowed_fallback(response::wrong_method).with_state(shared)
}

/// The handler of an operation.
fn handler(operation: Operation) -> MethodRouter<Arc<Shared>> {
    match operation {
        Operation::ListObjects => get(objects::list),
        Operation::ShowConfiguration => get(configuration::list),
        Operation::ListHistory => get(history::list),
        Operation::PreviewDelivery => get(history::preview_delivery),
        Operation::ListEvents => get(events::list),
        Operation::ShowEvent => get(events::show),
        Operation::ListDeliveries => get(deliveries::list),
        Operation::Redeliver => post(redeliver::order),
        Operation::Resume => post(redeliver::resume),
        Operation::OpenApi => get(openapi::show),
        Operation::Metrics => get(metrics::metrics),
        Operation::Live => get(health::live),
        Operation::Ready => get(health::ready),
    }
}

/// The accesses that an operation requires; `None` if everybody may use it.
fn asks(operation: Operation, options: &AdminOptions) -> Option<Asks> {
    match operation {
        Operation::ListObjects => Some(objects::asks),
        Operation::ShowConfiguration => Some(configuration::asks),
        Operation::PreviewDelivery => Some(history::preview_asks),
        Operation::ListEvents | Operation::ShowEvent | Operation::ListHistory => Some(events::asks),
        Operation::ListDeliveries => Some(deliveries::asks),
        Operation::Redeliver | Operation::Resume => Some(redeliver::asks),
        Operation::Metrics => options.guarded_metrics.then_some(metrics::asks),
        Operation::OpenApi | Operation::Live | Operation::Ready => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_document_says_which_operations_are_guarded() {
        let options = AdminOptions { access: Access::LoopbackOnly, guarded_metrics: true };
        for operation in Operation::ALL {
            assert_eq!(asks(operation, &options).is_some(), operation.is_guarded(), "{operation:?}");
        }
        let options = AdminOptions { guarded_metrics: false, ..options };
        assert!(asks(Operation::Metrics, &options).is_none());
    }

    #[test]
    fn the_document_has_every_route() {
        let document = openapi::document();
        let paths = document["paths"].as_object().unwrap();
        let documented: BTreeSet<_> = paths
            .iter()
            .flat_map(|(path, item)| item.as_object().unwrap().keys().map(move |method| format!("{method} {path}")))
            .collect();
        let route =
            |operation: Operation| format!("{} {}", operation.method().as_str().to_ascii_lowercase(), operation.path());
        // `router` makes one route of each.
        assert_eq!(documented, Operation::ALL.map(route).into());
        assert_eq!(documented.len(), Operation::ALL.len(), "no two have one method and path");
    }
}
