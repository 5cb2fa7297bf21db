//! Limits the open connections, and closes waiting ones to make room for new ones.
//!
//! With a plain limit, a client that opens that many connections, and then sends nothing or very slowly, would lock out
//! all others. When all slots are taken, the connections that have waited longest for their client are therefore
//! closed: for its next request, or for the rest of a head, of a TLS handshake or of a body. A request that arrives
//! without delay is never closed, nor is one that has been read: it is always answered.

use std::{collections::HashMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout},
};

use super::activity::Activity;
use crate::connections::limits::{CROWD_CHECK, CROWD_LOG_INTERVAL, CROWD_PATIENCE, CROWD_SHARE};

/// All connections of a server.
#[derive(Debug)]
pub(crate) struct ConnectionLimiter {
    /// Name of the server, for the log.
    server: &'static str,
    places: Arc<Semaphore>,
    max: usize,
    members: Mutex<Members>,
}

#[derive(Debug, Default)]
struct Members {
    activities: HashMap<u64, Arc<Activity>>,
    next: u64,
    /// Before this time, nothing is logged about a lack of slots.
    log_again: Option<Instant>,
}

/// A connection's slot, released when dropped.
#[derive(Debug)]
pub(crate) struct ConnectionSlot {
    crowd: Arc<ConnectionLimiter>,
    number: u64,
    activity: Arc<Activity>,
    _permit: OwnedSemaphorePermit,
}

impl ConnectionLimiter {
    /// Slots for `max` connections of a server.
    pub(crate) fn new(server: &'static str, max: usize) -> Arc<Self> {
        let max = max.min(Semaphore::MAX_PERMITS);
        Arc::new(Self { server, places: Arc::new(Semaphore::new(max)), max, members: Mutex::default() })
    }

    /// Acquires a slot for an accepted connection. Waits if there is none and no connection can be closed, because all
    /// requests are being answered or have only just begun. Never returns `None`, since the semaphore is never closed.
    pub(crate) async fn place(self: &Arc<Self>) -> Option<ConnectionSlot> {
        loop {
            if let Ok(permit) = Arc::clone(&self.places).try_acquire_owned() {
                return Some(self.enter(permit));
            }
            self.make_room(Instant::now());
            if let Ok(permit) = timeout(CROWD_CHECK, Arc::clone(&self.places).acquire_owned()).await {
                return Some(self.enter(permit.ok()?));
            }
        }
    }

    fn enter(self: &Arc<Self>, permit: OwnedSemaphorePermit) -> ConnectionSlot {
        let activity = Activity::new();
        let mut members = self.members.lock();
        let number = members.next;
        members.next += 1;
        members.activities.insert(number, Arc::clone(&activity));
        ConnectionSlot { crowd: Arc::clone(self), number, activity, _permit: permit }
    }

    /// Asks the connections that have waited longest to close, several at once so that the search is rare.
    fn make_room(&self, now: Instant) {
        let mut members = self.members.lock();
        let mut waiting: Vec<(Duration, &Arc<Activity>)> = members
            .activities
            .values()
            .filter(|activity| !activity.is_close_requested())
            .filter_map(|activity| Some((activity.waits_for_client(now)?, activity)))
            .filter(|(waited, _)| *waited >= CROWD_PATIENCE)
            .collect();
        let many = (self.max / CROWD_SHARE).max(1);
        if waiting.len() > many {
            waiting.select_nth_unstable_by(many, |(one, _), (other, _)| other.cmp(one));
            waiting.truncate(many);
        }
        let mut closing = 0;
        for (_, activity) in waiting {
            closing += usize::from(activity.request_close());
        }
        if closing > 0 && members.log_again.is_none_or(|again| now >= again) {
            members.log_again = Some(now + CROWD_LOG_INTERVAL);
            tracing::warn!(
                server = self.server,
                max = self.max,
                closing = closing,
                "all connections are taken; those that have waited longest for their clients are closed"
            );
        }
    }
}

impl ConnectionSlot {
    /// The activity of the connection.
    pub(crate) fn activity(&self) -> &Arc<Activity> {
        &self.activity
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        self.crowd.members.lock().activities.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use http::Version;

    use super::*;

    fn closing(place: &ConnectionSlot) -> bool {
        place.activity().is_close_requested()
    }

    async fn places(crowd: &Arc<ConnectionLimiter>, count: usize) -> Vec<ConnectionSlot> {
        let mut places = Vec::new();
        for _ in 0..count {
            places.push(crowd.place().await.unwrap());
            tokio::time::advance(Duration::from_millis(1)).await;
        }
        places
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_waited_longest_goes_first() {
        let crowd = ConnectionLimiter::new("test", 3);
        let mut here = places(&crowd, 3).await;
        tokio::time::advance(CROWD_PATIENCE).await;
        // The first one has been active since.
        drop(here[0].activity().request(Version::HTTP_11));
        crowd.make_room(Instant::now());
        assert_eq!(here.iter().map(closing).collect::<Vec<_>>(), [false, true, false]);
        assert!(crowd.places.try_acquire().is_err(), "asked, but not yet gone");
        crowd.make_room(Instant::now());
        assert_eq!(here.iter().map(closing).collect::<Vec<_>>(), [false, true, true], "and then the next");
        here.remove(1);
        drop(crowd.place().await.unwrap());
        assert_eq!(crowd.members.lock().activities.len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_goes_who_has_only_come_or_is_being_answered() {
        let crowd = ConnectionLimiter::new("test", 2);
        let here = places(&crowd, 2).await;
        crowd.make_room(Instant::now());
        let guard = here[0].activity().request(Version::HTTP_11);
        guard.has_been_read();
        tokio::time::advance(Duration::from_secs(3600)).await;
        let late = here[1].activity().request(Version::HTTP_11);
        crowd.make_room(Instant::now());
        assert!(!closing(&here[0]) && !closing(&here[1]));
        drop((guard, late));
    }

    #[tokio::test(start_paused = true)]
    async fn many_go_at_once_where_there_are_many() {
        let crowd = ConnectionLimiter::new("test", 10 * CROWD_SHARE);
        let here = places(&crowd, 10 * CROWD_SHARE).await;
        tokio::time::advance(CROWD_PATIENCE).await;
        crowd.make_room(Instant::now());
        let gone: Vec<_> = here.iter().map(closing).collect();
        assert!(gone[..10].iter().all(|gone| *gone), "the first ten");
        assert!(!gone[10..].iter().any(|gone| *gone), "and no others");
    }

    #[tokio::test(start_paused = true)]
    async fn a_place_is_waited_for() {
        let crowd = ConnectionLimiter::new("test", 1);
        let only = crowd.place().await.unwrap();
        let guard = only.activity().request(Version::HTTP_11);
        guard.has_been_read();
        let next = tokio::spawn({
            let crowd = Arc::clone(&crowd);
            async move { crowd.place().await.is_some() }
        });
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert!(!next.is_finished());
        drop(guard);
        drop(only);
        assert!(next.await.unwrap());
    }
}
