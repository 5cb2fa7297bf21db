//! Claims without the events that the subscription's filter rejects. They are left out before the rate limit and the
//! circuit breaker see them.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use grapnel_delivery::retry::RetryPolicy;
use grapnel_event::limits::INLINE_BODY_BYTES;
use grapnel_expression::ExpressionError;
use grapnel_journal::{Claim, Claimed, JournalError, Sequence, Settlement, SkipReason, StoredEvent};
use jiff::Timestamp;

use super::{
    attempt::{Context, Ended, Entropy, conclude},
    decoded_event,
    send_error::SendError,
};
use crate::{catalog::Subscription, dispatch::limits};

/// A claim with the filter applied.
pub(super) struct FilteredClaim {
    /// What is to be delivered, as far as the filter is concerned.
    pub(super) claimed: Claimed,
    /// Events that the filter rejects, or whose filter failed.
    pub(super) ended: Vec<(Sequence, Settlement)>,
    /// The subscription whose filter was applied.
    pub(super) by: Arc<Subscription>,
}

/// Claims at most `limit` deliveries, in order or not, and applies the filter if there is one. The future must not be
/// dropped before it completes: its claims would stay in flight.
pub(super) async fn claim(
    context: &Context,
    subscription: Arc<Subscription>,
    limit: usize,
    in_order: bool,
) -> Result<FilteredClaim, JournalError> {
    let (journal, now) = (&context.journal, context.clock.now());
    let claim = Claim { limit, now, in_order, longest_delay: longest_delay(&subscription.retry) };
    let mut claimed = journal.claim(&subscription.incarnation(), claim).await?;
    let mut ended = Vec::new();
    if subscription.filter.is_some() {
        let mut kept = Vec::with_capacity(claimed.deliveries.len());
        let mut held_up = false;
        for delivery in claimed.deliveries {
            if held_up {
                ended.push((delivery.event.sequence, Settlement::Released));
                continue;
            }
            // Yields, so that other tasks of this thread wait for one evaluation at most.
            tokio::task::yield_now().await;
            // The worker settles events whose type is not delivered.
            if !subscription.event_types.admits(&delivery.event.kind) {
                kept.push(delivery);
                continue;
            }
            let began = Instant::now();
            match wanted(&subscription, &delivery.event).await {
                Ok(true) => {
                    kept.push(delivery);
                    held_up = in_order;
                }
                Ok(false) => {
                    let skip = skip(&subscription, SkipReason::Filter, context.clock.now());
                    ended.push((delivery.event.sequence, skip));
                }
                // A filter error is a failed attempt: it is not known whether the event is wanted, so it is not
                // dropped.
                Err(error) => {
                    let (answer, took) = (Err(SendError::Filter(error)), began.elapsed());
                    let spread = Entropy::new().spread;
                    let Ended { sequence, settlement, .. } =
                        conclude(context, &subscription, &delivery, &answer, took, spread).await;
                    // Ordered deliveries wait for a retry.
                    held_up = in_order && matches!(settlement, Settlement::Retry { .. });
                    ended.push((sequence, settlement));
                }
            }
        }
        claimed.deliveries = kept;
    }
    Ok(FilteredClaim { claimed, ended, by: subscription })
}

/// Settles an event that the subscription does not deliver, and counts it.
pub(super) fn skip(subscription: &Subscription, reason: SkipReason, time: Timestamp) -> Settlement {
    subscription.metrics.skipped(reason.as_str());
    Settlement::Skipped { reason, time }
}

/// The longest time from a failure to its next attempt, plus the step by which a clock may be set back without early
/// attempts. `Retry-After` cannot exceed the policy's longest delay.
fn longest_delay(policy: &RetryPolicy) -> Duration {
    policy.max_delay.max(limits::DEAD_LETTER_PAUSE).saturating_add(limits::CLOCK_STEP)
}

/// Whether a retry that is due at `due` was scheduled by a clock ahead of `now`; if so, it is claimable at once.
pub(super) fn is_ahead(due: Timestamp, now: Timestamp, policy: &RetryPolicy) -> bool {
    let wait = Duration::try_from(due.duration_since(now)).unwrap_or_default();
    wait > longest_delay(policy)
}

/// Evaluates the filter; large bodies are evaluated on a blocking thread.
async fn wanted(subscription: &Arc<Subscription>, event: &Arc<StoredEvent>) -> Result<bool, ExpressionError> {
    let Some(filter) = &subscription.filter else { return Ok(true) };
    if !filter.uses_payload() || event.body.len() <= INLINE_BODY_BYTES {
        return filter.test(&decoded_event::inputs(filter, &subscription.reading, event, &subscription.endpoint.key));
    }
    let (filter, event, subscription) = (Arc::clone(filter), Arc::clone(event), Arc::clone(subscription));
    let test = tokio::task::spawn_blocking(move || {
        filter.test(&decoded_event::inputs(&filter, &subscription.reading, &event, &subscription.endpoint.key))
    });
    test.await.unwrap_or_else(|_| {
        let message = "evaluation failed".into();
        Err(ExpressionError { line: 1, column: 1, message })
    })
}
