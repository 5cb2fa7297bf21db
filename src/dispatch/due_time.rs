//! When a worker looks for its next retry.
//!
//! Retries are due by the wall clock, which may be set at any time; a worker sleeps by the monotonic one. It therefore
//! looks at the wall clock again every [`limits::DUE_CHECK`].

use std::time::Duration;

use grapnel_delivery::retry::RetryPolicy;
use jiff::Timestamp;
use tokio::time::Instant;

use super::admission::AdmissionTime;
use crate::dispatch::limits;

/// When the next retry is due, and when to check whether it is.
#[derive(Debug, Default)]
pub(super) struct DueTime(Option<(Timestamp, Instant)>);

impl DueTime {
    /// Takes the time of a retry, if it is earlier than the one known.
    pub(super) fn expect(&mut self, due: Timestamp, now: AdmissionTime) {
        if self.0.is_none_or(|(next, _)| due < next) {
            self.0 = Some((due, next_check(due, now)));
        }
    }

    /// When to call [`Self::passed`].
    pub(super) fn check(&self) -> Option<Instant> {
        self.0.map(|(_, check)| check)
    }

    /// Whether the retry is due. If so, it is forgotten; otherwise the next check is later.
    pub(super) fn passed(&mut self, now: AdmissionTime, policy: &RetryPolicy) -> bool {
        let Some((due, _)) = self.0.filter(|(_, check)| now.instant >= *check) else { return false };
        let passed = now.clock >= due || is_ahead(due, now.clock, policy);
        self.0 = (!passed).then(|| (due, next_check(due, now)));
        passed
    }
}

/// When to check whether `until` has come: when it should, but often enough to notice that the clock was set.
pub(super) fn next_check(until: Timestamp, now: AdmissionTime) -> Instant {
    let wait = Duration::try_from(until.duration_since(now.clock)).unwrap_or_default();
    now.instant + wait.clamp(Duration::from_millis(1), limits::DUE_CHECK)
}

/// The longest time from a failure to its next attempt, plus the step by which a clock may be set back without early
/// attempts. `Retry-After` cannot exceed the policy's longest delay.
pub(super) fn longest_delay(policy: &RetryPolicy) -> Duration {
    policy.max_delay.max(limits::DEAD_LETTER_PAUSE).saturating_add(limits::CLOCK_STEP)
}

/// Whether a retry that is due at `due` was scheduled by a clock ahead of `now`; if so, it is claimable at once.
fn is_ahead(due: Timestamp, now: Timestamp, policy: &RetryPolicy) -> bool {
    let wait = Duration::try_from(due.duration_since(now)).unwrap_or_default();
    wait > longest_delay(policy)
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    fn at(start: Instant, seconds: u64) -> AdmissionTime {
        let clock = Timestamp::UNIX_EPOCH + Duration::from_secs(seconds);
        AdmissionTime { clock, instant: start + Duration::from_secs(seconds) }
    }

    fn policy() -> RetryPolicy {
        RetryPolicy { max_delay: Duration::from_secs(3600), ..RetryPolicy::default() }
    }

    #[test]
    fn the_earliest_retry_counts() {
        let (start, mut due) = (Instant::now(), DueTime::default());
        assert!(due.check().is_none() && !due.passed(at(start, 0), &policy()));
        for second in [3, 2, 5] {
            due.expect(at(start, second).clock, at(start, 0));
        }
        assert!(!due.passed(at(start, 1), &policy()));
        assert!(due.passed(at(start, 2), &policy()));
        assert!(due.check().is_none(), "it is forgotten");
    }

    #[test]
    fn a_clock_that_was_set_back_is_noticed() {
        let (start, mut due) = (Instant::now(), DueTime::default());
        due.expect(at(start, 2).clock, at(start, 0));
        let mut now = at(start, 2);
        now.clock -= SignedDuration::from_secs(60);
        assert!(!due.passed(now, &policy()), "it is not due by this clock");
        assert!(due.check().unwrap() > now.instant);
        now.clock -= SignedDuration::from_hours(100);
        now.instant = due.check().unwrap();
        assert!(due.passed(now, &policy()), "a retry that no policy allows was scheduled by a clock ahead");
    }
}
