//! Bounds of the controller.

use std::time::Duration;

grapnel_values::bounds! {
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

    /// Time for giving the Lease back at shutdown.
    pub const LEASE_RELEASE: Duration = Duration::from_secs(2);

    /// Kubernetes Events that may wait to be published; further ones are dropped.
    pub const EVENTS_QUEUED: usize = 1024;

    /// Time for publishing one Kubernetes Event.
    pub const EVENT_TIMEOUT: Duration = Duration::from_secs(5);

    /// Longest note of a Kubernetes Event, in bytes; the API server allows 1024.
    pub const EVENT_NOTE_BYTES: usize = 1024;
}
