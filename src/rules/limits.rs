//! Every bound in Grapnel, with its default and the reason for it.

use std::{
    num::{NonZeroU32, NonZeroUsize},
    time::Duration,
};

// Requests.

/// Largest body of a request when nothing else is said, in bytes.
pub const DEFAULT_BODY_BYTES: usize = 1 << 20;

/// Largest body that `limits.bodyBytes` may allow. A body is held in memory while it is checked; GitHub, the sender of
/// the largest ones, stops at 25 MB.
pub const MAX_BODY_BYTES: usize = 32 << 20;

/// Series of `webhook_deliveries_abandoned_total`: deleted subscriptions whose loss is still shown.
pub const ABANDONED_SERIES: usize = 256;

/// Least that `storage.maxBytes` may be.
pub const STORAGE_MIN_BYTES: u64 = 64 << 10;

/// Time for a whole request when nothing else is said. GitHub and Slack hang up after 10 and 3 seconds.
pub const DEFAULT_REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest time that `limits.timeout` may give a request.
pub const MAX_REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// Most sources that a rate limit keeps a bucket of their own for; further ones share one.
pub const RATE_LIMIT_SOURCES: usize = 16 * 1024;

/// How often at most a full table of sources is searched for buckets that are no longer needed.
pub const RATE_LIMIT_PRUNE_INTERVAL: Duration = Duration::from_secs(1);

/// Longest time a rate limit may need to give back its whole burst.
pub const RATE_LIMIT_REFILL: Duration = Duration::from_secs(366 * 24 * 3600);

// Signatures.

/// Longest signature header that is looked at, in bytes. Sixteen base64 SHA-512 signatures need 1.5 KiB.
pub const SIGNATURE_HEADER_BYTES: usize = 4096;

/// Most signatures that are tried of one header. Senders list one for each secret while they rotate, so two or three.
pub const SIGNATURES_PER_HEADER: usize = 16;

/// Most signatures by a public key that are tried of one header: each costs as much as thousands of hashes, for every key
/// of the endpoint.
pub const PUBLIC_KEY_SIGNATURES_PER_HEADER: usize = 4;

/// Longest timestamp that is read, in decimal digits; what is larger than 64 bits counts as the largest.
pub const TIMESTAMP_DIGITS: usize = 20;

/// Most secrets of one endpoint or subscription: each costs a hash over the body.
pub const SECRETS: usize = 8;

/// Longest secret, in bytes.
pub const SECRET_BYTES: usize = 8 * 1024;

/// Shortest decoded Standard Webhooks secret. The specification asks senders for at least 24 bytes; half the output of
/// SHA-256 is the least that RFC 2104 (3) lets pass as not weakening the hash.
pub const WHSEC_MIN_BYTES: usize = 16;

/// Longest decoded Standard Webhooks secret. The specification asks senders for at most 64 bytes.
pub const WHSEC_MAX_BYTES: usize = 128;

/// Longest `signedContent` template, in bytes.
pub const SIGNED_CONTENT_BYTES: usize = 256;

/// Most keys in a JSON Web Key Set; providers have two to ten.
pub const REMOTE_KEYS: usize = 64;

/// Most keys that are tried of a set when a token does not name one.
pub const REMOTE_KEY_TRIALS: usize = 8;

/// Longest signed token that is looked at, in bytes.
pub const JWT_BYTES: usize = 16 * 1024;

/// How far an issuer's clock may differ from ours.
pub const JWT_LEEWAY: Duration = Duration::from_secs(60);

/// How long a token is good that `grapnel send` makes.
pub const JWT_LIFETIME: Duration = Duration::from_secs(300);

/// How far a PayPal transmission may be from now when nothing else is said: it goes on sending for three days, and does
/// not say whether it signs anew each time.
pub const PAYPAL_TOLERANCE: Duration = Duration::from_secs(96 * 3600);

/// Longest challenge that is answered with its HMAC, in bytes. X's are some 60.
pub const CHALLENGE_BYTES: usize = 256;

/// Longest origin of a CloudEvents sender that asks whether it may send, in bytes: a DNS name.
pub const ORIGIN_BYTES: usize = 253;

/// How far a signed timestamp may be from now when nothing else is said: what Stripe, Slack and the Standard Webhooks
/// libraries use.
pub const DEFAULT_TOLERANCE: Duration = Duration::from_secs(300);

// Events.

/// Longest event id, in bytes.
pub const EVENT_ID_BYTES: usize = 256;

