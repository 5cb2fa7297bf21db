//! Lists of events and of deliveries.

use grapnel_api::Incarnation;
use jiff::Timestamp;

use super::ShardState;
use crate::{
    DeliveryQuery, DeliveryState, Exchange, Failure, JournalError, Outcome, Result, Sequence, machine::Micros,
};

/// The events of one step of a list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ListedEvents {
    /// In the order of the list.
    pub(crate) sequences: Vec<Sequence>,
    /// Everything up to this sequence was examined; `None` at the end of the list.
    pub(crate) next: Option<Sequence>,
}

/// A delivery in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ListedDelivery {
    pub(crate) sequence: Sequence,
    pub(crate) state: DeliveryState,
    pub(crate) outcome: Outcome,
    pub(crate) attempts: u32,
    pub(crate) due: Option<Micros>,
    pub(crate) last: Option<Exchange>,
    pub(crate) failure: Option<Failure>,
}

impl ShardState {
    /// Lists events of the endpoint that were received at or after `since`, to the microsecond: the caller reads them
    /// and compares exactly. Examines at most `scan` events. An earlier object of the same name has none.
    pub(crate) fn list_events(
        &self,
        _endpoint: &Incarnation,
        _since: Option<Timestamp>,
        _after: Sequence,
        _newest_first: bool,
        _scan: usize,
    ) -> ListedEvents {
        ListedEvents::default()
    }

    /// Lists deliveries of a consumer: one bounded step. Also returns the `after` of the next one.
    ///
    /// # Errors
    ///
    /// [`JournalError::UnknownConsumer`].
    pub(crate) fn list_deliveries(
        &self,
        consumer: &Incarnation,
        _query: &DeliveryQuery,
    ) -> Result<(Vec<ListedDelivery>, Option<Sequence>)> {
        Err(JournalError::UnknownConsumer(consumer.key.clone()))
    }
}
