//! Defaults and bounds of the fields of objects.
//!
//! The schemas of the custom resources and the parts that apply these values read the same constants, so that an object
//! in the cluster shows what is in force. The `limits.rs` of those parts list them for `docs/limits.md`.

use std::time::Duration;

/// Default of `retention`: how long settled events are retained.
pub const RETENTION: Duration = Duration::from_secs(168 * 3600);

/// Default of `deduplication.window`.
pub const DEDUPLICATION_WINDOW: Duration = Duration::from_secs(24 * 3600);

/// Default of `limits.timeout` of a request.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Upper bound of `limits.timeout` of a request.
pub const MAX_REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// Upper bound of `limits.bodyBytes`.
pub const MAX_BODY_BYTES: usize = 32 << 20;

/// Lower bound of `storage.maxBytes`.
pub const MIN_STORAGE_BYTES: u64 = 64 << 10;

/// Default of `response.status`.
pub const RESPONSE_STATUS: u16 = 200;

/// Default of `rateLimit.per`.
pub const RATE_PERIOD: Duration = Duration::from_secs(1);

/// Default of `target.timeout`.
pub const DELIVERY_TIMEOUT: Duration = Duration::from_secs(10);

/// Upper bound of `target.timeout`.
pub const MAX_DELIVERY_TIMEOUT: Duration = Duration::from_secs(60);

/// Maximum length of `target.url` and other URLs, in bytes.
pub const URL_BYTES: usize = 2048;

/// Default of `maxInFlight`.
pub const IN_FLIGHT: u32 = 16;

/// Default of `retry.maxAttempts`: about one day with the other defaults.
pub const ATTEMPTS: u32 = 16;

/// Default of `retry.initialDelay`.
pub const INITIAL_DELAY: Duration = Duration::from_secs(5);

/// Default of `retry.multiplier`.
pub const MULTIPLIER: u8 = 2;

/// Default of `retry.maxDelay`.
pub const MAX_DELAY: Duration = Duration::from_secs(6 * 3600);

/// Default of `retry.stopOn`: 410 Gone.
pub const STOP_ON: u16 = 410;

/// Default of `circuitBreaker.failures`.
pub const BREAKER_FAILURES: u32 = 10;

/// Upper bound of `circuitBreaker.failures`.
pub const MAX_BREAKER_FAILURES: u32 = 1000;

/// Default of `circuitBreaker.cooldown`.
pub const BREAKER_COOLDOWN: Duration = Duration::from_secs(30);

/// Default of `circuitBreaker.maxCooldown`.
pub const BREAKER_MAX_COOLDOWN: Duration = Duration::from_secs(600);

/// Upper bound of both pauses of `circuitBreaker`.
pub const LONGEST_BREAKER_COOLDOWN: Duration = Duration::from_secs(24 * 3600);

/// Default of `deadLetter.retention`.
pub const DEAD_LETTER_RETENTION: Duration = Duration::from_secs(720 * 3600);

/// Maximum number of ids of a WebhookReplay.
pub const REPLAY_IDS: usize = 1000;

/// Maximum `ttlSecondsAfterFinished` of a WebhookReplay: one year.
pub const REPLAY_TTL_SECONDS: u32 = 365 * 24 * 3600;
