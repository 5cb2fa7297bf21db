//! Compiles the pacing of deliveries: the circuit breaker and the concurrency.

use std::num::{NonZeroU32, NonZeroUsize};

use grapnel_api::{self, Ordering, Reason, WebhookSubscriptionSpec};
use grapnel_delivery::{
    breaker::BreakerPolicy,
    limits::{DEFAULT_BREAKER_COOLDOWN, DEFAULT_BREAKER_FAILURES, DEFAULT_BREAKER_MAX_COOLDOWN},
};
use grapnel_values::duration;

use super::{
    Problems,
    endpoint::{bounded, time},
};
use crate::catalog::limits;

/// Compiles `circuitBreaker`. A default pause adapts to the other pause if that is set: a longest pause of 10s does not
/// require setting the first pause too.
pub(super) fn breaker(breaker: Option<&grapnel_api::CircuitBreaker>, problems: &mut Problems) -> Option<BreakerPolicy> {
    let breaker = breaker.cloned().unwrap_or_default();
    let failures = breaker.failures.unwrap_or(DEFAULT_BREAKER_FAILURES.get());
    let failures = NonZeroU32::new(failures).filter(|count| count.get() <= limits::MAX_BREAKER_FAILURES);
    if failures.is_none() {
        let message = format!("must be between 1 and {}", limits::MAX_BREAKER_FAILURES);
        problems.add("/spec/circuitBreaker/failures", Reason::InvalidSpec, message);
    }
    let mut pause = |text: Option<&grapnel_api::GoDuration>, pointer, default| {
        bounded(time(text, pointer, default, problems), pointer, limits::MAX_BREAKER_COOLDOWN, problems)
    };
    let cooldown = pause(breaker.cooldown.as_ref(), "/spec/circuitBreaker/cooldown", DEFAULT_BREAKER_COOLDOWN)?;
    let max_cooldown =
        pause(breaker.max_cooldown.as_ref(), "/spec/circuitBreaker/maxCooldown", DEFAULT_BREAKER_MAX_COOLDOWN)?;
    if breaker.cooldown.is_some() && breaker.max_cooldown.is_some() && cooldown > max_cooldown {
        let message = format!(
            "{} is shorter than circuitBreaker.cooldown, {}; raise it or lower the other",
            duration::format(max_cooldown),
            duration::format(cooldown)
        );
        problems.add("/spec/circuitBreaker/maxCooldown", Reason::InvalidSpec, message);
        return None;
    }
    let cooldown = if breaker.cooldown.is_none() { cooldown.min(max_cooldown) } else { cooldown };
    Some(BreakerPolicy { failures: failures?, cooldown, max_cooldown: max_cooldown.max(cooldown) })
}

/// Maximum deliveries in flight.
pub(super) fn in_flight(spec: &WebhookSubscriptionSpec, problems: &mut Problems) -> NonZeroUsize {
    let asked = spec.max_in_flight.and_then(|count| usize::try_from(count).ok()).and_then(NonZeroUsize::new);
    if spec.ordering != Some(Ordering::Ordered) {
        return asked.unwrap_or(limits::DEFAULT_IN_FLIGHT);
    }
    if asked.is_some_and(|count| count > NonZeroUsize::MIN) {
        problems.add(
            "/spec/maxInFlight",
            Reason::InvalidSpec,
            "with ordering Ordered one delivery is in flight at a time: remove maxInFlight or set it to 1",
        );
    }
    NonZeroUsize::MIN
}
