//! A clock that counts the time for which the machine is suspended.

use std::time::Duration;

/// A time on this machine's clock since boot. Times of different machines cannot be compared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct BootTime(Duration);

impl BootTime {
    /// The time `since` the clock's origin.
    #[cfg(test)]
    pub(super) fn new(since: Duration) -> Self {
        Self(since)
    }

    /// Microseconds since the clock's origin.
    pub(super) fn as_micros(self) -> u64 {
        u64::try_from(self.0.as_micros()).unwrap_or(u64::MAX)
    }

    /// The time that is `by` later.
    pub(super) fn after(self, by: Duration) -> Self {
        Self(self.0.saturating_add(by))
    }

    /// How long ago `earlier` was; zero if it is later.
    pub(super) fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

/// The clock by which leases are counted: `CLOCK_BOOTTIME`, which continues while the machine is suspended, unlike
/// [`std::time::Instant`]. A process that was stopped, or whose machine slept, sees after it how late it is.
///
/// A virtual machine that is paused from outside may not count that time. Only the fence in the log of the shard's
/// state protects against that.
#[derive(Debug, Clone, Copy)]
pub(super) enum BootClock {
    /// The clock of the system.
    System,
    /// Tokio's clock, which tests can pause. Holds its origin.
    #[cfg(test)]
    Tokio(tokio::time::Instant),
}

impl BootClock {
    /// The current time.
    pub(super) fn now(&self) -> BootTime {
        match self {
            Self::System => {
                let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
                // The kernel returns neither negative seconds nor a billion nanoseconds.
                let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
                BootTime(Duration::new(seconds, u32::try_from(now.tv_nsec).unwrap_or_default()))
            }
            #[cfg(test)]
            Self::Tokio(origin) => BootTime(origin.elapsed()),
        }
    }
}
