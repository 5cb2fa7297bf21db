//! Bounds of the controller.

use std::time::Duration;

grapnel_values::bounds! {
    /// Maximum length of a bearer token that is reviewed, in bytes. Tokens of ServiceAccounts have 1 to 2 KiB, those of
    /// an identity provider with many groups some more.
    pub const REVIEW_TOKEN_BYTES: usize = 16 * 1024;

    /// Timeout of one review, including the wait for a permit. Shorter than [`DEFAULT_REQUEST_TIMEOUT`], so that the
    /// caller receives the reason.
    pub const REVIEW_TIMEOUT: Duration = Duration::from_secs(5);

    /// How long after its expiry a token is still reviewed: API servers allow clocks to differ by a minute.
    pub const REVIEW_LEEWAY: Duration = Duration::from_secs(60);

    /// Reviews of one kind per second, once [`REVIEW_BURST`] is used up; further ones wait. Ten thousand callers are
    /// reviewed again in less than two minutes, at a negligible load on the API server.
    pub const REVIEWS_PER_SECOND: u32 = 100;

    /// Burst of reviews of one kind after a quiet time, for many callers that start together.
    pub const REVIEW_BURST: u32 = 200;

    /// Maximum reviews of one kind in flight or waiting; further ones are rejected at once. More than the API server
    /// answers within [`REVIEW_TIMEOUT`] would wait in vain.
    pub const REVIEWS_WAITING: usize = 1024;

    /// Minimum time between two log lines about failing reviews.
    pub const REVIEW_LOG_INTERVAL: Duration = Duration::from_secs(10);

    /// Maximum accepted tokens of callers in the cache, each for one set of audiences. About 600 bytes each.
    pub const CALLERS_ACCEPTED: usize = 16 * 1024;

    /// How long an accepted token of a caller is cached, and hence how long a deleted ServiceAccount is still accepted.
    pub const CALLER_ACCEPTED_FOR: Duration = Duration::from_secs(60);

    /// Maximum rejected tokens of callers in the cache. About 400 bytes each.
    pub const CALLERS_REFUSED: usize = 16 * 1024;

    /// How long a rejected token of a caller is cached.
    pub const CALLER_REFUSED_FOR: Duration = Duration::from_secs(10);

    /// Maximum concurrent reviews of callers; further ones wait.
    pub const CALLER_REVIEWS_AT_ONCE: usize = 16;

    /// Maximum users of the admin API in the cache, and maximum cached decisions about their access. Users in many
    /// groups take up to a few KiB each.
    pub const ADMIN_USERS: usize = 1024;

    /// How long an allowed access of an admin API user is cached.
    pub const ADMIN_ALLOWED_FOR: Duration = Duration::from_secs(30);

    /// How long a denied access of an admin API user is cached: short, since users wait for a role that was just
    /// granted.
    pub const ADMIN_DENIED_FOR: Duration = Duration::from_secs(3);

    /// Maximum concurrent reviews for the admin API, of tokens and of access each; further ones wait.
    pub const ADMIN_REVIEWS_AT_ONCE: usize = 8;

    /// Timeout for asking whether a subscription still exists.
    pub const LIVE_SUBSCRIPTION_TIMEOUT: Duration = Duration::from_secs(5);

    /// Maximum referenced Secrets and ConfigMaps fetched concurrently; further ones wait.
    pub const FETCHES_AT_ONCE: usize = 32;

    /// Timeout for one fetch of a Secret or a ConfigMap, including the client's retries while the API server is busy.
    pub const FETCH_TIMEOUT: Duration = Duration::from_secs(30);

    /// First pause before failed fetches are retried; it doubles up to [`FETCH_PAUSE_MAX`].
    pub const FETCH_PAUSE: Duration = Duration::from_secs(1);

    /// Maximum pause before failed fetches are retried.
    pub const FETCH_PAUSE_MAX: Duration = Duration::from_secs(30);

    /// How long changes are collected before they are published together.
    pub const GATHER: Duration = Duration::from_millis(20);

    /// How long after its last failure a watch counts as failing. Failing watches are repeated at least every 30 seconds.
    pub const WATCH_FAILURE_FOR: Duration = Duration::from_secs(90);

    /// How often it is checked whether watches still fail.
    pub const WATCH_CHECK: Duration = Duration::from_secs(15);

    /// Minimum pause between two snapshots; changes in between are in the second.
    pub const PUBLISH_PAUSE: Duration = Duration::from_millis(100);

    /// Maximum watch events taken before other work has its turn.
    pub const NOTICES_AT_ONCE: usize = 1024;

    /// How often statuses are checked for conditions that only the data plane knows.
    pub const STATUS_PASS: Duration = Duration::from_secs(1);

    /// How long a referenced object may be absent before the status reports it.
    pub const STATUS_SETTLE: Duration = Duration::from_secs(1);

    /// Default of `--status-interval`: minimum time between two writes of one object's counters.
    pub const STATUS_INTERVAL: Duration = Duration::from_secs(60);

    /// Default of `--status-writes-per-second`: maximum requests a second, over all objects, that write counters or are
    /// about HTTPRoutes. With more than 600 busy objects the interval between two writes of one object becomes longer than
    /// [`STATUS_INTERVAL`].
    pub const STATUS_WRITES_PER_SECOND: u32 = 10;

    /// Burst of requests about HTTPRoutes and Gateways after a quiet time.
    pub const ROUTE_BURST: u32 = 20;

    /// How often in a row the conditions of one object are written at once.
    pub const CONDITIONS_BURST: u32 = 6;

    /// Minimum time between two writes of the conditions of one object that has used up [`CONDITIONS_BURST`].
    pub const CONDITIONS_PERIOD: Duration = Duration::from_secs(10);

    /// First pause before the failed write of an object is repeated; it doubles up to [`STATUS_RETRY_MAX`].
    pub const STATUS_RETRY: Duration = Duration::from_secs(1);

    /// Maximum pause before the failed write of an object is repeated.
    pub const STATUS_RETRY_MAX: Duration = Duration::from_secs(300);

    /// How many objects of a namespace fail in a row before its writes are taken to fail whatever their object, and how
    /// many namespaces before all writes are.
    pub const STATUS_FAILING_AFTER: usize = 3;

    /// First pause before one write probes whether the API server accepts writes again; it doubles up to
    /// [`STATUS_PROBE_MAX`].
    pub const STATUS_PROBE: Duration = Duration::from_millis(500);

    /// Maximum pause between two probes of all refused namespaces together, and so the maximum delay of statuses after
    /// the API server accepts all writes again.
    pub const STATUS_PROBE_MAX: Duration = Duration::from_secs(10);

    /// Maximum pause between the first writes of two new namespaces, while the first writes of others are refused.
    pub const STATUS_NEW_PROBE_MAX: Duration = Duration::from_secs(1);

    /// Maximum pause that the API server may request by `Retry-After`; a longer one is shortened.
    pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(120);

    /// Maximum size of the API server's response to a write of a status, in bytes; the objects themselves have at most
    /// 1.5 MiB.
    pub const STATUS_RESPONSE_BYTES: usize = 4 * 1024 * 1024;

    /// How long failing writes of statuses are counted before the first log line about them.
    pub const STATUS_LOG_DELAY: Duration = Duration::from_secs(2);

    /// Minimum time between two log lines about failing writes of statuses.
    pub const STATUS_LOG_INTERVAL: Duration = Duration::from_secs(60);

    /// Pause before a status that another writer has overwritten is repaired, the first two times.
    pub const CONTEST_REPAIR: Duration = Duration::from_secs(2);

    /// Pause before a status that was overwritten again is repaired; it doubles up to [`CONTEST_PAUSE_MAX`].
    pub const CONTEST_PAUSE: Duration = Duration::from_secs(60);

    /// Maximum pause between two writes of a contested status.
    pub const CONTEST_PAUSE_MAX: Duration = Duration::from_secs(3600);

    /// Maximum length of the name of another writer, in characters. A Lease has at most 253 and its namespace 63.
    pub const WRITER_CHARS: usize = 320;

    /// How long a status must not be overwritten before the contest about it is over.
    pub const CONTEST_OVER: Duration = Duration::from_secs(300);

    /// Maximum statuses written concurrently; in one namespace half as many of one kind, so that one that is slow delays no
    /// other.
    pub const STATUS_WRITES_AT_ONCE: usize = 16;

    /// How long after its last request a user of the common budget of requests still gets its part of it.
    pub const BUDGET_SHARED_FOR: Duration = Duration::from_secs(2);

    /// How long a subscription that drains may be without a usable version before it is released.
    pub const DRAIN_UNUSABLE_FOR: Duration = Duration::from_secs(30);

    /// Maximum difference between the clocks of the API server and the operator: an event received later than this
    /// after the deletion of a subscription does not delay the deletion.
    pub const DRAIN_SKEW: Duration = Duration::from_secs(10);

    /// How long a replay that has failed before it began stays at least, whatever its `ttlSecondsAfterFinished`: what it
    /// lacks, such as its subscription, may be applied right after it, and then it begins.
    pub const REPLAY_FAILED_STAY: Duration = Duration::from_secs(60);

    /// Delay before the failed deletion of a replay is retried.
    pub const REPLAY_DELETE_RETRY: Duration = Duration::from_secs(30);

    /// Timeout for the last statuses at shutdown.
    pub const SHUTDOWN_STATUS: Duration = Duration::from_secs(5);

    /// Default of `--lease-duration`.
    pub const LEASE_DURATION: Duration = Duration::from_secs(15);

    /// Minimum duration of the Lease; a shorter one would be lost to a pause of the API server.
    pub const LEASE_DURATION_MIN: Duration = Duration::from_secs(3);

    /// Timeout for releasing the Lease at shutdown.
    pub const LEASE_RELEASE: Duration = Duration::from_secs(2);

    /// Maximum Kubernetes Events waiting to be published; further ones are dropped.
    pub const EVENTS_QUEUED: usize = 1024;

    /// Timeout for publishing one Kubernetes Event.
    pub const EVENT_TIMEOUT: Duration = Duration::from_secs(5);

    /// Maximum note of a Kubernetes Event, in bytes; the API server allows 1024.
    pub const EVENT_NOTE_BYTES: usize = 1024;
}
