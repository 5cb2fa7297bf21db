//! Bounds of the process.

use std::time::Duration;

grapnel_values::bounds! {
    /// How much lower the priority of the threads of deliveries is than that of the process (setpriority(2)). The kernel gives a
    /// thread at +10 about a tenth of what it gives others while these want the CPU too.
    pub const DELIVERY_NICE: i32 = 10;

    /// How often retention is looked after.
    pub const SWEEP_INTERVAL: Duration = Duration::from_secs(60);

    /// How long to wait before the journal is asked again after it failed.
    pub const JOURNAL_RETRY: Duration = Duration::from_secs(1);

    /// Longest time that one stage of the shutdown may take before it is cut short.
    pub const SHUTDOWN_STAGE: Duration = Duration::from_secs(20);

    /// Longest time that the journal may take to close.
    pub const SHUTDOWN_JOURNAL: Duration = Duration::from_secs(30);

    /// Longest exchange with the collector of traces.
    pub const TRACE_TIMEOUT: Duration = Duration::from_secs(10);

    /// Bytes read of what the collector answers.
    pub const TRACE_ANSWER_BYTES: usize = 64 * 1024;

    /// How long the last spans may take at shutdown.
    pub const SHUTDOWN_TRACES: Duration = Duration::from_secs(5);

    /// Largest document with keys, or with what an issuer says of itself, in bytes; they have 1 to 20 KiB.
    pub const KEYS_BYTES: usize = 256 * 1024;

    /// Time for fetching one document. Two of them fit into [`DEFAULT_REQUEST_TIMEOUT`].
    pub const KEYS_TIMEOUT: Duration = Duration::from_secs(4);

    /// Longest time that a request waits for keys while usable ones are known, counted from the beginning of the fetch: so an
    /// issuer that hangs holds up the requests of one second, and not those of the whole time that a fetch may take.
    pub const KEYS_PATIENCE: Duration = Duration::from_secs(1);

    /// Sets of keys that are remembered of those that endpoints name.
    pub const KEY_SETS: usize = 1024;

    /// Certificates that are remembered. Requests name them that nobody has verified, so that they have no part in
    /// [`KEY_SETS`]; PayPal has a handful.
    pub const CERTIFICATES: usize = 256;

    /// How long a set of keys is used before it is fetched again: a key that its issuer withdraws is believed for so long.
    pub const KEYS_FRESH: Duration = Duration::from_secs(10 * 60);

    /// How long a certificate is used before it is fetched again.
    pub const CERTIFICATE_FRESH: Duration = Duration::from_secs(24 * 3600);

    /// How long keys are used that cannot be fetched again.
    pub const KEYS_STALE: Duration = Duration::from_secs(48 * 3600);

    /// Least time between two fetches of a set, when tokens name keys that are not in it or it cannot be fetched again.
    pub const KEYS_PAUSE: Duration = Duration::from_secs(30);

    /// How long after a failure a set is not fetched that there is nothing of yet: short, for senders wait.
    pub const KEYS_RETRY: Duration = Duration::from_secs(5);

    /// Fetches in a second, once [`KEYS_BURST`] is used up, of sets that endpoints name: enough for all of [`KEY_SETS`] in
    /// [`KEYS_PAUSE`].
    pub const KEYS_PER_SECOND: u32 = 40;

    /// Fetches in a second, once [`KEYS_BURST`] is used up, of certificates, which requests name that nobody has verified.
    pub const CERTIFICATES_PER_SECOND: u32 = 5;

    /// Fetches at once after a quiet time. One namespace alone gets half of it.
    pub const KEYS_BURST: u32 = 100;

    /// Fetches under way at once, of sets and of certificates each. One namespace alone gets half of it.
    pub const KEYS_AT_ONCE: usize = 64;

    /// Documents fetched at once from one host, by [`KEYS_AT_ONCE`] fetches: a host that hangs leaves the others their share.
    pub const KEYS_AT_ONCE_PER_HOST: usize = 8;

    /// Longest time that a fetch waits for its turn at a document; then it has failed. As long as those before it may take.
    pub const KEYS_SLOT_WAIT: Duration = KEYS_TIMEOUT;

    /// Least time between two log lines that say that too many sets are asked for to fetch them all.
    pub const KEYS_LOG_INTERVAL: Duration = Duration::from_secs(10);
}
