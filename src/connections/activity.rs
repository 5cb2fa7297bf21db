//! The activity of a connection, by which idle and slow connections are closed.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use http::Version;
use tokio::{sync::Notify, time::Instant};

/// Updated by the connection's stream and its requests, read by the task that drives the connection.
///
/// Times are milliseconds since `opened`, plus one; 0 means none.
#[derive(Debug)]
pub(crate) struct Activity {
    opened: Instant,
    requests: AtomicUsize,
    quiet_since: AtomicU64,
    head_since: AtomicU64,
    multiplexed: AtomicBool,
    unread: AtomicBool,
    /// The last time the client completed something: it connected, sent a head, or received a response.
    moved: AtomicU64,
    /// Requests in flight whose body has been read.
    answering: AtomicUsize,
    close_requested: AtomicBool,
    go: Notify,
}

/// What to do with a connection.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    /// A request is in flight; it has its own timeout.
    Busy,
    /// Nothing to do until then.
    Until(Instant),
    /// No request for a long time: a graceful close loses nothing.
    Idle,
    /// The head of a request, or the first bytes of a connection, took too long.
    Stalled,
}

impl Activity {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            opened: Instant::now(),
            requests: AtomicUsize::new(0),
            quiet_since: AtomicU64::new(0),
            head_since: AtomicU64::new(0),
            multiplexed: AtomicBool::new(false),
            unread: AtomicBool::new(false),
            moved: AtomicU64::new(1),
            answering: AtomicUsize::new(0),
            close_requested: AtomicBool::new(false),
            go: Notify::new(),
        })
    }

    fn since_opened(&self, now: Instant) -> u64 {
        u64::try_from((now - self.opened).as_millis()).unwrap_or(u64::MAX).saturating_add(1)
    }

    /// Records received bytes. While no request is in flight they begin the head of one, except on a multiplexed
    /// connection, where they may be a ping response.
    pub(crate) fn read(&self, now: impl FnOnce() -> Instant) {
        if self.requests.load(Relaxed) == 0 && !self.multiplexed.load(Relaxed) && self.head_since.load(Relaxed) == 0 {
            self.head_since.store(self.since_opened(now()), Relaxed);
        }
    }

    /// Records a complete request head. The request is in flight until the guard is dropped.
    pub(crate) fn request(self: &Arc<Self>, version: Version) -> RequestGuard {
        self.requests.fetch_add(1, Relaxed);
        self.moved.store(self.since_opened(Instant::now()), Relaxed);
        self.head_since.store(0, Relaxed);
        self.unread.store(false, Relaxed);
        if version == Version::HTTP_2 {
            self.multiplexed.store(true, Relaxed);
        }
        RequestGuard { activity: Arc::clone(self), read: AtomicBool::new(false) }
    }

    /// Records that the client has read a part of the response. Only servers with long responses need to call this.
    pub(crate) fn takes(&self) {
        self.moved.store(self.since_opened(Instant::now()), Relaxed);
    }

    /// Records that the last request was answered before its body was read.
    pub(crate) fn leave_unread(&self) {
        self.unread.store(true, Relaxed);
    }

    /// Whether the client may still be sending something unread: a body, or a rejected head.
    pub(crate) fn left_unread(&self) -> bool {
        self.unread.load(Relaxed) || self.head_since.load(Relaxed) > 0
    }

    fn end_request(&self, now: Instant) {
        let now = self.since_opened(now);
        self.quiet_since.store(now, Relaxed);
        self.moved.store(now, Relaxed);
        self.requests.fetch_sub(1, Relaxed);
    }

    /// How long the connection has been waiting only for its client; `None` while a request is being answered. Bytes
    /// that complete nothing do not count; otherwise one byte per second would keep a connection.
    pub(crate) fn waits_for_client(&self, now: Instant) -> Option<Duration> {
        let waited = || self.since_opened(now).saturating_sub(self.moved.load(Relaxed));
        (self.answering.load(Relaxed) == 0).then(waited).map(Duration::from_millis)
    }

    /// Asks the connection to close. Returns whether this is the first time.
    pub(crate) fn request_close(&self) -> bool {
        let first = !self.close_requested.swap(true, Relaxed);
        if first {
            self.go.notify_one();
        }
        first
    }

    /// Whether the connection has been asked to close, and has not decided to stay.
    pub(crate) fn is_close_requested(&self) -> bool {
        self.close_requested.load(Relaxed)
    }

    /// Resolves once the connection has been asked to close.
    pub(crate) async fn close_requested(&self) {
        self.go.notified().await;
    }

    /// Cancels the request to close: a request has arrived in the meantime.
    pub(crate) fn stay(&self) {
        self.close_requested.store(false, Relaxed);
    }

    /// What to do with the connection at `now`.
    pub(crate) fn patience(&self, now: Instant, head_timeout: Duration, idle_timeout: Duration) -> Patience {
        if self.requests.load(Relaxed) > 0 {
            return Patience::Busy;
        }
        let (since, timeout, over) = match (self.head_since.load(Relaxed), self.quiet_since.load(Relaxed)) {
            (0, 0) => (1, head_timeout, Patience::Stalled),
            (0, quiet) => (quiet, idle_timeout, Patience::Idle),
            (head, _) => (head, head_timeout, Patience::Stalled),
        };
        let until = self.opened + Duration::from_millis(since.saturating_sub(1)) + timeout;
        if now >= until { over } else { Patience::Until(until) }
    }
}

