//! Counts of the last hour, minute by minute, for the charts of the console.
//!
//! Nothing is recorded while requests or deliveries are processed: once a minute the counters that exist anyway are
//! sampled, and their increase is kept. The current minute is the increase since the last sample.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use grapnel_api::ObjectKey;
use parking_lot::Mutex;
use tokio::{sync::watch, time::MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::{
    admin::limits::{RATES_MINUTES, RATES_OBJECTS},
    catalog::{Endpoint, ObjectKind, Snapshot, Subscription},
};

const MINUTE: Duration = Duration::from_secs(60);

/// What is counted in a minute, or since the start: successes and failures. For an endpoint these are accepted events
/// and rejected requests, for a subscription successful and failed attempts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts<T> {
    pub(super) good: T,
    pub(super) bad: T,
}

impl Counts<u64> {
    pub(super) fn of_endpoint(endpoint: &Endpoint) -> Self {
        let totals = endpoint.metrics.totals();
        Self { good: totals.accepted, bad: totals.rejected }
    }

    pub(super) fn of_subscription(subscription: &Subscription) -> Self {
        let totals = subscription.metrics.totals();
        Self { good: totals.delivered, bad: totals.failed }
    }

    fn since(self, earlier: Self) -> Counts<u32> {
        let increase = |now: u64, then: u64| u32::try_from(now.saturating_sub(then)).unwrap_or(u32::MAX);
        Counts { good: increase(self.good, earlier.good), bad: increase(self.bad, earlier.bad) }
    }
}

/// The minutes of the last hour, the oldest first.
pub(super) type Hour = Vec<Counts<u32>>;

type Object = (ObjectKind, ObjectKey);

/// The history of at most [`RATES_OBJECTS`] objects.
#[derive(Debug, Default)]
pub struct Rates(Mutex<History>);

#[derive(Debug, Default)]
struct History {
    objects: HashMap<Object, Series>,
    /// An object had no room once: what it has counted until now did not happen in one minute.
    had_no_room: bool,
}

#[derive(Debug, Default)]
struct Series {
    /// Completed minutes, the oldest first.
    minutes: VecDeque<Counts<u32>>,
    /// The counters at the end of the last one.
    sampled: Counts<u64>,
}

impl Rates {
    /// No history yet.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Samples the counters of the live configuration every minute, until `stop`.
    pub async fn run(self: Arc<Self>, snapshot: watch::Receiver<Arc<Snapshot>>, stop: CancellationToken) {
        let mut minutes = tokio::time::interval(MINUTE);
        minutes.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The first tick is immediate.
        minutes.tick().await;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = minutes.tick() => {}
            }
            let snapshot = Arc::clone(&snapshot.borrow());
            let endpoints =
                snapshot.endpoints().map(|it| ((ObjectKind::Endpoint, it.key.clone()), Counts::of_endpoint(it)));
            let subscriptions = snapshot
                .subscriptions()
                .map(|it| ((ObjectKind::Subscription, it.key.clone()), Counts::of_subscription(it)));
            self.sample(endpoints.chain(subscriptions).collect());
        }
    }

    /// Ends a minute. Objects that are gone are removed.
    fn sample(&self, counters: Vec<(Object, Counts<u64>)>) {
        let mut history = self.0.lock();
        let History { objects, had_no_room } = &mut *history;
        let counters: HashMap<Object, Counts<u64>> = counters.into_iter().collect();
        objects.retain(|object, _| counters.contains_key(object));
        for (object, now) in counters {
            if !objects.contains_key(&object) {
                if objects.len() >= RATES_OBJECTS {
                    *had_no_room = true;
                    continue;
                }
                let sampled = if *had_no_room { now } else { Counts::default() };
                objects.insert(object.clone(), Series { minutes: VecDeque::new(), sampled });
            }
            if let Some(series) = objects.get_mut(&object) {
                series.minutes.push_back(now.since(series.sampled));
                series.sampled = now;
                while series.minutes.len() >= RATES_MINUTES {
                    series.minutes.pop_front();
                }
            }
        }
    }

    /// The last hour of an object whose counters are now at `now`. `None` if there was no room for it.
    pub(super) fn hour(&self, kind: ObjectKind, key: &ObjectKey, now: Counts<u64>) -> Option<Hour> {
        let history = self.0.lock();
        let series = history.objects.get(&(kind, key.clone()));
        if series.is_none() && (history.had_no_room || history.objects.len() >= RATES_OBJECTS) {
            return None;
        }
        let (known, sampled) = series.map_or((0, Counts::default()), |it| (it.minutes.len(), it.sampled));
        let empty = RATES_MINUTES.saturating_sub(known + 1);
        let mut hour = vec![Counts::default(); empty];
        hour.extend(series.into_iter().flat_map(|series| series.minutes.iter().copied()));
        hour.push(now.since(sampled));
        Some(hour)
    }
}

