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

// Journal

/// Bytes of events that wait for the committer; further appends wait their turn. Together with the
/// write buffers this bounds what unwritten events take in memory.
pub const APPEND_QUEUE_BYTES: usize = 8 << 20;

/// Settlements and other tasks (calls, not events) that wait for the committer.
pub const JOURNAL_TASK_QUEUE: usize = 4096;

/// Bytes of recently appended events kept, over all endpoints, so that consumers that are not
/// behind read nothing from disk.
pub const RECENT_EVENTS_BYTES: usize = 4 << 20;

/// Due retries of a consumer kept in memory (up to twice as many for a moment); the others are on
/// disk, in order of due time.
pub const DUE_WINDOW: usize = 512;

/// Write buffer of the event rows; a sealed one is written out while the next fills, so about twice
/// as much is in memory under load.
pub const EVENT_WRITE_BUFFER_BYTES: u64 = 8 << 20;

/// Write buffer of the index of event ids.
pub const INDEX_WRITE_BUFFER_BYTES: u64 = 4 << 20;

/// Write buffer of cursors and exceptions.
pub const STATE_WRITE_BUFFER_BYTES: u64 = 2 << 20;

/// Cache of blocks read from disk: filters of the id index, mostly.
pub const JOURNAL_CACHE_BYTES: u64 = 8 << 20;

/// Bytes of write-ahead log kept before buffers are written out early; bounds the time of recovery.
pub const JOURNAL_LOG_BYTES: u64 = 128 << 20;

/// Files of the journal kept open.
pub const JOURNAL_OPEN_FILES: usize = 256;

/// Rows a sweep looks at, removes or forgets in one step, between which others have their turn.
pub const SWEEP_STEP: usize = 256;

/// Events younger than their retention that a sweep looks past before it takes the rest of the log
/// for young too. Events lie in order of commit, which is only nearly the order of receipt.
pub const SWEEP_LOOKAHEAD: usize = 1024;

/// Most events or deliveries one listing returns.
pub const LIST_LIMIT: usize = 1000;

/// How long the journal refuses appends after a failed write before it tries to open its files
/// again.
pub const JOURNAL_HEAL_INTERVAL: Duration = Duration::from_secs(1);

/// Steps in which one append to a full journal looks for settled events that can go early, before
/// it is refused; the next append looks on from there.
pub const RECLAIM_STEPS: usize = 64;
