//! Limits of the journal.

use std::time::Duration;

grapnel_values::bounds! {
    /// Maximum length of the stored message of a failed delivery, in bytes.
    pub const FAILURE_MESSAGE_BYTES: usize = 1024;

    /// Maximum bytes of events that one claim loads. The first event is loaded regardless of its size.
    pub const CLAIM_BYTES: usize = 4 << 20;

    /// Maximum bytes of events queued for the journal's writer. Further appends wait.
    pub const APPEND_QUEUE_BYTES: usize = 8 << 20;

    /// Maximum number of settlements and other tasks (calls, not events) queued for the journal's writer.
    pub const JOURNAL_TASK_QUEUE: usize = 4096;

    /// Bytes of recently appended events kept in memory, over all endpoints, so that consumers without a backlog read
    /// nothing from disk.
    pub const RECENT_EVENTS_BYTES: usize = 4 << 20;

    /// Maximum number of deliveries in one ordered claim.
    pub const ORDERED_CLAIM: usize = 512;

    /// Number of rows that one step of a sweep examines, removes or forgets. Other work runs between steps.
    pub const SWEEP_STEP: usize = 256;

    /// Maximum number of events that one step of a redelivery queues, in one batch of the journal's writer.
    pub const REDELIVERY_STEP: usize = 256;

    /// Maximum number of rows that one step of a redelivery examines.
    pub const REDELIVERY_SCAN: usize = 2048;

    /// How far an event may be out of order of receipt in the log for a redelivery by time range to find it. Events are
    /// stored within seconds of receipt; a larger difference means that a clock was set back.
    pub const REDELIVERY_SKEW: Duration = Duration::from_secs(3600);

    /// Maximum number of events or deliveries that one list call returns.
    pub const LIST_LIMIT: usize = 1000;

    /// How often the journal checks whether it can accept events again: after a failed write it tries to reopen its
    /// files, and a full volume may have space.
    pub const JOURNAL_HEAL_INTERVAL: Duration = Duration::from_secs(1);

    /// Minimum that an append to a full journal frees when it has to make room: the bound divided by this number.
    pub const RECLAIM_SHARE: u64 = 1024;

    /// Maximum bytes that an append frees beyond what it needs. Concurrent appends wait for the removal.
    pub const RECLAIM_BYTES: u64 = 1 << 20;

    /// Bytes that appends leave free on the journal's volume, so that settlements, retention and segment rewriting
    /// continue and can make room.
    pub const JOURNAL_RESERVE_BYTES: u64 = 64 << 20;

    /// On a small volume, appends leave the volume's size divided by this number free instead, if that is less.
    pub const JOURNAL_RESERVE_SHARE: u64 = 4;

    /// Bytes of events after which the journal checks the free space of its volume again, if less than a second has
    /// passed.
    pub const JOURNAL_SPACE_STEP: u64 = 16 << 20;

    /// Events larger than this that do not fit under `--journal-max-bytes` are rejected individually, and the journal
    /// does not count as full for other events.
    pub const JOURNAL_ORDINARY_BYTES: u64 = 128 << 10;

    /// Size of the file that the journal writes to find out whether a failed disk accepts writes again: the default
    /// maximum size of an event.
    pub const JOURNAL_PROBE_BYTES: usize = 1 << 20;

    /// Maximum number of retries of one consumer. A consumer at this limit attempts no new event until some retries are
    /// settled. Each retry takes about 60 bytes of memory.
    pub const RETRIES_PER_CONSUMER: usize = 100_000;

    /// Size at which a segment of the journal's log is full, unless `--journal-max-bytes` requires smaller segments. A
    /// restart reads one segment.
    pub const SEGMENT_BYTES: u64 = 64 << 20;

    /// Maximum size of a full segment, whose head may be large. Positions in a segment have 32 bits, and one round may
    /// exceed this size.
    pub const SEGMENT_BYTES_MOST: u64 = 2 << 30;

    /// Minimum size of a full segment.
    pub const SEGMENT_BYTES_LEAST: u64 = 4 << 10;

    /// Minimum number of segments of a bounded journal.
    pub const SEGMENT_SHARE: u64 = 32;

    /// Maximum number of events in a segment. Until the segment is full, its index takes 40 bytes of memory per event,
    /// and as much again for the ids.
    pub const SEGMENT_EVENTS: usize = 1 << 17;

    /// Maximum number of delivery outcomes in a segment. Until the segment is full, each takes 16 bytes of memory.
    pub const SEGMENT_OUTCOMES: usize = 1 << 18;

    /// Maximum number of full segments whose index is still in memory before the writer waits for the index files.
    pub const SEGMENTS_SEALING: usize = 2;

    /// How long the writer waits for the index files of full segments.
    pub const SEAL_PATIENCE: Duration = Duration::from_secs(5);

    /// Maximum size of a log record.
    pub const JOURNAL_RECORD_BYTES: u64 = 1 << 30;

    /// Bytes of the log between two marks within one write.
    pub const MARK_EVERY: u64 = 4 << 10;

    /// How far back a mark names the events written: with one mark every [`MARK_EVERY`] bytes, the loss of any 4 KiB
    /// page leaves a mark that names the events in it.
    pub const MARK_REACH: u64 = 16 << 10;

    /// Bytes read at once when a segment is read from its beginning.
    pub const JOURNAL_SCAN_BYTES: usize = 1 << 20;

    /// Number of id runs that are merged into one.
    pub const ID_MERGE_RUNS: usize = 8;

    /// Maximum number of ids in a merged run, so that old ids can be removed. Each id takes 32 bytes on disk.
    pub const ID_RUN_IDS: u64 = 8 << 20;

    /// Memory for id filters, in bytes, at 12 bits per id. Filters beyond this limit are read from disk, one block per
    /// lookup.
    pub const ID_FILTER_BYTES: u64 = 32 << 20;

    /// Number of uids of earlier endpoints of the same name that are remembered to distinguish them from a new
    /// endpoint.
    pub const FORMER_UIDS: usize = 8;

    /// Maximum size of a segment that several are rewritten into, in full segments. Kept events take one of them at most, and
    /// outcomes the others.
    pub const REWRITE_SEGMENTS: u64 = 4;

    /// Minimum garbage in the log before segments are rewritten. The garbage must also be at least a quarter of the
    /// data kept.
    pub const COMPACT_BYTES: u64 = 16 << 20;

    /// Number of rows that one step of a list examines.
    pub const LIST_SCAN: usize = 256;

    /// Number of deliveries whose outcomes a list looks up together.
    pub const DELIVERIES_CHUNK: usize = 16;

    /// Bytes of an event that a list reads at first, which are usually all before its body.
    pub const HEAD_BYTES: usize = 2 << 10;

    /// Maximum bytes that one step of a list reads after the first event.
    pub const LIST_BYTES: usize = 4 << 20;

    /// Bytes of old segments checked for damage every [`SCRUB_INTERVAL`].
    pub const SCRUB_BYTES: u64 = 4 << 20;

    /// Interval of the check described at [`SCRUB_BYTES`]: 800 KB per second, 70 GB per day.
    pub const SCRUB_INTERVAL: Duration = Duration::from_secs(5);

    /// Default retention of settled events.
    pub const DEFAULT_RETENTION: Duration = grapnel_values::fields::RETENTION;

    /// Default retention of dead letters.
    pub const DEFAULT_DEAD_LETTER_RETENTION: Duration = grapnel_values::fields::DEAD_LETTER_RETENTION;

    /// Maximum length of the name of an installation on NATS, which is part of the names of its streams.
    pub const NATS_NAME_CHARS: usize = 128;

    /// Shards of an installation on NATS by default: at least four for each replica.
    pub const NATS_SHARDS: u16 = 16;

    /// Maximum number of shards. Each has two streams.
    pub const NATS_SHARDS_MAX: u16 = 256;

    /// How long one attempt to publish to NATS waits for its acknowledgement.
    pub const NATS_PUBLISH_TRY: Duration = Duration::from_secs(2);

    /// How long an append to NATS is attempted. It answers within this time plus one attempt.
    pub const NATS_APPEND_DEADLINE: Duration = Duration::from_secs(8);

    /// Maximum number of batches that one replica has open. JetStream accepts 50 of all replicas in a stream.
    pub const NATS_BATCHES: usize = 8;

    /// Maximum number of batches of one shard in which a replica publishes the events of concurrent calls at a time.
    pub const NATS_GATHERED_BATCHES: usize = 2;

    /// Maximum number of events of such a batch.
    pub const NATS_GATHERED_EVENTS: usize = 64;

    /// Maximum bytes of such a batch, unless it has one event.
    pub const NATS_GATHERED_BYTES: usize = 1 << 20;

    /// Bytes of the brokers' maximum payload that are left for the headers of an event.
    pub const NATS_HEADROOM_BYTES: u64 = 64 << 10;

    /// Maximum number of messages that one call reads or deletes at a time.
    pub const NATS_LOOKUPS: usize = 32;

    /// Maximum number of events that one step of a list reads at a time.
    pub const NATS_LIST_READS: usize = 8;

    /// Bytes of recent events of one shard that its owner has in memory.
    pub const NATS_RECENT_BYTES: usize = 1 << 20;

    /// Maximum number of appended events of one shard that wait for the index to reach them.
    pub const NATS_EVENTS_AHEAD: usize = 4096;

    /// How often the owner of a shard looks for new events if no replica tells it about any.
    pub const NATS_POLL: Duration = Duration::from_secs(1);

    /// Maximum number of new events of a shard that one request reads.
    pub const NATS_TAIL_EVENTS: usize = 256;

    /// Bytes after which such a request ends.
    pub const NATS_TAIL_BYTES: usize = 4 << 20;

    /// Maximum number of entries of a state log that one request reads.
    pub const NATS_LOAD_ENTRIES: usize = 5000;

    /// Bytes after which such a request ends.
    pub const NATS_LOAD_BYTES: usize = 8 << 20;

    /// Number of changes from which on no further call joins those that are written to a state log together.
    pub const NATS_ENTRY_CHANGES: usize = 1000;

    /// Maximum bytes of one entry of a state log.
    pub const NATS_ENTRY_BYTES: usize = 256 << 10;

    /// Minimum length of a state log before the state is written as a whole. It is also written only when the log has
    /// grown by as much as it took the last time.
    pub const NATS_CHECKPOINT_BYTES: u64 = 4 << 20;

    /// Maximum number of requests of other replicas that the owner of a shard answers at a time.
    pub const NATS_REQUESTS: usize = 64;

    /// Maximum number of consumers and of endpoints in one part of a report.
    pub const NATS_REPORT_ROWS: usize = 250;

    /// Maximum number of parts of a report.
    pub const NATS_REPORT_PARTS: usize = 1000;

    /// How often a replica asks the owners of other shards for their counts.
    pub const NATS_REPORT_INTERVAL: Duration = Duration::from_secs(5);

    /// How often a replica adds up what the namespaces keep in its own shards.
    pub const NATS_USAGE_INTERVAL: Duration = Duration::from_secs(1);

    /// How often the streams are compared with what they have to be.
    pub const NATS_STREAMS_INTERVAL: Duration = Duration::from_secs(10);

    /// How often the rows of endpoints that no longer exist are removed from NATS.
    pub const NATS_NAMES_INTERVAL: Duration = Duration::from_secs(10 * 60);

    /// Minimum age of such a row: another replica may know of an endpoint earlier than this one.
    pub const NATS_NAMES_AGE: Duration = Duration::from_secs(60 * 60);

    /// Maximum number of rows that are removed at once.
    pub const NATS_NAMES_REMOVED: usize = 1000;

    /// How often the brokers have to prove that they sync before they acknowledge.
    pub const NATS_PROOF_INTERVAL: Duration = Duration::from_secs(60);

    /// How soon they are asked again when the proof is missing.
    pub const NATS_PROOF_AGAIN: Duration = Duration::from_secs(5);

    /// How long an attempt to connect to a NATS broker may take.
    pub const NATS_CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

    /// Minimum wait before the next attempt to connect to NATS, doubled after each failed attempt.
    pub const NATS_RECONNECT_SHORTEST: Duration = Duration::from_millis(20);

    /// Maximum wait before the next attempt to connect to NATS.
    pub const NATS_RECONNECT_LONGEST: Duration = Duration::from_millis(500);

    /// How often a silent connection to NATS is checked. It is given up when three checks in a row are not answered.
    pub const NATS_PING_INTERVAL: Duration = Duration::from_secs(2);

    /// How long a request to JetStream that reads or removes messages may take.
    pub const NATS_REQUEST_TIMEOUT: Duration = Duration::from_secs(2);

    /// How long a request to JetStream that creates, changes or purges a stream may take.
    pub const NATS_STREAM_TIMEOUT: Duration = Duration::from_secs(10);

    /// Maximum number of messages in an atomic batch: JetStream accepts no more.
    pub const NATS_BATCH: usize = 1000;

    /// Number of messages that one step of a scan of a stream asks for.
    pub const NATS_SCAN_PULL: usize = 1024;

    /// Maximum number of failures of a scan of a stream without progress between them.
    pub const NATS_SCAN_TRIES: u32 = 10;

    /// How long a scan of a stream waits after a failure, such as a replica that lags behind the leader.
    pub const NATS_SCAN_LAG: Duration = Duration::from_millis(50);

    /// Bytes after which one step of a scan of a stream ends.
    pub const NATS_SCAN_BYTES: usize = 4 << 20;

    /// Interval at which a replica reports to the others that it is alive.
    pub const MEMBER_INTERVAL: Duration = Duration::from_secs(2);

    /// Interval at which the owner of a shard renews its lease.
    pub const SHARD_LEASE_RENEWAL: Duration = Duration::from_secs(3);

    /// How long a lease or a replica must be seen unchanged before others take its shards.
    pub const SHARD_LEASE_EXPIRY: Duration = Duration::from_secs(10);

    /// How long after its last successful renewal the owner of a shard stops delivering. Less than [`SHARD_LEASE_EXPIRY`].
    pub const SHARD_LEASE_DEADLINE: Duration = Duration::from_secs(7);

    /// How long a replica must be alive before shards move to it from replicas that are alive too.
    pub const MEMBER_JOIN: Duration = Duration::from_secs(30);

    /// How long a shard that moves to another live replica waits for its deliveries in flight; what is left after it is
    /// repeated. Meanwhile it begins none.
    pub const SHARD_HAND_OVER: Duration = Duration::from_secs(5);

    /// Interval at which a replica looks at the leases of the others.
    pub const OWNERSHIP_POLL: Duration = Duration::from_millis(500);

    /// Timeout for reading or writing a lease.
    pub const REGISTRY_TIMEOUT: Duration = Duration::from_secs(2);

    /// Maximum concurrent calls that read or write leases; further ones wait.
    pub const REGISTRY_CALLS: usize = 16;

    /// Minimum time between two log lines about leases that cannot be read or written.
    pub const REGISTRY_LOG_INTERVAL: Duration = Duration::from_secs(10);

    /// For how long no call about leases is answered before another server is tried. Longer than the election of a
    /// leader usually takes, and shorter than [`SHARD_LEASE_DEADLINE`].
    pub const REGISTRY_SILENCE: Duration = Duration::from_secs(5);

    /// Minimum time between two changes of the server because of [`REGISTRY_SILENCE`].
    pub const REGISTRY_GO_AROUND_INTERVAL: Duration = Duration::from_secs(8);

    /// After how many times [`SHARD_LEASE_EXPIRY`] the report of a replica that has ended is removed.
    pub const MEMBER_FORGET: u32 = 6;
}