/// Longest event type, in bytes.
pub const EVENT_TYPE_BYTES: usize = 128;

/// Deepest nesting of a JSON body. It is `serde_json`'s own bound, and keeps every later walk of the value off the end
/// of the stack.
pub const JSON_DEPTH: usize = 127;

/// Longest JSON pointer, in bytes.
pub const POINTER_BYTES: usize = 512;

/// Most fields of a form body.
pub const FORM_FIELDS: usize = 1024;

/// How long an event id is remembered when nothing else is said.
pub const DEFAULT_WINDOW: Duration = Duration::from_secs(24 * 3600);

/// Longest glob, in bytes.
pub const GLOB_BYTES: usize = 256;

/// Most globs in one list.
pub const GLOBS: usize = 64;

// Schemas.

/// Most schemas of one endpoint.
pub const SCHEMAS: usize = 64;

/// Largest schema, in bytes of compact JSON.
pub const SCHEMA_BYTES: usize = 256 * 1024;

/// Deepest nesting of a schema.
pub const SCHEMA_DEPTH: usize = 64;

/// Most levels of a schema when its references are followed. Validation recurses through them at each of the
/// [`JSON_DEPTH`] levels of a body, on a stack of 2 MiB.
pub const SCHEMA_REACH: usize = 128;

/// Most subschemas of a schema when its references are followed, those met twice counted twice.
pub const SCHEMA_WEIGHT: u64 = 50_000;

/// Largest compiled regular expression of a schema, in bytes.
pub const SCHEMA_PATTERN_BYTES: usize = 1 << 20;

/// All compiled regular expressions of one schema together, in bytes: where there are more than eight, each may have its
/// part of this.
pub const SCHEMA_PATTERNS_BYTES: usize = 8 << 20;

/// Most steps of checking one request against the schemas of its event, or of all events of a batch; a step takes some
/// nanoseconds, so that no request keeps a thread busy for much more than a tenth of a second.
pub const SCHEMA_STEPS: u64 = 10_000_000;

/// Most violations that are reported of one event.
pub const VIOLATIONS: usize = 10;

/// Longest message or path of one violation, in bytes.
pub const VIOLATION_BYTES: usize = 256;

// Expressions.

/// Longest expression, in bytes. A transformation that fills a page has some 3 KiB.
pub const EXPRESSION_BYTES: usize = 16 * 1024;

/// Deepest nesting of an expression. Chains of `+`, `&&` and `||` are one level, however long they are.
pub const EXPRESSION_DEPTH: usize = 100;

/// Most steps of one evaluation, or of all those that say who the events of one request are: each part of the
/// expression is one every time that it is evaluated, and so are 16 bytes of text that are copied, compared or
/// searched; a regular expression takes one for each byte of the text or, if it has more than 1024 bytes when it is
/// compiled, one for each 128 of them. It bounds time (some ten milliseconds, some tens where regular expressions of
/// the worst sort search) and memory (some ten MiB).
pub const EXPRESSION_STEPS: u64 = 500_000;

/// Largest compiled regular expression of an expression, in bytes.
pub const EXPRESSION_PATTERN_BYTES: usize = 256 * 1024;

/// Steps that each byte of a regular expression costs every time that it is read while an expression is evaluated: some
/// times, until the size is found that it fits into, which is paid for as well.
pub const EXPRESSION_PATTERN_STEPS: usize = 200;

/// Largest JSON that `transform` may make, in bytes.
pub const TRANSFORM_BYTES: usize = 4 << 20;

// CloudEvents.

/// Most events of one batch of CloudEvents.
pub const CLOUDEVENTS_BATCH: usize = 1000;

/// Most bytes of headers that are stored with the events of one batch together: each has those of the request. It is half
/// of [`APPEND_QUEUE_BYTES`], and 4 KiB for each of a thousand events.
pub const BATCH_HEADER_BYTES: usize = 4 << 20;

/// Most extension attributes of one CloudEvent that are passed on; the specification asks for few.
pub const CLOUDEVENTS_EXTENSIONS: usize = 64;

// Deliveries.

/// Time for a whole delivery when nothing else is said.
pub const DEFAULT_DELIVERY_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest time that `target.timeout` may give a delivery.
pub const MAX_DELIVERY_TIMEOUT: Duration = Duration::from_secs(60);

/// Longest URL of a target, in bytes: what `target.url` allows holds for one from a Secret too.
pub const TARGET_URL_BYTES: usize = 2048;

