//! Limits on deliveries: retries, circuit breakers, rate limits.

use std::num::NonZeroU32;
use std::time::Duration;

use grapnel_values::fields;

grapnel_values::bounds! {
    /// Maximum number of sources with their own bucket in a rate limit. Further sources share one bucket.
    pub const RATE_LIMIT_SOURCES: usize = 16 * 1024;

    /// Minimum interval between searches of a full source table for unused buckets.
    pub const RATE_LIMIT_PRUNE_INTERVAL: Duration = Duration::from_secs(1);

    /// Maximum time in which a rate limit must replenish its whole burst.
    pub const RATE_LIMIT_REFILL: Duration = Duration::from_secs(366 * 24 * 3600);

    /// Default number of attempts of a delivery: about one day with the other defaults.
    pub const DEFAULT_ATTEMPTS: u32 = fields::ATTEMPTS;

    /// Default delay after the first failure.
    pub const DEFAULT_INITIAL_DELAY: Duration = fields::INITIAL_DELAY;

    /// Default factor by which the delay grows from one failure to the next.
    pub const DEFAULT_MULTIPLIER: f64 = fields::MULTIPLIER as f64;

    /// Default maximum delay between attempts.
    pub const DEFAULT_MAX_DELAY: Duration = fields::MAX_DELAY;

    /// Default number of consecutive failures after which deliveries pause.
    pub const DEFAULT_BREAKER_FAILURES: NonZeroU32 = match NonZeroU32::new(fields::BREAKER_FAILURES) {
        Some(count) => count,
        None => NonZeroU32::MIN,
    };

    /// Default first pause of deliveries to a failing receiver.
    pub const DEFAULT_BREAKER_COOLDOWN: Duration = fields::BREAKER_COOLDOWN;

    /// Default maximum pause of deliveries to a failing receiver.
    pub const DEFAULT_BREAKER_MAX_COOLDOWN: Duration = fields::BREAKER_MAX_COOLDOWN;
}
