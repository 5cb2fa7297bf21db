//! Makes events durable.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use grapnel_journal::{Appended, Arrival, Journal, JournalError};
use tokio::time::{Instant, timeout_at};

use super::{Ingress, inbound::Inbound, reject::Rejected, response::Stored, trace};
use crate::{
    catalog::Endpoint,
    ingress::limits::JOURNAL_LOG_INTERVAL,
    telemetry::{metrics::Metrics, spans::Spans},
};

/// Appends events to the journal, and reports what it answers.
pub(super) struct Appender {
    journal: Arc<dyn Journal>,
    metrics: Metrics,
    spans: Spans,
    started: Instant,
    /// Milliseconds since `started` after which a journal error may be logged again.
    log_again: AtomicU64,
}

impl Appender {
    pub(super) fn new(ingress: &Ingress) -> Self {
        Self {
            journal: Arc::clone(&ingress.journal),
            metrics: ingress.metrics.clone(),
            spans: ingress.spans.clone(),
            started: Instant::now(),
            log_again: AtomicU64::new(0),
        }
    }

    /// Makes events durable, all or none; there is at least one. If the journal takes too long, only the wait ends: the
    /// events may still be stored, and those with an id are deduplicated when they are sent again.
    pub(super) async fn append(&self, inbound: &Inbound, mut arrivals: Vec<Arrival>) -> Result<Vec<Stored>, Rejected> {
        let endpoint = &inbound.endpoint;
        let span = trace::begin(&self.spans, inbound, &mut arrivals);
        let stored = self.append_within(inbound, arrivals).await;
        trace::end(span, endpoint, &stored);
        stored
    }

    async fn append_within(&self, inbound: &Inbound, arrivals: Vec<Arrival>) -> Result<Vec<Stored>, Rejected> {
        let endpoint = &inbound.endpoint;
        let of = |Arrival { validated, .. }: &Arrival| {
            let identity = validated.identity();
            Stored {
                id: identity.id.clone(),
                kind: identity.kind.clone(),
                origin: identity.origin,
                duplicate: false,
                bytes: validated.body().len(),
            }
        };
        let mut stored: Vec<_> = arrivals.iter().map(of).collect();
        let kind = || stored.first().map(|event| event.kind.clone()).unwrap_or_default();
        let began = Instant::now();
        let unheard = LostConfirmationGuard { endpoint, id: stored.first().map_or("", |event| &event.id) };
        let answer = timeout_at(inbound.deadline, self.journal.append(arrivals)).await;
        std::mem::forget(unheard);
        self.metrics.appended(began.elapsed());
        let answers = match answer.as_ref().map(|answer| answer.as_deref()) {
            Ok(Ok(answers)) if answers.len() == stored.len() => answers,
            Ok(Ok(_)) => return Err(self.unavailable(kind(), endpoint, "answers", &"not one answer for one event")),
            Ok(Err(error)) => {
                let rejected = self.unavailable(kind(), endpoint, JournalError::kind(error), error);
                return Err(match error {
                    JournalError::ShareExhausted(_) => Rejected::StorageExhausted { kind: kind() },
                    JournalError::TooLarge { max, .. } => Rejected::TooLargeToStore { kind: kind(), max: *max },
                    _ => rejected,
                });
            }
            Err(_) => {
                return Err(self.unavailable(kind(), endpoint, "timeout", &"no answer within the endpoint's timeout"));
            }
        };
        for (event, answer) in stored.iter_mut().zip(answers) {
            event.duplicate = matches!(answer, Appended::Duplicate(_));
        }
        Ok(stored)
    }

    /// Logs the details at a limited rate; the caller does not see them.
    fn unavailable(
        &self,
        kind: Box<str>,
        endpoint: &Endpoint,
        reason: &'static str,
        error: &dyn std::fmt::Display,
    ) -> Rejected {
        self.metrics.journal_failed(reason);
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let next = now.saturating_add(u64::try_from(JOURNAL_LOG_INTERVAL.as_millis()).unwrap_or(u64::MAX));
        let due = |again: u64| (now >= again).then_some(next);
        if self.log_again.fetch_update(Relaxed, Relaxed, due).is_ok() {
            let (namespace, endpoint) = (&*endpoint.key.namespace, &*endpoint.key.name);
            tracing::warn!(namespace, endpoint, reason, %error, "event not confirmed by the journal");
        }
        Rejected::Unavailable { kind: Some(kind) }
    }
}

/// Records a lost confirmation when dropped, which happens only if a request ends while its event is being stored,
/// because the client disconnected or the server stops.
struct LostConfirmationGuard<'a> {
    endpoint: &'a Endpoint,
    id: &'a str,
}

impl Drop for LostConfirmationGuard<'_> {
    fn drop(&mut self) {
        let (namespace, endpoint) = (&*self.endpoint.key.namespace, &*self.endpoint.key.name);
        tracing::info!(
            namespace,
            endpoint,
            id = self.id,
            "request ended before its event was confirmed; it may be stored"
        );
    }
}
