//! Retention.

use grapnel_api::ObjectKey;
use jiff::Timestamp;

use super::{Change, ShardState};
use crate::{Retention, Sequence, machine::Micros};

/// An event to delete from the event stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Removal {
    pub(crate) endpoint: ObjectKey,
    pub(crate) sequence: Sequence,
    pub(crate) received: Micros,
    /// The end of its deduplication window, until which its id has to stay known.
    pub(crate) until: Micros,
}

/// One step of a sweep.
#[derive(Debug, Default)]
pub(crate) struct SweepStep {
    /// To be made durable and applied before the next step.
    pub(crate) changes: Vec<Change>,
    /// Number of dead letters that these changes remove.
    pub(crate) dead_letters: u64,
    /// To be deleted: see [`ShardState::finish_removals`] and [`ShardState::abort_removals`].
    pub(crate) remove: Vec<Removal>,
    /// Whether another step is needed.
    pub(crate) more: bool,
}

/// A sweep in progress.
#[derive(Debug)]
pub(crate) struct Sweep {
    now: Micros,
}

impl Sweep {
    pub(crate) fn new(_retention: Retention, now: Timestamp) -> Self {
        Self { now: Micros::floor(now) }
    }
}

impl ShardState {
    /// Carries out one step of a sweep, which examines or removes about `limit` rows.
    pub(crate) fn sweep(&mut self, _sweep: &mut Sweep, _limit: usize) -> SweepStep {
        SweepStep::default()
    }

    /// Forgets events that were deleted, and returns what to add to the state log, so that later redeliveries count
    /// them. Nothing is lost but these counts if that is not done.
    pub(crate) fn finish_removals(&mut self, _removals: &[Removal]) -> Vec<Change> {
        Vec::new()
    }

    /// Keeps events that were not deleted.
    pub(crate) fn abort_removals(&mut self, _removals: &[Removal]) {}
}
