//! An event on its way to the brokers, and what they have under its subject already.

use bytes::Bytes;
use grapnel_api::Incarnation;

use crate::{
    JournalError, Result, Sequence,
    machine::Micros,
    nats::{
        broker::{Message, Publication, ReadFrom},
        error::from_broker,
        event_message::{EventMessage, MessageHead},
        layout::Shard,
        replica::Replica,
        shard::Head,
    },
};

/// An event on its way to the brokers.
pub(super) struct Outgoing {
    /// Its place in the call.
    pub(super) place: usize,
    pub(super) endpoint: Incarnation,
    pub(super) head: MessageHead,
    pub(super) publication: Publication,
    /// Its window in microseconds; `None` if it is compared with none.
    pub(super) window: Option<u64>,
    /// The highest sequence of the stream that was known before it was sent: its own is higher.
    pub(super) after: Sequence,
    /// An earlier attempt may be stored, or be stored later.
    pub(super) uncertain: bool,
}

impl Outgoing {
    /// Returns what the index of the shard needs of the event, stored under this sequence.
    pub(super) fn stored_as(&self, sequence: Sequence) -> (Head, Bytes) {
        (self.head.indexed(sequence, self.endpoint.key.clone()), self.publication.payload.clone())
    }
}

/// What the brokers have under an event's subject.
pub(super) enum Found {
    /// The event itself, stored by an earlier attempt.
    Own(Sequence),
    /// Another event with its id, within the window.
    Duplicate(Sequence),
    /// Nothing that matters: the event may follow this sequence.
    Free(Sequence),
}

/// Returns whether an arrival is within its window of another one with the same id.
pub(super) fn covers(known: Micros, received: Micros, window: Option<u64>) -> bool {
    window.is_some_and(|window| known.0.abs_diff(received.0) < window)
}

/// Finds out what the message is that the brokers name as the last one of the event's subject.
pub(super) async fn look_at(replica: &Replica, shard: Shard, event: &Outgoing, last: Sequence) -> Result<Found> {
    let stream = replica.layout.events_stream(shard);
    let message = replica.broker.get(&stream, last, ReadFrom::Leader).await.map_err(from_broker)?;
    match message {
        Some(message) => judge(event, Some(&message)),
        // It was removed meanwhile, and there may be an earlier one.
        None => judge(event, last_on_subject(replica, shard, event).await?.as_ref()),
    }
}

pub(super) async fn last_on_subject(replica: &Replica, shard: Shard, event: &Outgoing) -> Result<Option<Message>> {
    let stream = replica.layout.events_stream(shard);
    replica.broker.last(&stream, &event.publication.subject, ReadFrom::Leader).await.map_err(from_broker)
}

pub(super) fn judge(event: &Outgoing, message: Option<&Message>) -> Result<Found> {
    let Some(message) = message else { return Ok(Found::Free(0)) };
    if let Some(sequence) = own(event, Some(message)) {
        return Ok(Found::Own(sequence));
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

/// Returns the sequence of an earlier attempt of this event, if the message is one.
pub(super) fn own(event: &Outgoing, message: Option<&Message>) -> Option<Sequence> {
    let message = message?;
    let Ok(EventMessage::Event(head)) = EventMessage::read(message) else { return None };
    (head.nonce == event.head.nonce).then_some(message.sequence)
}
