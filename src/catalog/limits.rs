//! Bounds of objects, and their defaults.

use std::num::NonZeroUsize;
use std::time::Duration;

grapnel_values::bounds! {
    /// Default maximum size of a request's body, in bytes.
    pub const DEFAULT_BODY_BYTES: usize = 1 << 20;

    /// Upper bound of `limits.bodyBytes`. A body is held in memory while it is verified; GitHub, which sends the
    /// largest ones, stops at 25 MB.
    pub const MAX_BODY_BYTES: usize = 32 << 20;

    /// Lower bound of `storage.maxBytes`.
    pub const STORAGE_MIN_BYTES: u64 = 64 << 10;

    /// Default timeout of a request. GitHub and Slack time out after 10 and 3 seconds.
    pub const DEFAULT_REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

    /// Upper bound of `limits.timeout` of a request.
    pub const MAX_REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

    /// Default timeout of a delivery.
    pub const DEFAULT_DELIVERY_TIMEOUT: Duration = Duration::from_secs(10);

    /// Upper bound of `target.timeout` of a delivery.
    pub const MAX_DELIVERY_TIMEOUT: Duration = Duration::from_secs(60);

    /// Maximum length of a target's URL, in bytes; it also applies to URLs from a Secret.
    pub const TARGET_URL_BYTES: usize = 2048;

    /// Default number of concurrent deliveries of a subscription.
    pub const DEFAULT_IN_FLIGHT: NonZeroUsize = match NonZeroUsize::new(16) {
        Some(count) => count,
        None => NonZeroUsize::MIN,
    };

    /// Upper bound of `circuitBreaker.failures`.
    pub const MAX_BREAKER_FAILURES: u32 = 1000;

    /// Upper bound of the pauses of `circuitBreaker`, so that a recovered receiver is detected within a day.
    pub const MAX_BREAKER_COOLDOWN: Duration = Duration::from_secs(24 * 3600);

    /// Maximum problems reported per object; the others appear once these are fixed.
    pub const PROBLEMS_PER_OBJECT: usize = 20;

    /// Maximum length of a value that a problem quotes, in bytes as JSON; of a longer one only the pointer is given.
    pub const QUOTED_VALUE_BYTES: usize = 256;
}
