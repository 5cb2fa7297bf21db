//! Rate limits.
//!
//! ```
//! use std::time::Duration;
//! use grapnel_delivery::rate_limit::{RateLimiter, LimitScope};
//!
//! let limit: RateLimiter = RateLimiter::new(1, Duration::from_secs(60), None, LimitScope::Endpoint)?;
//! assert!(limit.try_acquire().is_ok());
//! let wait = limit.try_acquire().unwrap_err();
//! assert!(wait <= Duration::from_secs(60));
//! # Ok::<(), grapnel_delivery::rate_limit::RateLimitError>(())
//! ```

use std::{
    collections::HashMap,
    fmt,
    net::{IpAddr, Ipv6Addr},
    num::NonZeroU32,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use governor::{
    Quota,
    clock::{Clock, DefaultClock, Reference},
    middleware::NoOpMiddleware,
    state::{InMemoryState, NotKeyed},
};
use grapnel_values::duration;
use parking_lot::RwLock;

use super::limits::{RATE_LIMIT_PRUNE_INTERVAL, RATE_LIMIT_REFILL, RATE_LIMIT_SOURCES};

/// What a limit counts together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitScope {
    /// All requests.
    Endpoint,
    /// Each client address separately; for IPv6 each /64, which is what one client is assigned (RFC 6177, 2).
    Source,
}

/// Why a limit is not valid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RateLimitError {
    /// A number is zero, so that no request would ever be allowed.
    #[error("requests and burst must be at least 1, and per must be greater than zero")]
    Zero,
    /// The rate exceeds one request per nanosecond.
    #[error(
        "{0} requests in {per} exceed one request per nanosecond; lower it or remove the limit",
        per = duration::format(*.1)
    )]
    TooFast(u32, Duration),
    /// The burst would take years to replenish.
    #[error("a burst of {0} takes more than a year to refill at this rate; lower it")]
    TooSlow(u32),
}

/// A rate limit with its state, by the generic cell rate algorithm: `burst` requests at once, then one every `per /
/// requests`.
///
/// Replicas that enforce one limit without asking each other take an equal part of it each: the rate and the burst are
/// divided by their number, the burst down to 1 at least. This is exact only if the requests are spread evenly.
pub struct RateLimiter<C: Clock = DefaultClock> {
    limit: Limit,
    clock: C,
    start: C::Instant,
    buckets: RwLock<Buckets<C>>,
}

type Bucket<C> = governor::RateLimiter<NotKeyed, InMemoryState, C, NoOpMiddleware<<C as Clock>::Instant>>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Limit {
    quota: Quota,
    scope: LimitScope,
}

/// The state of this replica's part.
struct Buckets<C: Clock> {
    /// How many replicas enforce the limit.
    replicas: NonZeroU32,
    /// The part of one of them.
    quota: Quota,
    shared: Bucket<C>,
    sources: SourceBuckets<C>,
}

struct SourceBuckets<C: Clock> {
    buckets: HashMap<IpAddr, SourceBucket<C>>,
    /// When a full table was last searched, in nanoseconds since the start.
    pruned: u64,
}

struct SourceBucket<C: Clock> {
    bucket: Bucket<C>,
    /// When the bucket was last used, in nanoseconds since the start.
    used: AtomicU64,
}

impl RateLimiter {
    /// Creates a limit of `requests` per `per`, and at most `burst` (default: `requests`) at once.
    ///
    /// # Errors
    ///
    /// [`RateLimitError`] when a number is zero or the rate is out of range.
    pub fn new(requests: u32, per: Duration, burst: Option<u32>, scope: LimitScope) -> Result<Self, RateLimitError> {
        Self::with_clock(requests, per, burst, scope, DefaultClock::default())
    }
}

impl<C: Clock + Clone> RateLimiter<C> {
    /// Returns how many requests per minute are allowed in the long run.
    pub fn per_minute(&self) -> u64 {
        let interval = self.limit.quota.replenish_interval().as_nanos().max(1);
        u64::try_from(Duration::from_secs(60).as_nanos() / interval).unwrap_or(u64::MAX)
    }

    fn with_clock(
        requests: u32,
        per: Duration,
        burst: Option<u32>,
        scope: LimitScope,
        clock: C,
    ) -> Result<Self, RateLimitError> {
        let (Some(count), Some(burst)) = (NonZeroU32::new(requests), NonZeroU32::new(burst.unwrap_or(requests))) else {
            return Err(RateLimitError::Zero);
        };
        if per.is_zero() {
            return Err(RateLimitError::Zero);
        }
        let interval = per / count.get();
        if interval.saturating_mul(burst.get()) > RATE_LIMIT_REFILL {
            return Err(RateLimitError::TooSlow(burst.get()));
        }
        let quota = Quota::with_period(interval).ok_or(RateLimitError::TooFast(requests, per))?.allow_burst(burst);
        let limit = Limit { quota, scope };
        let buckets = RwLock::new(Buckets::new(quota, NonZeroU32::MIN, &clock));
        Ok(Self { limit, start: clock.now(), clock, buckets })
    }

