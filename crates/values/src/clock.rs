//! Where the time comes from.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use parking_lot::Mutex;

/// Tells the time.
pub trait Clock: Send + Sync + 'static {
    /// The present moment.
    fn now(&self) -> Timestamp;
}

impl<C: Clock + ?Sized> Clock for Arc<C> {
    fn now(&self) -> Timestamp {
        (**self).now()
    }
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

/// A clock that stands still until it is set; share it in an [`Arc`].
#[derive(Debug)]
pub struct ManualClock(Mutex<Timestamp>);

impl ManualClock {
    /// A clock that shows `now`.
    pub fn new(now: Timestamp) -> Self {
        Self(Mutex::new(now))
    }

    /// Shows another moment from here on.
    pub fn set(&self, now: Timestamp) {
        *self.0.lock() = now;
    }

    /// Goes forward, at most to the end of time.
    pub fn advance(&self, by: Duration) {
        let mut now = self.0.lock();
        *now = now.checked_add(by).unwrap_or(Timestamp::MAX);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        *self.0.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_moves_only_when_told() {
        let clock = Arc::new(ManualClock::new(Timestamp::UNIX_EPOCH));
        let seen: Arc<dyn Clock> = clock.clone();
        assert_eq!(seen.now(), Timestamp::UNIX_EPOCH);
        clock.advance(Duration::from_secs(5));
        assert_eq!(seen.now().as_second(), 5);
        clock.advance(Duration::MAX);
        assert_eq!(seen.now(), Timestamp::MAX);
        clock.set(Timestamp::UNIX_EPOCH);
        assert_eq!(seen.now(), Timestamp::UNIX_EPOCH);
    }
}
