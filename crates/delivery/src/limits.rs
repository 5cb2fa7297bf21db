//! Bounds of deliveries: retries, breakers, rates.

use std::num::NonZeroU32;
use std::time::Duration;

grapnel_values::bounds! {
    /// Most sources that a rate limit keeps a bucket of their own for; further ones share one.
    pub const RATE_LIMIT_SOURCES: usize = 16 * 1024;

    /// How often at most a full table of sources is searched for buckets that are no longer needed.
    pub const RATE_LIMIT_PRUNE_INTERVAL: Duration = Duration::from_secs(1);

    /// Longest time a rate limit may need to give back its whole burst.
    pub const RATE_LIMIT_REFILL: Duration = Duration::from_secs(366 * 24 * 3600);

    /// Attempts of a delivery when nothing else is said: with the other defaults about one day.
    pub const DEFAULT_ATTEMPTS: u32 = 16;

    /// Delay after the first failure when nothing else is said.
    pub const DEFAULT_INITIAL_DELAY: Duration = Duration::from_secs(5);

    /// Growth of the delay from one failure to the next when nothing else is said.
    pub const DEFAULT_MULTIPLIER: f64 = 2.0;

    /// Longest delay between attempts when nothing else is said.
    pub const DEFAULT_MAX_DELAY: Duration = Duration::from_secs(6 * 3600);

    /// Failures in a row after which deliveries pause when nothing else is said.
    pub const DEFAULT_BREAKER_FAILURES: NonZeroU32 = match NonZeroU32::new(10) {
        Some(count) => count,
        None => NonZeroU32::MIN,
    };

    /// First pause of deliveries to a failing receiver when nothing else is said.
    pub const DEFAULT_BREAKER_COOLDOWN: Duration = Duration::from_secs(30);

    /// Longest pause of deliveries to a failing receiver when nothing else is said.
    pub const DEFAULT_BREAKER_MAX_COOLDOWN: Duration = Duration::from_secs(600);
}
