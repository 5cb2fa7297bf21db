//! Parameters and results of [`Journal::redeliver`](super::Journal::redeliver).

use std::{fmt, str::FromStr};

use jiff::Timestamp;

use super::Sequence;

/// Which events of a consumer to redeliver. Events before its start do not belong to it and are excluded.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Selection {
    /// All its dead letters.
    DeadLettered,
    /// All events that wait for a retry.
    Retrying,
    /// The newest event of each of these ids.
    Events(Vec<Box<str>>),
    /// All events received at or after `since` and before `until`. An absent bound is open.
    ///
    /// Events are stored in nearly the order of receipt: one that is out of order by more than
    /// [`REDELIVERY_SKEW`](crate::limits::REDELIVERY_SKEW), because a clock was set back, may be missed.
    Received {
        /// Inclusive lower bound.
        since: Option<Timestamp>,
        /// Exclusive upper bound.
        until: Option<Timestamp>,
    },
    /// The events with these sequences, in ascending order.
    Sequences(Vec<Sequence>),
}

/// One bounded step of a redelivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct RedeliveryStep {
    /// Where the previous step ended; `None` for the first one. Only valid with the same selection.
    pub from: Option<RedeliveryPosition>,
    /// Maximum number of events to queue or to make due, from 1 to [`REDELIVERY_STEP`](crate::limits::REDELIVERY_STEP);
    /// a larger value counts as that.
    pub limit: usize,
    /// Whether to count only.
    pub dry_run: bool,
    /// The current time, at which the events are due.
    pub now: Timestamp,
}

/// Where a step ended. `Display` and `FromStr` are inverses of each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct RedeliveryPosition {
    /// The last sequence examined, or the number of ids looked up.
    pub(crate) after: Sequence,
    /// The last sequence to examine: events appended or dead-lettered later are not part of the redelivery.
    pub(crate) last: Sequence,
}

/// What a step did, or would do.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Redelivered {
    /// Settled or dead events that were queued: due now, beginning again with attempt 1.
    pub queued: u64,
    /// Retrying events that were made due now, under the same attempt number.
    pub hastened: u64,
    /// Selected events that were left unchanged: not yet attempted, in flight, queued before, damaged, or from before
    /// the consumer's start.
    pub skipped: u64,
    /// Selected events that are no longer kept, as far as the engine can count them, and no others. For
    /// [`Selection::Events`] and [`Selection::Sequences`], this includes ids and sequences that never existed.
    pub gone: u64,
    /// The ids counted in `gone`, for [`Selection::Events`].
    pub gone_ids: Vec<Box<str>>,
    /// For [`Selection::Received`]: right before the event received then, the log had events that are no longer kept,
    /// some or all of which may have been received in the time range. They are not counted in `gone`.
    pub gone_before: Option<Timestamp>,
    /// The selected events that are kept and belong to the consumer, in the order in which they were examined: those
    /// counted in `queued` and `hastened`, and those in `skipped` that wait already or are damaged.
    pub sequences: Vec<Sequence>,
    /// Where to continue; `None` when all events have been examined.
    pub next: Option<RedeliveryPosition>,
}

/// The text is not a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a position of an earlier step")]
pub struct InvalidPosition;

impl fmt::Display for RedeliveryPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.after, self.last)
    }
}

impl FromStr for RedeliveryPosition {
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
        let position = RedeliveryPosition { after: 7, last: u64::MAX };
        assert_eq!(position.to_string().parse(), Ok(position));
        for wrong in ["", "-", "1-", "-1", "1", "1--2", "+1-2", "1-2-3", "1-18446744073709551616", " 1-2"] {
            assert_eq!(wrong.parse::<RedeliveryPosition>(), Err(InvalidPosition), "{wrong:?}");
        }
    }
}