/// Concurrent deliveries of a subscription when nothing else is said.
pub const DEFAULT_IN_FLIGHT: NonZeroUsize = match NonZeroUsize::new(16) {
    Some(count) => count,
    None => NonZeroUsize::MIN,
};

/// Attempts of a delivery when nothing else is said: with the other defaults about one day.
pub const DEFAULT_ATTEMPTS: u32 = 16;

/// Delay after the first failure when nothing else is said.
pub const DEFAULT_INITIAL_DELAY: Duration = Duration::from_secs(5);

/// Growth of the delay from one failure to the next when nothing else is said.
pub const DEFAULT_MULTIPLIER: f64 = 2.0;

/// Longest delay between attempts when nothing else is said.
pub const DEFAULT_MAX_DELAY: Duration = Duration::from_secs(6 * 3600);

/// Failures in a row after which deliveries pause when nothing else is said.
pub const DEFAULT_BREAKER_FAILURES: NonZeroU32 = match NonZeroU32::new(10) {
    Some(count) => count,
    None => NonZeroU32::MIN,
};

/// Most failures in a row that `circuitBreaker.failures` may wait for.
pub const MAX_BREAKER_FAILURES: u32 = 1000;

/// First pause of deliveries to a failing receiver when nothing else is said.
pub const DEFAULT_BREAKER_COOLDOWN: Duration = Duration::from_secs(30);

/// Longest pause of deliveries to a failing receiver when nothing else is said.
pub const DEFAULT_BREAKER_MAX_COOLDOWN: Duration = Duration::from_secs(600);

/// Longest pause that `circuitBreaker` may ask for: a receiver that is back is found within a day.
pub const MAX_BREAKER_COOLDOWN: Duration = Duration::from_secs(24 * 3600);

/// Longest message kept of a failed delivery, in bytes.
pub const FAILURE_MESSAGE_BYTES: usize = 1024;

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

/// Most bytes of events that one claim loads; the first is loaded however large it is.
pub const CLAIM_BYTES: usize = 4 << 20;

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

/// Most endpoints that a dead letter comes through, one after another.
pub const DEAD_LETTER_HOPS: usize = 8;

/// How long a dead letter that was passed on is remembered, so that it is not passed on twice.
pub const DEAD_LETTER_WINDOW: Duration = DEFAULT_WINDOW;

/// When an event that is to be passed on is tried again because the journal did not take it.
pub const DEAD_LETTER_PAUSE: Duration = Duration::from_secs(60);

/// How far the clock may be set back without retries being attempted early: one that is due later than the policy's longest
/// delay and this was scheduled by a clock that was ahead, and is attempted at once.
pub const CLOCK_STEP: Duration = Duration::from_secs(10);

/// How much lower the priority of the threads of deliveries is than that of the process (setpriority(2)). The kernel gives a
/// thread at +10 about a tenth of what it gives others while these want the CPU too.
pub const DELIVERY_NICE: i32 = 10;

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

// Retention.

/// How long settled events stay when nothing else is said.
pub const DEFAULT_RETENTION: Duration = Duration::from_secs(168 * 3600);

/// How long dead letters stay when nothing else is said.
pub const DEFAULT_DEAD_LETTER_RETENTION: Duration = Duration::from_secs(720 * 3600);

// Metrics.

/// Most distinct event types of an endpoint that have a metric label of their own; further ones are `other`.
pub const TYPE_LABELS: usize = 64;

/// Longest event type that has a metric label of its own, in characters.
pub const TYPE_LABEL_CHARS: usize = 64;

// Ingress: connections.

/// Most client connections open at once. A further one takes the place of one that has waited for its client for
/// [`CROWD_PATIENCE`]; when there is none, it waits, and those after it wait in the kernel's queue. Each costs a socket and
/// up to [`CONNECTION_BUFFER_BYTES`].
pub const MAX_CONNECTIONS: usize = 4096;

/// Files that connections from outside leave to the journal, to deliveries and to the admin server.
pub const OPEN_FILES_RESERVED: usize = 512;

/// How long a connection may wait for its client when others need its place. Whoever has something to send has sent it by
/// then, over any network but the worst.
pub const CROWD_PATIENCE: Duration = Duration::from_secs(1);

/// When all places are taken, one in so many connections is asked to go at once.
pub const CROWD_SHARE: usize = 16;

