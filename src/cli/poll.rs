//! Repeated requests of commands that follow what the operator does.

use std::time::Duration;

use grapnel_values::duration;

use super::Usage;

/// The interval of repeated requests.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(super) struct Interval {
    /// Polling interval
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = parse)]
    interval: Duration,
}

fn parse(text: &str) -> Result<Duration, String> {
    match duration::parse(text) {
        Ok(interval) if interval.is_zero() => Err("must be greater than zero".into()),
        Ok(interval) => Ok(interval),
        Err(error) => Err(error.to_string()),
    }
}

/// Repeats requests. The operator may be restarting, so that errors do not end the command.
pub(super) struct Poll {
    interval: Duration,
    complained: bool,
}

impl Poll {
    pub(super) fn new(interval: Interval) -> Self {
        Self { interval: interval.interval, complained: false }
    }

    /// Waits until the next request.
    pub(super) async fn wait(&self) {
        tokio::time::sleep(self.interval).await;
    }

    /// The result of a request; `None` after an error that may pass, which is printed once.
    ///
    /// # Errors
    /// Returns usage errors, which do not pass.
    pub(super) fn accept<T>(&mut self, result: anyhow::Result<T>) -> anyhow::Result<Option<T>> {
        match result {
            Ok(value) => {
                self.complained = false;
                Ok(Some(value))
            }
            Err(error) if error.is::<Usage>() => Err(error),
            Err(error) => {
                if !std::mem::replace(&mut self.complained, true) {
                    eprintln!("{error:#}; retrying");
                }
                Ok(None)
            }
        }
    }
}
