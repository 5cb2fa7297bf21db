//! The state of a shard: endpoints, consumers, and the changes to both.

use std::sync::Arc;

use grapnel_api::{Incarnation, ObjectKey};
use tokio::sync::Notify;

use super::{Change, CheckpointChunk, Head};
use crate::{Attached, AttachedConsumer, Detached, JournalError, Progress, Result, Sequence, Start};

/// The state of one shard.
#[derive(Debug, Default)]
pub(crate) struct ShardState {}

/// What wakes a task that waits for something to claim. It waits for both.
#[derive(Debug, Clone)]
pub(crate) struct Notifies {
    /// New events of the endpoint.
    pub(crate) endpoint: Arc<Notify>,
    /// Releases, redeliveries, and the end of the consumer.
    pub(crate) consumer: Arc<Notify>,
}

impl ShardState {
    /// Creates an empty state that is being loaded: see [`finish_loading`](Self::finish_loading).
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Adds a kept event, ascending by sequence, and wakes its endpoint.
    pub(crate) fn index(&mut self, _head: &Head) {}

    /// Returns the last sequence of the event stream that is known: of an event, or as set by `set_tail`.
    pub(crate) fn tail(&self) -> Sequence {
        0
    }

    /// Notes that the event stream has no other event up to this sequence.
    pub(crate) fn set_tail(&mut self, _sequence: Sequence) {}

    /// Removes an event that is no longer in the event stream. Returns whether it was known.
    pub(crate) fn forget(&mut self, _endpoint: &ObjectKey, _sequence: Sequence) -> bool {
        false
    }

    /// Returns whether the event is kept.
    pub(crate) fn keeps(&self, _endpoint: &ObjectKey, _sequence: Sequence) -> bool {
        false
    }

    /// Applies a change that is durable.
    pub(crate) fn apply(&mut self, _change: &Change) {}

    /// Returns the whole durable state, without the index.
    pub(crate) fn checkpoint(&self) -> impl Iterator<Item = CheckpointChunk> + '_ {
        std::iter::empty()
    }

    /// Completes the state after the log was replayed and the kept events were indexed.
    pub(crate) fn finish_loading(&mut self) {}

    /// Returns the change that makes `endpoint` the current object of its name; `None` if it is already.
    ///
    /// # Errors
    ///
    /// [`JournalError::EndpointReplaced`].
    pub(crate) fn endpoint_changes(&self, endpoint: &Incarnation) -> Result<Option<Change>> {
        Err(JournalError::EndpointReplaced(endpoint.key.clone()))
    }

    /// Returns what attaches the consumer: nothing if it is attached.
    ///
    /// # Errors
    ///
    /// [`JournalError::EndpointChanged`] and [`JournalError::EndpointReplaced`].
    pub(crate) fn propose_attach(
        &self,
        consumer: &Incarnation,
        _endpoint: &Incarnation,
        _start: Start,
    ) -> Result<(Vec<Change>, Attached)> {
        Err(JournalError::UnknownConsumer(consumer.key.clone()))
    }

    /// Returns what detaches the consumer; `None` if it is not attached.
    pub(crate) fn propose_detach(&self, _consumer: &Incarnation) -> Option<(Vec<Change>, Detached)> {
        None
    }

    /// Returns the counts of a consumer.
    pub(crate) fn progress(&self, _consumer: &Incarnation) -> Option<Progress> {
        None
    }

    /// Returns the consumers, sorted.
    pub(crate) fn consumers(&self) -> Vec<AttachedConsumer> {
        Vec::new()
    }

    /// Returns the number of events that wait for a retry.
    pub(crate) fn retrying(&self) -> u64 {
        0
    }

    /// Returns what wakes tasks that wait for this consumer; `None` if it is not attached.
    pub(crate) fn notifies_of(&self, _consumer: &Incarnation) -> Option<Notifies> {
        None
    }

    pub(crate) fn current_endpoint_of(&self, _consumer: &Incarnation) -> Option<Incarnation> { None }
    pub(crate) fn endpoints(&self) -> Vec<Incarnation> { Vec::new() }
    pub(crate) fn consumer(&self, _key: &ObjectKey) -> Option<AttachedConsumer> { None }
    pub(crate) fn has_consumer(&self, key: &ObjectKey) -> bool { self.consumer(key).is_some() }
}