    /// Counts a request from `source`, with the part of the limit of one of `replicas`. Requests with an unknown source
    /// are counted together. When the number of replicas changes, the count begins anew.
    ///
    /// # Errors
    ///
    /// The time to wait until a request would be allowed.
    pub fn check(&self, source: Option<IpAddr>, replicas: usize) -> Result<(), Duration> {
        let replicas = u32::try_from(replicas).ok().and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MIN);
        if self.buckets.read().replicas != replicas {
            let mut buckets = self.buckets.write();
            if buckets.replicas != replicas {
                *buckets = Buckets::new(self.limit.quota, replicas, &self.clock);
            }
        }
        match (self.limit.scope, source) {
            (LimitScope::Source, Some(source)) => self.check_source(client(source)),
            _ => self.try_acquire(),
        }
    }

    /// Counts one use of the limit, regardless of its source.
    ///
    /// # Errors
    ///
    /// The time to wait until a request would be allowed.
    pub fn try_acquire(&self) -> Result<(), Duration> {
        self.take(&self.buckets.read().shared)
    }

    /// Returns whether another limit allows the same rate, regardless of its state.
    pub fn is_same_limit(&self, other: &Self) -> bool {
        self.limit == other.limit
    }

    fn check_source(&self, source: IpAddr) -> Result<(), Duration> {
        let now = self.nanos();
        if let Some(known) = self.buckets.read().sources.buckets.get(&source) {
            known.used.store(now, Ordering::Relaxed);
            return self.take(&known.bucket);
        }
        let mut buckets = self.buckets.write();
        let Buckets { quota, sources, .. } = &mut *buckets;
        if sources.buckets.len() >= RATE_LIMIT_SOURCES && !sources.buckets.contains_key(&source) {
            let prune_interval = nanos(RATE_LIMIT_PRUNE_INTERVAL);
            if now.saturating_sub(sources.pruned) >= prune_interval || sources.pruned == 0 {
                // A bucket that was unused for the time it needs to replenish equals a new one.
                let full = nanos(quota.burst_size_replenished_in());
                sources.buckets.retain(|_, known| now.saturating_sub(known.used.load(Ordering::Relaxed)) < full);
                sources.pruned = now.max(1);
            }
            if sources.buckets.len() >= RATE_LIMIT_SOURCES {
                drop(buckets);
                return self.try_acquire();
            }
        }
        let known = sources
            .buckets
            .entry(source)
            .or_insert_with(|| SourceBucket { bucket: bucket(*quota, &self.clock), used: AtomicU64::new(now) });
        self.take(&known.bucket)
    }

    fn take(&self, bucket: &Bucket<C>) -> Result<(), Duration> {
        bucket.check().map_err(|until| until.wait_time_from(self.clock.now()))
    }

    fn nanos(&self) -> u64 {
        self.clock.now().duration_since(self.start).as_u64()
    }
}

impl<C: Clock + Clone> Buckets<C> {
    fn new(whole: Quota, replicas: NonZeroU32, clock: &C) -> Self {
        let quota = part(whole, replicas);
        let sources = SourceBuckets { buckets: HashMap::new(), pruned: 0 };
        Self { replicas, quota, shared: bucket(quota, clock), sources }
    }
}

/// The part of a quota that one of the replicas has.
fn part(whole: Quota, replicas: NonZeroU32) -> Quota {
    let interval = whole.replenish_interval().saturating_mul(replicas.get());
    let burst = NonZeroU32::new(whole.burst_size().get() / replicas).unwrap_or(NonZeroU32::MIN);
    // The interval of a valid quota is not zero.
    Quota::with_period(interval).map_or(whole, |quota| quota.allow_burst(burst))
}

fn bucket<C: Clock + Clone>(quota: Quota, clock: &C) -> Bucket<C> {
    governor::RateLimiter::direct_with_clock(quota, clock.clone())
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Returns the address or prefix that identifies a client.
fn client(source: IpAddr) -> IpAddr {
    match source.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
        v4 => v4,
    }
}