/// A request in flight.
#[derive(Debug)]
pub(crate) struct RequestGuard {
    activity: Arc<Activity>,
    read: AtomicBool,
}

impl RequestGuard {
    /// Records that the body has been read to its end: the connection no longer waits for its client.
    pub(crate) fn has_been_read(&self) {
        if !self.read.swap(true, Relaxed) {
            self.activity.answering.fetch_add(1, Relaxed);
        }
    }

    /// Whether a part of the body may still be arriving.
    pub(crate) fn is_unread(&self) -> bool {
        !self.read.load(Relaxed)
    }
}

impl Drop for RequestGuard {
    fn drop(&mut self) {
        if self.read.load(Relaxed) {
            self.activity.answering.fetch_sub(1, Relaxed);
        }
        self.activity.end_request(Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: Duration = Duration::from_secs(10);
    const IDLE: Duration = Duration::from_secs(75);

    fn at(activity: &Activity, seconds: u64) -> Instant {
        activity.opened + Duration::from_secs(seconds)
    }

    fn patience(activity: &Activity, seconds: u64) -> Patience {
        activity.patience(at(activity, seconds), HEAD, IDLE)
    }

    fn until(activity: &Activity, seconds: u64) -> Patience {
        Patience::Until(at(activity, seconds))
    }

    /// A request that ends at the given second.
    fn request(activity: &Arc<Activity>, version: Version, ends: u64) {
        let guard = activity.request(version);
        activity.end_request(at(activity, ends));
        std::mem::forget(guard);
    }

    #[test]
    fn a_silent_or_slow_beginner_is_stalled() {
        let activity = Activity::new();
        assert_eq!(patience(&activity, 0), until(&activity, 10));
        assert_eq!(patience(&activity, 10), Patience::Stalled);
        activity.read(|| at(&activity, 4));
        activity.read(|| at(&activity, 8));
        assert_eq!(patience(&activity, 8), until(&activity, 14), "from the first byte, not from the last");
        assert_eq!(patience(&activity, 14), Patience::Stalled);
    }

    #[test]
    fn requests_are_left_alone_and_then_idle_time_begins() {
        let activity = Activity::new();
        activity.read(|| at(&activity, 0));
        let guard = activity.request(Version::HTTP_11);
        assert_eq!(patience(&activity, 1000), Patience::Busy);
        request(&activity, Version::HTTP_11, 1000);
        assert_eq!(patience(&activity, 1000), Patience::Busy, "one of two has ended");
        drop(guard);
        request(&activity, Version::HTTP_11, 1000);
        assert_eq!(patience(&activity, 1000), until(&activity, 1075));
        assert_eq!(patience(&activity, 1075), Patience::Idle);
        activity.read(|| at(&activity, 1075));
        assert_eq!(patience(&activity, 1075), until(&activity, 1085), "a head has begun");
    }

    #[test]
    fn whose_turn_it_is() {
        let activity = Activity::new();
        let waits = |seconds: u64| activity.waits_for_client(at(&activity, seconds)).map(|waited| waited.as_secs());
        activity.read(|| at(&activity, 3));
        assert_eq!(waits(4), Some(4), "part of a head is nothing");
        let (one, other) = (activity.request(Version::HTTP_2), activity.request(Version::HTTP_2));
        activity.moved.store(activity.since_opened(at(&activity, 5)), Relaxed);
        assert_eq!(waits(7), Some(2), "for the bodies");
        one.has_been_read();
        one.has_been_read();
        assert_eq!((waits(8), one.is_unread(), other.is_unread()), (None, false, true));
        std::mem::forget(other);
        activity.answering.fetch_sub(1, Relaxed);
        std::mem::forget(one);
        activity.end_request(at(&activity, 9));
        assert_eq!(waits(11), Some(2), "since the last answer");
        assert!(activity.request_close() && !activity.request_close());
        activity.stay();
        assert!(activity.request_close());
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_takes_an_answer_keeps_nobody_waiting() {
        let activity = Activity::new();
        drop(activity.request(Version::HTTP_11));
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(activity.waits_for_client(Instant::now()), Some(Duration::from_secs(5)));
        activity.takes();
        assert_eq!(activity.waits_for_client(Instant::now()), Some(Duration::ZERO));
    }

    #[test]
    fn pings_do_not_begin_a_head() {
        let activity = Activity::new();
        request(&activity, Version::HTTP_2, 0);
        activity.read(|| at(&activity, 1));
        assert_eq!(patience(&activity, 1), until(&activity, 75));
        assert!(!activity.left_unread());
    }

    #[test]
    fn what_was_refused_before_it_was_read_is_known_until_the_next_request() {
        let activity = Activity::new();
        assert!(!activity.left_unread());
        activity.read(|| at(&activity, 0));
        assert!(activity.left_unread(), "a head that is not complete");
        request(&activity, Version::HTTP_11, 1);
        assert!(!activity.left_unread());
        activity.leave_unread();
        assert!(activity.left_unread());
        request(&activity, Version::HTTP_11, 2);
        assert!(!activity.left_unread());
    }
}
