//! Makes configuration live: aligns consumers first, then publishes it.

use std::{collections::HashSet, sync::Arc};

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

/// Takes configuration from its source to the data plane.
pub(super) struct Rollout {
    pub(super) candidates: watch::Receiver<Published>,
    pub(super) consumers: Consumers,
    pub(super) live: watch::Sender<Arc<Snapshot>>,
    pub(super) views: watch::Sender<ObjectViews>,
    pub(super) serving: HealthReporter,
    /// To be logged for the first complete configuration; `None` if that has been done.
    pub(super) overview: Option<Overview>,
}

impl Rollout {
    /// Follows the candidates until `shutdown`. If the journal cannot attach the new consumers, the live configuration
    /// stays, and the attempt is repeated. Where only a part of a shared journal does not answer, the rest goes live.
    pub(super) async fn run(mut self, shutdown: CancellationToken) {
        let mut tidied = Instant::now();
        let mut awaited = HashSet::new();
        let mut handled: Option<Arc<Snapshot>> = None;
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = time::sleep_until(tidied + DETACH_INTERVAL), if self.consumers.is_shared() => {
                    tidied = Instant::now();
                    self.tidy().await;
                    continue;
                }
                () = time::sleep(limits::JOURNAL_RETRY), if !self.consumers.awaited().is_empty() => {}
                changed = self.candidates.changed() => if changed.is_err() {
                    // The source is gone; the live configuration stays until shutdown.
                    return shutdown.cancelled().await;
                },
            }
            let published = self.candidates.borrow_and_update().clone();
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = self.align(&published) => {}
            }
            // The candidate may be a new one even if it was the timer that woke this.
            let is_new = handled.as_ref().is_none_or(|handled| !Arc::ptr_eq(handled, &published.snapshot));
            if is_new || awaited != *self.consumers.awaited() {
                handled = Some(Arc::clone(&published.snapshot));
                awaited.clone_from(self.consumers.awaited());
                log_awaited(awaited.len());
                self.publish(published);
            }
        }
    }

    async fn tidy(&mut self) {
        let snapshot = Arc::clone(&self.live.borrow());
        if let Err(error) = self.consumers.tidy(&snapshot).await {
            tracing::debug!(kind = error.kind(), %error, "consumers of deleted subscriptions stay for now");
        }
    }

    /// Attaches the consumers of a configuration, except those that are awaited.
    async fn align(&mut self, published: &Published) {
        // At a start, the journal is often a moment later.
        let (begun, mut told, mut is_shown) = (Instant::now(), None, false);
        while let Err(error) = self.consumers.align(&published.snapshot).await {
            // A complete configuration is live already: what has changed otherwise need not wait.
            if self.live.borrow().synced() && !self.consumers.awaited().is_empty() {
                return;
            }
            let text = error.to_string();
            if told.as_ref() != Some(&text) && begun.elapsed() >= limits::JOURNAL_RETRY {
                tracing::warn!(kind = error.kind(), error = %text, "configuration waits for the journal");
                told = Some(text);
            }
            if !is_shown && begun.elapsed() >= limits::REFUSAL_SHOWN && self.consumers.is_refused() {
                // The objects say so too; they are not ready meanwhile.
                self.views.send_replace(Arc::clone(&published.objects));
                is_shown = true;
            }
            time::sleep(limits::JOURNAL_RETRY).await;
        }
    }

    /// Makes a configuration live, except for the subscriptions that are awaited.
    fn publish(&mut self, published: Published) {
        let snapshot = match self.consumers.awaited() {
            none if none.is_empty() => published.snapshot,
            awaited => Arc::new(published.snapshot.without(awaited)),
        };
        let synced = snapshot.synced();
        if let Some(overview) = self.overview.take_if(|_| synced) {
            overview.log(&snapshot);
        }
        if self.consumers.is_shared() {
            facts_exchange::share(&published.objects);
        }
        self.live.send_replace(snapshot);
        self.views.send_replace(published.objects);
        if synced {
            self.serving.ready();
        }
    }
}

/// Says for how many subscriptions the configuration is not complete.
fn log_awaited(subscriptions: usize) {
    if subscriptions > 0 {
        tracing::warn!(subscriptions, "some subscriptions wait for the journal; all else is configured");
    }
}
