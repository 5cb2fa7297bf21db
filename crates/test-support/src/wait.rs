//! Waiting for something to become true.

use std::{fmt::Debug, time::Duration};

use tokio::time::{Instant, sleep};

/// Longest that a test waits for anything: long, for a small machine with other work. Only a test that fails waits as long.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// Time between two checks.
const PAUSE: Duration = Duration::from_millis(2);

/// What a check returns: `bool`, `Option<T>` if the wait is for a value, or `Result<T, E>` if a failure should show the
/// `E` that was last seen.
pub trait Outcome {
    /// The result of a wait that succeeds.
    type Value;

    /// Returns the value if the condition holds, or else a description of what was seen, which may be empty.
    fn checked(self) -> Result<Self::Value, String>;
}

impl Outcome for bool {
    type Value = ();

    fn checked(self) -> Result<(), String> {
        if self { Ok(()) } else { Err(String::new()) }
    }
}

impl<T> Outcome for Option<T> {
    type Value = T;

    fn checked(self) -> Result<T, String> {
        self.ok_or_else(String::new)
    }
}

impl<T, E: Debug> Outcome for Result<T, E> {
    type Value = T;

    fn checked(self) -> Result<T, String> {
        self.map_err(|seen| format!(", last seen: {seen:?}"))
    }
}

/// Waits until `check` holds and returns its value.
///
/// # Panics
///
/// If it does not hold within [`PATIENCE`]. The message names `what` and what was last seen.
pub async fn eventually<O: Outcome>(what: &str, check: impl AsyncFnMut() -> O) -> O::Value {
    eventually_every(PAUSE, what, check).await
}

/// The same with `pause` between two checks, for checks that cost something.
///
/// # Panics
///
/// As [`eventually`].
pub async fn eventually_every<O: Outcome>(pause: Duration, what: &str, mut check: impl AsyncFnMut() -> O) -> O::Value {
    let deadline = Instant::now() + PATIENCE;
    loop {
        // A check that hangs must not make the test hang.
        let seen = match tokio::time::timeout_at(deadline, check()).await {
            Ok(outcome) => match outcome.checked() {
                Ok(value) => return value,
                Err(seen) => seen,
            },
            Err(_) => ", the check did not return".to_owned(),
        };
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}{seen}");
        sleep(pause).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_first_value_is_returned() {
        let mut count = 0;
        let counted = eventually("three", async || {
            count += 1;
            (count >= 3).then_some(count)
        });
        assert_eq!(counted.await, 3);
    }

    #[tokio::test(start_paused = true)]
    #[should_panic(expected = "the answer: not within 90s, last seen: 41")]
    async fn a_failure_shows_what_was_last_seen() {
        eventually("the answer", async || Err::<(), _>(41)).await;
    }

    #[tokio::test(start_paused = true)]
    #[should_panic(expected = "the check did not return")]
    async fn a_check_that_hangs_is_a_failure() {
        eventually("nothing", async || std::future::pending::<bool>().await).await;
    }
}
