//! A cache of reviews: each question is asked once, however many callers wait, and its result is kept for a while.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use futures_util::{FutureExt, future::BoxFuture};
use grapnel_delivery::rate_limit::{LimitScope, RateLimiter};
use grapnel_values::clock::Clock;
use jiff::Timestamp;
use tokio::{
    sync::Semaphore,
    time::{Instant, sleep, timeout},
};

use crate::{
    cache::{BoundedCache, SingleFlight},
    controller::limits::{REVIEW_BURST, REVIEW_LOG_INTERVAL, REVIEW_TIMEOUT, REVIEWS_PER_SECOND},
};

/// The key of a question: a digest, so that no token is kept.
pub(super) type Key = [u8; 32];

/// Why there is no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum ReviewUnavailable {
    #[error("the API server cannot be reached: {0}")]
    Unreachable(Arc<str>),
    #[error("the API server does not let grapnel create tokenreviews and subjectaccessreviews; bind its ClusterRole")]
    Forbidden,
    #[error("the API server answers with status {0}")]
    Refused(u16),
    #[error("the API server's answer cannot be read")]
    Answer,
    #[error("no answer in time: the API server is slow, or too much is asked at once")]
    Timeout,
    #[error("too much is asked at once")]
    Busy,
}

impl ReviewUnavailable {
    fn kind(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "unreachable",
            Self::Forbidden => "forbidden",
            Self::Refused(_) => "refused",
            Self::Answer => "answer",
            Self::Timeout => "timeout",
            Self::Busy => "busy",
        }
    }
}

/// A result: positive with its content, or negative.
pub(super) type ReviewResult<T> = Result<Option<T>, ReviewUnavailable>;

/// Bounds of the cache and of the calls.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Maximum positive results; beyond it, the least recently used is evicted.
    pub(super) yes_entries: usize,
    /// How long a positive result is valid.
    pub(super) yes_for: Duration,
    /// Maximum negative results.
    pub(super) no_entries: usize,
    /// How long a negative result is valid.
    pub(super) no_for: Duration,
    /// Maximum calls in flight.
    pub(super) at_once: usize,
    /// Maximum calls in flight or waiting for a permit; a further one is not begun.
    pub(super) waiting: usize,
}

/// Results of one kind of question.
pub(super) struct ReviewCache<T> {
    yes: BoundedCache<Key, Remembered<T>>,
    // Separate, so that made-up tokens cannot evict valid ones.
    no: BoundedCache<Key, Remembered<()>>,
    calls: SingleFlight<Key, ReviewResult<T>>,
    bounds: Bounds,
    slots: Semaphore,
    /// Limits the rate of calls, so that made-up tokens cannot overload the API server.
    pace: Option<RateLimiter>,
    clock: Arc<dyn Clock>,
    started: Instant,
    /// Milliseconds since `started` after which an error may be logged again.
    log_again: AtomicU64,
}

/// A result and when it is valid.
#[derive(Clone)]
struct Remembered<T> {
    // A clock that is set back must not extend the validity of a result.
    since: Timestamp,
    until: Timestamp,
    value: T,
}

/// Why no call is begun.
enum NoCall<T> {
    Known(Option<T>),
    Busy,
}

