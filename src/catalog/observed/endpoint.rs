//! Facts about an endpoint: what this process has counted, and what counts besides it.

use std::{
    borrow::Cow,
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use jiff::Timestamp;
use parking_lot::Mutex;

use super::{Rival, Since};
use crate::catalog::{limits::REJECTIONS_KEPT, routing::RouteState};

/// Facts about an endpoint over all replicas, and before they started as recorded in the object's status.
#[derive(Debug, Default)]
pub struct EndpointFacts {
    received: AtomicU64,
    rejected: AtomicU64,
    duplicates: AtomicU64,
    last_received: Mutex<Option<Timestamp>>,
    /// The last requests that this process has rejected, oldest first; at most [`REJECTIONS_KEPT`].
    rejections: Mutex<VecDeque<LastRejection>>,
    elsewhere: Mutex<Elsewhere>,
    route: Mutex<Option<Arc<RouteState>>>,
    /// Transition times of its conditions.
    pub since: Since,
    /// Another writer of its status.
    pub rival: Rival,
}

/// What counts besides what this process has counted.
#[derive(Debug, Default)]
struct Elsewhere {
    /// As recorded in the object's status.
    earlier: EndpointReading,
    replicas: Replicas,
}

/// The counts of the other replicas.
#[derive(Debug, Default)]
enum Replicas {
    /// There are no others: the earlier status counts, and what this process has counted since.
    #[default]
    Alone,
    /// Not known yet. Until then the earlier status is shown, so that no status is written from which a replica could
    /// not tell whether its own counts are contained.
    Unknown,
    /// Everything but what this process has counted, the earlier status included.
    Known(EndpointReading),
}

/// A rejected request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastRejection {
    /// The time.
    pub time: Timestamp,
    /// Code of the response.
    pub code: Cow<'static, str>,
    /// Message of the response.
    pub message: String,
}

/// A reading of [`EndpointFacts`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EndpointReading {
    /// Events accepted.
    pub received: u64,
    /// Requests rejected.
    pub rejected: u64,
    /// Events deduplicated.
    pub duplicates: u64,
    /// When the last event was accepted.
    pub last_received: Option<Timestamp>,
    /// The last rejected request.
    pub last_rejection: Option<LastRejection>,
}

impl EndpointReading {
    /// Adds the counts of another reading. The latest times of both remain.
    pub fn add(&mut self, other: &Self) {
        self.combine(other, u64::saturating_add);
    }

    /// Removes the counts that another reading contains. Times remain.
    pub fn subtract(&mut self, other: &Self) {
        self.received = self.received.saturating_sub(other.received);
        self.rejected = self.rejected.saturating_sub(other.rejected);
        self.duplicates = self.duplicates.saturating_sub(other.duplicates);
    }

    /// Raises each count and time to that of another reading.
    pub fn raise(&mut self, other: &Self) {
        self.combine(other, u64::max);
    }

    fn combine(&mut self, other: &Self, count: impl Fn(u64, u64) -> u64) {
        self.received = count(self.received, other.received);
        self.rejected = count(self.rejected, other.rejected);
        self.duplicates = count(self.duplicates, other.duplicates);
        self.last_received = self.last_received.max(other.last_received);
        let time = |rejection: &Option<LastRejection>| rejection.as_ref().map(|rejection| rejection.time);
        if time(&self.last_rejection) < time(&other.last_rejection) {
            self.last_rejection.clone_from(&other.last_rejection);
        }
    }
}

impl EndpointFacts {
    /// Records an accepted event.
    pub fn received(&self, time: Timestamp) {
        self.received.fetch_add(1, Relaxed);
        *self.last_received.lock() = Some(time);
    }

    /// Records a duplicate event.
    pub fn duplicate(&self) {
        self.duplicates.fetch_add(1, Relaxed);
    }

    /// Records a rejected request.
    pub fn rejected(&self, rejection: LastRejection) {
        self.rejected.fetch_add(1, Relaxed);
        let mut rejections = self.rejections.lock();
        if rejections.len() >= REJECTIONS_KEPT {
            rejections.pop_front();
        }
        rejections.push_back(rejection);
    }

    /// Records what the cluster says about its HTTPRoute; `None` if it has none.
    pub fn routed(&self, state: Option<RouteState>) {
        let mut route = self.route.lock();
        if route.as_deref() != state.as_ref() {
            *route = state.map(Arc::new);
        }
    }

