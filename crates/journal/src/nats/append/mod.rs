//! Appending, by any replica: one compare-and-set on the subject of the event's id.
//!
//! The acknowledgement of a publish means that the event is durable. What is not acknowledged may be stored
//! nevertheless, or be stored later: it is sent again with the same nonce until the brokers say what became of it, and
//! otherwise the caller learns that they do not. Then the sender's repetition is a duplicate, or is stored.

use futures_util::{StreamExt, TryStreamExt, stream};
use grapnel_api::Incarnation;

use super::{
    broker::{Expected, Message, Publication, PublishError, ReadFrom},
    error::{from_broker, from_publish},
    event_message::{EventMessage, HEAD, MessageHead, Nonce},
    layout::Shard,
    replica::Replica,
    retry::Attempts,
    room::Room,
};
use crate::{
    Appended, Arrival, JournalError, Result, Sequence,
    limits::{NATS_BATCH, NATS_HEADROOM_BYTES, NATS_LOOKUPS, NATS_PUBLISH_TRY},
    machine::Micros,
    record::encode_event,
};

/// An event on its way to the brokers.
struct Outgoing {
    /// Its place in the call.
    place: usize,
    endpoint: Incarnation,
    head: MessageHead,
    publication: Publication,
    /// Its window in microseconds; `None` if it is compared with none.
    window: Option<u64>,
    /// An earlier attempt may be stored, or be stored later.
    uncertain: bool,
}

/// The events of one endpoint in a call.
struct Group {
    endpoint: Incarnation,
    shard: Shard,
    max_bytes: Option<u64>,
    events: Vec<Outgoing>,
}

/// What the brokers have under an event's subject.
enum Found {
    /// The event itself, stored by an earlier attempt.
    Own(Sequence),
    /// Another event with its id, within the window.
    Duplicate(Sequence),
    /// Nothing that matters: the event may follow this sequence.
    Free(Sequence),
}

/// The result of one event: where it was stored, or the place of another event of the call that it equals.
#[derive(Clone, Copy)]
enum Placed {
    Answer(Appended),
    SameAs(usize),
}

/// Appends events: see [`Journal::append`](crate::Journal::append).
pub(super) async fn append(replica: &Replica, arrivals: Vec<Arrival>) -> Result<Vec<Appended>> {
    replica.check_running()?;
    let mut placed: Vec<Option<Placed>> = vec![None; arrivals.len()];
    let groups = group(replica, arrivals, &mut placed)?;
    for group in &groups {
        replica.incarnations.begin(&replica.broker, &replica.layout, &group.endpoint).await?;
    }
    for group in groups {
        if let Some(room) = room(&group.events, group.max_bytes, false) {
            replica.make_room(&group.endpoint, group.shard, room).await?;
        }
        store_group(replica, group, &mut placed).await?;
    }
    let answer = |placed_at: &Option<Placed>| match placed_at {
        Some(Placed::Answer(answer)) => Some(*answer),
        Some(Placed::SameAs(place)) => match placed.get(*place)? {
            Some(Placed::Answer(Appended::Stored(sequence) | Appended::Duplicate(sequence))) => {
                Some(Appended::Duplicate(*sequence))
            }
            _ => None,
        },
        None => None,
    };
    let answers: Option<Vec<_>> = placed.iter().map(answer).collect();
    answers.ok_or_else(|| JournalError::Io("an event has no answer".into(), None))
}

