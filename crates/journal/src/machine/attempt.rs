//! Attempts: taken, in flight, ended.

use super::Micros;
use crate::{Exchange, Failure, Sequence, SkipReason};

/// The end of an attempt, as it is made durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ended {
    /// Sequence of the event.
    pub(crate) sequence: Sequence,
    /// The first sequence that this end covers: between it and `sequence` the endpoint has no other event.
    pub(crate) first: Sequence,
    /// Number of the attempt.
    pub(crate) attempt: u32,
    /// How the attempt ended.
    pub(crate) end: End,
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum End {
    Delivered(Exchange),
    Skipped {
        reason: SkipReason,
        time: Micros,
    },
    Retry {
        due: Micros,
        failure: Failure,
    },
    Dead {
        failure: Failure,
    },
    /// The event is no longer kept.
    Gone,
}

/// An attempt in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Flight {
    pub(crate) attempt: u32,
    /// The first sequence that it covers; see [`Ended::first`].
    pub(crate) first: Sequence,
    /// The event was taken from the retries, not from the log.
    pub(crate) retry: bool,
    /// Its end is being written.
    pub(super) settling: bool,
}

/// An event taken for a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Taken {
    pub(crate) sequence: Sequence,
    pub(crate) flight: Flight,
}

/// The next event of the endpoint's log after some position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Upcoming {
    /// The position right after the given one: no event is kept between it and `sequence`.
    pub(crate) first: Sequence,
    pub(crate) sequence: Sequence,
}