    /// Resumes from the state in an earlier status, so that a restart does not take back what was reported, until the
    /// cluster has been asked.
    pub fn resume_route(&self, earlier: RouteState) {
        self.route.lock().get_or_insert_with(|| Arc::new(earlier));
    }

    /// What the cluster says about its HTTPRoute, if it has been asked.
    pub fn route(&self) -> Option<Arc<RouteState>> {
        self.route.lock().clone()
    }

    /// Resumes from the reading in an earlier status, so that counters survive a restart and never decrease.
    pub fn resume(&self, mut status: EndpointReading) {
        let own = self.own();
        let mut elsewhere = self.elsewhere.lock();
        if matches!(elsewhere.replicas, Replicas::Alone) {
            // It may contain what this process has counted.
            status.subtract(&own);
        }
        elsewhere.earlier.raise(&status);
    }

    /// Records that other replicas count requests of this endpoint too.
    pub fn share(&self) {
        let mut elsewhere = self.elsewhere.lock();
        if matches!(elsewhere.replicas, Replicas::Alone) {
            elsewhere.replicas = Replicas::Unknown;
        }
    }

    /// Records everything but what this process has counted: the counts of the other replicas, and of earlier ones.
    pub fn counted_elsewhere(&self, others: EndpointReading) {
        self.elsewhere.lock().replicas = Replicas::Known(others);
    }

    /// The reading in an earlier status.
    pub fn earlier(&self) -> EndpointReading {
        self.elsewhere.lock().earlier.clone()
    }

    /// What this process has counted.
    pub fn own(&self) -> EndpointReading {
        EndpointReading {
            received: self.received.load(Relaxed),
            rejected: self.rejected.load(Relaxed),
            duplicates: self.duplicates.load(Relaxed),
            last_received: *self.last_received.lock(),
            last_rejection: self.rejections.lock().back().cloned(),
        }
    }

    /// The last rejected requests, newest first: those of this process, and the last one of all if that is another's.
    pub fn rejections(&self) -> Vec<LastRejection> {
        let mut rejections: Vec<_> = self.rejections.lock().iter().rev().cloned().collect();
        let newest = self.read().last_rejection;
        if newest.as_ref().is_some_and(|newest| rejections.first().is_none_or(|own| own.time < newest.time)) {
            rejections.splice(0..0, newest);
            rejections.truncate(REJECTIONS_KEPT);
        }
        rejections
    }

    /// The current facts.
    pub fn read(&self) -> EndpointReading {
        let mut reading = self.own();
        let elsewhere = self.elsewhere.lock();
        match &elsewhere.replicas {
            Replicas::Alone => reading.add(&elsewhere.earlier),
            Replicas::Unknown => {
                let own = reading.clone();
                reading.subtract(&own);
                reading.add(&elsewhere.earlier);
            }
            Replicas::Known(others) => {
                reading.add(others);
                reading.raise(&elsewhere.earlier);
            }
        }
        reading
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(count: u64) -> EndpointReading {
        EndpointReading { received: count, ..EndpointReading::default() }
    }

    fn counting(count: u64) -> EndpointFacts {
        let facts = EndpointFacts::default();
        (0..count).for_each(|_| facts.received(Timestamp::UNIX_EPOCH));
        facts
    }

    #[test]
    fn a_process_alone_continues_from_the_status_and_counts_nothing_twice() {
        let facts = counting(2);
        facts.resume(received(10));
        assert_eq!(facts.read().received, 10, "the status may contain what was counted before");
        facts.received(Timestamp::UNIX_EPOCH);
        assert_eq!(facts.read().received, 11);
        facts.resume(received(11));
        facts.resume(received(4));
        assert_eq!(facts.read().received, 11);
    }

    #[test]
    fn the_counts_of_replicas_are_added_once_they_are_known() {
        let facts = counting(0);
        facts.resume(received(10));
        facts.share();
        facts.received(Timestamp::UNIX_EPOCH);
        assert_eq!(facts.read().received, 10, "not known yet");
        facts.counted_elsewhere(received(15));
        assert_eq!(facts.read().received, 16);
        facts.share();
        assert_eq!(facts.read().received, 16, "it stays known");
        facts.resume(received(17));
        assert_eq!(facts.read().received, 17, "a written status is not taken back");
    }
}
