//! Bounds of the public server.

use std::time::Duration;

grapnel_values::bounds! {
    /// Maximum bytes of headers stored with all events of one batch, each of which stores those of the request. Half of
    /// [`APPEND_QUEUE_BYTES`], and 4 KiB for each of a thousand events.
    pub const BATCH_HEADER_BYTES: usize = 4 << 20;

    /// Maximum open client connections. A further one replaces a connection that has waited for its client for
    /// [`CROWD_PATIENCE`]; if there is none, it waits, and later ones wait in the kernel's queue. Each connection takes
    /// a socket and up to [`CONNECTION_BUFFER_BYTES`].
    pub const MAX_CONNECTIONS: usize = 4096;

    /// Read buffer of a connection in bytes, which also bounds the head of an HTTP/1.1 request.
    pub const CONNECTION_BUFFER_BYTES: usize = 64 * 1024;

    /// Maximum size of an HTTP/2 request's header list in bytes, counted as in RFC 9113 section 6.5.2.
    pub const HEADER_LIST_BYTES: u32 = 64 * 1024;

    /// Maximum header lines of an HTTP/1.1 request; more are rejected with 431. This is hyper's default, with which
    /// parsing needs no allocation.
    pub const MAX_HEADERS: usize = 100;

    /// Timeout for a TLS handshake, and for the head of a request from its first byte. A slower head may last up to
    /// twice as long, because connections are checked at this interval.
    pub const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

    /// How long a connection may stay idle. Longer than the minute after which common load balancers close idle
    /// connections, so that they close first and never send a request into a closing connection.
    pub const IDLE_TIMEOUT: Duration = Duration::from_secs(75);

    /// How long a connection may take to close after it was asked to.
    pub const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

    /// How long a rejected body is read and discarded, so that the client sees the response before the connection ends.
    pub const LINGER_TIMEOUT: Duration = Duration::from_secs(2);

    /// Maximum bytes of a rejected body that are read and discarded.
    pub const LINGER_BYTES: usize = 16 * 1024 * 1024;

    /// Pause of accepting after an error of the process itself, such as too many open files.
    pub const ACCEPT_BACKOFF: Duration = Duration::from_millis(200);

    /// Maximum requests in flight on one HTTP/2 connection.
    pub const H2_STREAMS: u32 = 128;

    /// HTTP/2 flow-control window of a stream in bytes.
    pub const H2_STREAM_WINDOW: u32 = 256 * 1024;

    /// HTTP/2 flow-control window of a connection in bytes.
    pub const H2_CONNECTION_WINDOW: u32 = 1024 * 1024;

    /// Maximum HTTP/2 streams that a client opened and reset before they were accepted; more close the connection
    /// (CVE-2023-44487, "rapid reset").
    pub const H2_PENDING_RESETS: usize = 20;

    /// Maximum HTTP/2 streams that were reset because of the client's errors; more close the connection
    /// (CVE-2025-8671).
    pub const H2_LOCAL_RESETS: usize = 256;

    /// Interval of HTTP/2 pings on a quiet connection.
    pub const H2_PING_INTERVAL: Duration = Duration::from_secs(30);

    /// Time in which a client has to answer an HTTP/2 ping.
    pub const H2_PING_TIMEOUT: Duration = Duration::from_secs(15);

    /// Time for requests in flight to end at shutdown.
    pub const SHUTDOWN_REQUESTS: Duration = Duration::from_secs(20);

    /// Bytes of every body that do not count against [`BODY_MEMORY`], so that large webhooks never hold up ordinary
    /// ones.
    pub const BODY_FREE_BYTES: usize = 64 * 1024;

    /// Memory for the bodies being received, verified and parsed, beyond [`BODY_FREE_BYTES`] of each, in bytes;
    /// requests that do not fit are rejected with 503.
    pub const BODY_MEMORY: usize = 256 * 1024 * 1024;

    /// Divisor of [`BODY_MEMORY`] for the part that one namespace may use, which is at least one body of
    /// [`MAX_BODY_BYTES`].
    pub const BODY_NAMESPACE_SHARE: usize = 2;

    /// Divisor of the maximum number of connections for the requests of one namespace in progress whose bodies have
    /// been read; further ones are rejected with 503.
    pub const NAMESPACE_SHARE: usize = 4;

    /// Lower bound of the requests that a namespace may have in progress, regardless of the number of connections.
    pub const NAMESPACE_REQUESTS_MIN: usize = 64;

    /// Bodies larger than [`INLINE_BODY_BYTES`], and batches, that are verified and parsed concurrently, per CPU. More
    /// would take time from the requests of other senders; further ones wait while their deadline runs.
    pub const LARGE_BODIES_PER_CPU: usize = 2;

    /// Maximum headers stored with an event; further ones are left out.
    pub const STORED_HEADERS: usize = 64;

    /// Maximum bytes of header names and values stored with an event; a header that does not fit is left out.
    pub const STORED_HEADER_BYTES: usize = 16 * 1024;

    /// `Retry-After` while an endpoint is suspended.
    pub const RETRY_AFTER_SUSPENDED: Duration = Duration::from_secs(60);

    /// `Retry-After` while an endpoint or the journal is not ready.
    pub const RETRY_AFTER_UNAVAILABLE: Duration = Duration::from_secs(5);

    /// Minimum time between two log lines about the journal rejecting events.
    pub const JOURNAL_LOG_INTERVAL: Duration = Duration::from_secs(1);

    /// Maximum size of a certificate or key file in bytes.
    pub const TLS_FILE_BYTES: u64 = 1024 * 1024;

    /// How often certificate and key files are checked for changes.
    pub const TLS_POLL_INTERVAL: Duration = Duration::from_secs(1);
}
