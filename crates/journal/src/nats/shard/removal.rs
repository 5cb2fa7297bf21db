//! The removal of events: they leave the log at once, and are forgotten when they have been deleted.

use std::collections::BTreeMap;

use grapnel_api::ObjectKey;

use super::{Change, ShardState, rows::Row, usage::Usage};
use crate::{Sequence, machine::Micros};

/// Maximum number of events of one [`Change::Removed`].
const REMOVED_EVENTS: usize = 1024;

/// An event to delete from the event stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Removal {
    pub(crate) endpoint: ObjectKey,
    pub(crate) sequence: Sequence,
    pub(crate) received: Micros,
    /// The end of its deduplication window, until which its id has to stay known.
    pub(crate) until: Micros,
}

impl ShardState {
    /// Removes settled events from the log of an endpoint.
    pub(super) fn begin_removals(&mut self, endpoint: &ObjectKey, sequences: &[Sequence]) -> Vec<Removal> {
        let Some(log) = self.endpoints.get_mut(endpoint) else { return Vec::new() };
        let mut removals = Vec::with_capacity(sequences.len());
        let mut usage = Usage::default();
        for sequence in sequences {
            let Some((row, change)) = log.take(*sequence) else { continue };
            log.leaving.insert(*sequence, row);
            usage += change;
            let Row { sequence, received, until, .. } = row;
            removals.push(Removal { endpoint: endpoint.clone(), sequence, received, until });
        }
        self.count(&endpoint.namespace, usage);
        removals
    }

    /// Forgets events that were deleted. Returns what to add to the state log, and to apply then, so that later
    /// redeliveries count these events; nothing else depends on it.
    pub(crate) fn finish_removals(&mut self, removals: &[Removal]) -> Vec<Change> {
        let mut events: BTreeMap<&ObjectKey, Vec<(Sequence, Micros)>> = BTreeMap::new();
        for removal in removals {
            self.forget(&removal.endpoint, removal.sequence);
            events.entry(&removal.endpoint).or_default().push((removal.sequence, removal.received));
        }
        let removed = |(endpoint, mut events): (&ObjectKey, Vec<_>)| {
            // Ascending: two that become one gap would hide another between them that comes later.
            events.sort_unstable();
            let changes = events.chunks(REMOVED_EVENTS);
            changes
                .map(|events| Change::Removed { endpoint: endpoint.clone(), events: events.to_vec() })
                .collect::<Vec<_>>()
        };
        events.into_iter().flat_map(removed).collect()
    }

    /// Keeps events that were not deleted.
    pub(crate) fn abort_removals(&mut self, removals: &[Removal]) {
        for Removal { endpoint, sequence, .. } in removals {
            let Some(log) = self.endpoints.get_mut(endpoint) else { continue };
            let Some(mut row) = log.leaving.remove(sequence) else { continue };
            row.pins = 0;
            for (_, key) in &log.consumers {
                // The consumers attached in the meantime have not settled it.
                let consumer = self.consumers.get_mut(key);
                if let Some(consumer) = consumer.filter(|it| it.reads(&row) && it.machine.is_pinned(*sequence)) {
                    consumer.machine.exclude(-1);
                    row.pins += 1;
                }
            }
            let change = log.add(row);
            self.count(&endpoint.namespace, change);
        }
    }
}
