//! Repeating what the brokers did not confirm.

use std::time::Duration;

use tokio::time::Instant;

use crate::{JournalError, Result, limits::NATS_APPEND_DEADLINE};

/// The pause after an attempt that met another one in flight.
const CONTENDED: Duration = Duration::from_millis(5);

/// The pause after an attempt that failed.
const FAILED: Duration = Duration::from_millis(100);

/// The attempts of one call, which end at its deadline.
pub(super) struct Attempts {
    deadline: Instant,
    contended: u32,
}

impl Attempts {
    pub(super) fn begin() -> Self {
        Self { deadline: Instant::now() + NATS_APPEND_DEADLINE, contended: 0 }
    }

    /// Waits before the next attempt because of `why`, another attempt in progress. The pauses grow a little, and differ
    /// between callers.
    pub(super) async fn again(&mut self, why: &str) -> Result<()> {
        self.contended = self.contended.saturating_add(1);
        let mut random = [0];
        // Without randomness the pauses are equal, which only makes contention last longer.
        let _ = getrandom::fill(&mut random);
        let factor = self.contended.min(4) * (64 + u32::from(random[0])) / 128;
        self.pause(CONTENDED.saturating_mul(factor.max(1)), || JournalError::Unavailable(why.into())).await
    }

    /// Waits before the next attempt after `error`, which is returned if it is not one that passes or no time is left.
    pub(super) async fn after(&mut self, error: JournalError) -> Result<()> {
        match error {
            JournalError::Unavailable(_) => self.pause(FAILED, || error).await,
            error => Err(error),
        }
    }

    async fn pause(&self, pause: Duration, error: impl FnOnce() -> JournalError) -> Result<()> {
        if Instant::now() + pause >= self.deadline {
            return Err(error());
        }
        tokio::time::sleep(pause).await;
        Ok(())
    }
}
