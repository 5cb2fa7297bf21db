//! Bounds of commands.

use std::time::Duration;

grapnel_values::bounds! {
    /// Files that connections from outside leave to the journal, to deliveries and to the admin server.
    pub const OPEN_FILES_RESERVED: usize = 512;

    /// Largest answer of the admin API that the command line reads, in bytes: an event of the largest body, in base64, and
    /// a page of summaries both fit.
    pub const CLI_ADMIN_ANSWER_BYTES: usize = 64 * 1024 * 1024;

    /// Most of a receiver's answer that `grapnel send` reads and prints, in bytes.
    pub const CLI_SEND_ANSWER_BYTES: usize = 64 * 1024;

    /// Time for one exchange of a command.
    pub const CLI_TIMEOUT: Duration = Duration::from_secs(60);

    /// How long a command waits to hear why a forwarded connection has ended.
    pub const CLI_PORT_FORWARD_ERROR: Duration = Duration::from_secs(1);

    /// Largest body that `grapnel sink` takes, in bytes: that of the largest event, in an envelope.
    pub const SINK_BODY_BYTES: usize = 32 * 1024 * 1024;

    /// Events whose attempts `grapnel sink --fail` counts; beyond it the oldest are forgotten.
    pub const SINK_COUNTED_EVENTS: usize = 10_000;

    /// Namespaces of `--watch-namespaces`; each has four watches of its own.
    pub const WATCHED_NAMESPACES: usize = 64;

    /// Longest lease.
    pub const LEASE_DURATION_MAX: Duration = Duration::from_secs(300);
}
