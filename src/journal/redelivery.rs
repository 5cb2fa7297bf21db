//! What [`Journal::redeliver`](super::Journal::redeliver) is asked and answers.

use std::{fmt, str::FromStr};

use jiff::Timestamp;

use super::Sequence;

/// Which events of a consumer to deliver again. Only those that it was given before count: events
/// from before its start are not its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// Everything in its dead letter.
    DeadLettered,
    /// The newest event of each of these ids, whether it was delivered or is dead.
    Events(Vec<Box<str>>),
    /// Every event received at or after `since` and before `until`, whether it was delivered or is
    /// dead. A side left out is open.
    ///
    /// Events lie in nearly the order of their receipt: one that lies out of order by more than
    /// [`REDELIVERY_SKEW`](crate::rules::limits::REDELIVERY_SKEW), because a clock was set back, may be
    /// missed.
    Received {
        /// Not before.
        since: Option<Timestamp>,
        /// Before.
        until: Option<Timestamp>,
    },
}

/// One bounded step of a redelivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// Where the step before ended; `None` for the first one. With another selection it means nothing.
    pub from: Option<Position>,
    /// Most events to queue, from 1 to
    /// [`REDELIVERY_STEP`](crate::rules::limits::REDELIVERY_STEP); what is beyond counts as that.
    pub limit: usize,
    /// Count only.
    pub dry_run: bool,
    /// The present, from which on the events are due.
    pub now: Timestamp,
}

/// Where a step ended. `Display` and `FromStr` are each other's inverse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The last sequence looked at, or how many ids were looked up.
    pub(super) after: Sequence,
    /// The last sequence to look at: what is appended or dies later is not part of the redelivery.
    pub(super) last: Sequence,
}

/// What a step did, or would do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Redelivered {
    /// Queued: due now, beginning anew with attempt 1.
    pub queued: u64,
    /// Selected, but left as they are: not yet attempted, in flight, waiting for a retry, or from
    /// before the consumer's start.
    pub skipped: u64,
    /// Selected, but no longer kept. For [`Selection::Events`] these are also ids that never were.
    /// For [`Selection::Received`] those that are missing between events of the span.
    pub gone: u64,
    /// The ids that `gone` counts, for [`Selection::Events`].
    pub gone_ids: Vec<Box<str>>,
    /// For [`Selection::Received`]: right before this receipt there were events that are no longer
    /// kept, some or all of which may have been received at or after `since`.
    pub gone_before: Option<Timestamp>,
    /// Where to go on; `None` when everything has been looked at.
    pub next: Option<Position>,
}

/// Text that is no position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a position that a redelivery has ended at")]
pub struct InvalidPosition;

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.after, self.last)
    }
}

impl FromStr for Position {
    type Err = InvalidPosition;

    fn from_str(text: &str) -> Result<Self, InvalidPosition> {
        let number = |text: &str| {
            let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            if plain { text.parse().map_err(|_| InvalidPosition) } else { Err(InvalidPosition) }
        };
        let (after, last) = text.split_once('-').ok_or(InvalidPosition)?;
        Ok(Self { after: number(after)?, last: number(last)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_read_as_written() {
        let position = Position { after: 7, last: u64::MAX };
        assert_eq!(position.to_string().parse(), Ok(position));
        for wrong in ["", "-", "1-", "-1", "1", "1--2", "+1-2", "1-2-3", "1-18446744073709551616", " 1-2"] {
            assert_eq!(wrong.parse::<Position>(), Err(InvalidPosition), "{wrong:?}");
        }
    }
}
