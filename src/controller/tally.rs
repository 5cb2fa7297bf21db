//! Counts failed writes, so that the log has one line for many.

use std::time::Instant;

use crate::controller::limits;

/// Failed writes since the last line.
#[derive(Debug, Default)]
pub(super) struct Tally {
    failures: u64,
    /// The last failure.
    last: String,
    /// When the next line may be written.
    next: Option<Instant>,
}

impl Tally {
    /// Records a failure.
    pub(super) fn failed(&mut self, now: Instant, description: String) {
        self.failures += 1;
        self.last = description;
        self.next.get_or_insert(now + limits::STATUS_LOG_DELAY);
    }

    /// The number of failures and the last of them, if it is time for a line. A quiet interval ends the tally.
    pub(super) fn line(&mut self, now: Instant) -> Option<(u64, String)> {
        if self.next.is_none_or(|next| now < next) {
            return None;
        }
        if self.failures == 0 {
            self.next = None;
            return None;
        }
        self.next = Some(now + limits::STATUS_LOG_INTERVAL);
        Some((std::mem::take(&mut self.failures), std::mem::take(&mut self.last)))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn many_failures_are_one_line_an_interval() {
        let (start, mut tally) = (Instant::now(), Tally::default());
        let mut lines = Vec::new();
        for tenth in 0..1200_u32 {
            let now = start + Duration::from_millis(100) * tenth;
            tally.failed(now, format!("failure {tenth}"));
            lines.extend(tally.line(now));
        }
        assert_eq!(lines, [(21, "failure 20".into()), (600, "failure 620".into())]);
        let later = start + limits::STATUS_LOG_INTERVAL * 5;
        assert!(tally.line(later).is_some_and(|(count, _)| count == 579), "those that were left");
        assert_eq!(tally.line(later + limits::STATUS_LOG_INTERVAL), None);
        tally.failed(later + limits::STATUS_LOG_INTERVAL, "again".into());
        let soon = later + limits::STATUS_LOG_INTERVAL + limits::STATUS_LOG_DELAY;
        assert_eq!(tally.line(soon), Some((1, "again".into())));
    }
}
