//! Redelivery of settled and dead events, and acceleration of retries.

use grapnel_api::Incarnation;

use super::{Change, ShardState};
use crate::{JournalError, Redelivered, RedeliveryStep, Result, Selection, Sequence};

impl ShardState {
    /// Returns the ids that the caller has to look up for a step.
    pub(crate) fn ids_of_step<'a>(_selection: &'a Selection, _step: &RedeliveryStep) -> &'a [Box<str>] {
        &[]
    }

    /// Returns the changes of one step of a redelivery, and its result. `found` has the sequence of the newest event of
    /// each of [`ids_of_step`](Self::ids_of_step), in that order; `None` for one that is not kept.
    ///
    /// # Errors
    ///
    /// [`JournalError::UnknownConsumer`].
    pub(crate) fn propose_redeliver(
        &self,
        consumer: &Incarnation,
        _selection: &Selection,
        _found: &[Option<Sequence>],
        _step: RedeliveryStep,
    ) -> Result<(Vec<Change>, Redelivered)> {
        Err(JournalError::UnknownConsumer(consumer.key.clone()))
    }
}