/// Groups the events of a call by endpoint. Of events that are equal within the call, only the first is published.
fn group(replica: &Replica, arrivals: Vec<Arrival>, placed: &mut [Option<Placed>]) -> Result<Vec<Group>> {
    let max = (replica.broker.max_payload() as u64).saturating_sub(NATS_HEADROOM_BYTES);
    let mut groups: Vec<Group> = Vec::new();
    let mut nonces = Nonces::new(arrivals.len())?;
    for (place, arrival) in arrivals.into_iter().enumerate() {
        let index = match groups.iter().position(|group| group.endpoint == arrival.endpoint) {
            Some(index) => index,
            None => {
                let shard = replica.layout.shard_of(&arrival.endpoint.key);
                let endpoint = arrival.endpoint.clone();
                groups.push(Group { endpoint, shard, max_bytes: arrival.max_bytes, events: Vec::new() });
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
        let same = group.events.iter().rev().find(|event| event.publication.subject == subject);
        if let Some(same) = same.filter(|same| covers(same.head.received, head.received, window)) {
            if let Some(slot) = placed.get_mut(place) {
                *slot = Some(Placed::SameAs(same.place));
            }
            continue;
        }
        let expected = window.map(|_| Expected::LastOnSubject(0));
        let headers = vec![(HEAD, head.encode())];
        let publication = Publication { subject, headers, payload: row, expected, ttl: None };
        group.max_bytes = arrival.max_bytes;
        let endpoint = group.endpoint.clone();
        group.events.push(Outgoing { place, endpoint, head, publication, window, uncertain: false });
    }
    Ok(groups)
}

/// Returns whether an arrival is within its window of another one with the same id.
fn covers(known: Micros, received: Micros, window: Option<u64>) -> bool {
    window.is_some_and(|window| known.0.abs_diff(received.0) < window)
}

/// Stores the events of one endpoint: all or none, as far as they fit in one batch of the brokers.
async fn store_group(replica: &Replica, group: Group, placed: &mut [Option<Placed>]) -> Result<()> {
    let Group { shard, events, .. } = group;
    let mut waiting = events;
    while !waiting.is_empty() {
        // A batch has at most one event of each id: that of the second is compared with the first.
        let mut batch: Vec<Outgoing> = Vec::new();
        let mut rest = Vec::new();
        for event in waiting {
            let repeated = || batch.iter().any(|other| other.publication.subject == event.publication.subject);
            // In order: after the first one that has to wait, all do.
            let waits = !rest.is_empty() || batch.len() == NATS_BATCH || repeated();
            if waits { rest.push(event) } else { batch.push(event) }
        }
        let stored = match batch.len() {
            1 => store_one(replica, shard, batch).await?,
            _ => store_batch(replica, shard, batch).await?,
        };
        for (event, answer) in stored {
            if let Some(slot) = placed.get_mut(event.place) {
                *slot = Some(Placed::Answer(answer));
            }
        }
        waiting = rest;
    }
    Ok(())
}

/// Returns the room that events of one endpoint need; `None` without events.
fn room(events: &[Outgoing], max_bytes: Option<u64>, full: bool) -> Option<Room> {
    let now = events.iter().map(|event| event.head.received).max()?.timestamp();
    let needed = events.iter().map(|event| event.head.counted()).sum();
    Some(Room { needed, max_bytes, full, now })
}

/// Makes room for events whose shard's stream has reached its maximum size.
async fn make_room_for(replica: &Replica, shard: Shard, events: &[Outgoing]) -> Result<()> {
    match (events.first(), room(events, None, true)) {
        (Some(first), Some(room)) => replica.make_room(&first.endpoint, shard, room).await,
        _ => Ok(()),
    }
}

/// Stores a single event.
async fn store_one(replica: &Replica, shard: Shard, mut events: Vec<Outgoing>) -> Result<Vec<(Outgoing, Appended)>> {
    let Some(mut event) = events.pop() else { return Ok(Vec::new()) };
    let mut attempts = Attempts::begin();
    let appended = loop {
        match replica.broker.publish(&event.publication, NATS_PUBLISH_TRY).await {
            Ok(sequence) => break stored(replica, shard, &event, sequence).await,
            Err(PublishError::WrongLast(last)) => match look_at(replica, shard, &event, last).await {
                Ok(Found::Own(sequence)) => break stored(replica, shard, &event, sequence).await,
                Ok(Found::Duplicate(sequence)) => break Appended::Duplicate(sequence),
                Ok(Found::Free(last)) => event.publication.expected = Some(Expected::LastOnSubject(last)),
                // The next attempt meets it again.
                Err(error) => attempts.after(error).await?,
            },
            // Another one with this id is on its way and not durable yet: not a duplicate before it is.
            Err(PublishError::InFlight) => attempts.again("an event with the same id is being stored").await?,
            Err(PublishError::Busy(_)) => attempts.again("the NATS servers are busy").await?,
            Err(PublishError::Full(_)) => {
                make_room_for(replica, shard, std::slice::from_ref(&event)).await?;
                attempts.again("the NATS stream is full").await?;
            }
            Err(error) => {
                event.uncertain = true;
                attempts.after(from_publish(error)).await?;
                if event.window.is_none() {
                    // From here on compared, so that it is not stored twice.
                    let last = last_on_subject(replica, shard, &event).await?;
                    event.publication.expected =
                        Some(Expected::LastOnSubject(last.as_ref().map_or(0, |last| last.sequence)));
                    if let Some(Found::Own(sequence)) = own(&event, last.as_ref()) {
                        break stored(replica, shard, &event, sequence).await;
                    }
                }
            }
        }
    };
    Ok(vec![(event, appended)])
}

/// Stores several events of one endpoint atomically, apart from duplicates.
async fn store_batch(replica: &Replica, shard: Shard, mut events: Vec<Outgoing>) -> Result<Vec<(Outgoing, Appended)>> {
    let mut attempts = Attempts::begin();
    let mut answers = Vec::with_capacity(events.len());
    while !events.is_empty() {
        let publications: Vec<_> = events.iter().map(|event| event.publication.clone()).collect();
        let published = {
            let _permit = replica.batches.acquire().await.map_err(|_| JournalError::Closed)?;
            replica.broker.publish_batch(&publications, NATS_PUBLISH_TRY).await
        };
        match published {
            Ok(last) => {
                // The messages of a batch follow one another.
                let first = last.saturating_sub(events.len() as u64 - 1);
                for (event, sequence) in events.drain(..).zip(first..) {
                    let answer = stored(replica, shard, &event, sequence).await;
                    answers.push((event, answer));
                }
            }
            Err(PublishError::WrongLast(_) | PublishError::InFlight) => {
                attempts.again("events with the same ids are being stored").await?;
                match settle_known(replica, shard, &mut events).await {
                    Ok(known) => answers.extend(known),
                    Err(error) => attempts.after(error).await?,
                }
            }
            Err(PublishError::Busy(_)) => attempts.again("the NATS servers are busy").await?,
            Err(PublishError::Full(_)) => {
                make_room_for(replica, shard, &events).await?;
                attempts.again("the NATS stream is full").await?;
            }
            Err(error) => {
                events.iter_mut().for_each(|event| event.uncertain = true);
                attempts.after(from_publish(error)).await?;
                match settle_known(replica, shard, &mut events).await {
                    Ok(known) => answers.extend(known),
                    Err(error) => attempts.after(error).await?,
                }
            }
        }
    }
    Ok(answers)
}

/// Takes those events out of a batch that are stored already, as themselves or as others within their windows, and
/// lets the others follow what is there.
async fn settle_known(
    replica: &Replica,
    shard: Shard,
    events: &mut Vec<Outgoing>,
) -> Result<Vec<(Outgoing, Appended)>> {
    let lookups: Vec<_> = events.iter().map(|event| last_on_subject(replica, shard, event)).collect();
    let found: Vec<Option<Message>> = stream::iter(lookups).buffered(NATS_LOOKUPS).try_collect().await?;
    let mut answers = Vec::new();
    let mut left = Vec::new();
    for (mut event, message) in events.drain(..).zip(found) {
        match judge(&event, message.as_ref())? {
            Found::Own(sequence) => {
                let answer = stored(replica, shard, &event, sequence).await;
                answers.push((event, answer));
            }
            Found::Duplicate(sequence) => answers.push((event, Appended::Duplicate(sequence))),
            Found::Free(last) => {
                if event.window.is_some() || event.uncertain {
                    event.publication.expected = Some(Expected::LastOnSubject(last));
                }
                left.push(event);
            }
        }
    }
    *events = left;
    Ok(answers)
}

/// Finds out what the message is that the brokers name as the last one of the event's subject.
async fn look_at(replica: &Replica, shard: Shard, event: &Outgoing, last: Sequence) -> Result<Found> {
    let stream = replica.layout.events_stream(shard);
    let message = replica.broker.get(&stream, last, ReadFrom::Leader).await.map_err(from_broker)?;
    match message {
        Some(message) => judge(event, Some(&message)),
        // It was removed meanwhile, and there may be an earlier one.
        None => judge(event, last_on_subject(replica, shard, event).await?.as_ref()),
    }
}

async fn last_on_subject(replica: &Replica, shard: Shard, event: &Outgoing) -> Result<Option<Message>> {
    let stream = replica.layout.events_stream(shard);
    replica.broker.last(&stream, &event.publication.subject, ReadFrom::Leader).await.map_err(from_broker)
}

fn judge(event: &Outgoing, message: Option<&Message>) -> Result<Found> {
    let Some(message) = message else { return Ok(Found::Free(0)) };
    if let Some(own) = own(event, Some(message)) {
        return Ok(own);
    }
    let known = EventMessage::read(message).map_err(|error| {
        JournalError::Damaged(format!("message {} of {}: {error}", message.sequence, message.subject))
    })?;
    if !covers(known.head().received, event.head.received, event.window) {
        return Ok(Found::Free(message.sequence));
    }
    Ok(Found::Duplicate(match known {
        EventMessage::Event(_) => message.sequence,
        EventMessage::Tombstone { removed, .. } => removed,
    }))
}

/// Recognises an earlier attempt of this event.
fn own(event: &Outgoing, message: Option<&Message>) -> Option<Found> {
    let message = message?;
    let Ok(EventMessage::Event(head)) = EventMessage::read(message) else { return None };
    (head.nonce == event.head.nonce).then_some(Found::Own(message.sequence))
}

/// Tells the owner of the shard of a stored event.
async fn stored(replica: &Replica, shard: Shard, event: &Outgoing, sequence: Sequence) -> Appended {
    let head = event.head.indexed(sequence, event.endpoint.key.clone());
    replica.stored(shard, &head, &event.publication.payload).await;
    Appended::Stored(sequence)
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
