//! When configuration is published: a moment after a change, and seldom enough.

use std::time::{Duration, Instant};

use crate::controller::limits;

/// The schedule of snapshots.
pub(super) struct Schedule {
    /// Whether everything has been listed.
    synced: bool,
    /// When the pending changes are published.
    due: Option<Instant>,
    /// Nothing is published before this time.
    earliest: Instant,
}

impl Schedule {
    /// A schedule without changes.
    pub(super) fn new(now: Instant) -> Self {
        Self { synced: false, due: None, earliest: now }
    }

    /// When the pending changes are published, if there are any.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Records a change.
    pub(super) fn changed(&mut self, now: Instant) {
        self.due.get_or_insert((now + limits::GATHER).max(self.earliest));
    }

    /// Records whether everything has been listed. Returns whether that is news.
    pub(super) fn sync(&mut self, complete: bool) -> bool {
        let news = complete && !self.synced;
        self.synced |= complete;
        news
    }

    /// Takes the pending changes. Returns whether to publish them: not before everything has been listed, which is a
    /// change itself.
    pub(super) fn take(&mut self) -> bool {
        self.due.take().is_some() && self.synced
    }

    /// Records that a snapshot, which took that long, has been made.
    pub(super) fn published(&mut self, now: Instant, cost: Duration) {
        // Making snapshots takes at most a quarter of the time.
        self.earliest = now + limits::PUBLISH_PAUSE.max(cost * 3);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn changes_are_collected_for_a_moment() {
        let start = Instant::now();
        let mut schedule = Schedule::new(start);
        assert!(schedule.sync(true) && schedule.due().is_none());
        schedule.changed(start);
        schedule.changed(start + millis(10));
        assert_eq!(schedule.due(), Some(start + limits::GATHER));
        assert!(schedule.take());
        assert!(schedule.due().is_none() && !schedule.take());
    }

    #[test]
    fn nothing_is_published_before_everything_is_listed() {
        let start = Instant::now();
        let mut schedule = Schedule::new(start);
        schedule.changed(start);
        assert!(!schedule.sync(false));
        assert!(!schedule.take());
        assert!(schedule.sync(true) && !schedule.sync(true) && !schedule.sync(false));
        schedule.changed(start);
        assert!(schedule.take());
    }

    proptest! {
        #[test]
        fn every_change_is_published_and_snapshots_take_a_quarter_of_the_time(
            // After how long each change arrives, and how long a snapshot takes after it.
            changes in prop::collection::vec((0..300_u64, 0..200_u64), 1..80),
        ) {
            let start = Instant::now();
            let mut schedule = Schedule::new(start);
            schedule.sync(true);
            let (mut now, mut arrival, mut cost) = (start, start, Duration::ZERO);
            let mut changes = changes.into_iter().peekable();
            // The end and the cost of the last snapshot, and when the first change after it was seen.
            let (mut last, mut waits): (Option<(Instant, Duration)>, Option<Instant>) = (None, None);
            let mut snapshots = 0;
            loop {
                let next = changes.peek().map(|(pause, _)| arrival + millis(*pause));
                match (next, schedule.due()) {
                    (Some(next), due) if due.is_none_or(|due| next <= due) => {
                        // A change that arrives while a snapshot is made is seen after it.
                        (arrival, now) = (next, now.max(next));
                        cost = changes.next().map_or(cost, |(_, cost)| millis(cost));
                        schedule.changed(now);
                        waits.get_or_insert(now);
                    }
                    (_, Some(due)) => {
                        now = now.max(due);
                        prop_assert!(schedule.take());
                        let free = last.map_or(start, |(end, cost)| end + limits::PUBLISH_PAUSE.max(3 * cost));
                        prop_assert!(now >= free);
                        let waits = waits.take().unwrap();
                        prop_assert_eq!(now, (waits + limits::GATHER).max(free), "no later than necessary");
                        now += cost;
                        schedule.published(now, cost);
                        last = Some((now, cost));
                        snapshots += 1;
                    }
                    _ => break,
                }
            }
            prop_assert!(waits.is_none() && snapshots > 0);
        }
    }
}
