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

    /// How long `grapnel plan` waits for the first answer of the operator: another server at a wrong address may accept the
    /// connection and never answer.
    pub const CLI_FIRST_ANSWER: Duration = Duration::from_secs(10);

    /// Timeout of one exchange of a command.
    pub const CLI_TIMEOUT: Duration = Duration::from_secs(60);

    /// How long a command waits for the reason why a forwarded connection has ended.
    pub const CLI_PORT_FORWARD_ERROR: Duration = Duration::from_secs(1);

    /// How long the token in the URL of `grapnel console` can be exchanged for a session.
    pub const CONSOLE_LOGIN_TIME: Duration = Duration::from_secs(300);

    /// How long a session of `grapnel console` lasts.
    pub const CONSOLE_SESSION_TIME: Duration = Duration::from_secs(12 * 3600);

    /// Maximum size of a form that `grapnel console` forwards, in bytes; the operator's own maximum.
    pub const CONSOLE_FORM_BYTES: usize = 1024 * 1024;

    /// Requests of a browser for whose response `grapnel console` waits at the same time.
    pub const CONSOLE_REQUESTS: usize = 32;

    /// How long `grapnel console` waits for the end of a response; live views end earlier by themselves.
    pub const CONSOLE_RESPONSE_TIME: Duration = Duration::from_secs(900);

    /// Idle connections to the operator's pod that `grapnel console` keeps.
    pub const CONSOLE_IDLE_CONNECTIONS: usize = 4;

    /// Maximum size of a body that `grapnel sink` accepts, in bytes: that of the largest event, in an envelope.
    pub const SINK_BODY_BYTES: usize = 32 * 1024 * 1024;

    /// Maximum events whose attempts `grapnel sink --fail` counts; beyond it the oldest are dropped.
    pub const SINK_COUNTED_EVENTS: usize = 10_000;

    /// Maximum namespaces of `--watch-namespaces`; each has four watches of its own.
    pub const WATCHED_NAMESPACES: usize = 64;

    /// Maximum duration of the Lease.
    pub const LEASE_DURATION_MAX: Duration = Duration::from_secs(300);
}
