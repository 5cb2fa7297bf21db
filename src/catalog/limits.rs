//! Bounds of objects and their defaults.

use std::num::NonZeroUsize;
use std::time::Duration;

grapnel_values::bounds! {
    /// Largest body of a request when nothing else is said, in bytes.
    pub const DEFAULT_BODY_BYTES: usize = 1 << 20;

    /// Largest body that `limits.bodyBytes` may allow. A body is held in memory while it is checked; GitHub, the sender of
    /// the largest ones, stops at 25 MB.
    pub const MAX_BODY_BYTES: usize = 32 << 20;

    /// Least that `storage.maxBytes` may be.
    pub const STORAGE_MIN_BYTES: u64 = 64 << 10;

    /// Time for a whole request when nothing else is said. GitHub and Slack hang up after 10 and 3 seconds.
    pub const DEFAULT_REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

    /// Longest time that `limits.timeout` may give a request.
    pub const MAX_REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

    /// Time for a whole delivery when nothing else is said.
    pub const DEFAULT_DELIVERY_TIMEOUT: Duration = Duration::from_secs(10);

    /// Longest time that `target.timeout` may give a delivery.
    pub const MAX_DELIVERY_TIMEOUT: Duration = Duration::from_secs(60);

    /// Longest URL of a target, in bytes: what `target.url` allows holds for one from a Secret too.
    pub const TARGET_URL_BYTES: usize = 2048;

    /// Concurrent deliveries of a subscription when nothing else is said.
    pub const DEFAULT_IN_FLIGHT: NonZeroUsize = match NonZeroUsize::new(16) {
        Some(count) => count,
        None => NonZeroUsize::MIN,
    };

    /// Most failures in a row that `circuitBreaker.failures` may wait for.
    pub const MAX_BREAKER_FAILURES: u32 = 1000;

    /// Longest pause that `circuitBreaker` may ask for: a receiver that is back is found within a day.
    pub const MAX_BREAKER_COOLDOWN: Duration = Duration::from_secs(24 * 3600);

    /// Most problems reported of one object; the rest show when these are mended.
    pub const PROBLEMS_PER_OBJECT: usize = 20;

    /// Longest value that a problem repeats, in bytes as JSON; of a longer one only the place is said.
    pub const QUOTED_VALUE_BYTES: usize = 256;
}
