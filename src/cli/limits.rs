//! Bounds of commands.

use std::time::Duration;

grapnel_values::bounds! {
    /// File descriptors reserved for the journal, deliveries and the admin server, which incoming connections may not
    /// use.
    pub const OPEN_FILES_RESERVED: usize = 512;

    /// Maximum size of an admin API response that the command line reads, in bytes: the largest event in base64 and a
    /// page of summaries both fit.
    pub const CLI_ADMIN_ANSWER_BYTES: usize = 64 * 1024 * 1024;

    /// Maximum bytes of a receiver's response that `grapnel send` reads and prints.
    pub const CLI_SEND_ANSWER_BYTES: usize = 64 * 1024;

    /// Maximum size of manifests from standard input, in bytes; the same as that of a file.
    pub const CLI_MANIFEST_BYTES: u64 = 16 << 20;

    /// Maximum events of one endpoint that `grapnel plan` tries.
    pub const CLI_PLAN_EVENTS: u64 = 100_000;

    /// Timeout of one exchange of a command.
    pub const CLI_TIMEOUT: Duration = Duration::from_secs(60);

    /// How long a command waits for the reason why a forwarded connection has ended.
    pub const CLI_PORT_FORWARD_ERROR: Duration = Duration::from_secs(1);

    /// Maximum size of a body that `grapnel sink` accepts, in bytes: that of the largest event, in an envelope.
    pub const SINK_BODY_BYTES: usize = 32 * 1024 * 1024;

    /// Maximum events whose attempts `grapnel sink --fail` counts; beyond it the oldest are dropped.
    pub const SINK_COUNTED_EVENTS: usize = 10_000;

    /// Maximum namespaces of `--watch-namespaces`; each has four watches of its own.
    pub const WATCHED_NAMESPACES: usize = 64;

    /// Maximum duration of the Lease.
    pub const LEASE_DURATION_MAX: Duration = Duration::from_secs(300);
}
