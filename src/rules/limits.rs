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
