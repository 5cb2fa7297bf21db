//! Applies retention: removes expired data from the journal.

use std::sync::Arc;

use grapnel_journal::{Journal, JournalError, Retention};
use grapnel_values::clock::Clock;
use tokio::{sync::watch, time};
use tokio_util::sync::CancellationToken;

use crate::{catalog::Snapshot, runtime::limits};

/// Sweeps every [`limits::SWEEP_INTERVAL`] until `shutdown`.
pub(super) async fn run(
    snapshots: watch::Receiver<Arc<Snapshot>>,
    journal: Arc<dyn Journal>,
    clock: Arc<dyn Clock>,
    shutdown: CancellationToken,
) {
    let mut ticks = time::interval(limits::SWEEP_INTERVAL);
    ticks.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let retention = retention(&snapshots.borrow());
        match journal.sweep(retention, clock.now()).await {
            Ok(swept) if swept.events > 0 || swept.dead_letters > 0 => {
                tracing::info!(events = swept.events, dead_letters = swept.dead_letters, "retention removed");
            }
            Ok(_) => {}
            // The journal itself says why it is not available.
            Err(error @ JournalError::Unavailable(_)) => tracing::debug!(%error, "retention failed; retrying"),
            Err(error) => tracing::warn!(kind = error.kind(), %error, "retention failed; retrying"),
        }
    }
}

fn retention(snapshot: &Snapshot) -> Retention {
    Retention {
        endpoints: snapshot.endpoints().map(|endpoint| (endpoint.incarnation(), endpoint.retention)).collect(),
        consumers: snapshot
            .subscriptions()
            .map(|subscription| (subscription.key.clone(), subscription.dead_letter_retention))
            .collect(),
    }
}
