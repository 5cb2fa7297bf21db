//! Every bound in Grapnel, with its default and the reason for it.

use std::{num::NonZeroUsize, time::Duration};

// Requests.

/// Largest body of a request when nothing else is said, in bytes.
pub const DEFAULT_BODY_BYTES: usize = 1 << 20;

/// Largest body that `limits.bodyBytes` may allow. A body is held in memory while it is checked; GitHub, the sender of
/// the largest ones, stops at 25 MB.
pub const MAX_BODY_BYTES: usize = 32 << 20;

/// Time for a whole request when nothing else is said. GitHub and Slack hang up after 10 and 3 seconds.
pub const DEFAULT_REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest time that `limits.timeout` may give a request.
pub const MAX_REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// Most sources that a rate limit keeps a bucket of their own for; further ones share one.
pub const RATE_LIMIT_SOURCES: usize = 16 * 1024;

/// How often at most a full table of sources is searched for buckets that are no longer needed.
pub const RATE_LIMIT_PRUNE_INTERVAL: Duration = Duration::from_secs(1);

/// Longest time a rate limit may need to give back its whole burst.
pub const RATE_LIMIT_REFILL: Duration = Duration::from_secs(366 * 24 * 3600);

// Signatures.

/// Longest signature header that is looked at, in bytes. Sixteen base64 SHA-512 signatures need 1.5 KiB.
pub const SIGNATURE_HEADER_BYTES: usize = 4096;

/// Most signatures that are tried of one header. Senders list one for each secret while they rotate, so two or three.
pub const SIGNATURES_PER_HEADER: usize = 16;

/// Longest timestamp that is read, in decimal digits; what is larger than 64 bits counts as the largest.
pub const TIMESTAMP_DIGITS: usize = 20;

/// Most secrets of one endpoint or subscription: each costs a hash over the body.
pub const SECRETS: usize = 8;

/// Longest secret, in bytes.
pub const SECRET_BYTES: usize = 8 * 1024;

/// Shortest decoded Standard Webhooks secret. The specification asks senders for at least 24 bytes; half the output of
/// SHA-256 is the least that RFC 2104 (3) lets pass as not weakening the hash.
pub const WHSEC_MIN_BYTES: usize = 16;

/// Longest decoded Standard Webhooks secret. The specification asks senders for at most 64 bytes.
pub const WHSEC_MAX_BYTES: usize = 128;

/// Longest `signedContent` template, in bytes.
pub const SIGNED_CONTENT_BYTES: usize = 256;

/// How far a signed timestamp may be from now when nothing else is said: what Stripe, Slack and the Standard Webhooks
/// libraries use.
pub const DEFAULT_TOLERANCE: Duration = Duration::from_secs(300);

// Events.

/// Longest event id, in bytes.
pub const EVENT_ID_BYTES: usize = 256;

/// Longest event type, in bytes.
pub const EVENT_TYPE_BYTES: usize = 128;

/// Deepest nesting of a JSON body. It is `serde_json`'s own bound, and keeps every later walk of the value off the end
/// of the stack.
pub const JSON_DEPTH: usize = 127;

/// Longest JSON pointer, in bytes.
pub const POINTER_BYTES: usize = 512;

/// Most fields of a form body.
pub const FORM_FIELDS: usize = 1024;

/// How long an event id is remembered when nothing else is said.
pub const DEFAULT_WINDOW: Duration = Duration::from_secs(24 * 3600);

/// Longest glob, in bytes.
pub const GLOB_BYTES: usize = 256;

/// Most globs in one list.
pub const GLOBS: usize = 64;

// Schemas.

/// Most schemas of one endpoint.
pub const SCHEMAS: usize = 64;

/// Largest schema, in bytes of compact JSON.
pub const SCHEMA_BYTES: usize = 256 * 1024;

/// Deepest nesting of a schema.
pub const SCHEMA_DEPTH: usize = 64;

/// Most levels of a schema when its references are followed. Validation recurses through them at each of the
/// [`JSON_DEPTH`] levels of a body, on a stack of 2 MiB.
pub const SCHEMA_REACH: usize = 128;

/// Most subschemas of a schema when its references are followed, those met twice counted twice.
pub const SCHEMA_WEIGHT: u64 = 50_000;

/// Largest compiled regular expression of a schema, in bytes.
pub const SCHEMA_PATTERN_BYTES: usize = 1 << 20;

/// Most violations that are reported of one event.
pub const VIOLATIONS: usize = 10;

/// Longest message or path of one violation, in bytes.
pub const VIOLATION_BYTES: usize = 256;

// Deliveries.

/// Time for a whole delivery when nothing else is said.
pub const DEFAULT_DELIVERY_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest time that `target.timeout` may give a delivery.
pub const MAX_DELIVERY_TIMEOUT: Duration = Duration::from_secs(60);

/// Concurrent deliveries of a subscription when nothing else is said.
pub const DEFAULT_IN_FLIGHT: NonZeroUsize = match NonZeroUsize::new(16) {
    Some(count) => count,
    None => NonZeroUsize::MIN,
};

/// Attempts of a delivery when nothing else is said: with the other defaults about one day.
pub const DEFAULT_ATTEMPTS: u32 = 16;

/// Delay after the first failure when nothing else is said.
pub const DEFAULT_INITIAL_DELAY: Duration = Duration::from_secs(5);

/// Growth of the delay from one failure to the next when nothing else is said.
pub const DEFAULT_MULTIPLIER: f64 = 2.0;

/// Longest delay between attempts when nothing else is said.
pub const DEFAULT_MAX_DELAY: Duration = Duration::from_secs(6 * 3600);

/// Longest message kept of a failed delivery, in bytes.
pub const FAILURE_MESSAGE_BYTES: usize = 1024;

// Retention.

/// How long settled events stay when nothing else is said.
pub const DEFAULT_RETENTION: Duration = Duration::from_secs(168 * 3600);

/// How long dead letters stay when nothing else is said.
pub const DEFAULT_DEAD_LETTER_RETENTION: Duration = Duration::from_secs(720 * 3600);

// Values.

/// Longest duration that can be written, about a hundred years.
pub const MAX_DURATION: Duration = Duration::from_secs(100 * 8766 * 3600);

/// Longest text of a duration or a quantity, in bytes.
pub const SCALAR_BYTES: usize = 64;