/// The sum of several hours.
pub(super) fn sum(hours: impl IntoIterator<Item = Hour>) -> Hour {
    let mut sum: Hour = vec![Counts::default(); RATES_MINUTES];
    for hour in hours {
        for (total, minute) in sum.iter_mut().zip(hour) {
            total.good = total.good.saturating_add(minute.good);
            total.bad = total.bad.saturating_add(minute.bad);
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(name: &str) -> Object {
        (ObjectKind::Endpoint, ObjectKey::new("shop", name))
    }

    fn counts(good: u64, bad: u64) -> Counts<u64> {
        Counts { good, bad }
    }

    fn hour(rates: &Rates, name: &str, now: Counts<u64>) -> Vec<(u32, u32)> {
        let (kind, key) = object(name);
        rates.hour(kind, &key, now).unwrap().iter().map(|minute| (minute.good, minute.bad)).collect()
    }

    #[test]
    fn an_hour_is_sixty_minutes_with_the_current_one() {
        let rates = Rates::default();
        let fresh = hour(&rates, "orders", counts(3, 1));
        assert_eq!((fresh.len(), fresh[58], fresh[59]), (RATES_MINUTES, (0, 0), (3, 1)));
        rates.sample(vec![(object("orders"), counts(3, 1))]);
        rates.sample(vec![(object("orders"), counts(10, 1))]);
        assert_eq!(hour(&rates, "orders", counts(12, 4))[57..], [(3, 1), (7, 0), (2, 3)]);
        for minute in 0..100 {
            rates.sample(vec![(object("orders"), counts(10 + minute, 1))]);
        }
        let full = hour(&rates, "orders", counts(109, 1));
        assert_eq!((full.len(), full[0], full[59]), (RATES_MINUTES, (1, 0), (0, 0)));
    }

    #[test]
    fn an_object_that_is_gone_is_forgotten() {
        let rates = Rates::default();
        rates.sample(vec![(object("orders"), counts(3, 1)), (object("other"), counts(1, 0))]);
        rates.sample(vec![(object("other"), counts(1, 0))]);
        assert_eq!(rates.0.lock().objects.len(), 1);
        rates.sample(vec![]);
        assert!(rates.0.lock().objects.is_empty());
        assert_eq!(hour(&rates, "orders", counts(0, 0)), vec![(0, 0); RATES_MINUTES]);
    }

    #[test]
    fn the_history_is_bounded() {
        let rates = Rates::default();
        let all =
            |count: usize, at: u64| (0..count).map(|n| (object(&n.to_string()), counts(at, 0))).collect::<Vec<_>>();
        for minute in 0..2 * RATES_MINUTES as u64 {
            rates.sample(all(RATES_OBJECTS, minute));
        }
        rates.sample(all(RATES_OBJECTS + 10, 500));
        {
            let history = rates.0.lock();
            assert_eq!(history.objects.len(), RATES_OBJECTS);
            assert!(history.objects.values().all(|series| series.minutes.len() < RATES_MINUTES));
        }
        let (kind, late) = object(&(RATES_OBJECTS + 3).to_string());
        assert_eq!(rates.hour(kind, &late, counts(500, 0)), None);
        // Once there is room, what it counted before is not one minute's.
        rates.sample(vec![((kind, late.clone()), counts(501, 0))]);
        assert_eq!(rates.hour(kind, &late, counts(503, 0)).unwrap().last().unwrap().good, 2);
        assert_eq!(sum([rates.hour(kind, &late, counts(503, 0)).unwrap()])[58].good, 0);
    }
}
