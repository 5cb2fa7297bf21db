//! What [`Journal::redeliver`](super::Journal::redeliver) takes and returns.

use std::{fmt, str::FromStr};

use jiff::Timestamp;

use super::Sequence;

/// Which events of a consumer to deliver again. Only events from its start on count: earlier ones are not its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// Everything in its dead letter.
    DeadLettered,
    /// Everything that waits for a retry.
    Retrying,
    /// The newest event of each of these ids.
    Events(Vec<Box<str>>),
    /// Every event received at or after `since` and before `until`. A side left out is open.
    ///
    /// Events are kept in nearly the order of their receipt: one that is out of order by more than
    /// [`REDELIVERY_SKEW`](crate::limits::REDELIVERY_SKEW), because a clock was set back, may be missed.
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
    /// Where the step before ended; `None` for the first one. Only valid with the same selection.
    pub from: Option<Position>,
    /// Most events to queue or to make due, from 1 to
    /// [`REDELIVERY_STEP`](crate::limits::REDELIVERY_STEP); more counts as that.
    pub limit: usize,
    /// Count only.
    pub dry_run: bool,
    /// The present: when the events are due.
    pub now: Timestamp,
}

/// Where a step ended. `Display` and `FromStr` are each other's inverse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The last sequence that was looked at, or how many ids were looked up.
    pub(crate) after: Sequence,
    /// The last sequence to look at: what is appended or dies later is not part of the redelivery.
    pub(crate) last: Sequence,
}

/// What a step did, or would do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Redelivered {
    /// Settled or dead, and queued: due now, beginning again with attempt 1.
    pub queued: u64,
    /// Retrying, and made due now, under the same attempt number.
    pub hastened: u64,
    /// Selected, but left as they are: not yet attempted, in flight, queued before, damaged, or from before the
    /// consumer's start.
    pub skipped: u64,
    /// Selected, but no longer kept, as far as the engine can count them. For [`Selection::Events`] also ids that never
    /// existed.
    pub gone: u64,
    /// The ids that `gone` counts, for [`Selection::Events`].
    pub gone_ids: Vec<Box<str>>,
    /// For [`Selection::Received`]: right before this receipt there were events that are no longer kept, some or all of
    /// which may have been received at or after `since`.
    pub gone_before: Option<Timestamp>,
    /// Where to continue; `None` when everything has been looked at.
    pub next: Option<Position>,
}

/// The text is not a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a position of an earlier step")]
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
