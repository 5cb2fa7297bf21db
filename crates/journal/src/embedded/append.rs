//! Appends: encoded by the caller, positioned by the writer.

use std::{collections::HashMap, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use tokio::sync::oneshot;

use super::{
    Engine,
    endpoint::{Endpoint, Kept},
    frame::{Frame, Kind, head_checksum},
    ids::{IdHash, KnownId},
    index::Position,
    segments::EVENT_OVERHEAD,
    tasks::Answer,
    writer::Writer,
};
use crate::{
    Appended, Arrival, JournalError, Result, Sequence,
    limits::JOURNAL_RECORD_BYTES,
    machine::Micros,
    record::{self, codec::put_var},
};

/// Events to append, all or none.
pub(super) struct Append {
    pub(super) events: Vec<Incoming>,
    pub(super) answer: Answer<Vec<Appended>>,
}

impl Append {
    /// Moves the contents out.
    pub(super) fn take(&mut self) -> Self {
        let answer = std::mem::replace(&mut self.answer, oneshot::channel().0);
        Self { events: std::mem::take(&mut self.events), answer }
    }
}

/// An encoded event.
pub(super) struct Incoming {
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) incarnation: u32,
    id: IdHash,
    /// The payload of the record.
    payload: Bytes,
    /// Offset of the event in the payload.
    row: usize,
    checksum: u32,
    /// Checksum of the payload before the body.
    head: u32,
    pub(super) received: Micros,
    window: Option<Duration>,
    pub(super) max_bytes: Option<u64>,
}

impl Incoming {
    fn new(endpoint: Arc<Endpoint>, incarnation: u32, arrival: &Arrival) -> Self {
        let mut payload = BytesMut::with_capacity(10 + record::event_len(arrival));
        let window = arrival.window.map_or(0, |window| u64::try_from(window.as_micros()).unwrap_or(u64::MAX - 1) + 1);
        put_var(&mut payload, window);
        let row = payload.len();
        record::put_event(&mut payload, arrival);
        let payload = payload.freeze();
        let body = arrival.validated.body().len();
        let (before, body) = payload.split_at(payload.len().saturating_sub(body));
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(before);
        let head = head_checksum(hasher.clone().finalize());
        hasher.update(body);
        Self {
            id: IdHash::of(endpoint.number, incarnation, &arrival.validated.identity().id),
            endpoint,
            incarnation,
            row,
            checksum: hasher.finalize(),
            head,
            payload,
            received: Micros::floor(arrival.received),
            window: arrival.window,
            max_bytes: arrival.max_bytes,
        }
    }

    /// Returns the size of the event's record in bytes.
    pub(super) fn cost(&self) -> u64 {
        EVENT_OVERHEAD + self.payload.len() as u64
    }

    fn frame(&self, sequence: Sequence) -> Frame {
        Frame {
            kind: Kind::Event,
            len: u32::try_from(self.payload.len()).unwrap_or(u32::MAX),
            checksum: self.checksum,
            head: self.head,
            sequence,
            number: self.endpoint.number,
            incarnation: self.incarnation,
        }
    }

    /// Returns whether this event is a duplicate of a known event of the same id: they were received less than a window
    /// apart.
    fn is_duplicate_of(&self, known: KnownId) -> bool {
        let apart = Duration::from_micros(self.received.0.abs_diff(known.received.0));
        self.window.is_some_and(|window| apart < window)
    }
}

/// Appends events and waits until they are durable.
pub(super) async fn append(engine: &Engine, arrivals: Vec<Arrival>) -> Result<Vec<Appended>> {
    if engine.is_closing() {
        return Err(JournalError::Closed);
    }
    let mut events = Vec::with_capacity(arrivals.len());
    let mut bytes = 0;
    for arrival in &arrivals {
        let (endpoint, incarnation) = engine.resolve(&arrival.endpoint).await?;
        // Encoded on the caller's thread to relieve the writer.
        let incoming = Incoming::new(endpoint, incarnation, arrival);
        if incoming.cost() > JOURNAL_RECORD_BYTES {
            return Err(JournalError::TooLarge { bytes: incoming.cost(), max: JOURNAL_RECORD_BYTES });
        }
        bytes += incoming.payload.len();
        events.push(incoming);
    }
    drop(arrivals);
    if events.is_empty() {
        return Ok(Vec::new());
    }
    let (answer, answered) = oneshot::channel();
    engine.inbox.append(Append { events, answer }, bytes).await?;
    answered.await.map_err(|_| JournalError::Closed)?
}

/// The events that will be kept once the records of the round are written.
#[derive(Default)]
pub(super) struct Staged {
    endpoints: HashMap<u32, StagedEndpoint>,
    ids: HashMap<IdHash, KnownId>,
    events: Vec<StagedEvent>,
    answers: Vec<(Answer<Vec<Appended>>, Vec<Appended>)>,
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
enum Decision {
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
    fn decide(&self, engine: &Engine, events: &[Incoming]) -> Result<Vec<Decision>> {
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
}

impl Writer {
    /// Adds the events of one call to the round, or responds with the error.
    pub(super) fn stage_append(&mut self, append: Append) {
        let Append { events, answer } = append;
        match self.admit(&events) {
            Ok(decisions) => {
                let appended = self.place(events, &decisions);
                self.staged.answers.push((answer, appended));
            }
            Err(error) => {
                let _ = answer.send(Err(error));
            }
        }
    }

