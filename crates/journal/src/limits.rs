//! Bounds of the journal.

use std::time::Duration;

grapnel_values::bounds! {
    /// Longest message kept of a failed delivery, in bytes.
    pub const FAILURE_MESSAGE_BYTES: usize = 1024;

    /// Most bytes of events that one claim loads; the first is loaded however large it is.
    pub const CLAIM_BYTES: usize = 4 << 20;

    /// Bytes of events that wait for the journal's writer; further appends wait their turn.
    pub const APPEND_QUEUE_BYTES: usize = 8 << 20;

    /// Settlements and other tasks (calls, not events) that wait for the journal's writer.
    pub const JOURNAL_TASK_QUEUE: usize = 4096;

    /// Bytes of recently appended events kept, over all endpoints, so that consumers that are not
    /// behind read nothing from disk.
    pub const RECENT_EVENTS_BYTES: usize = 4 << 20;

    /// Most deliveries that are claimed in order at once.
    pub const ORDERED_CLAIM: usize = 512;

    /// Rows a sweep looks at, removes or forgets in one step, between which others have their turn.
    pub const SWEEP_STEP: usize = 256;

    /// Most events that one step of a redelivery queues, in one batch of the journal's writer.
    pub const REDELIVERY_STEP: usize = 256;

    /// Most rows that one step of a redelivery looks at.
    pub const REDELIVERY_SCAN: usize = 2048;

    /// How far an event may lie out of the order of receipt in the log for a redelivery of a span of time to find it.
    /// Events are stored within seconds of their receipt; more than that comes from a clock that is set back.
    pub const REDELIVERY_SKEW: Duration = Duration::from_secs(3600);

    /// Most events or deliveries one listing returns.
    pub const LIST_LIMIT: usize = 1000;

    /// How often the journal looks whether what keeps it from taking events has gone: after a failed write it tries to open its
    /// files again, and a full volume may have room.
    pub const JOURNAL_HEAL_INTERVAL: Duration = Duration::from_secs(1);

    /// What an append to a full journal frees at least when it has to make room, as a part of the bound: one in so many.
    pub const RECLAIM_SHARE: u64 = 1024;

    /// Most bytes that an append frees beyond those it needs; the appends of that time wait for the removal.
    pub const RECLAIM_BYTES: u64 = 1 << 20;

    /// What appends leave free on the journal's volume, in bytes, so that settlements, retention and the rewriting of segments go
    /// on and can make room.
    pub const JOURNAL_RESERVE_BYTES: u64 = 64 << 20;

    /// On a small volume appends leave this fraction (one in so many parts) free instead, if it is less.
    pub const JOURNAL_RESERVE_SHARE: u64 = 4;

    /// Bytes of events after which the journal asks its volume again how much is free, if no second has passed before.
    pub const JOURNAL_SPACE_STEP: u64 = 16 << 20;

    /// Events of more bytes that do not fit under `--journal-max-bytes` are refused one by one, without the journal counting as
    /// full for others.
    pub const JOURNAL_ORDINARY_BYTES: u64 = 128 << 10;

    /// Size of the file by which the journal finds out whether a disk that failed takes writes again: as large as an event is by
    /// default at most.
    pub const JOURNAL_PROBE_BYTES: usize = 1 << 20;

    /// Retries that one consumer may have. A consumer with as many attempts no new event before some are settled; each takes
    /// some 60 bytes of memory.
    pub const RETRIES_PER_CONSUMER: usize = 100_000;

    /// When a segment of the journal's log is full, unless `--journal-max-bytes` asks for smaller ones. A restart reads one.
    pub const SEGMENT_BYTES: u64 = 64 << 20;

    /// The largest size of a full segment, whose head may be large: positions in it have 32 bits, and a round comes on top.
    pub const SEGMENT_BYTES_MOST: u64 = 2 << 30;

    /// The smallest size of a full segment.
    pub const SEGMENT_BYTES_LEAST: u64 = 4 << 10;

    /// A bounded journal has at least so many segments.
    pub const SEGMENT_SHARE: u64 = 32;

    /// Events in a segment, whose index is in memory until it is full: 40 bytes each, and as many for their ids.
    pub const SEGMENT_EVENTS: usize = 1 << 17;

    /// Outcomes of deliveries in a segment, in memory until it is full: 16 bytes each.
    pub const SEGMENT_OUTCOMES: usize = 1 << 18;

    /// Full segments whose index is still in memory, before the writer waits for them to be written.
    pub const SEGMENTS_SEALING: usize = 2;

    /// How long the writer waits for the indexes of full segments.
    pub const SEAL_PATIENCE: Duration = Duration::from_secs(5);

    /// Largest record of the log.
    pub const JOURNAL_RECORD_BYTES: u64 = 1 << 30;

    /// Bytes of the log between two marks within a write.
    pub const MARK_EVERY: u64 = 4 << 10;

    /// How far back a mark names what was written: with one mark every [`MARK_EVERY`] bytes, the loss of any page of 4 KiB
    /// leaves one that names the events in it.
    pub const MARK_REACH: u64 = 16 << 10;

    /// Bytes that are read at once when a segment is read from its beginning.
    pub const JOURNAL_SCAN_BYTES: usize = 1 << 20;

    /// Runs of ids that are merged into one.
    pub const ID_MERGE_RUNS: usize = 8;

    /// Most ids in a merged run, so that old ids can go: 32 bytes each on disk.
    pub const ID_RUN_IDS: u64 = 8 << 20;

    /// Bytes of filters of ids in memory: 12 bits an id. Filters beyond that are read from the disk, a block for each look.
    pub const ID_FILTER_BYTES: u64 = 32 << 20;

    /// Uids of earlier endpoints of one name that are told from a new one.
    pub const FORMER_UIDS: usize = 8;

    /// Garbage in the log from which on segments are rewritten. It must also be a quarter of what is kept.
    pub const COMPACT_BYTES: u64 = 16 << 20;

    /// Rows that one step of a list looks at.
    pub const LIST_SCAN: usize = 256;

    /// Bytes of events that one step of a list reads, beyond the first.
    pub const LIST_BYTES: usize = 4 << 20;

    /// Bytes of old segments that are read in search of damage every [`SCRUB_INTERVAL`].
    pub const SCRUB_BYTES: u64 = 4 << 20;

    /// See [`SCRUB_BYTES`]: 800 KB a second, 70 GB a day.
    pub const SCRUB_INTERVAL: Duration = Duration::from_secs(5);

    /// How long settled events stay when nothing else is said.
    pub const DEFAULT_RETENTION: Duration = Duration::from_secs(168 * 3600);

    /// How long dead letters stay when nothing else is said.
    pub const DEFAULT_DEAD_LETTER_RETENTION: Duration = Duration::from_secs(720 * 3600);
}
