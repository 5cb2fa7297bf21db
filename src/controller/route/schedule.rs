//! When a request about an HTTPRoute may be sent: a rate for all, a delay after failures for each and for all.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use grapnel_api::ObjectKey;

use super::limits::{ROUTE_CALM, ROUTE_PAUSE, ROUTE_PAUSE_MAX, ROUTE_RETRY, ROUTE_RETRY_MAX};
use crate::controller::write_budget::WriteBudget;

/// Decides when requests are sent. Knows no clock: the caller passes the time.
#[derive(Debug)]
pub(super) struct Schedule {
    budget: WriteBudget,
    /// Failures in a row for a reason common to a namespace or, with `None`, to all, and until when nothing is sent.
    pauses: HashMap<Option<Arc<str>>, (u32, Instant)>,
    retries: HashMap<ObjectKey, Retry>,
}

/// Failures in a row of one object, or updates that another writer undid.
#[derive(Debug, Clone, Copy)]
struct Retry {
    /// The generation that failed: a newer one is tried at once.
    generation: Option<i64>,
    failures: u32,
    updates: u32,
    due: Instant,
}

impl Schedule {
    /// Nothing has failed yet.
    pub(super) fn new(budget: WriteBudget) -> Self {
        Self { budget, pauses: HashMap::new(), retries: HashMap::new() }
    }

    /// Whether a request about the object may be sent now; if so, it counts.
    pub(super) fn admit(&mut self, key: &ObjectKey, generation: Option<i64>, now: Instant) -> bool {
        let waits = |retry: &Retry| retry.generation == generation && now < retry.due;
        !self.retries.get(key).is_some_and(waits) && !self.is_paused(Some(&key.namespace), now) && self.admit_any(now)
    }

    /// The same for a request that is not about one object.
    pub(super) fn admit_any(&mut self, now: Instant) -> bool {
        let is_admitted = !self.is_paused(None, now) && self.budget.is_open(now);
        if is_admitted {
            self.budget.take(now);
        }
        is_admitted
    }

    fn is_paused(&self, namespace: Option<&Arc<str>>, now: Instant) -> bool {
        self.pauses.get(&namespace.cloned()).is_some_and(|(_, until)| now < *until)
    }

    /// A route was created or deleted. A read proves nothing: the right to write may be missing.
    pub(super) fn succeeded(&mut self, key: &ObjectKey) {
        self.retries.remove(key);
        self.end_pauses(key);
    }

    /// A route was updated. If the same generation needs one update after the other, another writer undoes them, and each
    /// waits longer. Returns the updates in a row.
    pub(super) fn updated(&mut self, key: &ObjectKey, generation: Option<i64>, now: Instant, jitter: f64) -> u32 {
        self.end_pauses(key);
        let is_recent = |retry: &&Retry| now.saturating_duration_since(retry.due) < ROUTE_CALM;
        let before = self.retries.get(key).filter(|retry| retry.generation == generation).filter(is_recent);
        let updates = before.map_or(0, |retry| retry.updates).saturating_add(1);
        let due = match updates {
            1 => now,
            _ => now + delay(ROUTE_RETRY, ROUTE_RETRY_MAX, updates - 1, jitter),
        };
        self.retries.insert(key.clone(), Retry { generation, failures: 0, updates, due });
        updates
    }

    fn end_pauses(&mut self, key: &ObjectKey) {
        self.pauses.remove(&None);
        self.pauses.remove(&Some(Arc::clone(&key.namespace)));
    }

    /// A request has failed for a reason of the object's own. `jitter` is from 0 to 1. Returns the failures in a row.
    pub(super) fn failed(&mut self, key: &ObjectKey, generation: Option<i64>, now: Instant, jitter: f64) -> u32 {
        let before = self.retries.get(key).filter(|retry| retry.generation == generation);
        let failures = before.map_or(0, |retry| retry.failures).saturating_add(1);
        let due = now + delay(ROUTE_RETRY, ROUTE_RETRY_MAX, failures, jitter);
        self.retries.insert(key.clone(), Retry { generation, failures, updates: 0, due });
        failures
    }

    /// A request has failed for a reason common to a namespace, such as a missing right, or to all (`None`). `at_least` is
    /// the API server's `Retry-After`. Returns the failures in a row.
    pub(super) fn refused(
        &mut self,
        namespace: Option<&Arc<str>>,
        at_least: Duration,
        now: Instant,
        jitter: f64,
    ) -> u32 {
        let before = self.pauses.get(&namespace.cloned());
        let failures = before.map_or(0, |(failures, _)| *failures).saturating_add(1);
        let pause = delay(ROUTE_PAUSE, ROUTE_PAUSE_MAX, failures, jitter).max(at_least.min(ROUTE_PAUSE_MAX));
        self.pauses.insert(namespace.cloned(), (failures, now + pause));
        failures
    }

