//! One attempt to deliver an event.

use std::{sync::Arc, time::Instant};

use grapnel_api::Format;
use grapnel_event::limits::INLINE_BODY_BYTES;
use grapnel_journal::Delivery;
use grapnel_values::traceparent::Traceparent;
use jiff::Timestamp;

use super::{
    attempt_error::AttemptError,
    body::BuildError,
    claimed_delivery::ClaimedDelivery,
    client::Outgoing,
    conclusion::{AttemptResult, Context, conclude},
    random, request,
};
use crate::{
    catalog::Subscription,
    telemetry::spans::{self, OpenSpan},
};

/// Sends a claimed event. Returns the settlement for the journal, and reports the outcome as facts, metrics and one log
/// line.
pub(super) async fn attempt(
    context: Arc<Context>,
    subscription: Arc<Subscription>,
    claimed: ClaimedDelivery,
) -> AttemptResult {
    let delivery = claimed.delivery.clone();
    let trace = random::bytes();
    let started = Instant::now();
    let parent = request::parent(&delivery.event);
    let span = context.spans.attempt(parent, traced(&subscription, &delivery));
    let own = span.as_ref().and_then(OpenSpan::traceparent).unwrap_or_else(|| match parent {
        Some(parent) => parent.child(trace.first_chunk().copied().unwrap_or_default()),
        None => Traceparent::fresh(trace),
    });
    let answer = match build(&subscription, claimed, context.clock.now(), own).await {
        Ok(request) => context.client.post(request).await.map_err(AttemptError::from),
        Err(error) => Err(error.into()),
    };
    let ended = conclude(&context, &subscription, &delivery, &answer, started.elapsed(), random::fraction()).await;
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

/// Builds the request; large bodies are transformed and wrapped on a blocking thread. What has been parsed of the event is dropped:
/// an exchange with a slow receiver must not hold it.
pub(super) async fn build(
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