/// How often connections are looked over while one waits for a place.
pub const CROWD_CHECK: Duration = Duration::from_millis(100);

/// How long a connection that was asked to make room may take to end in order.
pub const CROWD_GRACE: Duration = Duration::from_millis(100);

/// Least time between two log lines about a lack of room.
pub const CROWD_LOG_INTERVAL: Duration = Duration::from_secs(60);

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

// Ingress: requests.

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

/// Largest body in bytes that is verified and parsed on the thread that received it; a larger one would keep other
/// requests of that thread waiting for milliseconds.
pub const INLINE_BODY_BYTES: usize = 256 * 1024;

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
// Journal

/// Bytes of events that wait for the journal's writer; further appends wait their turn.
pub const APPEND_QUEUE_BYTES: usize = 8 << 20;

/// Settlements and other tasks (calls, not events) that wait for the journal's writer.
pub const JOURNAL_TASK_QUEUE: usize = 4096;

/// Bytes of recently appended events kept, over all endpoints, so that consumers that are not
/// behind read nothing from disk.
pub const RECENT_EVENTS_BYTES: usize = 4 << 20;

/// Most deliveries that are claimed in order at once.
pub const ORDERED_CLAIM: usize = 512;

/// Rows a sweep looks at, removes or forgets in one step, between which others have their turn.
pub const SWEEP_STEP: usize = 256;

/// Most events that one step of a redelivery queues, in one batch of the journal's writer.
pub const REDELIVERY_STEP: usize = 256;

/// Most rows that one step of a redelivery looks at.
pub const REDELIVERY_SCAN: usize = 2048;

/// How far an event may lie out of the order of receipt in the log for a redelivery of a span of time to find it.
/// Events are stored within seconds of their receipt; more than that comes from a clock that is set back.
pub const REDELIVERY_SKEW: Duration = Duration::from_secs(3600);

/// Most events or deliveries one listing returns.
pub const LIST_LIMIT: usize = 1000;

/// How often the journal looks whether what keeps it from taking events has gone: after a failed write it tries to open its
/// files again, and a full volume may have room.
pub const JOURNAL_HEAL_INTERVAL: Duration = Duration::from_secs(1);

/// What an append to a full journal frees at least when it has to make room, as a part of the bound: one in so many.
pub const RECLAIM_SHARE: u64 = 1024;

/// Most bytes that an append frees beyond those it needs; the appends of that time wait for the removal.
pub const RECLAIM_BYTES: u64 = 1 << 20;

/// A write of the journal that takes longer makes the process not ready: senders hang up after 3 to 10 seconds.
pub const JOURNAL_STALLED: Duration = Duration::from_secs(5);

/// A write of the journal that takes longer makes the process not live, so that it is started anew.
pub const JOURNAL_STUCK: Duration = Duration::from_secs(300);

/// What appends leave free on the journal's volume, in bytes, so that settlements, retention and the rewriting of segments go
/// on and can make room.
pub const JOURNAL_RESERVE_BYTES: u64 = 64 << 20;

/// On a small volume appends leave this fraction (one in so many parts) free instead, if it is less.
pub const JOURNAL_RESERVE_SHARE: u64 = 4;

/// Bytes of events after which the journal asks its volume again how much is free, if no second has passed before.
pub const JOURNAL_SPACE_STEP: u64 = 16 << 20;

/// Events of more bytes that do not fit under `--journal-max-bytes` are refused one by one, without the journal counting as
/// full for others.
pub const JOURNAL_ORDINARY_BYTES: u64 = 128 << 10;

/// Size of the file by which the journal finds out whether a disk that failed takes writes again: as large as an event is by
/// default at most.
pub const JOURNAL_PROBE_BYTES: usize = 1 << 20;

// Values.

/// Longest duration that can be written, about a hundred years.
pub const MAX_DURATION: Duration = Duration::from_secs(100 * 8766 * 3600);

/// Longest text of a duration or a quantity, in bytes.
pub const SCALAR_BYTES: usize = 64;

// Configuration.

/// Largest manifest file in bytes. A file this size holds some ten thousand objects.
pub const MANIFEST_BYTES: u64 = 16 << 20;

/// How often the files are looked at where the system does not tell when they change.
pub const FILES_INTERVAL: Duration = Duration::from_millis(500);

/// How often the files are looked at where the system does tell: it does not see all changes.
pub const FILES_INTERVAL_NOTIFIED: Duration = Duration::from_secs(5);