impl<T: Clone + Send + Sync + 'static> ReviewCache<T> {
    pub(super) fn new(bounds: Bounds, clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self {
            yes: BoundedCache::new(bounds.yes_entries),
            no: BoundedCache::new(bounds.no_entries),
            calls: SingleFlight::default(),
            bounds,
            slots: Semaphore::new(bounds.at_once),
            pace: pace().ok(),
            clock,
            started: Instant::now(),
            log_again: AtomicU64::new(0),
        })
    }

    /// The cached result of a question.
    pub(super) fn known(&self, key: &Key) -> Option<Option<T>> {
        let now = self.clock.now();
        let yes = self.yes.get(key).and_then(|found| found.valid(now)).map(Some);
        yes.or_else(|| self.no.get(key)?.valid(now).map(|()| None))
    }

    /// The result of a question: cached, from a call in flight, or from a new `call`. A positive result is valid until
    /// `expires` at most. When all waiters have gone, the call is cancelled.
    pub(super) async fn answer<F>(
        self: &Arc<Self>,
        key: Key,
        expires: Option<Timestamp>,
        call: impl FnOnce() -> F,
    ) -> ReviewResult<T>
    where
        F: Future<Output = ReviewResult<T>> + Send + 'static,
    {
        if let Some(known) = self.known(&key) {
            return Ok(known);
        }
        let joined = self.calls.join(&key, |calls| match self.known(&key) {
            // A call has ended since.
            Some(known) => Err(NoCall::Known(known)),
            None if calls >= self.bounds.waiting => Err(NoCall::Busy),
            None => Ok(Arc::clone(self).begin(key, expires, call())),
        });
        match joined {
            Ok(flight) => flight.await,
            Err(NoCall::Known(known)) => Ok(known),
            Err(NoCall::Busy) => {
                self.warn_throttled(&ReviewUnavailable::Busy);
                Err(ReviewUnavailable::Busy)
            }
        }
    }

    /// A call that stores its result.
    fn begin(
        self: Arc<Self>,
        key: Key,
        expires: Option<Timestamp>,
        call: impl Future<Output = ReviewResult<T>> + Send + 'static,
    ) -> BoxFuture<'static, ReviewResult<T>> {
        async move {
            let answer = timeout(REVIEW_TIMEOUT, self.in_turn(call)).await.unwrap_or(Err(ReviewUnavailable::Timeout));
            match &answer {
                Ok(answer) => self.remember(key, answer.as_ref(), expires),
                Err(error) => self.warn_throttled(error),
            }
            answer
        }
        .boxed()
    }

    async fn in_turn(&self, call: impl Future<Output = ReviewResult<T>>) -> ReviewResult<T> {
        // The semaphore is never closed.
        let _slot = self.slots.acquire().await.map_err(|_| ReviewUnavailable::Timeout)?;
        while let Some(Err(wait)) = self.pace.as_ref().map(RateLimiter::try_acquire) {
            sleep(wait).await;
        }
        call.await
    }

    fn remember(&self, key: Key, answer: Option<&T>, expires: Option<Timestamp>) {
        let now = self.clock.now();
        let after = |time: Duration| now.checked_add(time).unwrap_or(Timestamp::MAX);
        match answer {
            Some(value) => {
                let until = after(self.bounds.yes_for).min(expires.unwrap_or(Timestamp::MAX));
                if until > now {
                    self.yes.insert(key, Remembered { since: now, until, value: value.clone() });
                }
            }
            None => self.no.insert(key, Remembered { since: now, until: after(self.bounds.no_for), value: () }),
        }
    }

    /// Logs an error, at a limited rate.
    fn warn_throttled(&self, error: &ReviewUnavailable) {
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let next = now.saturating_add(u64::try_from(REVIEW_LOG_INTERVAL.as_millis()).unwrap_or(u64::MAX));
        if self.log_again.fetch_update(Relaxed, Relaxed, |again| (now >= again).then_some(next)).is_ok() {
            tracing::warn!(kind = error.kind(), %error, "callers cannot be reviewed");
        }
    }

    #[cfg(test)]
    pub(super) fn sizes(&self) -> (usize, usize, usize) {
        (self.yes.len(), self.no.len(), self.calls.len())
    }
}

fn pace() -> Result<RateLimiter, grapnel_delivery::rate_limit::RateLimitError> {
    RateLimiter::new(REVIEWS_PER_SECOND, Duration::from_secs(1), Some(REVIEW_BURST), LimitScope::Endpoint)
}

