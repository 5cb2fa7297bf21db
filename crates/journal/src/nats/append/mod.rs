//! Appending, by any replica: one compare-and-set on the subject of the event's id.
//!
//! The acknowledgement of a publish means that the event is durable. What is not acknowledged may be stored
//! nevertheless, or be stored later: it is sent again with the same nonce until the brokers say what became of it, and
//! otherwise the caller learns that they do not. Then the sender's repetition is a duplicate, or is stored.

mod gather;
mod outgoing;
mod store;

use std::{collections::HashMap, sync::Arc};

use grapnel_api::Incarnation;

pub(super) use self::gather::Gathering;
use self::{
    outgoing::{Outgoing, covers},
    store::{store_batch, store_one},
};
use super::{
    broker::{Expected, Publication},
    event_message::{HEAD, MessageHead, Nonce},
    layout::Shard,
    replica::Replica,
    room::Room,
};
use crate::{
    Appended, Arrival, JournalError, Result, Sequence,
    limits::{NATS_BATCH, NATS_HEADROOM_BYTES},
    machine::Micros,
    record::encode_event,
};

/// The events of one endpoint in a call.
struct Group {
    endpoint: Incarnation,
    shard: Shard,
    room: Room,
    events: Vec<Outgoing>,
    /// When the last event of each subject was received, apart from those within the window of the one before.
    subjects: HashMap<String, Micros>,
}

/// Appends events: see [`Journal::append`](crate::Journal::append).
pub(super) async fn append(replica: &Arc<Replica>, arrivals: Vec<Arrival>) -> Result<Vec<Appended>> {
    replica.check_running()?;
    let mut answers: Vec<Option<Appended>> = vec![None; arrivals.len()];
    let groups = group(replica, arrivals)?;
    for group in &groups {
        replica.incarnations.begin(&replica.broker, &replica.layout, &group.endpoint).await?;
    }
    for group in groups {
        replica.make_room(&group.endpoint, group.shard, group.room).await?;
        store_group(replica, group, &mut answers).await?;
    }
    let answers: Option<Vec<_>> = answers.into_iter().collect();
    answers.ok_or_else(|| JournalError::Io("an event has no answer".into(), None))
}

/// Groups the events of a call by endpoint.
fn group(replica: &Replica, arrivals: Vec<Arrival>) -> Result<Vec<Group>> {
    let max = (replica.broker.max_payload() as u64).saturating_sub(NATS_HEADROOM_BYTES);
    let mut groups: Vec<Group> = Vec::new();
    let mut indices: HashMap<Incarnation, usize> = HashMap::new();
    let mut nonces = Nonces::new(arrivals.len())?;
    for (place, arrival) in arrivals.into_iter().enumerate() {
        let index = match indices.get(&arrival.endpoint) {
            Some(index) => *index,
            None => {
                indices.insert(arrival.endpoint.clone(), groups.len());
                groups.push(Group::new(replica.layout.shard_of(&arrival.endpoint.key), &arrival));
                groups.len() - 1
            }
        };
        let Some(group) = groups.get_mut(index) else { continue };
        let row = encode_event(&arrival);
        if row.len() as u64 > max {
            return Err(JournalError::TooLarge { bytes: row.len() as u64, max });
        }
        let head = MessageHead::of(&arrival, nonces.next(), row.len());
        let window = arrival.window.map(|window| u64::try_from(window.as_micros()).unwrap_or(u64::MAX));
        let subject = replica.layout.event(group.shard, &group.endpoint, &arrival.validated.identity().id);
        let expected = window.map(|_| Expected::LastOnSubject(0));
        let headers = vec![(HEAD, head.encode())];
        let publication = Publication { subject, headers, payload: row, expected, ttl: None };
        let endpoint = group.endpoint.clone();
        let after = replica.sequences.last(group.shard);
        group.add(Outgoing { place, endpoint, head, publication, window, after, uncertain: false });
    }
    Ok(groups)
}

impl Group {
    /// Creates the group of the endpoint of a first event, without that event.
    fn new(shard: Shard, first: &Arrival) -> Self {
        let room = Room { needed: 0, max_bytes: first.max_bytes, full: false, now: first.received };
        let endpoint = first.endpoint.clone();
        Self { endpoint, shard, room, events: Vec::new(), subjects: HashMap::new() }
    }

    fn add(&mut self, event: Outgoing) {
        let received = event.head.received;
        self.room.now = self.room.now.max(received.timestamp());
        let before = self.subjects.get(&event.publication.subject);
        if before.is_none_or(|before| !covers(*before, received, event.window)) {
            self.room.needed += event.head.counted();
            self.subjects.insert(event.publication.subject.clone(), received);
        }
        self.events.push(event);
    }
}

/// Stores the events of one endpoint: all or none, as far as they fit in one batch of the brokers.
async fn store_group(replica: &Arc<Replica>, group: Group, answers: &mut [Option<Appended>]) -> Result<()> {
    let Group { shard, events, .. } = group;
    let mut answer = |place: usize, answer| {
        if let Some(slot) = answers.get_mut(place) {
            *slot = Some(answer);
        }
    };
    // What this call has stored, by subject.
    let mut known: HashMap<String, (Sequence, Micros)> = HashMap::new();
    let mut waiting = events;
    while !waiting.is_empty() {
        // A batch has at most one event of each id: that of the second is compared with the first.
        let (mut batch, mut repeated, mut rest) = (Vec::new(), Vec::new(), Vec::new());
        let mut subjects: HashMap<String, Micros> = HashMap::new();
        for event in waiting {
            let (subject, received) = (&event.publication.subject, event.head.received);
            let same = known.get(subject).filter(|(_, known)| covers(*known, received, event.window));
            if let Some((sequence, _)) = same {
                answer(event.place, Appended::Duplicate(*sequence));
                continue;
            }
            match subjects.get(subject) {
                // Usually a duplicate: the others do not wait for it.
                Some(first) if covers(*first, received, event.window) => repeated.push(event),
                // In order: after the first one that has to wait, all do.
                None if rest.is_empty() && batch.len() < NATS_BATCH => {
                    subjects.insert(subject.clone(), received);
                    batch.push(event);
                }
                _ => rest.push(event),
            }
        }
        let stored = match (batch.len(), batch.pop()) {
            (_, None) => Vec::new(),
            (1, Some(event)) => vec![store_one(replica, shard, event).await?],
            (_, Some(last)) => {
                batch.push(last);
                store_batch(replica, shard, batch).await?
            }
        };
        for (event, appended) in stored {
            answer(event.place, appended);
            if let Appended::Stored(sequence) = appended {
                known.insert(event.publication.subject, (sequence, event.head.received));
            }
        }
        waiting = repeated;
        waiting.append(&mut rest);
    }
    Ok(())
}

/// Random numbers for the events of one call.
struct Nonces {
    random: Vec<u8>,
    used: usize,
}

impl Nonces {
    fn new(count: usize) -> Result<Self> {
        let mut random = vec![0; count * std::mem::size_of::<Nonce>()];
        getrandom::fill(&mut random).map_err(|error| JournalError::Io(format!("no random numbers: {error}"), None))?;
        Ok(Self { random, used: 0 })
    }

    fn next(&mut self) -> Nonce {
        let mut nonce = Nonce::default();
        if let Some(bytes) = self.random.get(self.used..self.used + nonce.len()) {
            nonce.copy_from_slice(bytes);
        }
        self.used += nonce.len();
        nonce
    }
}