/// How long changes of files are gathered before they are read together.
pub const FILES_GATHER: Duration = Duration::from_millis(10);

/// Most problems reported of one object; the rest show when these are mended.
pub const PROBLEMS_PER_OBJECT: usize = 20;

/// Longest unknown name for which a known one is looked for that was meant, in letters and digits.
pub const MEANT_CHARS: usize = 64;

/// Longest value that a problem repeats, in bytes as JSON; of a longer one only the place is said.
pub const QUOTED_VALUE_BYTES: usize = 256;

/// Longest message of a YAML error, in characters.
pub const PROBLEM_CHARS: usize = 500;

/// Longest name of an object, as Kubernetes has it (RFC 1123 subdomain).
pub const NAME_CHARS: usize = 253;

/// Longest namespace, as Kubernetes has it (RFC 1123 label).
pub const NAMESPACE_CHARS: usize = 63;

/// Longest value of a label, and longest key without its prefix, as Kubernetes has it.
pub const LABEL_CHARS: usize = 63;

// Telemetry.

// Running.

/// How often retention is looked after.
pub const SWEEP_INTERVAL: Duration = Duration::from_secs(60);

/// How long to wait before the journal is asked again after it failed.
pub const JOURNAL_RETRY: Duration = Duration::from_secs(1);

/// Longest time that one stage of the shutdown may take before it is cut short.
pub const SHUTDOWN_STAGE: Duration = Duration::from_secs(20);

/// Longest time that the journal may take to close.
pub const SHUTDOWN_JOURNAL: Duration = Duration::from_secs(30);

// Traces.

/// Longest exchange with the collector of traces.
pub const TRACE_TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes read of what the collector answers.
pub const TRACE_ANSWER_BYTES: usize = 64 * 1024;

/// How long the last spans may take at shutdown.
pub const SHUTDOWN_TRACES: Duration = Duration::from_secs(5);

// Admin server.

/// Connections to the admin server at once. A further one takes the place of one that has waited for its client for
/// [`CROWD_PATIENCE`]; when there is none, it waits, and those after it wait in the kernel's queue.
pub const ADMIN_CONNECTIONS: usize = 256;

/// Time in which the admin server must have read a request's head; also how long an idle connection is kept.
pub const ADMIN_HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// Largest head of a request to the admin server, in bytes. Hyper takes no less than 8 KiB.
pub const ADMIN_HEAD_BYTES: usize = 32 * 1024;

/// Time in which the admin server answers a request, or says that it cannot.
pub const ADMIN_REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a client of the admin server may take nothing of its answer before its connection ends.
pub const ADMIN_WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the admin server waits for requests under way when it ends.
pub const ADMIN_DRAIN: Duration = Duration::from_secs(5);

/// Longest bearer token in a token file, in bytes; Kubernetes' own are about 1 KiB.
pub const ADMIN_TOKEN_BYTES: usize = 8 * 1024;

/// Items of a page of the admin API when nothing else is said.
pub const ADMIN_LIST_DEFAULT: usize = 100;

/// Most items of a page of the admin API.
pub const ADMIN_LIST_MAX: usize = 1000;

/// Time after which a request to the admin API takes no further step of reading the journal, and answers with what it has
/// found and where to continue.
pub const ADMIN_READ_TIME: Duration = Duration::from_secs(2);

/// Most events that one request to the admin API queues once more, and as many as when nothing else is said.
pub const ADMIN_REDELIVERY_MAX: usize = 1000;

/// Most steps of [`REDELIVERY_SCAN`] rows that one request for a redelivery looks at.
pub const ADMIN_REDELIVERY_STEPS: usize = 32;

/// Most event ids in one request for a redelivery.
pub const ADMIN_REDELIVERY_IDS: usize = 1000;

/// Longest body of a request for a redelivery, in bytes: as many ids of [`EVENT_ID_BYTES`] fit, also where JSON has to
/// escape some of it.
pub const ADMIN_REDELIVERY_BODY_BYTES: usize = 1024 * 1024;

/// Requests to the admin API that read the journal at once; further ones wait, so that lists take
/// neither all of the memory nor all of the disk.
pub const ADMIN_JOURNAL_READS: usize = 4;

// Reviews by the API server.

/// Longest bearer token that is reviewed, in bytes. Those of ServiceAccounts have 1 to 2 KiB, those of an identity provider
/// with many groups some more.
pub const REVIEW_TOKEN_BYTES: usize = 16 * 1024;

