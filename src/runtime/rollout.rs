//! Makes configuration live: aligns consumers first, then publishes it.

use std::sync::Arc;

use tokio::{sync::watch, time};
use tokio_util::sync::CancellationToken;

use super::{facts_exchange, overview::Overview};
use crate::{
    admin::HealthReporter,
    catalog::{ObjectView, Published, Snapshot},
    dispatch::Consumers,
    runtime::limits,
};

/// Follows `candidates` until `shutdown`. If the journal cannot attach the new consumers, the live configuration stays,
/// and the attempt is repeated. The first complete configuration is logged, unless that has been done. `is_shared` says
/// whether other replicas count requests too.
pub(super) async fn run(
    mut candidates: watch::Receiver<Published>,
    mut consumers: Consumers,
    live: watch::Sender<Arc<Snapshot>>,
    views: watch::Sender<Arc<Vec<ObjectView>>>,
    serving: HealthReporter,
    mut overview: Option<Overview>,
    is_shared: bool,
    shutdown: CancellationToken,
) {
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            changed = candidates.changed() => if changed.is_err() {
                // The source is gone; the live configuration stays until shutdown.
                return shutdown.cancelled().await;
            },
        }
        let published = candidates.borrow_and_update().clone();
        let synced = published.snapshot.synced();
        while let Err(error) = consumers.align(&published.snapshot).await {
            tracing::warn!(kind = error.kind(), %error, "configuration waits for the journal");
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = time::sleep(limits::JOURNAL_RETRY) => {}
            }
        }
        if let Some(overview) = overview.take_if(|_| synced) {
            overview.log(&published.snapshot);
        }
        if is_shared {
            facts_exchange::share(&published);
        }
        live.send_replace(published.snapshot);
        views.send_replace(published.objects);
        if synced {
            serving.ready();
        }
    }
}
