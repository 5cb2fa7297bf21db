//! One consumer: its machine, and how its attempts ended.

use std::{collections::BTreeMap, sync::Arc};

use grapnel_api::{Incarnation, ObjectKey};
use tokio::sync::Notify;

use super::{outcomes::Outcomes, rows::Row};
use crate::{
    Sequence,
    machine::{ConsumerState, Durable, End, Ended},
};

/// A consumer of an endpoint of the shard.
#[derive(Debug)]
pub(super) struct ShardConsumer {
    pub(super) object: Incarnation,
    pub(super) endpoint: ObjectKey,
    /// Number of the endpoint's incarnation to which it attached. It reads the events of this one and of later ones.
    pub(super) life: u32,
    pub(super) machine: ConsumerState,
    pub(super) outcomes: Outcomes,
    /// Pins of events whose redelivery is being written.
    pub(super) holds: BTreeMap<Sequence, i32>,
    pub(super) notify: Arc<Notify>,
}

impl ShardConsumer {
    /// Creates a consumer whose first event is the one after `start`.
    pub(super) fn new(object: Incarnation, endpoint: ObjectKey, life: u32, start: Sequence) -> Self {
        Self::restore(object, endpoint, life, Durable { start, ..Durable::default() }, Outcomes::default())
    }

    /// Restores a consumer.
    pub(super) fn restore(
        object: Incarnation,
        endpoint: ObjectKey,
        life: u32,
        durable: Durable,
        outcomes: Outcomes,
    ) -> Self {
        let machine = ConsumerState::restore(durable);
        Self { object, endpoint, life, machine, outcomes, holds: BTreeMap::new(), notify: Arc::default() }
    }

    /// Returns whether the consumer reads the event.
    pub(super) fn reads(&self, row: &Row) -> bool {
        row.sequence > self.machine.start() && row.life >= self.life
    }

    /// Ends whatever there is of an event that is gone. `first` is the first sequence after the event before it.
    pub(super) fn lose(&mut self, first: Sequence, sequence: Sequence) {
        if sequence > self.machine.start() {
            self.machine.apply_purged(sequence);
            self.machine.apply_ended(&Ended { sequence, first, attempt: 1, end: End::Gone });
        }
        self.outcomes.remove(sequence);
    }

    /// Ends whatever there is of events that are gone: those that are not `kept`.
    pub(super) fn lose_all_but(&mut self, kept: impl Fn(Sequence) -> bool) {
        let Durable { retries, dead, .. } = self.machine.durable();
        let left = retries.iter().map(|(sequence, _)| *sequence).chain(dead.iter().map(|(sequence, _)| *sequence));
        for sequence in left.filter(|sequence| !kept(*sequence)) {
            self.lose(sequence, sequence);
        }
        self.outcomes.retain(kept);
    }
}
