//! Forwards dead letters: `deadLetter.endpointRef`.
//!
//! A dead letter is appended durably to its endpoint's log before the event is settled as failed. After a crash in
//! between, the event is attempted again, and its dead letter is deduplicated by its id. While the journal rejects the
//! dead letter, the event is not settled as failed: it is retried after [`limits::DEAD_LETTER_PAUSE`].

use bytes::Bytes;
use grapnel_event::{dead_letter as letter, dead_letter::NotForwarded, identity::Identity, schema::Validated};
use grapnel_journal::{Appended, Arrival, Delivery, Failure, Journal, Settlement};
use jiff::{SignedDuration, Timestamp};

use super::{
    outcome::{AttemptOutcome, bounded},
    request::header_id,
};
use crate::{
    catalog::{DeadLetterEndpoint, Subscription},
    dispatch::limits,
};

/// The result of forwarding a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Forwarded {
    /// Appended to the log of that endpoint.
    On,
    /// Already there (a duplicate).
    Before,
    /// Not forwarded: it would go in a circle, or has been forwarded too often.
    Ended(NotForwarded),
    /// The journal did not accept it.
    NotYet,
}

impl Forwarded {
    /// The label of metrics and the field of logs.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::On => "stored",
            Self::Before => "duplicate",
            Self::Ended(NotForwarded::Circle) => "circle",
            Self::Ended(NotForwarded::Far) => "too_far",
            Self::NotYet => "not_stored",
        }
    }
}

/// Forwards the event if `outcome` is final and its subscription has a dead-letter endpoint. If that fails, `outcome`
/// becomes a retry. `None` if there is nothing to forward.
pub(super) async fn pass_on(
    journal: &dyn Journal,
    subscription: &Subscription,
    delivery: &Delivery,
    outcome: &mut AttemptOutcome,
    now: Timestamp,
) -> Option<Forwarded> {
    let to = subscription.dead_letter_endpoint.as_ref()?;
    let Settlement::Dead { failure } = &outcome.settlement else { return None };
    let arrival = match arrival(subscription, to, delivery, failure, now) {
        Ok(arrival) => arrival,
        Err(end) => return Some(Forwarded::Ended(end)),
    };
    match journal.append(vec![arrival]).await {
        Ok(appended) if matches!(appended.first(), Some(Appended::Duplicate(_))) => Some(Forwarded::Before),
        Ok(_) => Some(Forwarded::On),
        Err(error) => {
            let message = format!(
                "not dead-lettered yet, because endpoint {} could not store the dead letter ({error}): {}",
                to.endpoint.key.name, failure.message
            );
            let failure = Failure { message: bounded(&message).into(), ..failure.clone() };
            let pause = SignedDuration::try_from(limits::DEAD_LETTER_PAUSE).unwrap_or(SignedDuration::MAX);
            let due = now.checked_add(pause).unwrap_or(Timestamp::MAX);
            outcome.settlement = Settlement::Retry { due, failure };
            Some(Forwarded::NotYet)
        }
    }
}

/// The event as it is appended to endpoint `to`.
fn arrival(
    subscription: &Subscription,
    to: &DeadLetterEndpoint,
    delivery: &Delivery,
    failure: &Failure,
    now: Timestamp,
) -> Result<Arrival, NotForwarded> {
    let event = &*delivery.event;
    let from = subscription.endpoint.key.to_string();
    // Headers of an earlier dead letter: this event may be one.
    let earlier = |wanted: &str| {
        let value = event.headers.iter().find(|(name, _)| **name == *wanted).map(|(_, value)| value);
        value.and_then(|value| std::str::from_utf8(value).ok())
    };
    let trail = letter::trail(earlier(letter::TRAIL), &from, &to.endpoint.key.to_string())?;
    let first_id = earlier(letter::ID).map_or_else(|| header_id(&event.id), str::to_owned);
    let first_received = earlier(letter::RECEIVED).map_or_else(|| event.received.to_string(), str::to_owned);
    let subscription = subscription.key.to_string();
    let id = letter::id(&subscription, &from, event.sequence, &event.id);
    let mut attributes = vec![
        (letter::ID, first_id),
        (letter::RECEIVED, first_received),
        (letter::TRAIL, trail),
        (letter::SUBSCRIPTION, subscription),
        (letter::TIME, failure.time.to_string()),
        (letter::ATTEMPTS, delivery.attempt.to_string()),
        (letter::REASON, failure.reason.to_string()),
        (letter::MESSAGE, letter::header_text(&failure.message)),
    ];
    attributes.extend(failure.status.map(|status| (letter::STATUS, status.to_string())));
    let came = event.headers.iter().filter(|(name, _)| !letter::is_header(name)).cloned();
    let attributes = attributes.into_iter().map(|(name, value)| (Box::from(name), Bytes::from(value)));
    Ok(Arrival {
        endpoint: to.endpoint.clone(),
        validated: Validated::again(Identity::new(id, event.kind.clone()), event.body.clone()),
        received: now,
        content_type: event.content_type.clone(),
        remote: event.remote,
        headers: attributes.chain(came).collect(),
        window: Some(limits::DEAD_LETTER_WINDOW),
        max_bytes: to.max_bytes,
    })
}
