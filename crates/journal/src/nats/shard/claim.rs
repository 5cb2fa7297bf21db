//! Claims and settlements.

use grapnel_api::Incarnation;
use jiff::Timestamp;

use super::{Change, ShardState};
use crate::{Claim, JournalError, Result, Sequence, Settlement, machine::Taken};

impl ShardState {
    /// Takes due deliveries, and returns when the next retry is due: see [`Claimed`](crate::Claimed). The caller reads
    /// the events. It forgets those that are gone, and settles or releases the others.
    ///
    /// # Errors
    ///
    /// [`JournalError::UnknownConsumer`].
    pub(crate) fn claim(&mut self, consumer: &Incarnation, _claim: &Claim) -> Result<(Vec<Taken>, Option<Timestamp>)> {
        Err(JournalError::UnknownConsumer(consumer.key.clone()))
    }

    /// Ends attempts that did not take place: their events are claimable under the same attempt number.
    pub(crate) fn release(&mut self, _consumer: &Incarnation, _sequences: impl IntoIterator<Item = Sequence>) {}

    /// Returns whether a wait for something to claim is over. Also true if the consumer is not attached.
    pub(crate) fn is_ready(&self, _consumer: &Incarnation) -> bool {
        true
    }

    /// Returns the ends of attempts to make durable. Releases are applied at once.
    ///
    /// # Errors
    ///
    /// [`JournalError::UnknownConsumer`].
    pub(crate) fn begin_settle(
        &mut self,
        consumer: &Incarnation,
        _settlements: Vec<(Sequence, Settlement)>,
    ) -> Result<Vec<Change>> {
        Err(JournalError::UnknownConsumer(consumer.key.clone()))
    }

    /// Reverts [`begin_settle`](Self::begin_settle): the ends did not become durable.
    pub(crate) fn abort_settle(&mut self, _changes: &[Change]) {}
}
