//! Bounds of the process.

use std::time::Duration;

use super::supervise::Stage;

grapnel_values::bounds! {
    /// Maximum endpoints, and subscriptions of one, that the log lists at the start.
    pub const ENDPOINTS_LOGGED: usize = 20;

    /// By how much the priority of delivery threads is lower than that of the process (setpriority(2)). The kernel
    /// gives a thread at +10 about a tenth of the CPU time of others that compete with it.
    pub const DELIVERY_NICE: i32 = 10;

    /// How often retention is applied.
    pub const SWEEP_INTERVAL: Duration = Duration::from_secs(60);

    /// Pause before the journal is asked again after an error.
    pub const JOURNAL_RETRY: Duration = Duration::from_secs(1);

    /// How long a journal that accepts nothing delays the configuration before the objects say so.
    pub const REFUSAL_SHOWN: Duration = Duration::from_secs(5);

    /// How often a replica looks at what the others have counted, and writes what has to be known at once.
    pub const FACTS_TICK: Duration = Duration::from_secs(1);

    /// Time between two writes of the counts of endpoints to the data directory.
    pub const COUNTS_INTERVAL: Duration = Duration::from_secs(10);

    /// Maximum size of the file with these counts, in bytes.
    pub const COUNTS_BYTES: u64 = 64 << 20;

    /// Time between two writes of a replica's counts outside of a cluster, where nothing sets an interval.
    pub const FACTS_INTERVAL: Duration = Duration::from_secs(10);

    /// How long a replica must have been absent before its counts are added to the total.
    pub const FACTS_DEAD: Duration = Duration::from_secs(60);

    /// How long an object must have been absent before its counts are forgotten: other replicas may see it earlier.
    pub const FACTS_GONE: Duration = Duration::from_secs(10 * 60);

    /// How often everything that the replicas have told is read again, instead of what is new.
    pub const FACTS_STALE: Duration = Duration::from_secs(5 * 60);

    /// Maximum size of one row of counts, in bytes.
    pub const FACTS_ROW_BYTES: usize = 60 * 1024;

    /// Maximum size of the message of a rejected request in a row of counts, in bytes; more is cut off.
    pub const FACTS_MESSAGE_BYTES: usize = 512;

    /// Maximum changes of the total in one tick.
    pub const FACTS_FOLDS: usize = 64;

    /// Maximum rows in a tick that are written because something has to be known at once.
    pub const FACTS_URGENT: usize = 16;

    /// Maximum time for writing the last counts at shutdown.
    pub const SHUTDOWN_FACTS: Duration = Duration::from_secs(5);

    /// Maximum time between the signal to stop and the shutdown (`--shutdown-delay`).
    pub const SHUTDOWN_DELAY_MAX: Duration = Duration::from_secs(300);

    /// Maximum duration of one shutdown stage before it is cancelled.
    pub const SHUTDOWN_STAGE: Duration = Duration::from_secs(20);

    /// Maximum time for closing the journal.
    pub const SHUTDOWN_JOURNAL: Duration = Duration::from_secs(30);

    /// Maximum duration of a shutdown. The kubelet has to wait longer before it kills the process.
    pub const SHUTDOWN: Duration = SHUTDOWN_STAGE.saturating_mul(Stage::COUNT).saturating_add(SHUTDOWN_JOURNAL);

    /// Timeout of an exchange with the trace collector.
    pub const TRACE_TIMEOUT: Duration = Duration::from_secs(10);

    /// Maximum bytes read of the trace collector's response.
    pub const TRACE_ANSWER_BYTES: usize = 64 * 1024;

    /// Timeout for exporting the last spans at shutdown.
    pub const SHUTDOWN_TRACES: Duration = Duration::from_secs(5);

    /// Maximum size of a key document or of an issuer's metadata, in bytes; they have 1 to 20 KiB.
    pub const KEYS_BYTES: usize = 256 * 1024;

    /// Timeout for fetching one document. Two of them fit into [`DEFAULT_REQUEST_TIMEOUT`].
    pub const KEYS_TIMEOUT: Duration = Duration::from_secs(4);

    /// Maximum time that a request waits for keys while usable ones are known, counted from the beginning of the fetch:
    /// an issuer that hangs delays the requests of one second only, not those of the whole fetch.
    pub const KEYS_PATIENCE: Duration = Duration::from_secs(1);

    /// Maximum cached key sets of those that endpoints name, and maximum remembered failures to fetch one.
    pub const KEY_SETS: usize = 1024;

    /// Maximum cached certificates. Unverified requests name them, so they do not count against [`KEY_SETS`]; PayPal
    /// has a handful.
    pub const CERTIFICATES: usize = 256;

    /// How long a set of keys is used before it is fetched again, and hence how long a withdrawn key is still accepted.
    pub const KEYS_FRESH: Duration = Duration::from_secs(10 * 60);

    /// How long a certificate is used before it is fetched again.
    pub const CERTIFICATE_FRESH: Duration = Duration::from_secs(24 * 3600);

    /// How long keys are used that cannot be fetched again.
    pub const KEYS_STALE: Duration = Duration::from_secs(48 * 3600);

    /// Minimum time between two fetches of a set, if tokens name keys that are not in it or a fetch has failed.
    pub const KEYS_PAUSE: Duration = Duration::from_secs(30);

    /// Pause after a failure before a set without keys is fetched again: short, because senders wait.
    pub const KEYS_RETRY: Duration = Duration::from_secs(5);

    /// Fetches per second, once [`KEYS_BURST`] is used up, of sets that endpoints name: enough for all of [`KEY_SETS`]
    /// in [`KEYS_PAUSE`].
    pub const KEYS_PER_SECOND: u32 = 40;

    /// Fetches per second, once [`KEYS_BURST`] is used up, of certificates, which unverified requests name.
    pub const CERTIFICATES_PER_SECOND: u32 = 5;

    /// Burst of fetches after a quiet time. One namespace alone gets half of it.
    pub const KEYS_BURST: u32 = 100;

    /// Maximum concurrent fetches, of sets and of certificates each. One namespace alone gets half of it.
    pub const KEYS_AT_ONCE: usize = 64;

    /// Maximum documents fetched concurrently from one host, by [`KEYS_AT_ONCE`] fetches: a host that hangs leaves
    /// capacity for the others.
    pub const KEYS_AT_ONCE_PER_HOST: usize = 8;

    /// Maximum time that a fetch waits for a slot before it fails. As long as the fetches before it may take.
    pub const KEYS_SLOT_WAIT: Duration = KEYS_TIMEOUT;

    /// Maximum URLs that are remembered as visited, by which senders have their subscriptions confirmed.
    pub const CONFIRMATIONS: usize = 1024;

    /// Maximum such URLs that are visited concurrently.
    pub const CONFIRMATIONS_AT_ONCE: usize = 16;

    /// Minimum time between two log lines about more requested sets than can be fetched.
    pub const KEYS_LOG_INTERVAL: Duration = Duration::from_secs(10);
}
