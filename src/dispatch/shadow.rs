//! `mode: Shadow`: an event is filtered, transformed, signed and counted like a delivery, and settled without being sent.
//!
//! When the mode changes to Deliver, the events that were accepted before are still not sent. The worker then reads the
//! newest sequence of the endpoint once, before its next claim, and sends the events after it.

use std::sync::Arc;

use grapnel_journal::{EventQuery, Journal, JournalError, Sequence, SkipReason};
use grapnel_values::traceparent::Traceparent;

use super::{
    attempt::build,
    attempt_error::AttemptError,
    claim::skip,
    claimed_delivery::ClaimedDelivery,
    conclusion::{AttemptResult, Context},
    outcome::bounded,
    random,
};
use crate::catalog::{
    Subscription,
    observed::{Failed, SubscriptionFacts},
};

/// Outcome label of an event that would have been sent.
const WOULD_SEND: &str = "would_send";

/// Which events are not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ShadowScope {
    /// None: the mode is Deliver.
    Nothing,
    /// Those up to this sequence, because the mode was Shadow when they were accepted.
    Through(Sequence),
    /// Those accepted until now, when the mode has changed to Deliver; the sequence of the newest is not known yet.
    UntilNow,
    /// All: the mode is Shadow.
    Everything,
}

impl ShadowScope {
    /// The scope of a subscription that has just started.
    pub(super) fn of(subscription: &Subscription) -> Self {
        if subscription.is_shadow() { Self::Everything } else { Self::Nothing }
    }

    /// The scope after a change of the configuration.
    pub(super) fn changed(self, subscription: &Subscription) -> Self {
        match self {
            _ if subscription.is_shadow() => Self::Everything,
            Self::Everything => Self::UntilNow,
            unchanged => unchanged,
        }
    }

    /// The same with a known end, for a claim that begins now.
    pub(super) async fn resolved(
        self,
        journal: &dyn Journal,
        subscription: &Subscription,
    ) -> Result<Self, JournalError> {
        if self != Self::UntilNow {
            return Ok(self);
        }
        let newest = EventQuery { newest_first: true, limit: 1, ..EventQuery::default() };
        let page = journal.events(&subscription.endpoint, newest).await?;
        // A step without an event has found none at `next` or above.
        let newest = page.events.first().map(|event| event.sequence()).or(page.next);
        Ok(newest.map_or(Self::Nothing, Self::Through))
    }

    /// The scope after a claim with this scope. `held` are the sequences that it has returned, and those that wait.
    /// Claims return the oldest events first, so all events of the scope are past when none of them is held.
    pub(super) fn after_claim(self, held: impl IntoIterator<Item = Sequence>) -> Self {
        match self {
            Self::Through(last) if held.into_iter().all(|sequence| sequence > last) => Self::Nothing,
            scope => scope,
        }
    }

    /// Whether this event is not sent.
    pub(super) fn covers(self, sequence: Sequence) -> bool {
        match self {
            Self::Nothing => false,
            Self::Through(last) => sequence <= last,
            Self::UntilNow | Self::Everything => true,
        }
    }
}

/// Builds what would be sent, and reports it.
pub(super) async fn rehearse(
    context: Arc<Context>,
    subscription: Arc<Subscription>,
    claimed: ClaimedDelivery,
) -> AttemptResult {
    let (sequence, id) = (claimed.sequence(), claimed.delivery.event.id.clone());
    let now = context.clock.now();
    let built = build(&subscription, claimed, now, Traceparent::fresh(random::bytes())).await;
    conclude(&context, &subscription, sequence, id, built.err().map(AttemptError::from))
}

/// Reports what would have become of an event, and settles it.
pub(super) fn conclude(
    context: &Context,
    subscription: &Subscription,
    sequence: Sequence,
    id: Box<str>,
    error: Option<AttemptError>,
) -> AttemptResult {
    let at = context.clock.now();
    let outcome = error.as_ref().map_or(WOULD_SEND, AttemptError::reason);
    subscription.metrics.shadowed(outcome);
    let facts: &SubscriptionFacts = &subscription.facts;
    match error {
        None => {
            tracing::info!(
                namespace = %subscription.key.namespace,
                subscription = %subscription.key.name,
                endpoint = %subscription.endpoint.key.name,
                %id,
                "the event is not sent: mode is Shadow"
            );
            facts.shadowed();
        }
        Some(error) => {
            let message = error.to_string();
            let message = bounded(&message);
            tracing::warn!(
                namespace = %subscription.key.namespace,
                subscription = %subscription.key.name,
                endpoint = %subscription.endpoint.key.name,
                %id,
                reason = outcome,
                error = %message,
                "the event would not be sent"
            );
            facts.shadow_failed(Failed {
                time: at,
                event_id: id,
                reason: outcome.into(),
                status: None,
                message: message.into(),
                next_attempt: None,
                gone: false,
                own: true,
            });
        }
    }
    let settlement = skip(subscription, SkipReason::Shadow, at);
    AttemptResult { sequence, settlement, at, failed: false, contacted: false, pause: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scope_ends_when_its_events_are_claimed() {
        let through = ShadowScope::Through(7);
        assert_eq!([6, 7, 8].map(|sequence| through.covers(sequence)), [true, true, false]);
        assert_eq!(through.after_claim([3, 9]), through, "a redelivered or older event is among them");
        assert_eq!(through.after_claim([8, 9]), ShadowScope::Nothing);
        assert_eq!(through.after_claim([]), ShadowScope::Nothing);
        for scope in [ShadowScope::Everything, ShadowScope::UntilNow] {
            assert_eq!(scope.after_claim([]), scope);
            assert!(scope.covers(u64::MAX));
        }
    }
}
