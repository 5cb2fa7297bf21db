//! Every bound in Grapnel, with its default and the reason for it.

use std::time::Duration;

/// Longest message kept of a failed delivery, in bytes.
pub const FAILURE_MESSAGE_BYTES: usize = 1024;

/// How long settled events stay when nothing else is said.
pub const DEFAULT_RETENTION: Duration = Duration::from_secs(168 * 3600);

/// How long dead letters stay when nothing else is said.
pub const DEFAULT_DEAD_LETTER_RETENTION: Duration = Duration::from_secs(720 * 3600);

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
