//! What is known about a connection, so that a quiet or a slow one can be ended.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use http::Version;
use tokio::time::Instant;

/// Kept by the connection's stream and by its requests, read by whoever drives the connection.
///
/// Times are milliseconds since `opened`, plus one, so that 0 says that there is none.
#[derive(Debug)]
pub(super) struct Activity {
    opened: Instant,
    requests: AtomicUsize,
    quiet_since: AtomicU64,
    head_since: AtomicU64,
    multiplexed: AtomicBool,
    unread: AtomicBool,
}

/// What to do with a connection.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Patience {
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
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            opened: Instant::now(),
            requests: AtomicUsize::new(0),
            quiet_since: AtomicU64::new(0),
            head_since: AtomicU64::new(0),
            multiplexed: AtomicBool::new(false),
            unread: AtomicBool::new(false),
        })
    }

    fn now(&self) -> u64 {
        u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX).saturating_add(1)
    }

    /// Bytes came in. While no request is under way they begin the head of one, except on a multiplexed connection,
    /// where they may be an answer to a ping.
    pub(super) fn read(&self) {
        if self.requests.load(Relaxed) == 0 && !self.multiplexed.load(Relaxed) && self.head_since.load(Relaxed) == 0 {
            self.head_since.store(self.now(), Relaxed);
        }
    }

    /// The head of a request is complete. The request is under way until the guard is dropped.
    pub(super) fn request(self: &Arc<Self>, version: Version) -> Underway {
        self.requests.fetch_add(1, Relaxed);
        self.head_since.store(0, Relaxed);
        self.unread.store(false, Relaxed);
        if version == Version::HTTP_2 {
            self.multiplexed.store(true, Relaxed);
        }
        Underway(Arc::clone(self))
    }

    /// The last request was answered before its body was read.
    pub(super) fn leave_unread(&self) {
        self.unread.store(true, Relaxed);
    }

    /// Whether the client may still be sending something that nobody reads: a body, or a head that was refused.
    pub(super) fn left_unread(&self) -> bool {
        self.unread.load(Relaxed) || self.head_since.load(Relaxed) > 0
    }

    /// How long to be patient.
    pub(super) fn patience(&self, head_timeout: Duration, idle_timeout: Duration) -> Patience {
        if self.requests.load(Relaxed) > 0 {
            return Patience::Busy;
        }
        let (since, timeout, over) = match (self.head_since.load(Relaxed), self.quiet_since.load(Relaxed)) {
            (0, 0) => (1, head_timeout, Patience::Stalled),
            (0, quiet) => (quiet, idle_timeout, Patience::Idle),
            (head, _) => (head, head_timeout, Patience::Stalled),
        };
        let until = self.opened + Duration::from_millis(since.saturating_sub(1)) + timeout;
        if Instant::now() >= until { over } else { Patience::Until(until) }
    }
}

/// A request under way.
#[derive(Debug)]
pub(super) struct Underway(Arc<Activity>);

impl Drop for Underway {
    fn drop(&mut self) {
        self.0.quiet_since.store(self.0.now(), Relaxed);
        self.0.requests.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: Duration = Duration::from_secs(10);
    const IDLE: Duration = Duration::from_secs(75);

    fn until(activity: &Activity, seconds: u64) -> bool {
        activity.patience(HEAD, IDLE) == Patience::Until(activity.opened + Duration::from_secs(seconds))
    }

    async fn pass(seconds: u64) {
        tokio::time::advance(Duration::from_secs(seconds)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_or_slow_beginner_is_stalled() {
        let activity = Activity::new();
        assert!(until(&activity, 10));
        pass(4).await;
        activity.read();
        pass(4).await;
        activity.read();
        assert!(until(&activity, 14), "from the first byte, not from the last");
        pass(6).await;
        assert_eq!(activity.patience(HEAD, IDLE), Patience::Stalled);
    }

    #[tokio::test(start_paused = true)]
    async fn requests_are_left_alone_and_then_idle_time_begins() {
        let activity = Activity::new();
        activity.read();
        let (first, second) = (activity.request(Version::HTTP_11), activity.request(Version::HTTP_11));
        pass(1000).await;
        assert_eq!(activity.patience(HEAD, IDLE), Patience::Busy);
        drop(first);
        assert_eq!(activity.patience(HEAD, IDLE), Patience::Busy);
        drop(second);
        assert!(until(&activity, 1075));
        pass(75).await;
        assert_eq!(activity.patience(HEAD, IDLE), Patience::Idle);
        activity.read();
        assert!(until(&activity, 1085), "a head has begun");
    }

    #[tokio::test(start_paused = true)]
    async fn pings_do_not_begin_a_head() {
        let activity = Activity::new();
        drop(activity.request(Version::HTTP_2));
        pass(1).await;
        activity.read();
        assert!(until(&activity, 75));
    }
}
