//! The events of a round: decided about, and made visible once their records are written.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;

use super::{
    Engine,
    endpoint::{Endpoint, Kept, Recency},
    ids::{IdHash, KnownId},
    incoming::Incoming,
    index::Position,
    segments::Segment,
    task::Answer,
};
use crate::{Appended, JournalError, Result, Sequence, machine::Micros};

/// The events that will be kept once the records of the round are written.
#[derive(Default)]
pub(super) struct Staged {
    endpoints: HashMap<u32, StagedEndpoint>,
    ids: HashMap<IdHash, KnownId>,
    events: Vec<StagedEvent>,
    pub(super) answers: Vec<(Answer<Vec<Appended>>, Vec<Appended>)>,
    pub(super) bytes: u64,
}

struct StagedEndpoint {
    endpoint: Arc<Endpoint>,
    head: Sequence,
    events: u64,
    bytes: u64,
    ids_until: Micros,
}

struct StagedEvent {
    endpoint: Arc<Endpoint>,
    position: Position,
    id: IdHash,
    keep_until: Micros,
    row: Bytes,
}

/// What becomes of an event.
pub(super) enum Decision {
    New,
    DuplicateOf(Sequence),
    /// A duplicate of an earlier event of the same call.
    DuplicateOfCall(usize),
}

impl Staged {
    /// Returns the bytes of an endpoint's events in the round.
    pub(super) fn bytes_of(&self, endpoint: u32) -> u64 {
        self.endpoints.get(&endpoint).map_or(0, |staged| staged.bytes)
    }

    /// Returns the bytes of a namespace's events in the round.
    pub(super) fn bytes_of_namespace(&self, namespace: &str) -> u64 {
        let inside = |staged: &&StagedEndpoint| *staged.endpoint.key.namespace == *namespace;
        self.endpoints.values().filter(inside).map(|staged| staged.bytes).sum()
    }

    /// Decides about each event of one call without changing any state.
    pub(super) fn decide(&self, engine: &Engine, events: &[Incoming]) -> Result<Vec<Decision>> {
        let mut decisions: Vec<Decision> = Vec::with_capacity(events.len());
        for (at, event) in events.iter().enumerate() {
            if event.endpoint.present_incarnation() != event.incarnation {
                return Err(JournalError::EndpointReplaced(event.endpoint.key.clone()));
            }
            let same = |earlier: &usize| {
                let other = events.get(*earlier);
                let new = matches!(decisions.get(*earlier), Some(Decision::New));
                new && other.is_some_and(|other| {
                    let known = KnownId { sequence: 0, received: other.received };
                    other.id == event.id && event.is_duplicate_of(known)
                })
            };
            if event.window.is_some()
                && let Some(earlier) = (0..at).rev().find(same)
            {
                decisions.push(Decision::DuplicateOfCall(earlier));
                continue;
            }
            let known = match self.ids.get(&event.id) {
                _ if event.window.is_none() => None,
                Some(known) => Some(*known),
                None => engine.known_id(&event.id, Some(event.received))?,
            };
            decisions.push(match known.filter(|known| event.is_duplicate_of(*known)) {
                Some(known) => Decision::DuplicateOf(known.sequence),
                None => Decision::New,
            });
        }
        Ok(decisions)
    }

    /// Counts an event that will be kept. Returns its sequence.
    pub(super) fn count(&mut self, event: &Incoming) -> Sequence {
        let cost = event.cost();
        let staged = self.endpoints.entry(event.endpoint.number).or_insert_with(|| StagedEndpoint {
            head: event.endpoint.head(),
            endpoint: Arc::clone(&event.endpoint),
            events: 0,
            bytes: 0,
            ids_until: Micros(0),
        });
        staged.ids_until = staged.ids_until.max(event.keep_until());
        staged.head += 1;
        staged.events += 1;
        staged.bytes += cost;
        self.bytes += cost;
        staged.head
    }

    /// Adds a counted event, whose record is at `offset`.
    pub(super) fn add(&mut self, event: Incoming, sequence: Sequence, offset: u64) {
        self.ids.insert(event.id, KnownId { sequence, received: event.received });
        self.events.push(StagedEvent {
            position: Position::new(sequence, offset, event.cost(), event.received),
            id: event.id,
            keep_until: event.keep_until(),
            row: event.payload.slice(event.row..),
            endpoint: event.endpoint,
        });
    }

    /// Makes the events visible and responds to their callers, after the records were written to `segment` or failed to
    /// be. Returns the bytes that were stored.
    pub(super) fn finish(
        &mut self,
        engine: &Engine,
        segment: &Segment,
        recency: &mut Recency,
        outcome: Result<(), &JournalError>,
    ) -> u64 {
        if let Err(error) = outcome {
            self.fail(error);
            return 0;
        }
        let stored = self.bytes;
        if !self.events.is_empty() {
            self.publish(engine, segment, recency);
        }
        for (answer, appended) in self.answers.drain(..) {
            let _ = answer.send(Ok(appended));
        }
        self.bytes = 0;
        stored
    }

    fn fail(&mut self, error: &JournalError) {
        let failed = std::mem::take(self);
        if !failed.events.is_empty() {
            tracing::error!(%error, events = failed.events.len(), "events were not stored");
        }
        for (answer, _) in failed.answers {
            let _ = answer.send(Err(error.clone_for_caller()));
        }
    }

    fn publish(&mut self, engine: &Engine, segment: &Segment, recency: &mut Recency) {
        segment.extend(|index| {
            for event in &self.events {
                index.event(event.endpoint.number, event.position);
            }
        });
        segment.add_live(self.events.len() as u64, self.bytes);
        {
            let mut ids = engine.ids.write();
            for event in &self.events {
                let known = KnownId { sequence: event.position.sequence, received: event.position.received };
                ids.active.insert(event.id, known, event.keep_until);
            }
        }
        {
            let mut namespaces = engine.namespaces.lock();
            for endpoint in self.endpoints.values() {
                *namespaces.entry(Arc::clone(&endpoint.endpoint.key.namespace)).or_default() += endpoint.bytes;
            }
        }
        for event in self.events.drain(..) {
            if !event.endpoint.consumers.read().is_empty() {
                recency.push(&event.endpoint, event.position.sequence, event.row);
            }
        }
        for (_, endpoint) in self.endpoints.drain() {
            endpoint.publish();
        }
        self.ids.clear();
    }
}

impl StagedEndpoint {
    fn publish(self) {
        {
            let mut state = self.endpoint.state.lock();
            state.appended += self.events;
            state.own.add(Kept { events: self.events, bytes: self.bytes });
            state.ids_until = state.ids_until.max(self.ids_until);
        }
        self.endpoint.publish(self.head);
    }
}
