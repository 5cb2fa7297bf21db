//! Settling and pausing while the journal fails.

use std::time::Duration;

use grapnel_api::{Incarnation, ObjectKey};
use grapnel_journal::{Journal, JournalError, Sequence, Settlement};
use jiff::Timestamp;

use crate::dispatch::limits;

/// Settles, retrying for as long as the journal fails. Returns when the earliest of the settled retries falls due.
pub(super) async fn settle(
    journal: &dyn Journal,
    consumer: &Incarnation,
    ended: Vec<(Sequence, Settlement)>,
) -> Option<Timestamp> {
    let due = ended.iter().filter_map(|(_, settlement)| match settlement {
        Settlement::Retry { due, .. } => Some(*due),
        _ => None,
    });
    let due = due.min();
    let mut backoff = Backoff::default();
    loop {
        match journal.settle(consumer, ended.clone()).await {
            Ok(()) => return due,
            // Either the subscription was deleted together with the state of its events, or another replica delivers
            // them now and attempts again what is not settled.
            Err(JournalError::UnknownConsumer(_) | JournalError::Moved(_)) => return None,
            Err(error) => {
                let closed = matches!(error, JournalError::Closed);
                warn_throttled(&consumer.key, "settle", &error, backoff.is_reset());
                if closed {
                    // Invariant 4: the event is claimable again after a restart.
                    return None;
                }
                tokio::time::sleep(backoff.next()).await;
            }
        }
    }
}

/// Logs a journal error: as a warning if `loud`, which is the first of consecutive failures, otherwise at debug level.
pub(super) fn warn_throttled(key: &ObjectKey, action: &'static str, error: &JournalError, loud: bool) {
    let kind = error.kind();
    if loud {
        tracing::warn!(namespace = %key.namespace, subscription = %key.name, action, kind, %error, "the journal failed");
    } else {
        tracing::debug!(namespace = %key.namespace, subscription = %key.name, action, kind, %error, "the journal failed");
    }
}

/// Pauses between attempts while the journal fails.
#[derive(Default)]
pub(super) struct Backoff {
    last: Option<Duration>,
}

impl Backoff {
    pub(super) fn is_reset(&self) -> bool {
        self.last.is_none()
    }

    pub(super) fn reset(&mut self) {
        self.last = None;
    }

    pub(super) fn next(&mut self) -> Duration {
        let next = match self.last {
            None => limits::JOURNAL_PAUSE,
            Some(last) => last.saturating_mul(2).min(limits::JOURNAL_PAUSE_MAX),
        };
        self.last = Some(next);
        next
    }
}
