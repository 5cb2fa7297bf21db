//! When a request about an HTTPRoute may be sent: a rate for all, a delay after failures for each and for all.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use grapnel_api::ObjectKey;

use super::limits::{
    ROUTE_BURST, ROUTE_PAUSE, ROUTE_PAUSE_MAX, ROUTE_REQUESTS_PER_SECOND, ROUTE_RETRY, ROUTE_RETRY_MAX,
};

/// Decides when requests are sent. Knows no clock: the caller passes the time.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    /// Requests that may be sent at once, and since when more have been due.
    tokens: Option<(f64, Instant)>,
    /// Failures in a row for a reason common to all, and until when nothing is sent.
    pause: (u32, Option<Instant>),
    retries: HashMap<ObjectKey, Retry>,
}

/// Failures in a row of one object.
#[derive(Debug, Clone, Copy)]
struct Retry {
    /// The generation that failed: a newer one is tried at once.
    generation: Option<i64>,
    failures: u32,
    due: Instant,
}

impl Schedule {
    /// Whether a request about the object may be sent now; if so, it counts.
    pub(super) fn admit(&mut self, key: &ObjectKey, generation: Option<i64>, now: Instant) -> bool {
        let waits = |retry: &Retry| retry.generation == generation && now < retry.due;
        !self.retries.get(key).is_some_and(waits) && self.admit_any(now)
    }

    /// The same for a request that is not about one object.
    pub(super) fn admit_any(&mut self, now: Instant) -> bool {
        let burst = f64::from(ROUTE_BURST);
        let (tokens, since) = self.tokens.unwrap_or((burst, now));
        let earned = now.saturating_duration_since(since).as_secs_f64() * f64::from(ROUTE_REQUESTS_PER_SECOND);
        let tokens = (tokens + earned).min(burst);
        let admitted = tokens >= 1.0 && self.pause.1.is_none_or(|until| until <= now);
        self.tokens = Some((if admitted { tokens - 1.0 } else { tokens }, now));
        admitted
    }

    /// A request about the object has succeeded.
    pub(super) fn succeeded(&mut self, key: &ObjectKey) {
        self.retries.remove(key);
        self.pause = (0, None);
    }

    /// A request has failed for a reason of the object's own. `jitter` is from 0 to 1. Returns the failures in a row.
    pub(super) fn failed(&mut self, key: &ObjectKey, generation: Option<i64>, now: Instant, jitter: f64) -> u32 {
        let before = self.retries.get(key).filter(|retry| retry.generation == generation);
        let failures = before.map_or(0, |retry| retry.failures).saturating_add(1);
        let due = now + delay(ROUTE_RETRY, ROUTE_RETRY_MAX, failures, jitter);
        self.retries.insert(key.clone(), Retry { generation, failures, due });
        failures
    }

    /// A request has failed for a reason common to all. `at_least` is the API server's `Retry-After`. Returns the
    /// failures in a row.
    pub(super) fn refused(&mut self, at_least: Duration, now: Instant, jitter: f64) -> u32 {
        let failures = self.pause.0.saturating_add(1);
        let pause = delay(ROUTE_PAUSE, ROUTE_PAUSE_MAX, failures, jitter).max(at_least.min(ROUTE_PAUSE_MAX));
        self.pause = (failures, Some(now + pause));
        failures
    }

    /// Whether an object has failures.
    pub(super) fn has_failures(&self) -> bool {
        !self.retries.is_empty()
    }

    /// Forgets objects that no longer exist.
    pub(super) fn retain(&mut self, exists: impl Fn(&ObjectKey) -> bool) {
        self.retries.retain(|key, _| exists(key));
    }
}

/// `first` doubled for each failure but the first, at most `max`, of which `jitter` removes up to a half.
fn delay(first: Duration, max: Duration, failures: u32, jitter: f64) -> Duration {
    let doubled = first.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(max);
    doubled.mul_f64(1.0 - jitter.clamp(0.0, 1.0) / 2.0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(name: &str) -> ObjectKey {
        ObjectKey::new("shop", name)
    }

    #[test]
    fn a_failed_object_waits_longer_each_time_and_others_do_not() {
        let (mut schedule, start) = (Schedule::default(), Instant::now());
        let mut now = start;
        for expected in [2, 4, 8, 16, 32, 60, 60] {
            assert!(schedule.admit(&key("a"), Some(1), now));
            schedule.failed(&key("a"), Some(1), now, 0.0);
            now += Duration::from_secs(expected) - Duration::from_millis(1);
            assert!(!schedule.admit(&key("a"), Some(1), now), "{expected}");
            assert!(schedule.admit(&key("b"), Some(1), now), "another object");
            now += Duration::from_millis(1);
        }
        schedule.failed(&key("a"), Some(1), now, 0.0);
        assert!(schedule.admit(&key("a"), Some(2), now), "a new generation is tried at once");
        schedule.succeeded(&key("a"));
        assert!(schedule.admit(&key("a"), Some(1), now));
    }

    #[test]
    fn a_common_failure_pauses_all() {
        let (mut schedule, now) = (Schedule::default(), Instant::now());
        schedule.refused(Duration::ZERO, now, 1.0);
        assert!(!schedule.admit(&key("a"), None, now) && !schedule.admit_any(now));
        assert!(schedule.admit_any(now + Duration::from_millis(500)), "jitter removes at most a half");
        schedule.refused(Duration::from_secs(30), now, 0.0);
        assert!(!schedule.admit_any(now + Duration::from_secs(29)), "Retry-After");
        schedule.succeeded(&key("b"));
        assert!(schedule.admit_any(now));
        schedule.refused(Duration::from_secs(3600), now, 0.0);
        assert!(schedule.admit_any(now + ROUTE_PAUSE_MAX), "Retry-After has a maximum");
    }

    proptest! {
        #[test]
        fn the_rate_holds_over_any_number_of_objects(steps in prop::collection::vec((0u64..50, 0u8..200), 1..2000)) {
            let (mut schedule, start) = (Schedule::default(), Instant::now());
            let (mut now, mut admitted) = (start, 0u32);
            for (pause, name) in steps {
                now += Duration::from_millis(pause);
                admitted += u32::from(schedule.admit(&key(&name.to_string()), None, now));
            }
            let seconds = (now - start).as_secs_f64();
            let most = f64::from(ROUTE_BURST) + seconds * f64::from(ROUTE_REQUESTS_PER_SECOND) + 1e-6;
            prop_assert!(f64::from(admitted) <= most, "{admitted} in {seconds} s");
        }
    }
}