impl<C: Clock> fmt::Debug for RateLimiter<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimit").field("limit", &self.limit).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use governor::clock::FakeRelativeClock;

    use super::*;

    fn limit(
        requests: u32,
        burst: Option<u32>,
        scope: LimitScope,
    ) -> (RateLimiter<FakeRelativeClock>, FakeRelativeClock) {
        let clock = FakeRelativeClock::default();
        let limit = RateLimiter::with_clock(requests, Duration::from_secs(1), burst, scope, clock.clone()).unwrap();
        (limit, clock)
    }

    fn v4(number: u32) -> Option<IpAddr> {
        Some(IpAddr::V4(number.into()))
    }

    #[test]
    fn a_burst_then_a_rate() {
        let (limit, clock) = limit(10, Some(3), LimitScope::Endpoint);
        for source in [None, v4(1), v4(2)] {
            assert_eq!(limit.check(source, 1), Ok(()));
        }
        assert_eq!(limit.check(v4(3), 1), Err(Duration::from_millis(100)));
        clock.advance(Duration::from_millis(100));
        assert_eq!(limit.try_acquire(), Ok(()));
        assert_eq!(limit.try_acquire(), Err(Duration::from_millis(100)));
        clock.advance(Duration::from_secs(60));
        assert_eq!((0..9).filter(|_| limit.try_acquire().is_ok()).count(), 3, "no more than the burst gathers");
    }

    #[test]
    fn sources_have_buckets_of_their_own() {
        let (limit, _) = limit(1, None, LimitScope::Source);
        assert!(limit.check(v4(1), 1).is_ok() && limit.check(v4(2), 1).is_ok() && limit.check(None, 1).is_ok());
        assert!(limit.check(v4(1), 1).is_err() && limit.check(v4(2), 1).is_err() && limit.check(None, 1).is_err());
        let mapped: IpAddr = "::ffff:0.0.0.1".parse().unwrap();
        assert!(limit.check(Some(mapped), 1).is_err(), "the same client, however it is written");
        let v6 = |text: &str| Some(text.parse::<IpAddr>().unwrap());
        assert!(limit.check(v6("2001:db8::1"), 1).is_ok());
        assert!(limit.check(v6("2001:db8::ffff:1"), 1).is_err(), "the same /64");
        assert!(limit.check(v6("2001:db8:0:1::1"), 1).is_ok(), "another /64");
    }

    #[test]
    fn the_table_of_sources_is_bounded() {
        let (limit, clock) = limit(1, None, LimitScope::Source);
        clock.advance(Duration::from_secs(1));
        let sources = u32::try_from(RATE_LIMIT_SOURCES).unwrap();
        for number in 0..sources {
            assert!(limit.check(v4(number), 1).is_ok());
        }
        assert!(limit.check(v4(sources), 1).is_ok(), "the shared bucket");
        assert!(limit.check(v4(sources + 1), 1).is_err(), "is one for all the rest");
        assert!(limit.check(v4(0), 1).is_err(), "who has a bucket keeps it");
        assert_eq!(limit.buckets.read().sources.buckets.len(), RATE_LIMIT_SOURCES);

        clock.advance(Duration::from_secs(2));
        assert!(limit.check(v4(0), 1).is_ok());
        assert!(limit.check(v4(sources + 2), 1).is_ok());
        assert!(limit.check(v4(sources + 3), 1).is_ok(), "full buckets made room");
        assert_eq!(limit.buckets.read().sources.buckets.len(), 3);
        assert!(limit.check(v4(0), 1).is_err(), "but not those in use");
    }

    #[test]
    fn nonsense_is_refused() {
        let new = |requests, per, burst| RateLimiter::new(requests, per, burst, LimitScope::Endpoint).map(drop);
        let second = Duration::from_secs(1);
        assert_eq!(new(0, second, None), Err(RateLimitError::Zero));
        assert_eq!(new(1, Duration::ZERO, None), Err(RateLimitError::Zero));
        assert_eq!(new(1, second, Some(0)), Err(RateLimitError::Zero));
        assert!(matches!(new(2_000_000_000, second, None), Err(RateLimitError::TooFast(..))));
        assert!(matches!(new(1, Duration::from_secs(86_400), Some(400)), Err(RateLimitError::TooSlow(400))));
        assert_eq!(new(1, Duration::from_secs(3600), None), Ok(()));
        assert_eq!(new(1_000_000, second, Some(1)), Ok(()));
    }

    #[test]
    fn equal_limits_are_recognised() {
        let new = |requests, scope| RateLimiter::new(requests, Duration::from_secs(1), None, scope).unwrap();
        assert!(new(5, LimitScope::Endpoint).is_same_limit(&new(5, LimitScope::Endpoint)));
        assert!(!new(5, LimitScope::Endpoint).is_same_limit(&new(6, LimitScope::Endpoint)));
        assert!(!new(5, LimitScope::Endpoint).is_same_limit(&new(5, LimitScope::Source)));
    }

    #[test]
    fn replicas_share_a_limit() {
        let (limit, clock) = limit(10, Some(6), LimitScope::Endpoint);
        let allowed = |replicas| (0..20).filter(|_| limit.check(None, replicas).is_ok()).count();
        assert_eq!(allowed(3), 2, "a third of the burst");
        assert_eq!(limit.check(None, 3), Err(Duration::from_millis(300)), "a third of the rate");
        clock.advance(Duration::from_millis(300));
        assert_eq!(allowed(3), 1);
        assert_eq!(allowed(1), 6, "the others are gone");
        assert_eq!(allowed(100), 1, "at least one");
        assert_eq!(allowed(0), 6, "this replica is one");
    }

    #[test]
    fn replicas_share_the_limit_of_a_source() {
        let (limit, clock) = limit(4, None, LimitScope::Source);
        let allowed = |source| (0..20).filter(|_| limit.check(v4(source), 2).is_ok()).count();
        assert_eq!((allowed(1), allowed(2)), (2, 2));
        clock.advance(Duration::from_millis(500));
        assert_eq!(allowed(1), 1);
    }
}
