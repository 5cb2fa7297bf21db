//! Bounds of objects, and their defaults.

use std::num::NonZeroUsize;
use std::time::Duration;

use grapnel_values::fields;

grapnel_values::bounds! {
    /// Default maximum size of a request's body, in bytes.
    pub const DEFAULT_BODY_BYTES: usize = 1 << 20;

    /// Upper bound of `limits.bodyBytes`. A body is held in memory while it is verified; GitHub, which sends the
    /// largest ones, stops at 25 MB.
    pub const MAX_BODY_BYTES: usize = fields::MAX_BODY_BYTES;

    /// Number of answers of a receiver to successful deliveries that are remembered, for each subscription.
    pub const ANSWERS: usize = 8;

    /// Bytes of each of them.
    pub const ANSWER_BYTES: usize = 128;

    /// Lower bound of `storage.maxBytes`.
    pub const STORAGE_MIN_BYTES: u64 = fields::MIN_STORAGE_BYTES;

    /// Default timeout of a request. GitHub and Slack time out after 10 and 3 seconds.
    pub const DEFAULT_REQUEST_TIMEOUT: Duration = fields::REQUEST_TIMEOUT;

    /// Upper bound of `limits.timeout` of a request.
    pub const MAX_REQUEST_TIMEOUT: Duration = fields::MAX_REQUEST_TIMEOUT;

    /// Default timeout of a delivery.
    pub const DEFAULT_DELIVERY_TIMEOUT: Duration = fields::DELIVERY_TIMEOUT;

    /// Upper bound of `target.timeout` of a delivery.
    pub const MAX_DELIVERY_TIMEOUT: Duration = fields::MAX_DELIVERY_TIMEOUT;

    /// Maximum length of a target's URL, in bytes; it also applies to URLs from a Secret.
    pub const TARGET_URL_BYTES: usize = fields::URL_BYTES;

    /// Default number of concurrent deliveries of a subscription.
    pub const DEFAULT_IN_FLIGHT: NonZeroUsize = match NonZeroUsize::new(fields::IN_FLIGHT as usize) {
        Some(count) => count,
        None => NonZeroUsize::MIN,
    };

    /// Upper bound of `circuitBreaker.failures`.
    pub const MAX_BREAKER_FAILURES: u32 = fields::MAX_BREAKER_FAILURES;

    /// Upper bound of the pauses of `circuitBreaker`, so that a recovered receiver is detected within a day.
    pub const MAX_BREAKER_COOLDOWN: Duration = fields::LONGEST_BREAKER_COOLDOWN;

    /// Rejected requests that are remembered for each endpoint, for the console.
    pub const REJECTIONS_KEPT: usize = 8;

    /// Maximum problems reported per object; the others appear once these are fixed.
    pub const PROBLEMS_PER_OBJECT: usize = 20;

    /// Maximum ids of a replay.
    pub const REPLAY_IDS: usize = fields::REPLAY_IDS;

    /// Maximum events of a replay that wait for delivery at a time, which its status names: about 8 KiB if no two of them
    /// are neighbours.
    pub const REPLAY_WAITING: usize = 1024;

    /// Maximum length of a value that a problem quotes, in bytes as JSON; of a longer one only the pointer is given.
    pub const QUOTED_VALUE_BYTES: usize = 256;
}
