//! Shares the fetches fairly among namespaces.
//!
//! A namespace that uses more than what is left has to wait. A single busy namespace therefore gets half of the
//! capacity at once and all of it in the long run; several busy namespaces get the same share each; and a namespace
//! that has been quiet finds capacity left, whatever the others do (Choudhury and Hahne, Dynamic queue length
//! thresholds for shared-memory packet switches, 1998). A namespace is tracked only while it uses something, so the
//! pace bounds their number.

use std::{collections::HashMap, time::Duration};

use tokio::time::Instant;

use crate::runtime::limits;

/// A use smaller than this is dropped.
const NOTHING: f64 = 0.01;

/// The fetches of all namespaces.
#[derive(Debug)]
pub(super) struct FairShare {
    /// Tokens of the pace.
    tokens: f64,
    filled: Instant,
    per_second: f64,
    in_flight: usize,
    namespaces: HashMap<Box<str>, Use>,
}

#[derive(Debug)]
struct Use {
    /// Recent fetches: each counts as one at first, and falls to 1/e of that with every second.
    lately: f64,
    counted: Instant,
    in_flight: usize,
}

impl Use {
    fn count(&mut self, now: Instant) -> f64 {
        let passed: Duration = now.saturating_duration_since(std::mem::replace(&mut self.counted, now));
        self.lately *= (-passed.as_secs_f64()).exp();
        self.lately
    }
}

impl FairShare {
    /// A pace of `per_second` fetches per second, with a burst of [`limits::KEYS_BURST`].
    pub(super) fn new(per_second: u32) -> Self {
        let (tokens, per_second) = (f64::from(limits::KEYS_BURST), f64::from(per_second));
        Self { tokens, filled: Instant::now(), per_second, in_flight: 0, namespaces: HashMap::new() }
    }

    /// Whether a namespace may begin a fetch. If so, it is in flight until [`FairShare::end`].
    pub(super) fn begin(&mut self, namespace: &str, now: Instant) -> bool {
        let passed = now.saturating_duration_since(std::mem::replace(&mut self.filled, now));
        let filled = self.tokens + passed.as_secs_f64() * self.per_second;
        self.tokens = filled.min(f64::from(limits::KEYS_BURST));
        let left = limits::KEYS_AT_ONCE.saturating_sub(self.in_flight);
        let (lately, in_flight) =
            self.namespaces.get_mut(namespace).map_or((0.0, 0), |used| (used.count(now), used.in_flight));
        if lately + 1.0 > self.tokens || in_flight >= left {
            return false;
        }
        self.namespaces.retain(|_, used| used.in_flight > 0 || used.count(now) > NOTHING);
        self.tokens -= 1.0;
        self.in_flight += 1;
        let used = self.namespaces.entry(namespace.into()).or_insert(Use { lately: 0.0, counted: now, in_flight: 0 });
        used.lately += 1.0;
        used.in_flight += 1;
        true
    }

    /// Records the end of a fetch.
    pub(super) fn end(&mut self, namespace: &str) {
        self.in_flight = self.in_flight.saturating_sub(1);
        if let Some(used) = self.namespaces.get_mut(namespace) {
            used.in_flight = used.in_flight.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: u32 = limits::KEYS_PER_SECOND;

    /// How many fetches each namespace begins, if they end at once and all namespaces try a hundred times per second.
    fn begun(fair: &mut FairShare, namespaces: &[&str], from: Instant, seconds: u64) -> Vec<u32> {
        let mut begun = vec![0; namespaces.len()];
        for tick in 0..seconds * 100 {
            for (namespace, begun) in namespaces.iter().zip(&mut begun) {
                while fair.begin(namespace, from + Duration::from_millis(10 * tick)) {
                    fair.end(namespace);
                    *begun += 1;
                }
            }
        }
        begun
    }

    #[test]
    fn one_alone_gets_the_whole_pace_and_then_two_the_half_each() {
        let start = Instant::now();
        let mut fair = FairShare::new(PACE);
        let alone = begun(&mut fair, &["a"], start, 100);
        assert!(alone[0] >= PACE * 100, "{alone:?}");
        assert!(alone[0] <= PACE * 100 + limits::KEYS_BURST, "{alone:?}");
        let both = begun(&mut fair, &["a", "b"], start + Duration::from_secs(100), 100);
        assert!(both.iter().all(|begun| (PACE * 45..PACE * 55).contains(begun)), "{both:?}");
    }

    #[test]
    fn whoever_comes_late_finds_something_left() {
        let start = Instant::now();
        let mut fair = FairShare::new(PACE);
        let greedy = ["a", "b", "c"];
        begun(&mut fair, &greedy, start, 60);
        // The last moment at which they tried.
        let now = start + Duration::from_millis(59_990);
        assert!(!greedy.iter().any(|namespace| fair.begin(namespace, now)), "they have what they can get");
        assert!((0..5).all(|_| fair.begin("late", now)));
    }

    #[test]
    fn fetches_that_do_not_end_leave_room_for_others() {
        let now = Instant::now();
        // The pace is not under test here.
        let mut fair = FairShare { tokens: 1e9, ..FairShare::new(1_000_000_000) };
        let mut hold = |namespace| {
            (0..1000)
                .filter(|_| {
                    fair.tokens = 1e9;
                    fair.begin(namespace, now)
                })
                .count()
        };
        assert_eq!((hold("a"), hold("b"), hold("c")), (32, 16, 8));
        assert!(hold("d") > 0);
    }

    #[test]
    fn nobody_is_remembered_for_long() {
        let start = Instant::now();
        let mut fair = FairShare::new(PACE);
        for second in 0..1000 {
            let (namespace, now) = (format!("namespace-{second}"), start + Duration::from_secs(second));
            assert!(fair.begin(&namespace, now));
            fair.end(&namespace);
        }
        assert!(fair.namespaces.len() < 10, "{}", fair.namespaces.len());
    }
}
