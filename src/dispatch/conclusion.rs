//! The end of an attempt: its outcome is classified, a dead letter forwarded, and everything reported.

use std::{sync::Arc, time::Duration};

use grapnel_journal::{Delivery, Journal, Sequence, Settlement};
use grapnel_values::clock::Clock;
use jiff::Timestamp;

use super::{
    attempt_error::AttemptError,
    client::{Client, ReceiverResponse},
    dead_letter::{self, Forwarded},
    outcome::{AttemptOutcome, classify},
};
use crate::{
    catalog::{
        Subscription,
        observed::{Failed, LastDelivery},
    },
    telemetry::spans::Spans,
};

/// The result of an attempt.
pub(super) struct AttemptResult {
    pub(super) sequence: Sequence,
    pub(super) settlement: Settlement,
    /// When the attempt ended.
    pub(super) at: Timestamp,
    /// Whether it counts as a failure of the receiver.
    pub(super) failed: bool,
    /// Whether the request was sent to the receiver.
    pub(super) contacted: bool,
    /// How long the receiver has asked to be left alone.
    pub(super) pause: Option<Duration>,
}

/// State shared by all workers.
pub(super) struct Context {
    pub(super) journal: Arc<dyn Journal>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) client: Client,
    pub(super) spans: Spans,
}

/// Concludes an attempt: forwards dead letters, then reports the outcome. Filter errors are concluded here too, so that
/// every outcome is handled alike. `spread` is between 0 and 1.
pub(super) async fn conclude(
    context: &Context,
    subscription: &Subscription,
    delivery: &Delivery,
    answer: &Result<ReceiverResponse, AttemptError>,
    took: Duration,
    spread: f64,
) -> AttemptResult {
    let now = context.clock.now();
    let mut outcome = classify(&subscription.retry, delivery.attempt, answer, now, took, spread);
    let passed = dead_letter::pass_on(&*context.journal, subscription, delivery, &mut outcome, now).await;
    observe(subscription, delivery, answer, &outcome, passed, now, took);
    AttemptResult {
        sequence: delivery.event.sequence,
        at: now,
        failed: outcome.counts_as_failure(),
        contacted: outcome.contacted,
        pause: outcome.pause,
        settlement: outcome.settlement,
    }
}

/// Reports the outcome as facts, metrics and a log line.
fn observe(
    subscription: &Subscription,
    delivery: &Delivery,
    answer: &Result<ReceiverResponse, AttemptError>,
    outcome: &AttemptOutcome,
    passed: Option<Forwarded>,
    now: Timestamp,
    took: Duration,
) {
    let event = &delivery.event;
    let duration_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    subscription.metrics.attempted(outcome.label, took);
    let Some(failure) = outcome.failure() else {
        // A clock that is set back must not produce negative durations.
        subscription.metrics.delivered(Duration::try_from(now.duration_since(event.received)).unwrap_or_default());
        let status = answer.as_ref().map_or(0, |response| response.status.as_u16());
        if let Ok(response) = answer {
            subscription.facts.answers.remember(event.sequence, &response.body_start);
        }
        tracing::info!(
            namespace = %subscription.key.namespace,
            subscription = %subscription.key.name,
            endpoint = %subscription.endpoint.key.name,
            id = %event.id,
            attempt = delivery.attempt,
            status,
            took_ms = duration_ms,
            "event delivered"
        );
        subscription.facts.delivered(LastDelivery { time: now, event_id: event.id.clone(), status, duration_ms });
        return;
    };
    if let Some(passed) = passed {
        subscription.metrics.passed_on(passed.label());
    }
    let next_attempt = outcome.next_attempt();
    let passed_on = passed.map(Forwarded::label);
    // A field named `message` would replace the text of the line.
    match next_attempt {
        None => tracing::warn!(
            namespace = %subscription.key.namespace,
            subscription = %subscription.key.name,
            endpoint = %subscription.endpoint.key.name,
            id = %event.id,
            attempt = delivery.attempt,
            reason = %failure.reason,
            status = failure.status,
            error = %failure.message,
            took_ms = duration_ms,
            dead_lettered = true,
            passed_on,
            "delivery failed; the event is a dead letter"
        ),
        Some(next_attempt) => tracing::info!(
            namespace = %subscription.key.namespace,
            subscription = %subscription.key.name,
            endpoint = %subscription.endpoint.key.name,
            id = %event.id,
            attempt = delivery.attempt,
            reason = %failure.reason,
            status = failure.status,
            took_ms = duration_ms,
            %next_attempt,
            dead_lettered = false,
            "delivery failed"
        ),
    }
    subscription.facts.failed(Failed {
        time: now,
        event_id: event.id.clone(),
        reason: failure.reason.clone(),
        status: failure.status,
        message: failure.message.clone(),
        next_attempt,
        gone: outcome.gone,
        own: !outcome.contacted,
    });
}
