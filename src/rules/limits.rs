//! Every bound in Grapnel, with its default and the reason for it.

use std::time::Duration;

/// Longest message kept of a failed delivery, in bytes.
pub const FAILURE_MESSAGE_BYTES: usize = 1024;

/// How long settled events stay when nothing else is said.
pub const DEFAULT_RETENTION: Duration = Duration::from_secs(168 * 3600);

/// How long dead letters stay when nothing else is said.
pub const DEFAULT_DEAD_LETTER_RETENTION: Duration = Duration::from_secs(720 * 3600);

/// Most distinct event types of an endpoint that have a metric label of their own; further ones are `other`.
pub const TYPE_LABELS: usize = 64;

/// Longest event type that has a metric label of its own, in characters.
pub const TYPE_LABEL_CHARS: usize = 64;

/// Most that is read of a receiver's answer, in bytes. Of what is read, [`FAILURE_MESSAGE_BYTES`] are kept.
pub const RESPONSE_BYTES: usize = 64 * 1024;

/// Most headers of a receiver's answer.
pub const RESPONSE_HEADERS: usize = 100;

/// Largest headers of a receiver's answer over HTTP/2, in bytes.
pub const RESPONSE_HEADER_BYTES: u32 = 64 * 1024;

/// How long an unused connection to a receiver is kept. Shorter than the minute after which many servers and load
/// balancers close one from their side, so that a request seldom meets a connection that is just being closed.
pub const POOL_IDLE: Duration = Duration::from_secs(45);

/// Most unused connections kept to one receiver: as many as one subscription may use at once.
pub const POOL_IDLE_PER_HOST: usize = 256;

/// Most events that a subscription claims ahead of those under way.
pub const CLAIM_AHEAD: usize = 32;

/// Most events that a subscription claims at once while it is looking for types that it delivers.
pub const CLAIM_SCAN: usize = 128;

/// Most ended attempts of a subscription that wait to be settled; while there are as many, none is begun.
pub const UNSETTLED: usize = 256;

/// First pause after the journal has failed; doubled with every further failure.
pub const JOURNAL_PAUSE: Duration = Duration::from_millis(100);

/// Longest pause after the journal has failed.
pub const JOURNAL_PAUSE_MAX: Duration = Duration::from_secs(30);

/// How often a waiting subscription looks at the clock, so that a clock that is set forward is noticed.
pub const DUE_CHECK: Duration = Duration::from_secs(1);

/// Time for deliveries under way to end when their subscription goes or the process stops; then they are given back.
pub const SHUTDOWN_DELIVERIES: Duration = Duration::from_secs(10);

/// Time after [`SHUTDOWN_DELIVERIES`] for the journal to take what ended; what it has not taken then is delivered again.
pub const SHUTDOWN_SETTLE: Duration = Duration::from_secs(5);

/// Most consumers attached to the journal at once.
pub const ATTACH_AT_ONCE: usize = 64;
