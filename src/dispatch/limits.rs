//! Bounds of dispatch.

use std::time::Duration;

use grapnel_signature::limits::DEFAULT_WINDOW;

grapnel_values::bounds! {
    /// Most that is read of a receiver's answer, in bytes. Of what is read, [`FAILURE_MESSAGE_BYTES`] are kept.
    pub const RESPONSE_BYTES: usize = 64 * 1024;

    /// Most headers of a receiver's answer.
    pub const RESPONSE_HEADERS: usize = 100;

    /// Largest headers of a receiver's answer over HTTP/2, in bytes.
    pub const RESPONSE_HEADER_BYTES: u32 = 64 * 1024;

    /// How long an unused connection to a receiver is kept. Shorter than the minute after which many servers and load
    /// balancers close one from their side, so that a request seldom meets a connection that is just being closed.
    pub const POOL_IDLE: Duration = Duration::from_secs(45);

    /// Most unused connections kept to one receiver: as many as one subscription may use at once.
    pub const POOL_IDLE_PER_HOST: usize = 256;

    /// Time between the probes by which a connection to a receiver that says nothing is found dead, and before the first.
    pub const TARGET_KEEPALIVE: Duration = Duration::from_secs(15);

    /// Probes without an answer after which a connection to a receiver is dead.
    pub const TARGET_KEEPALIVE_PROBES: u32 = 3;

    /// Most TLS identities of targets that connections are kept for; beyond it those of the one unused longest are closed.
    pub const TLS_IDENTITIES: usize = 1024;

    /// Most clients of authorization servers whose tokens are kept; beyond it that of the one unused longest is forgotten.
    pub const OAUTH_CLIENTS: usize = 4096;

    /// Time for fetching a token; a shorter `target.timeout` ends it earlier.
    pub const TOKEN_TIMEOUT: Duration = Duration::from_secs(10);

    /// Largest answer of a token endpoint, in bytes.
    pub const TOKEN_ANSWER_BYTES: usize = 64 * 1024;

    /// Longest access token, in bytes: those that are JWTs with many groups have some KiB, and many servers take no longer
    /// header.
    pub const TOKEN_BYTES: usize = 16 * 1024;

    /// How long before its end a token is renewed; those that live for less than ten times as long, after nine tenths of their
    /// life.
    pub const TOKEN_RENEW_EARLY: Duration = Duration::from_secs(60);

    /// How long a token is used whose server does not say (RFC 6749, 5.1 only recommends it).
    pub const TOKEN_LIFETIME_DEFAULT: Duration = Duration::from_secs(300);

    /// Longest time for which a token is used.
    pub const TOKEN_LIFETIME_MAX: Duration = Duration::from_secs(24 * 3600);

    /// Least time between two tokens that are dropped because the receiver answers 401.
    pub const TOKEN_DROP_PAUSE: Duration = Duration::from_secs(10);

    /// Most addresses of one name that are tried one after another through a proxy.
    pub const PROXIED_ADDRESSES: usize = 4;

    /// Longest answer of a proxy that is asked for a tunnel, in bytes.
    pub const PROXY_ANSWER_BYTES: usize = 8 * 1024;

    /// Time between HTTP/2 pings on a connection to a receiver, also on an unused one. A connection whose other end is stuck
    /// looks alive to everybody else, and every delivery would be given to it.
    pub const RECEIVER_PING_INTERVAL: Duration = Duration::from_secs(5);

    /// Time in which a receiver has to answer an HTTP/2 ping; then its connection is given up.
    pub const RECEIVER_PING_TIMEOUT: Duration = Duration::from_secs(5);

    /// Most events that a subscription claims ahead of those under way.
    pub const CLAIM_AHEAD: usize = 32;

    /// Most events that a subscription claims at once while it is looking for types that it delivers.
    pub const CLAIM_SCAN: usize = 128;

    /// Bytes of bodies that a subscription holds, under way and claimed ahead, beyond which it claims nothing more: sixteen of
    /// [`DEFAULT_BODY_BYTES`]. So it holds at most this, one claim more, and one body of [`MAX_BODY_BYTES`], however many
    /// deliveries it may have under way and however long its receiver keeps them waiting.
    pub const HELD_BYTES: usize = 16 << 20;

    /// Most ended attempts of a subscription that wait to be settled; while there are as many, none is begun.
    pub const UNSETTLED: usize = 256;

    /// First pause after the journal has failed; doubled with every further failure.
    pub const JOURNAL_PAUSE: Duration = Duration::from_millis(100);

    /// Longest pause after the journal has failed.
    pub const JOURNAL_PAUSE_MAX: Duration = Duration::from_secs(30);

    /// How often a waiting subscription looks at the clock, so that a clock that is set forward is noticed.
    pub const DUE_CHECK: Duration = Duration::from_secs(1);

    /// Time for deliveries under way to end when their subscription goes or the process stops; then they are given back.
    pub const SHUTDOWN_DELIVERIES: Duration = Duration::from_secs(10);

    /// Time after [`SHUTDOWN_DELIVERIES`] for the journal to take what ended; what it has not taken then is delivered again.
    pub const SHUTDOWN_SETTLE: Duration = Duration::from_secs(5);

    /// How long a dead letter that was passed on is remembered, so that it is not passed on twice.
    pub const DEAD_LETTER_WINDOW: Duration = DEFAULT_WINDOW;

    /// When an event that is to be passed on is tried again because the journal did not take it.
    pub const DEAD_LETTER_PAUSE: Duration = Duration::from_secs(60);

    /// How far the clock may be set back without retries being attempted early: one that is due later than the policy's longest
    /// delay and this was scheduled by a clock that was ahead, and is attempted at once.
    pub const CLOCK_STEP: Duration = Duration::from_secs(10);

    /// Most threads of deliveries that block: in lookups of names, in reads from the journal, and in filters and transformations
    /// of large bodies.
    pub const DELIVERY_BLOCKING_THREADS: usize = 128;

    /// Concurrent lookups of names, each of which may block a thread for as long as the system's resolver waits. Half of
    /// [`DELIVERY_BLOCKING_THREADS`], so that filters and the journal always find a thread.
    pub const DNS_LOOKUPS: usize = DELIVERY_BLOCKING_THREADS / 2;

    /// Those of [`DNS_LOOKUPS`] that only names may use that were answered within [`DNS_PROMPT`] the last time.
    pub const DNS_LOOKUPS_RESERVED: usize = DNS_LOOKUPS / 2;

    /// Time within which the lookup of a name that works is answered.
    pub const DNS_PROMPT: Duration = Duration::from_secs(1);

    /// Names that are remembered as answered promptly.
    pub const DNS_PROMPT_NAMES: usize = 16 * 1024;

    /// Most consumers attached to the journal at once.
    pub const ATTACH_AT_ONCE: usize = 64;
}
