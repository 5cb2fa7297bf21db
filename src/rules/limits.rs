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

/// Connections to the admin server at once; further ones wait to be accepted.
pub const ADMIN_CONNECTIONS: usize = 256;

/// Time in which the admin server must have read a request's head; also how long an idle connection is kept.
pub const ADMIN_HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// Largest head of a request to the admin server, in bytes. Hyper takes no less than 8 KiB.
pub const ADMIN_HEAD_BYTES: usize = 32 * 1024;

/// Time in which the admin server answers a request, or says that it cannot.
pub const ADMIN_REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// How long the admin server waits for requests under way when it ends.
pub const ADMIN_DRAIN: Duration = Duration::from_secs(5);

/// Longest bearer token in a token file, in bytes; Kubernetes' own are about 1 KiB.
pub const ADMIN_TOKEN_BYTES: usize = 8 * 1024;

/// Items of a page of the admin API when nothing else is said.
pub const ADMIN_LIST_DEFAULT: usize = 100;

/// Most items of a page of the admin API.
pub const ADMIN_LIST_MAX: usize = 1000;

/// Events that the admin API reads from the journal in one step: their bodies are in memory together.
pub const ADMIN_READ_BATCH: usize = 16;

/// Requests to the admin API that read the journal at once; further ones wait. With [`ADMIN_READ_BATCH`] this bounds the
/// memory that lists take.
pub const ADMIN_JOURNAL_READS: usize = 4;

/// Largest answer of the admin API that the command line reads, in bytes: an event of the largest body, in base64, and
/// a page of summaries both fit.
pub const CLI_ADMIN_ANSWER_BYTES: usize = 64 * 1024 * 1024;

/// Most of a receiver's answer that `grapnel send` reads and prints, in bytes.
pub const CLI_SEND_ANSWER_BYTES: usize = 64 * 1024;

/// Time for one exchange of a command.
pub const CLI_TIMEOUT: Duration = Duration::from_secs(60);

/// Largest body that `grapnel sink` takes, in bytes: that of the largest event, in an envelope.
pub const SINK_BODY_BYTES: usize = 32 * 1024 * 1024;

/// Events whose attempts `grapnel sink --fail` counts; beyond it the oldest are forgotten.
pub const SINK_COUNTED_EVENTS: usize = 10_000;