    /// Whether it remembers an object or a namespace.
    pub(super) fn remembers(&self) -> bool {
        !self.retries.is_empty() || !self.pauses.is_empty()
    }

    /// Forgets objects, and namespaces without objects, that no longer exist.
    pub(super) fn retain(&mut self, exists: impl Fn(&ObjectKey) -> bool, has_objects: impl Fn(&Arc<str>) -> bool) {
        self.retries.retain(|key, _| exists(key));
        self.pauses.retain(|namespace, _| namespace.as_ref().is_none_or(&has_objects));
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
    use crate::controller::{limits::ROUTE_BURST, write_budget::WriteBudgets};

    const PER_SECOND: u32 = 10;

    fn schedule() -> Schedule {
        Schedule::new(WriteBudgets::new(PER_SECOND).routes)
    }

    fn key(name: &str) -> ObjectKey {
        ObjectKey::new("shop", name)
    }

    #[test]
    fn a_failed_object_waits_longer_each_time_and_others_do_not() {
        let (mut schedule, start) = (schedule(), Instant::now());
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
        let (mut schedule, now) = (schedule(), Instant::now());
        schedule.refused(None, Duration::ZERO, now, 1.0);
        assert!(!schedule.admit(&key("a"), None, now) && !schedule.admit_any(now));
        assert!(schedule.admit_any(now + Duration::from_millis(500)), "jitter removes at most a half");
        schedule.refused(None, Duration::from_secs(30), now, 0.0);
        assert!(!schedule.admit_any(now + Duration::from_secs(29)), "Retry-After");
        schedule.succeeded(&key("b"));
        assert!(schedule.admit_any(now));
        schedule.refused(None, Duration::from_secs(3600), now, 0.0);
        assert!(schedule.admit_any(now + ROUTE_PAUSE_MAX), "Retry-After has a maximum");
    }

    #[test]
    fn a_right_that_is_missing_in_one_namespace_delays_no_other() {
        let (mut schedule, now) = (schedule(), Instant::now());
        let other = ObjectKey::new("billing", "a");
        for failures in 1..9 {
            assert_eq!(schedule.refused(Some(&key("a").namespace), Duration::ZERO, now, 0.0), failures);
            schedule.succeeded(&other);
        }
        assert!(!schedule.admit(&key("b"), None, now) && schedule.admit(&other, None, now));
        let now = now + ROUTE_PAUSE_MAX;
        assert!(schedule.admit(&key("b"), None, now));
        schedule.succeeded(&key("b"));
        assert!(schedule.admit(&key("a"), None, now), "the right was given");
        schedule.refused(Some(&key("a").namespace), Duration::ZERO, now, 0.0);
        schedule.retain(|_| false, |_| false);
        assert!(!schedule.remembers());
    }

    #[test]
    fn updates_that_another_writer_undoes_become_rare() {
        let (mut schedule, start) = (schedule(), Instant::now());
        let (mut now, mut updates) = (start, 0);
        while now < start + Duration::from_secs(600) {
            if schedule.admit(&key("a"), Some(1), now) {
                updates = schedule.updated(&key("a"), Some(1), now, 0.0);
            }
            now += Duration::from_secs(1);
        }
        assert!((10..=16).contains(&updates), "{updates} in ten minutes");
        assert!(schedule.admit(&key("a"), Some(2), now), "a new generation is written at once");
        assert_eq!(schedule.updated(&key("a"), Some(2), now, 0.0), 1);
        assert!(schedule.admit(&key("a"), Some(2), now), "a single change by hand is repaired at once");
        assert_eq!(schedule.updated(&key("a"), Some(2), now, 0.0), 2);
        assert!(!schedule.admit(&key("a"), Some(2), now));
        now += ROUTE_RETRY + ROUTE_CALM;
        assert_eq!(schedule.updated(&key("a"), Some(2), now, 0.0), 1, "nothing was undone for a while");
    }

    proptest! {
        #[test]
        fn the_rate_holds_over_any_number_of_objects(steps in prop::collection::vec((0u64..50, 0u8..200), 1..2000)) {
            let (mut schedule, start) = (schedule(), Instant::now());
            let (mut now, mut admitted) = (start, 0u32);
            for (pause, name) in steps {
                now += Duration::from_millis(pause);
                admitted += u32::from(schedule.admit(&key(&name.to_string()), None, now));
            }
            let seconds = (now - start).as_secs_f64();
            let most = f64::from(ROUTE_BURST) + seconds * f64::from(PER_SECOND) + 1e-6;
            prop_assert!(f64::from(admitted) <= most, "{admitted} in {seconds} s");
        }
    }
}
