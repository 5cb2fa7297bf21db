//! Bounds of dispatch.

use std::time::Duration;

use grapnel_signature::limits::DEFAULT_WINDOW;

grapnel_values::bounds! {
    /// Maximum bytes read of a receiver's response. [`FAILURE_MESSAGE_BYTES`] of them are kept.
    pub const RESPONSE_BYTES: usize = 64 * 1024;

    /// Maximum number of headers of a receiver's response.
    pub const RESPONSE_HEADERS: usize = 100;

    /// Maximum size of the headers of a receiver's HTTP/2 response, in bytes.
    pub const RESPONSE_HEADER_BYTES: u32 = 64 * 1024;

    /// How long an idle connection to a receiver is kept. Shorter than the minute after which many servers and load
    /// balancers close idle connections, so that a request seldom meets a connection that is being closed.
    pub const POOL_IDLE: Duration = Duration::from_secs(45);

    /// Maximum idle connections kept to one receiver: as many as one subscription may use at once.
    pub const POOL_IDLE_PER_HOST: usize = 256;

    /// Maximum age of a connection to a receiver; older ones are used for no further request. Names are looked up only
    /// for new connections, so a receiver whose name moves to another address is followed within this time. Each
    /// connection has its own limit, at random between four fifths of this and all of it.
    pub const CONNECTION_AGE: Duration = Duration::from_secs(300);

    /// Interval of the TCP keep-alive probes that detect a dead connection to a receiver, and the idle time before the
    /// first.
    pub const TARGET_KEEPALIVE: Duration = Duration::from_secs(15);

    /// Number of unanswered probes after which a connection to a receiver is dead.
    pub const TARGET_KEEPALIVE_PROBES: u32 = 3;

    /// Maximum TLS identities of targets with open connections; beyond it, those of the least recently used identity
    /// are closed.
    pub const TLS_IDENTITIES: usize = 1024;

    /// Maximum OAuth clients whose tokens are kept; beyond it, the token of the least recently used client is dropped.
    pub const OAUTH_CLIENTS: usize = 4096;

    /// Timeout for fetching a token; a shorter `target.timeout` takes precedence.
    pub const TOKEN_TIMEOUT: Duration = Duration::from_secs(10);

    /// Maximum size of a token endpoint's response, in bytes.
    pub const TOKEN_ANSWER_BYTES: usize = 64 * 1024;

    /// Maximum length of an access token, in bytes. JWTs with many groups take some KiB, and many servers reject larger
    /// headers.
    pub const TOKEN_BYTES: usize = 16 * 1024;

    /// How long before its expiry a token is renewed. Tokens that live for less than ten times as long are renewed
    /// after nine tenths of their lifetime.
    pub const TOKEN_RENEW_EARLY: Duration = Duration::from_secs(60);

    /// Lifetime of a token whose server does not set one (RFC 6749, 5.1 only recommends `expires_in`).
    pub const TOKEN_LIFETIME_DEFAULT: Duration = Duration::from_secs(300);

    /// Maximum time for which a token is used.
    pub const TOKEN_LIFETIME_MAX: Duration = Duration::from_secs(24 * 3600);

    /// Minimum time between two tokens that are dropped because the receiver answers 401.
    pub const TOKEN_DROP_PAUSE: Duration = Duration::from_secs(10);

    /// Maximum addresses of one name that are tried one after another through a proxy.
    pub const PROXIED_ADDRESSES: usize = 4;

    /// Maximum size of a proxy's response to `CONNECT`, in bytes.
    pub const PROXY_ANSWER_BYTES: usize = 8 * 1024;

    /// Interval of HTTP/2 pings on a connection to a receiver, even if it is idle. Without them, a connection whose
    /// peer hangs looks alive, and every delivery would use it.
    pub const RECEIVER_PING_INTERVAL: Duration = Duration::from_secs(5);

    /// Time in which a receiver has to answer an HTTP/2 ping before its connection is closed.
    pub const RECEIVER_PING_TIMEOUT: Duration = Duration::from_secs(5);

    /// Maximum events that a subscription claims ahead of those in flight.
    pub const CLAIM_AHEAD: usize = 32;

    /// Maximum events that a subscription claims at once while it searches for types that it delivers.
    pub const CLAIM_SCAN: usize = 128;

    /// Bytes of bodies, in flight and claimed ahead, and of parsed events claimed ahead, that a subscription may hold before
    /// it stops claiming: sixteen of [`DEFAULT_BODY_BYTES`]. It holds at most this, one more claim, and one body of
    /// [`MAX_BODY_BYTES`], regardless of its concurrency and the latency of its receiver. What is parsed beyond it is
    /// dropped, and parsed again for the attempt.
    pub const HELD_BYTES: usize = 16 << 20;

    /// Maximum ended attempts of a subscription that wait to be settled; at this number no attempt is begun.
    pub const UNSETTLED: usize = 256;

    /// First pause after a journal error; it doubles with every further error.
    pub const JOURNAL_PAUSE: Duration = Duration::from_millis(100);

    /// Maximum pause after a journal error.
    pub const JOURNAL_PAUSE_MAX: Duration = Duration::from_secs(30);

    /// How often a waiting subscription reads the clock, so that it notices a clock that is set forward.
    pub const DUE_CHECK: Duration = Duration::from_secs(1);

    /// Time for in-flight deliveries to end when their subscription is deleted or the process stops; then they are
    /// released.
    pub const SHUTDOWN_DELIVERIES: Duration = Duration::from_secs(10);

    /// Time after [`SHUTDOWN_DELIVERIES`] for settling ended deliveries; those not settled by then are delivered again.
    pub const SHUTDOWN_SETTLE: Duration = Duration::from_secs(5);

    /// How long a forwarded dead letter is remembered, so that it is not forwarded twice.
    pub const DEAD_LETTER_WINDOW: Duration = DEFAULT_WINDOW;

    /// Delay of the retry when the journal does not accept a dead letter.
    pub const DEAD_LETTER_PAUSE: Duration = Duration::from_secs(60);

    /// How far the clock may be set back without early retries. A retry that is due later than the policy's longest
    /// delay plus this was scheduled by a clock that was ahead, and is attempted at once.
    pub const CLOCK_STEP: Duration = Duration::from_secs(10);

    /// Maximum blocking threads of dispatch: for name lookups, reads from the journal, and filters and transformations
    /// of large bodies.
    pub const DELIVERY_BLOCKING_THREADS: usize = 128;

    /// Maximum concurrent name lookups, each of which may block a thread for as long as the system's resolver waits.
    /// Half of [`DELIVERY_BLOCKING_THREADS`], so that filters and the journal always find a thread.
    pub const DNS_LOOKUPS: usize = DELIVERY_BLOCKING_THREADS / 2;

    /// The part of [`DNS_LOOKUPS`] reserved for names that were answered within [`DNS_PROMPT`] the last time.
    pub const DNS_LOOKUPS_RESERVED: usize = DNS_LOOKUPS / 2;

    /// Time within which a lookup counts as prompt.
    pub const DNS_PROMPT: Duration = Duration::from_secs(1);

    /// Maximum names remembered as answered promptly.
    pub const DNS_PROMPT_NAMES: usize = 16 * 1024;

    /// Maximum consumers attached to the journal concurrently.
    pub const ATTACH_AT_ONCE: usize = 64;

    /// How long a configuration waits for the parts of a journal that several processes share to attach its
    /// subscriptions; it goes live without those whose part has not answered.
    pub const ATTACH_WITHIN: Duration = Duration::from_secs(2);

    /// How often consumers whose subscriptions have been deleted are sought in a journal that several processes share.
    pub const DETACH_INTERVAL: Duration = Duration::from_secs(30);

    /// How long a process must have seen such a consumer before it detaches it.
    pub const DETACH_AFTER: Duration = Duration::from_secs(60);

    /// How long, if the objects come from files: those of another process may be newer.
    pub const DETACH_UNCONFIRMED_AFTER: Duration = Duration::from_secs(3600);
}
