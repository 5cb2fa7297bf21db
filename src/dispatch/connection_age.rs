//! The maximum age of connections.
//!
//! A receiver's name may move to another address while the old one still answers. Names are looked up only for new
//! connections, so a connection that is used all the time would keep the old address for as long as both sides live.
//! Each connection is therefore replaced after some minutes: from then on the pool gives it to no further request, and
//! closes it when the requests on it have ended.

use std::{collections::BTreeMap, time::Duration};

use hyper_util::client::legacy::connect::CaptureConnection;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::{random::fraction, track::Track};

/// The open connections of a pool, by the time at which they become too old.
pub(super) struct ConnectionAges {
    longest: Duration,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    made: u64,
    /// `None` until the first request has shown how to reach the pool's connection.
    by_due: BTreeMap<(Instant, u64), Option<CaptureConnection>>,
}

impl ConnectionAges {
    /// Ages of connections that live for four fifths of `longest` to all of it, so that connections that were made
    /// together are not replaced together.
    pub(super) fn new(longest: Duration) -> Self {
        Self { longest, open: Mutex::default() }
    }

    /// Registers a connection that was established at `born`.
    pub(super) fn opened(&self, born: Instant) -> Track {
        let age = self.longest.mul_f64(1.0 - fraction() / 5.0);
        // An age that exceeds the range of the clock is reached in some decades.
        let due = born.checked_add(age).unwrap_or(born + Duration::from_secs(1 << 30));
        let mut open = self.open.lock();
        open.made += 1;
        let track = Track::new(open.made, born, due);
        open.by_due.insert((due, track.id), None);
        track
    }

    /// Remembers how to reach the pool's connection, which has just been chosen for a request.
    pub(super) fn used(&self, track: &Track, connection: &CaptureConnection) {
        match self.open.lock().by_due.get_mut(&(track.due, track.id)) {
            Some(known) => drop(known.get_or_insert_with(|| connection.clone())),
            // It became too old before its first request.
            None => poison(connection),
        }
    }

    /// Forgets a connection that is closed.
    pub(super) fn closed(&self, track: &Track) {
        self.open.lock().by_due.remove(&(track.due, track.id));
    }

    /// Withdraws the connections that are too old at `now` from the pool.
    pub(super) fn expire(&self, now: Instant) {
        let mut open = self.open.lock();
        while let Some(entry) = open.by_due.first_entry()
            && entry.key().0 <= now
        {
            if let Some(connection) = entry.remove() {
                poison(&connection);
            }
        }
    }
}

/// Makes the pool give a connection to no further request.
pub(super) fn poison(connection: &CaptureConnection) {
    if let Some(connected) = &*connection.connection_metadata() {
        connected.poison();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONGEST: Duration = Duration::from_secs(300);

    fn opened(ages: &ConnectionAges) -> usize {
        ages.open.lock().by_due.len()
    }

    #[test]
    fn connections_live_for_four_fifths_of_the_longest_age_at_least() {
        let (ages, born) = (ConnectionAges::new(LONGEST), Instant::now());
        let lives: Vec<_> = (0..1000).map(|_| ages.opened(born).due - born).collect();
        assert!(lives.iter().all(|age| (LONGEST * 4 / 5..=LONGEST).contains(age)), "{lives:?}");
        assert!(lives.iter().any(|age| *age != lives[0]), "they differ");
        let unbounded = ConnectionAges::new(Duration::MAX).opened(born);
        assert!(unbounded.due > born + LONGEST);
    }

    #[test]
    fn closed_and_old_connections_are_forgotten() {
        let (ages, born) = (ConnectionAges::new(LONGEST), Instant::now());
        let tracks: Vec<_> = (0..10).map(|_| ages.opened(born)).collect();
        for track in &tracks[..4] {
            ages.closed(track);
        }
        assert_eq!(opened(&ages), 6);
        ages.expire(born + LONGEST / 2);
        assert_eq!(opened(&ages), 6);
        ages.expire(born + LONGEST);
        assert_eq!(opened(&ages), 0);
    }
}
