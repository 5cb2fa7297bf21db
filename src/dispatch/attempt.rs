//! One delivery attempt, from the claimed event to its settlement.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use grapnel_api::Format;
use grapnel_event::limits::INLINE_BODY_BYTES;
use grapnel_journal::{Delivery, Journal, Sequence, Settlement};
use grapnel_values::{clock::Clock, traceparent::Traceparent};
use jiff::Timestamp;

use super::{
    attempt_error::AttemptError,
    body::BuildError,
    claim::ClaimedDelivery,
    client::{Client, Outgoing, ReceiverResponse},
    dead_letter::{self, Forwarded},
    outcome::{AttemptOutcome, classify},
    request,
};
use crate::{
    catalog::{
        Subscription,
        observed::{Failed, LastDelivery},
    },
    telemetry::spans::{self, OpenSpan, Spans},
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

/// Sends a claimed event. Returns the settlement for the journal, and reports the outcome as facts, metrics and one log
/// line.
pub(super) async fn attempt(
    context: Arc<Context>,
    subscription: Arc<Subscription>,
    claimed: ClaimedDelivery,
) -> AttemptResult {
    let delivery = claimed.delivery.clone();
    let entropy = Entropy::new();
    let started = Instant::now();
    let parent = request::parent(&delivery.event);
    let span = context.spans.attempt(parent, traced(&subscription, &delivery));
    let own = span.as_ref().and_then(OpenSpan::traceparent).unwrap_or_else(|| match parent {
        Some(parent) => parent.child(entropy.trace.first_chunk().copied().unwrap_or_default()),
        None => Traceparent::fresh(entropy.trace),
    });
    let answer = match build(&subscription, claimed, context.clock.now(), own).await {
        Ok(request) => context.client.post(request).await.map_err(AttemptError::from),
        Err(error) => Err(error.into()),
    };
    let ended = conclude(&context, &subscription, &delivery, &answer, started.elapsed(), entropy.spread).await;
    if let Some(span) = span {
        let status = answer.as_ref().ok().map(|answer| answer.status.as_u16());
        span.end(status, ended.settlement.failure().map(|failure| &*failure.reason));
    }
    ended
}

fn traced<'a>(subscription: &'a Subscription, delivery: &'a Delivery) -> spans::AttemptToTrace<'a> {
    spans::AttemptToTrace {
        namespace: &subscription.key.namespace,
        subscription: &subscription.key.name,
        endpoint: &subscription.endpoint.key.name,
        id: &delivery.event.id,
        kind: &delivery.event.kind,
        number: delivery.attempt,
    }
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

/// Builds the request; large bodies are transformed and wrapped on a blocking thread. What has been parsed of the event is dropped:
/// an exchange with a slow receiver must not hold it.
async fn build(
    subscription: &Arc<Subscription>,
    claimed: ClaimedDelivery,
    now: Timestamp,
    own: Traceparent,
) -> Result<Outgoing, BuildError> {
    let is_body = subscription.transform.is_none() && subscription.format == Format::Original;
    if is_body || claimed.delivery.event.body.len() <= INLINE_BODY_BYTES {
        return request::build(subscription, &claimed, now, own);
    }
    let subscription = Arc::clone(subscription);
    let built = tokio::task::spawn_blocking(move || request::build(&subscription, &claimed, now, own));
    built.await.unwrap_or(Err(BuildError::Interrupted))
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

/// Random values for one attempt.
pub(super) struct Entropy {
    trace: [u8; 24],
    /// Between 0 and 1.
    pub(super) spread: f64,
}

impl Entropy {
    pub(super) fn new() -> Self {
        let mut trace = [0; 24];
        let mut spread = [0; 4];
        // Without randomness the trace is invalid, which receivers ignore, and the delay has no jitter. Neither is a
        // reason not to deliver.
        let _ = getrandom::fill(&mut trace);
        let _ = getrandom::fill(&mut spread);
        Self { trace, spread: f64::from(u32::from_ne_bytes(spread)) / f64::from(u32::MAX) }
    }
}
