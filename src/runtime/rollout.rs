//! Makes configuration live: aligns consumers first, then publishes it.

use std::sync::Arc;

use tokio::{
    sync::watch,
    time::{self, Instant},
};
use tokio_util::sync::CancellationToken;

use super::{facts_exchange, overview::Overview};
use crate::{
    admin::HealthReporter,
    catalog::{ObjectViews, Published, Snapshot},
    dispatch::{Consumers, limits::DETACH_INTERVAL},
    runtime::limits,
};

/// Follows `candidates` until `shutdown`. If the journal cannot attach the new consumers, the live configuration stays,
/// and the attempt is repeated. The first complete configuration is logged, unless that has been done.
pub(super) async fn run(
    mut candidates: watch::Receiver<Published>,
    mut consumers: Consumers,
    live: watch::Sender<Arc<Snapshot>>,
    views: watch::Sender<ObjectViews>,
    serving: HealthReporter,
    mut overview: Option<Overview>,
    shutdown: CancellationToken,
) {
    let mut tidied = Instant::now();
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = time::sleep_until(tidied + DETACH_INTERVAL), if consumers.is_shared() => {
                let snapshot = Arc::clone(&live.borrow());
                tidied = Instant::now();
                if let Err(error) = consumers.tidy(&snapshot).await {
                    tracing::debug!(kind = error.kind(), %error, "consumers of deleted subscriptions stay for now");
                }
                continue;
            }
            changed = candidates.changed() => if changed.is_err() {
                // The source is gone; the live configuration stays until shutdown.
                return shutdown.cancelled().await;
            },
        }
        let published = candidates.borrow_and_update().clone();
        let synced = published.snapshot.synced();
        // At a start, the journal is often a moment later.
        let (begun, mut told, mut is_shown) = (Instant::now(), None, false);
        while let Err(error) = consumers.align(&published.snapshot).await {
            let text = error.to_string();
            if told.as_ref() != Some(&text) && begun.elapsed() >= limits::JOURNAL_RETRY {
                tracing::warn!(kind = error.kind(), error = %text, "configuration waits for the journal");
                told = Some(text);
            }
            if !is_shown && begun.elapsed() >= limits::REFUSAL_SHOWN && consumers.is_refused() {
                // The objects say so too; they are not ready meanwhile.
                views.send_replace(Arc::clone(&published.objects));
                is_shown = true;
            }
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = time::sleep(limits::JOURNAL_RETRY) => {}
            }
        }
        if let Some(overview) = overview.take_if(|_| synced) {
            overview.log(&published.snapshot);
        }
        if consumers.is_shared() {
            facts_exchange::share(&published);
        }
        live.send_replace(published.snapshot);
        views.send_replace(published.objects);
        if synced {
            serving.ready();
        }
    }
}
