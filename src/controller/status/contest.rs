//! What to do when another writer overwrites the status of an object.
//!
//! A single overwritten status is repaired soon: the other writer may have been the operator that served the object
//! before, or a person. If it happens again, the object is contested: its condition says so, and it is written less and
//! less often, so that two writers do not wear out the API server. A contest is over when nothing was overwritten for a
//! while.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crate::controller::{limits, schedule::backoff};

/// The contest about one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Contest {
    rival: Arc<str>,
    /// How often the status was overwritten.
    times: u32,
    /// When it was overwritten last.
    last: Instant,
}

impl Contest {
    /// Records that `rival` has overwritten the status. `earlier` is the contest so far.
    pub(super) fn overwritten(earlier: Option<&Self>, rival: Arc<str>, now: Instant) -> Self {
        let times = earlier.map_or(0, |earlier| earlier.times).saturating_add(1);
        Self { rival, times, last: now }
    }

    /// The other writer, if this is more than a single incident.
    pub(super) fn rival(&self) -> Option<&Arc<str>> {
        (self.times > 1).then_some(&self.rival)
    }

    /// Nothing is written before this time.
    pub(super) fn until(&self) -> Instant {
        self.last + self.pause()
    }

    /// Whether the contest is over. Another operator of the same kind waits as long as this one, so it takes several
    /// pauses to know.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.last) >= (self.pause() * 6).max(limits::CONTEST_OVER)
    }

    fn pause(&self) -> Duration {
        match self.times {
            0..=2 => limits::CONTEST_REPAIR,
            times => backoff(limits::CONTEST_PAUSE, limits::CONTEST_PAUSE_MAX, times - 2, 0.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rival() -> Arc<str> {
        Arc::from("shop/grapnel")
    }

    #[test]
    fn a_single_incident_is_repaired_without_a_word() {
        let now = Instant::now();
        let first = Contest::overwritten(None, rival(), now);
        assert_eq!((first.rival(), first.until()), (None, now + limits::CONTEST_REPAIR));
        assert!(!first.is_over(now + limits::CONTEST_REPAIR) && first.is_over(now + limits::CONTEST_OVER));
        let second = Contest::overwritten(Some(&first), rival(), now);
        assert_eq!(second.rival(), Some(&rival()));
    }

    proptest! {
        #[test]
        fn however_fast_a_rival_is_an_object_is_written_a_handful_of_times(
            // How long the rival takes to overwrite each write, in milliseconds.
            delays in prop::collection::vec(0..500_u64, 200),
        ) {
            let start = Instant::now();
            let (mut now, mut contest) = (start, None);
            let mut writes = Vec::new();
            for delay in delays {
                now += Duration::from_millis(delay);
                let next = Contest::overwritten(contest.as_ref(), rival(), now);
                prop_assert!(next.until() > now && next.until() <= now + limits::CONTEST_PAUSE_MAX);
                now = next.until();
                writes.push(now);
                contest = Some(next);
            }
            let within = |period| writes.iter().filter(|time| **time < start + period).count();
            prop_assert!(within(Duration::from_secs(40)) <= 3, "{}", within(Duration::from_secs(40)));
            prop_assert!(within(Duration::from_secs(3600)) <= 8, "{}", within(Duration::from_secs(3600)));
        }
    }
}
