//! What is known about a connection, so that a quiet or a slow one can be ended.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use http::Version;
use tokio::{sync::Notify, time::Instant};

/// Kept by the connection's stream and by its requests, read by whoever drives the connection.
///
/// Times are milliseconds since `opened`, plus one, so that 0 says that there is none.
#[derive(Debug)]
pub(crate) struct Activity {
    opened: Instant,
    requests: AtomicUsize,
    quiet_since: AtomicU64,
    head_since: AtomicU64,
    multiplexed: AtomicBool,
    unread: AtomicBool,
    /// The last time at which the client did something whole: it connected, or sent a head, or was answered.
    moved: AtomicU64,
    /// Requests under way whose body has been read.
    answering: AtomicUsize,
    asked_to_go: AtomicBool,
    go: Notify,
}

/// What to do with a connection.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    /// A request is under way; it has its own time.
    Busy,
    /// Fine until then.
    Until(Instant),
    /// Nothing was asked for a long time, so that nothing is lost by an orderly end.
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
            asked_to_go: AtomicBool::new(false),
            go: Notify::new(),
        })
    }

    fn since_opened(&self, now: Instant) -> u64 {
        u64::try_from((now - self.opened).as_millis()).unwrap_or(u64::MAX).saturating_add(1)
    }

    /// Bytes came in. While no request is under way they begin the head of one, except on a multiplexed connection,
    /// where they may be an answer to a ping.
    pub(crate) fn read(&self, now: impl FnOnce() -> Instant) {
        if self.requests.load(Relaxed) == 0 && !self.multiplexed.load(Relaxed) && self.head_since.load(Relaxed) == 0 {
            self.head_since.store(self.since_opened(now()), Relaxed);
        }
    }

    /// The head of a request is complete. The request is under way until the guard is dropped.
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

    /// The client has taken something of an answer. Only a server with answers that take their time has to tell.
    pub(crate) fn takes(&self) {
        self.moved.store(self.since_opened(Instant::now()), Relaxed);
    }

    /// The last request was answered before its body was read.
    pub(crate) fn leave_unread(&self) {
        self.unread.store(true, Relaxed);
    }

    /// Whether the client may still be sending something that nobody reads: a body, or a head that was refused.
    pub(crate) fn left_unread(&self) -> bool {
        self.unread.load(Relaxed) || self.head_since.load(Relaxed) > 0
    }

    fn end_request(&self, now: Instant) {
        let now = self.since_opened(now);
        self.quiet_since.store(now, Relaxed);
        self.moved.store(now, Relaxed);
        self.requests.fetch_sub(1, Relaxed);
    }

    /// How long all there is to do has been the client's turn; `None` while a request is being answered. Bytes that
    /// complete nothing do not count, or a byte a second would be as good as a request.
    pub(crate) fn waits_for_client(&self, now: Instant) -> Option<Duration> {
        let waited = || self.since_opened(now).saturating_sub(self.moved.load(Relaxed));
        (self.answering.load(Relaxed) == 0).then(waited).map(Duration::from_millis)
    }

    /// Asks the connection to make room for another. Whether it had not been asked before.
    pub(crate) fn ask_to_go(&self) -> bool {
        let first = !self.asked_to_go.swap(true, Relaxed);
        if first {
            self.go.notify_one();
        }
        first
    }

    /// Whether it has been asked to make room, and has not decided to stay.
    pub(crate) fn has_been_asked_to_go(&self) -> bool {
        self.asked_to_go.load(Relaxed)
    }

    /// Comes back when somebody has asked the connection to go.
    pub(crate) async fn is_asked_to_go(&self) {
        self.go.notified().await;
    }

    /// Stays after all: in the meantime a request has come.
    pub(crate) fn stay(&self) {
        self.asked_to_go.store(false, Relaxed);
    }

    /// How long to be patient, seen from `now`.
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

/// A request under way.
#[derive(Debug)]
pub(crate) struct RequestGuard {
    activity: Arc<Activity>,
    read: AtomicBool,
}

impl RequestGuard {
    /// Its body has been read to its end, so that it is our turn.
    pub(crate) fn has_been_read(&self) {
        if !self.read.swap(true, Relaxed) {
            self.activity.answering.fetch_add(1, Relaxed);
        }
    }

    /// Whether something of its body may be on its way.
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

    /// A request that ends at a given second.
    fn request(activity: &Arc<Activity>, version: Version, ends: u64) {
        let underway = activity.request(version);
        activity.end_request(at(activity, ends));
        std::mem::forget(underway);
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
        let underway = activity.request(Version::HTTP_11);
        assert_eq!(patience(&activity, 1000), Patience::Busy);
        request(&activity, Version::HTTP_11, 1000);
        assert_eq!(patience(&activity, 1000), Patience::Busy, "one of two has ended");
        drop(underway);
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
        assert!(activity.ask_to_go() && !activity.ask_to_go());
        activity.stay();
        assert!(activity.ask_to_go());
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