/// Time for one review, in which it also waits for its turn. Shorter than [`DEFAULT_REQUEST_TIMEOUT`], so that the caller
/// hears why.
pub const REVIEW_TIMEOUT: Duration = Duration::from_secs(5);

/// How long after its end a token is still asked about: API servers allow clocks to differ by a minute.
pub const REVIEW_LEEWAY: Duration = Duration::from_secs(60);

/// Reviews of one sort in a second, once [`REVIEW_BURST`] is used up; further ones wait. Ten thousand callers are reviewed
/// anew in less than two minutes, and an API server hardly notices.
pub const REVIEWS_PER_SECOND: u32 = 100;

/// Reviews of one sort at once after a quiet time, for when many callers begin together.
pub const REVIEW_BURST: u32 = 200;

/// Most reviews of one sort under way or waiting; whoever asks for one more is told at once to come back. As many more than
/// the API server is asked in [`REVIEW_TIMEOUT`] would wait in vain.
pub const REVIEWS_WAITING: usize = 1024;

/// Least time between two log lines about reviews that fail.
pub const REVIEW_LOG_INTERVAL: Duration = Duration::from_secs(10);

/// Callers' tokens that are remembered as good, each for one set of audiences. Some 500 bytes each.
pub const CALLERS_ACCEPTED: usize = 16 * 1024;

/// How long a caller's token is believed without asking again: a ServiceAccount that is deleted is let in for so long.
pub const CALLER_ACCEPTED_FOR: Duration = Duration::from_secs(60);

/// Callers' tokens that are remembered as bad. Some 200 bytes each.
pub const CALLERS_REFUSED: usize = 16 * 1024;

/// How long a caller's token is refused without asking again.
pub const CALLER_REFUSED_FOR: Duration = Duration::from_secs(10);

/// Reviews of callers under way at once; further ones wait.
pub const CALLER_REVIEWS_AT_ONCE: usize = 16;

/// Users of the admin API who are remembered, and answers to what they may do. Some of them are in many groups: up to a few
/// KiB each.
pub const ADMIN_USERS: usize = 1024;

/// How long a user of the admin API may do what was allowed without asking again.
pub const ADMIN_ALLOWED_FOR: Duration = Duration::from_secs(30);

/// How long a user of the admin API is refused without asking again: short, for somebody waits for the role they were
/// just given.
pub const ADMIN_DENIED_FOR: Duration = Duration::from_secs(3);

/// Reviews for the admin API under way at once, of tokens and of access each; further ones wait.
pub const ADMIN_REVIEWS_AT_ONCE: usize = 8;

// Public keys of senders.

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

// Command line.

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

// Kubernetes side.

/// Namespaces of `--watch-namespaces`; each has four watches of its own.
pub const WATCHED_NAMESPACES: usize = 64;

/// Referenced Secrets and ConfigMaps that are fetched at once; further ones wait.
pub const FETCHES_AT_ONCE: usize = 32;

/// Time for one fetch of a Secret or a ConfigMap, in which the client tries again while the API server is busy.
pub const FETCH_TIMEOUT: Duration = Duration::from_secs(30);

/// How long to wait before values are fetched again that could not be; doubles up to [`FETCH_PAUSE_MAX`].
pub const FETCH_PAUSE: Duration = Duration::from_secs(1);

/// Longest pause before values are fetched again.
pub const FETCH_PAUSE_MAX: Duration = Duration::from_secs(30);

/// How long changes are gathered before they are published together.
pub const GATHER: Duration = Duration::from_millis(20);

/// Shortest pause between two snapshots; what changes meanwhile is in the second.
pub const PUBLISH_PAUSE: Duration = Duration::from_millis(100);

/// Watch events taken in one go before anything else has its turn.
pub const NOTICES_AT_ONCE: usize = 1024;

/// How often statuses are looked over for conditions that only the data plane knows.
pub const STATUS_PASS: Duration = Duration::from_secs(1);

/// How long something that an object refers to may be absent before its status says so.
pub const STATUS_SETTLE: Duration = Duration::from_secs(1);

/// Default of `--status-interval`: counters of one object are written at most this often.
pub const STATUS_INTERVAL: Duration = Duration::from_secs(10);

/// Statuses that are written at once.
pub const STATUS_WRITES_AT_ONCE: usize = 16;

/// Time after which a finalizer that could not be written is tried again.
pub const DRAIN_RETRY: Duration = Duration::from_secs(30);

