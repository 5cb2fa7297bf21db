//! Compiles the pacing of requests and deliveries: rates, retries, the circuit breaker and the concurrency.

use std::{
    num::{NonZeroU32, NonZeroUsize},
    sync::Arc,
};

use grapnel_api::{self, Ordering, OutboundRateLimit, Reason, WebhookSubscriptionSpec};
use grapnel_delivery::{
    breaker::BreakerPolicy,
    limits::{
        DEFAULT_ATTEMPTS, DEFAULT_BREAKER_COOLDOWN, DEFAULT_BREAKER_FAILURES, DEFAULT_BREAKER_MAX_COOLDOWN,
        DEFAULT_INITIAL_DELAY, DEFAULT_MAX_DELAY, DEFAULT_MULTIPLIER,
    },
    rate_limit::{LimitScope, RateLimiter},
    retry::{RetryJitter, RetryPolicy},
};
use grapnel_values::{duration, fields};

use super::field::Field;
use crate::catalog::limits;

/// Compiles `rateLimit` of an endpoint.
pub(super) fn inbound_rate(limit: &Field<'_, grapnel_api::RateLimit>) -> Option<RateLimiter> {
    let scope = match limit.scope {
        Some(grapnel_api::RateLimitScope::Source) => LimitScope::Source,
        Some(grapnel_api::RateLimitScope::Endpoint) | None => LimitScope::Endpoint,
    };
    let per = limit.at("per", &limit.per).duration(fields::RATE_PERIOD)?;
    limit.check(RateLimiter::new(limit.requests, per, limit.burst, scope))
}

/// Compiles `rateLimit` of a subscription.
pub(super) fn outbound_rate(limit: &Field<'_, OutboundRateLimit>) -> Option<RateLimiter> {
    let per = limit.at("per", &limit.per).duration(fields::RATE_PERIOD)?;
    limit.check(RateLimiter::new(limit.requests, per, limit.burst, LimitScope::Endpoint))
}

/// A rate limit that is equal to the previous one keeps its state.
pub(super) fn kept(limit: RateLimiter, previous: Option<&Arc<RateLimiter>>) -> Arc<RateLimiter> {
    match previous {
        Some(previous) if previous.is_same_limit(&limit) => Arc::clone(previous),
        _ => Arc::new(limit),
    }
}

/// Compiles `retry`.
pub(super) fn retry(retry: &Field<'_, grapnel_api::Retry>) -> Option<RetryPolicy> {
    let initial = retry.at("initialDelay", &retry.initial_delay).duration(DEFAULT_INITIAL_DELAY);
    let max_delay = retry.at("maxDelay", &retry.max_delay).duration(DEFAULT_MAX_DELAY);
    let multiplier = retry.at("multiplier", &retry.multiplier).factor(DEFAULT_MULTIPLIER);
    let max_attempts = retry.max_attempts.unwrap_or(DEFAULT_ATTEMPTS);
    if max_attempts == 0 {
        retry.at("maxAttempts", &max_attempts).problem(Reason::InvalidSpec, "must be at least 1");
    }
    let (initial, max_delay) = (initial?, max_delay?);
    // The default adapts, so that a shorter maxDelay does not require setting both.
    if initial > max_delay && initial != DEFAULT_INITIAL_DELAY {
        retry.at("initialDelay", &retry.initial_delay).problem(Reason::InvalidSpec, "must not be longer than maxDelay");
    }
    Some(RetryPolicy {
        max_attempts,
        initial,
        multiplier: multiplier?,
        max_delay,
        jitter: match retry.jitter {
            Some(grapnel_api::Jitter::Full) => RetryJitter::Full,
            Some(grapnel_api::Jitter::Equal) | None => RetryJitter::Equal,
            Some(grapnel_api::Jitter::None) => RetryJitter::None,
        },
        stop_on: retry.stop_on.clone().unwrap_or_else(|| vec![fields::STOP_ON]),
    })
}

/// Compiles `circuitBreaker`. A pause that has its default, which the API server sets, adapts to the other one: a longest
/// pause of 10s does not require setting the first pause too.
pub(super) fn breaker(breaker: &Field<'_, grapnel_api::CircuitBreaker>) -> Option<BreakerPolicy> {
    let failures = breaker
        .at("failures", &breaker.failures.unwrap_or(DEFAULT_BREAKER_FAILURES.get()))
        .within(1..=limits::MAX_BREAKER_FAILURES);
    let max = limits::MAX_BREAKER_COOLDOWN;
    let cooldown = breaker.at("cooldown", &breaker.cooldown).duration_at_most(max, DEFAULT_BREAKER_COOLDOWN)?;
    let longest = breaker.at("maxCooldown", &breaker.max_cooldown);
    let max_cooldown = longest.duration_at_most(max, DEFAULT_BREAKER_MAX_COOLDOWN)?;
    let adapts = cooldown == DEFAULT_BREAKER_COOLDOWN;
    if cooldown > max_cooldown && !adapts && max_cooldown != DEFAULT_BREAKER_MAX_COOLDOWN {
        let message = format!(
            "{} is shorter than circuitBreaker.cooldown, {}; raise it or lower the other",
            duration::format(max_cooldown),
            duration::format(cooldown)
        );
        return longest.fail(Reason::InvalidSpec, message);
    }
    let cooldown = if adapts { cooldown.min(max_cooldown) } else { cooldown };
    let failures = NonZeroU32::new(failures?)?;
    Some(BreakerPolicy { failures, cooldown, max_cooldown: max_cooldown.max(cooldown) })
}

/// Maximum deliveries in flight.
pub(super) fn in_flight(spec: &Field<'_, WebhookSubscriptionSpec>) -> NonZeroUsize {
    let declared = spec.max_in_flight.and_then(|count| usize::try_from(count).ok()).and_then(NonZeroUsize::new);
    if spec.ordering != Some(Ordering::Ordered) {
        return declared.unwrap_or(limits::DEFAULT_IN_FLIGHT);
    }
    // The default, which the API server sets, adapts.
    if declared.is_some_and(|count| count > NonZeroUsize::MIN && count != limits::DEFAULT_IN_FLIGHT) {
        spec.at("maxInFlight", &spec.max_in_flight).problem(
            Reason::InvalidSpec,
            "with ordering Ordered one delivery is in flight at a time: remove maxInFlight or set it to 1",
        );
    }
    NonZeroUsize::MIN
}