impl<T> Remembered<T> {
    /// The result, if it is valid now.
    fn valid(self, now: Timestamp) -> Option<T> {
        (self.since <= now && now < self.until).then_some(self.value)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use grapnel_values::clock::ManualClock;
    use tokio::sync::Notify;

    use super::*;

    const BOUNDS: Bounds = Bounds {
        yes_entries: 4,
        yes_for: Duration::from_secs(60),
        no_entries: 3,
        no_for: Duration::from_secs(10),
        at_once: 2,
        waiting: 5,
    };

    fn key(number: u8) -> Key {
        [number; 32]
    }

    fn ledger() -> (Arc<ReviewCache<u32>>, Arc<ManualClock>) {
        let clock = Arc::new(ManualClock::new(Timestamp::from_second(1000).unwrap()));
        (ReviewCache::new(BOUNDS, clock.clone()), clock)
    }

    async fn put(
        ledger: &Arc<ReviewCache<u32>>,
        number: u8,
        answer: ReviewResult<u32>,
        expires: Option<i64>,
    ) -> ReviewResult<u32> {
        let expires = expires.map(|second| Timestamp::from_second(second).unwrap());
        ledger.answer(key(number), expires, || async move { answer }).await
    }

    #[test]
    fn the_pace_makes_sense() {
        assert!(pace().is_ok());
    }

    #[tokio::test]
    async fn an_answer_holds_for_its_time() {
        let (ledger, clock) = ledger();
        assert_eq!(put(&ledger, 1, Ok(Some(7)), None).await, Ok(Some(7)));
        assert_eq!(put(&ledger, 2, Ok(None), None).await, Ok(None));
        assert_eq!(put(&ledger, 1, Ok(Some(8)), None).await, Ok(Some(7)), "it is not asked again");
        assert_eq!(ledger.known(&key(2)), Some(None));
        assert_eq!(ledger.known(&key(3)), None);
        clock.advance(BOUNDS.no_for);
        assert_eq!((ledger.known(&key(1)), ledger.known(&key(2))), (Some(Some(7)), None));
        clock.advance(BOUNDS.yes_for - BOUNDS.no_for);
        assert_eq!(put(&ledger, 1, Ok(Some(8)), None).await, Ok(Some(8)), "it is asked again");
        clock.set(Timestamp::from_second(10).unwrap());
        assert_eq!(ledger.known(&key(1)), None, "a clock that is set back makes nothing hold for longer");
    }

    #[tokio::test]
    async fn a_yes_does_not_outlive_its_token() {
        let (ledger, clock) = ledger();
        put(&ledger, 1, Ok(Some(7)), Some(1005)).await.unwrap();
        clock.advance(Duration::from_secs(4));
        assert_eq!(ledger.known(&key(1)), Some(Some(7)));
        clock.advance(Duration::from_secs(1));
        assert_eq!(ledger.known(&key(1)), None);
        assert_eq!(put(&ledger, 2, Ok(Some(7)), Some(1000)).await, Ok(Some(7)));
        assert_eq!(ledger.known(&key(2)), None, "what is over already is not kept");
    }

    #[tokio::test]
    async fn trouble_is_not_remembered() {
        let (ledger, _) = ledger();
        assert_eq!(
            put(&ledger, 1, Err(ReviewUnavailable::Refused(500)), None).await,
            Err(ReviewUnavailable::Refused(500))
        );
        assert_eq!(put(&ledger, 1, Ok(Some(1)), None).await, Ok(Some(1)));
    }

    #[tokio::test]
    async fn no_drives_out_no_yes() {
        let (ledger, _) = ledger();
        for number in 0..4 {
            put(&ledger, number, Ok(Some(1)), None).await.unwrap();
        }
        for number in 10..200 {
            put(&ledger, number, Ok(None), None).await.unwrap();
        }
        assert_eq!(ledger.sizes(), (4, 3, 0));
        assert!((0..4).all(|number| ledger.known(&key(number)) == Some(Some(1))));
        put(&ledger, 5, Ok(Some(1)), None).await.unwrap();
        assert_eq!(ledger.sizes(), (4, 3, 0));
        assert!(ledger.known(&key(5)).is_some(), "the newest is kept");
    }

    #[tokio::test]
    async fn equal_reviews_are_requested_once() {
        let (ledger, _) = ledger();
        let (calls, go) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
        let ask = || {
            let (ledger, calls, go) = (ledger.clone(), calls.clone(), go.clone());
            async move {
                let call = || async move {
                    calls.fetch_add(1, Relaxed);
                    go.notified().await;
                    Ok(Some(7))
                };
                ledger.answer(key(1), None, call).await
            }
        };
        let mut waiting: Vec<_> = (0..50).map(|_| Box::pin(ask())).collect();
        for one in &mut waiting {
            assert!(futures_util::poll!(one).is_pending());
        }
        assert_eq!((calls.load(Relaxed), ledger.sizes().2), (1, 1));
        // The first waiter, which began the call, goes; the others still get its result.
        drop(waiting.remove(0));
        go.notify_one();
        for one in waiting {
            assert_eq!(one.await, Ok(Some(7)));
        }
        assert_eq!((calls.load(Relaxed), ledger.sizes()), (1, (1, 0, 0)));
    }

    #[tokio::test]
    async fn when_all_have_gone_so_has_the_call() {
        let (ledger, _) = ledger();
        let mut waiting = Box::pin(ledger.answer(key(1), None, std::future::pending));
        assert!(futures_util::poll!(&mut waiting).is_pending());
        drop(waiting);
        assert_eq!(ledger.sizes(), (0, 0, 0));
        assert_eq!(put(&ledger, 1, Ok(Some(1)), None).await, Ok(Some(1)));
    }

    #[tokio::test(start_paused = true)]
    async fn calls_in_flight_are_limited_in_number_and_time() {
        let (ledger, _) = ledger();
        let calls = Arc::new(AtomicUsize::new(0));
        let mut waiting = Vec::new();
        for number in 0..5 {
            let (ledger, calls) = (ledger.clone(), calls.clone());
            waiting.push(Box::pin(async move {
                let call = || async move {
                    calls.fetch_add(1, Relaxed);
                    std::future::pending().await
                };
                ledger.answer(key(number), None, call).await
            }));
        }
        for one in &mut waiting {
            assert!(futures_util::poll!(one).is_pending());
        }
        assert_eq!(calls.load(Relaxed), BOUNDS.at_once);
        assert_eq!(put(&ledger, 9, Ok(Some(1)), None).await, Err(ReviewUnavailable::Busy), "so many wait already");
        for answer in futures_util::future::join_all(waiting).await {
            assert_eq!(answer, Err(ReviewUnavailable::Timeout));
        }
        assert_eq!(ledger.sizes(), (0, 0, 0));
    }
}
