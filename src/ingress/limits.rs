//! Bounds of the public server.

use std::time::Duration;

grapnel_values::bounds! {
    /// Most bytes of headers that are stored with the events of one batch together: each has those of the request. It is half
    /// of [`APPEND_QUEUE_BYTES`], and 4 KiB for each of a thousand events.
    pub const BATCH_HEADER_BYTES: usize = 4 << 20;

    /// Most client connections open at once. A further one takes the place of one that has waited for its client for
    /// [`CROWD_PATIENCE`]; when there is none, it waits, and those after it wait in the kernel's queue. Each costs a socket and
    /// up to [`CONNECTION_BUFFER_BYTES`].
    pub const MAX_CONNECTIONS: usize = 4096;

    /// Read buffer of a connection in bytes, and with it the largest head of an HTTP/1.1 request.
    pub const CONNECTION_BUFFER_BYTES: usize = 64 * 1024;

    /// Largest header list of an HTTP/2 request in bytes, as RFC 9113 section 6.5.2 counts them.
    pub const HEADER_LIST_BYTES: u32 = 64 * 1024;

    /// Most header lines of an HTTP/1.1 request; more are answered with 431. It is hyper's own default, and parsed without
    /// an allocation because of that.
    pub const MAX_HEADERS: usize = 100;

    /// Time for a TLS handshake, and for the head of a request from its first byte. A head that is slower may last up to
    /// twice as long, because connections are looked at once in this time.
    pub const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

    /// How long a connection may stay open without a request. Longer than the minute after which common load balancers
    /// give up idle connections, so that they close first and never send a request into a closing connection.
    pub const IDLE_TIMEOUT: Duration = Duration::from_secs(75);

    /// How long a connection that was asked to end may take.
    pub const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

    /// How long a refused body is read and thrown away, so that the client sees the answer before the connection ends.
    pub const LINGER_TIMEOUT: Duration = Duration::from_secs(2);

    /// How much of a refused body is read and thrown away, in bytes.
    pub const LINGER_BYTES: usize = 16 * 1024 * 1024;

    /// How long accepting pauses after an error that is the process's own, such as too many open files.
    pub const ACCEPT_BACKOFF: Duration = Duration::from_millis(200);

    /// Most requests under way on one HTTP/2 connection.
    pub const H2_STREAMS: u32 = 128;

    /// HTTP/2 flow-control window of a stream in bytes.
    pub const H2_STREAM_WINDOW: u32 = 256 * 1024;

    /// HTTP/2 flow-control window of a connection in bytes.
    pub const H2_CONNECTION_WINDOW: u32 = 1024 * 1024;

    /// Most HTTP/2 streams that a client opened and reset before they were looked at; more end the connection
    /// (CVE-2023-44487, "rapid reset").
    pub const H2_PENDING_RESETS: usize = 20;

    /// Most HTTP/2 streams that were reset because of the client's errors; more end the connection (CVE-2025-8671).
    pub const H2_LOCAL_RESETS: usize = 256;

    /// Time between HTTP/2 pings on a quiet connection.
    pub const H2_PING_INTERVAL: Duration = Duration::from_secs(30);

    /// Time in which an HTTP/2 ping must be answered.
    pub const H2_PING_TIMEOUT: Duration = Duration::from_secs(15);

    /// How long requests under way may take to end at shutdown.
    pub const SHUTDOWN_REQUESTS: Duration = Duration::from_secs(20);

    /// Part of every body that needs no room in [`BODY_MEMORY`], in bytes: ordinary webhooks are never held up by large
    /// ones.
    pub const BODY_FREE_BYTES: usize = 64 * 1024;

    /// Memory for the bodies being received and judged, beyond [`BODY_FREE_BYTES`] of each, in bytes; a request for which
    /// there is no room is answered with 503.
    pub const BODY_MEMORY: usize = 256 * 1024 * 1024;

    /// The part of [`BODY_MEMORY`] that one namespace may take: one in so many, but at least one body of [`MAX_BODY_BYTES`].
    pub const BODY_NAMESPACE_SHARE: usize = 2;

    /// Requests of one namespace that may be in progress once they have been read, as a part of the connections: one in so
    /// many. Further ones are answered with 503.
    pub const NAMESPACE_SHARE: usize = 4;

    /// Requests that a namespace may have in progress at least, however few connections there may be.
    pub const NAMESPACE_REQUESTS_MIN: usize = 64;

    /// Bodies larger than [`INLINE_BODY_BYTES`], and batches, that are verified and parsed at once, for each CPU. More would
    /// only take time from the requests of other senders; they wait, and their deadline counts on.
    pub const LARGE_BODIES_PER_CPU: usize = 2;

    /// Most headers stored with an event; further ones are left out.
    pub const STORED_HEADERS: usize = 64;

    /// Most bytes of header names and values stored with an event; a header that does not fit is left out.
    pub const STORED_HEADER_BYTES: usize = 16 * 1024;

    /// `Retry-After` while an endpoint is suspended.
    pub const RETRY_AFTER_SUSPENDED: Duration = Duration::from_secs(60);

    /// `Retry-After` while an endpoint or the journal is not ready.
    pub const RETRY_AFTER_UNAVAILABLE: Duration = Duration::from_secs(5);

    /// Least time between two log lines about the journal refusing events.
    pub const JOURNAL_LOG_INTERVAL: Duration = Duration::from_secs(1);

    /// Largest certificate or key file in bytes.
    pub const TLS_FILE_BYTES: u64 = 1024 * 1024;

    /// How often certificate and key files are looked at.
    pub const TLS_POLL_INTERVAL: Duration = Duration::from_secs(1);
}