    fn admit(&mut self, events: &[Incoming]) -> Result<Vec<Decision>> {
        let decisions = self.staged.decide(&self.engine, events)?;
        let new = events.iter().zip(&decisions).filter(|(_, decision)| matches!(decision, Decision::New));
        let new: Vec<&Incoming> = new.map(|(event, _)| event).collect();
        self.make_room(&new)?;
        // Making room may have written the round so far, but none of these events.
        Ok(decisions)
    }

    fn place(&mut self, events: Vec<Incoming>, decisions: &[Decision]) -> Vec<Appended> {
        let mut appended: Vec<Appended> = Vec::with_capacity(events.len());
        for (event, decision) in events.into_iter().zip(decisions) {
            appended.push(match decision {
                Decision::New => Appended::Stored(self.place_event(event)),
                Decision::DuplicateOf(sequence) => Appended::Duplicate(*sequence),
                Decision::DuplicateOfCall(earlier) => match appended.get(*earlier) {
                    Some(Appended::Stored(sequence) | Appended::Duplicate(sequence)) => Appended::Duplicate(*sequence),
                    None => Appended::Duplicate(0),
                },
            });
        }
        appended
    }

    fn place_event(&mut self, event: Incoming) -> Sequence {
        let cost = event.cost();
        let staged = self.staged.endpoints.entry(event.endpoint.number).or_insert_with(|| StagedEndpoint {
            head: event.endpoint.head(),
            endpoint: Arc::clone(&event.endpoint),
            events: 0,
            bytes: 0,
            ids_until: Micros(0),
        });
        let keep_until = event.window.map_or(event.received, |window| event.received.after(window));
        staged.ids_until = staged.ids_until.max(keep_until);
        staged.head += 1;
        staged.events += 1;
        staged.bytes += cost;
        let sequence = staged.head;
        self.staged.bytes += cost;
        let offset = self.log.event(event.frame(sequence), &event.payload);
        self.pending.sync();
        let received = event.received;
        self.staged.ids.insert(event.id, KnownId { sequence, received });
        self.staged.events.push(StagedEvent {
            position: Position::new(sequence, offset, cost, received),
            id: event.id,
            keep_until,
            row: event.payload.slice(event.row..),
            endpoint: event.endpoint,
        });
        sequence
    }

    /// Makes the events visible and responds to their callers, after the records were written or failed to be.
    pub(super) fn finish_appends(&mut self, outcome: Result<(), &JournalError>) {
        let mut staged = std::mem::take(&mut self.staged);
        if let Err(error) = outcome {
            if !staged.events.is_empty() {
                tracing::error!(%error, events = staged.events.len(), "events were not stored");
            }
            for (answer, _) in staged.answers.drain(..) {
                let _ = answer.send(Err(error.clone_for_caller()));
            }
            return;
        }
        if !staged.events.is_empty() {
            self.publish(&mut staged);
        }
        for (answer, appended) in staged.answers.drain(..) {
            let _ = answer.send(Ok(appended));
        }
        staged.bytes = 0;
        staged.endpoints.clear();
        // Reuse the allocation.
        self.staged = staged;
    }

    fn publish(&mut self, staged: &mut Staged) {
        let segment = Arc::clone(&self.log.segment);
        segment.extend(|index| {
            for event in &staged.events {
                index.event(event.endpoint.number, event.position);
            }
        });
        segment.add_live(staged.events.len() as u64, staged.bytes);
        {
            let mut ids = self.engine.ids.write();
            for event in &staged.events {
                let known = KnownId { sequence: event.position.sequence, received: event.position.received };
                ids.active.insert(event.id, known, event.keep_until);
            }
        }
        {
            let mut namespaces = self.engine.namespaces.lock();
            for endpoint in staged.endpoints.values() {
                *namespaces.entry(Arc::clone(&endpoint.endpoint.key.namespace)).or_default() += endpoint.bytes;
            }
        }
        for event in staged.events.drain(..) {
            if !event.endpoint.consumers.read().is_empty() {
                self.recency.push(&event.endpoint, event.position.sequence, event.row);
            }
        }
        for (_, endpoint) in staged.endpoints.drain() {
            {
                let mut state = endpoint.endpoint.state.lock();
                state.appended += endpoint.events;
                state.own.add(Kept { events: endpoint.events, bytes: endpoint.bytes });
                state.ids_until = state.ids_until.max(endpoint.ids_until);
            }
            endpoint.endpoint.publish(endpoint.head);
        }
        staged.ids.clear();
        self.health.stored(staged.bytes);
    }
}