/// How far the API server's clock and that of the operator may be apart: an event that was received later than this after a
/// subscription was deleted does not hold the deletion up.
pub const DRAIN_SKEW: Duration = Duration::from_secs(10);

/// Time for the last statuses at shutdown.
pub const SHUTDOWN_STATUS: Duration = Duration::from_secs(5);

/// Default of `--lease-duration`.
pub const LEASE_DURATION: Duration = Duration::from_secs(15);

/// Shortest lease; a shorter one would be lost to a pause of the API server.
pub const LEASE_DURATION_MIN: Duration = Duration::from_secs(3);

/// Longest lease.
pub const LEASE_DURATION_MAX: Duration = Duration::from_secs(300);

/// Time for giving the Lease back at shutdown.
pub const LEASE_RELEASE: Duration = Duration::from_secs(2);

/// Kubernetes Events that may wait to be published; further ones are dropped.
pub const EVENTS_QUEUED: usize = 1024;

/// Time for publishing one Kubernetes Event.
pub const EVENT_TIMEOUT: Duration = Duration::from_secs(5);

/// Longest note of a Kubernetes Event, in bytes; the API server allows 1024.
pub const EVENT_NOTE_BYTES: usize = 1024;

/// Retries that one consumer may have. A consumer with as many attempts no new event before some are settled; each takes
/// some 60 bytes of memory.
pub const RETRIES_PER_CONSUMER: usize = 100_000;

/// When a segment of the journal's log is full, unless `--journal-max-bytes` asks for smaller ones. A restart reads one.
pub const SEGMENT_BYTES: u64 = 64 << 20;

/// The largest size of a full segment, whose head may be large: positions in it have 32 bits, and a round comes on top.
pub const SEGMENT_BYTES_MOST: u64 = 2 << 30;

/// The smallest size of a full segment.
pub const SEGMENT_BYTES_LEAST: u64 = 4 << 10;

/// A bounded journal has at least so many segments.
pub const SEGMENT_SHARE: u64 = 32;

/// Events in a segment, whose index is in memory until it is full: 40 bytes each, and as many for their ids.
pub const SEGMENT_EVENTS: usize = 1 << 17;

/// Outcomes of deliveries in a segment, in memory until it is full: 16 bytes each.
pub const SEGMENT_OUTCOMES: usize = 1 << 18;

/// Full segments whose index is still in memory, before the writer waits for them to be written.
pub const SEGMENTS_SEALING: usize = 2;

/// How long the writer waits for the indexes of full segments.
pub const SEAL_PATIENCE: Duration = Duration::from_secs(5);

/// Largest record of the log.
pub const JOURNAL_RECORD_BYTES: u64 = 1 << 30;

/// Bytes of the log between two marks within a write.
pub const MARK_EVERY: u64 = 4 << 10;

/// How far back a mark names what was written: with one mark every [`MARK_EVERY`] bytes, the loss of any page of 4 KiB
/// leaves one that names the events in it.
pub const MARK_REACH: u64 = 16 << 10;

/// Bytes that are read at once when a segment is read from its beginning.
pub const JOURNAL_SCAN_BYTES: usize = 1 << 20;

/// Runs of ids that are merged into one.
pub const ID_MERGE_RUNS: usize = 8;

/// Most ids in a merged run, so that old ids can go: 32 bytes each on disk.
pub const ID_RUN_IDS: u64 = 8 << 20;

/// Bytes of filters of ids in memory: 12 bits an id. Filters beyond that are read from the disk, a block for each look.
pub const ID_FILTER_BYTES: u64 = 32 << 20;

/// Uids of earlier endpoints of one name that are told from a new one.
pub const FORMER_UIDS: usize = 8;

/// Garbage in the log from which on segments are rewritten. It must also be a quarter of what is kept.
pub const COMPACT_BYTES: u64 = 16 << 20;

/// Rows that one step of a list looks at.
pub const LIST_SCAN: usize = 256;

/// Bytes of events that one step of a list reads, beyond the first.
pub const LIST_BYTES: usize = 4 << 20;

/// Bytes of old segments that are read in search of damage every [`SCRUB_INTERVAL`].
pub const SCRUB_BYTES: u64 = 4 << 20;

/// See [`SCRUB_BYTES`]: 800 KB a second, 70 GB a day.
pub const SCRUB_INTERVAL: Duration = Duration::from_secs(5);
