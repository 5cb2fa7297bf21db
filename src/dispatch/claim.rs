//! Claims without the events that the subscription's filter rejects. They are left out before the rate limit and the
//! circuit breaker see them.

use std::{sync::Arc, time::Instant};

use grapnel_journal::{Claim, Delivery, JournalError, Sequence, Settlement, SkipReason};
use jiff::Timestamp;

use super::{
    claimed_delivery::ClaimedDelivery,
    conclusion::{AttemptResult, Context, conclude},
    due_time::longest_delay,
    filter::wants,
    random::fraction,
    shadow::{self, ShadowScope},
};
use crate::catalog::Subscription;

/// What to claim.
pub(super) struct ClaimRequest {
    /// Maximum number of deliveries.
    pub(super) limit: usize,
    /// Whether strictly by sequence.
    pub(super) in_order: bool,
    /// Which events are not sent.
    pub(super) shadow: ShadowScope,
    /// Maximum bytes of bodies and parsed events. Bodies may exceed it; beyond it, nothing that is parsed is kept.
    pub(super) budget: usize,
}

/// A claim with the filter applied.
pub(super) struct FilteredClaim {
    /// What is to be delivered, as far as the filter is concerned.
    pub(super) deliveries: Vec<ClaimedDelivery>,
    /// When the next retry is due.
    pub(super) next_due: Option<Timestamp>,
    /// Events that the filter rejects, or whose filter failed.
    pub(super) ended: Vec<(Sequence, Settlement)>,
    /// Which events are not sent, as of this claim.
    pub(super) shadow: ShadowScope,
    /// The subscription whose filter was applied.
    pub(super) by: Arc<Subscription>,
}

/// What becomes of a claimed delivery.
enum Filtered {
    Wanted(ClaimedDelivery),
    Ended(Sequence, Settlement),
}

/// Claims deliveries and applies the filter if there is one. The future must not be dropped before it completes: its
/// claims would stay in flight.
pub(super) async fn claim(
    context: &Context,
    subscription: Arc<Subscription>,
    request: ClaimRequest,
) -> Result<FilteredClaim, JournalError> {
    let ClaimRequest { limit, in_order, shadow, budget } = request;
    let shadow = shadow.resolved(&*context.journal, &subscription).await?;
    let claim = Claim { limit, now: context.clock.now(), in_order, longest_delay: longest_delay(&subscription.retry) };
    let claimed = context.journal.claim(&subscription.incarnation(), claim).await?;
    let bodies: usize = claimed.deliveries.iter().map(|delivery| delivery.event.body.len()).sum();
    let mut budget = budget.saturating_sub(bodies);
    let (mut deliveries, mut ended) = (Vec::with_capacity(claimed.deliveries.len()), Vec::new());
    let mut held_up = false;
    for delivery in claimed.deliveries {
        if held_up {
            ended.push((delivery.event.sequence, Settlement::Released));
            continue;
        }
        let claimed = ClaimedDelivery::new(delivery, &subscription.reading);
        match filter(context, &subscription, claimed, shadow).await {
            Filtered::Wanted(mut wanted) => {
                wanted.keep_within(&mut budget);
                // Without a filter, all that is claimed in order may be delivered in order.
                held_up = in_order && subscription.filter.is_some() && admits(&subscription, &wanted.delivery);
                deliveries.push(wanted);
            }
            Filtered::Ended(sequence, settlement) => {
                // Ordered deliveries wait for a retry.
                held_up = in_order && matches!(settlement, Settlement::Retry { .. });
                ended.push((sequence, settlement));
            }
        }
    }
    Ok(FilteredClaim { deliveries, next_due: claimed.next_due, ended, shadow, by: subscription })
}

/// Applies the filter to an event of a type that is delivered; the worker settles the others.
async fn filter(
    context: &Context,
    subscription: &Arc<Subscription>,
    claimed: ClaimedDelivery,
    shadow: ShadowScope,
) -> Filtered {
    let Some(filter) = subscription.filter.as_ref().filter(|_| admits(subscription, &claimed.delivery)) else {
        return Filtered::Wanted(claimed);
    };
    // Yields, so that other tasks of this thread wait for one evaluation at most.
    tokio::task::yield_now().await;
    let (began, sequence) = (Instant::now(), claimed.sequence());
    let ClaimedDelivery { delivery, decoded } = claimed;
    let (decoded, wanted) = wants(filter, &subscription.endpoint.key, decoded).await;
    match wanted {
        Ok(true) => Filtered::Wanted(ClaimedDelivery { delivery, decoded }),
        Ok(false) => Filtered::Ended(sequence, skip(subscription, SkipReason::Filter, context.clock.now())),
        Err(error) if shadow.covers(sequence) => {
            let id = delivery.event.id.clone();
            let AttemptResult { settlement, .. } =
                shadow::conclude(context, subscription, sequence, id, Some(error.into()));
            Filtered::Ended(sequence, settlement)
        }
        // A filter error is a failed attempt: it is not known whether the event is wanted, so it is not dropped.
        Err(error) => {
            let (answer, took) = (Err(error.into()), began.elapsed());
            let AttemptResult { settlement, .. } =
                conclude(context, subscription, &delivery, &answer, took, fraction()).await;
            Filtered::Ended(sequence, settlement)
        }
    }
}

fn admits(subscription: &Subscription, delivery: &Delivery) -> bool {
    subscription.event_types.admits(&delivery.event.kind)
}

/// Settles an event that the subscription does not deliver, and counts it.
pub(super) fn skip(subscription: &Subscription, reason: SkipReason, time: Timestamp) -> Settlement {
    subscription.metrics.skipped(reason.as_str());
    Settlement::Skipped { reason, time }
}
