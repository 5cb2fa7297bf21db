//! Storing the events of a call: until the brokers say what became of them, or the time is over.

use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt, stream};

use super::{
    gather,
    outgoing::{Found, Outgoing, judge, last_on_subject, look_at, own},
};
use crate::{
    Appended, JournalError, Result, Sequence,
    limits::{NATS_LOOKUPS, NATS_PUBLISH_TRY},
    nats::{
        broker::{Expected, Message, PublishError},
        error::from_publish,
        layout::Shard,
        replica::Replica,
        retry::Attempts,
        room::Room,
    },
};

/// Stores a single event.
pub(super) async fn store_one(replica: &Arc<Replica>, shard: Shard, event: Outgoing) -> Result<(Outgoing, Appended)> {
    let mut attempts = Attempts::begin();
    let (mut event, mut said) = gather::publish(replica, shard, event).await?;
    if let Some(Ok(sequence)) = said {
        replica.check_sequence(shard, event.after, sequence)?;
        replica.visible(shard, sequence).await;
        return Ok((event, Appended::Stored(sequence)));
    }
    let appended = loop {
        if event.uncertain && event.publication.expected.is_none() {
            // From here on compared, so that it is not stored twice.
            match last_on_subject(replica, shard, &event).await {
                Ok(last) => match own(&event, last.as_ref()) {
                    Some(sequence) => break stored(replica, shard, &event, sequence).await?,
                    None => {
                        let last = last.map_or(0, |last| last.sequence);
                        event.publication.expected = Some(Expected::LastOnSubject(last));
                    }
                },
                Err(error) => {
                    attempts.after(error).await?;
                    continue;
                }
            }
        }
        let published = match said.take() {
            Some(said) => said,
            None => replica.broker.publish(&event.publication, NATS_PUBLISH_TRY).await,
        };
        match published {
            Ok(sequence) => break stored(replica, shard, &event, sequence).await?,
            Err(PublishError::WrongLast(last)) => match look_at(replica, shard, &event, last).await {
                Ok(Found::Own(sequence)) => break stored(replica, shard, &event, sequence).await?,
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
            }
        }
    };
    Ok((event, appended))
}

/// Stores several events of one endpoint atomically, apart from duplicates.
pub(super) async fn store_batch(
    replica: &Replica,
    shard: Shard,
    mut events: Vec<Outgoing>,
) -> Result<Vec<(Outgoing, Appended)>> {
    let mut attempts = Attempts::begin();
    let mut answers = Vec::with_capacity(events.len());
    while !events.is_empty() {
        let publications: Vec<_> = events.iter().map(|event| event.publication.clone()).collect();
        let published = {
            let _permit = replica.batches.acquire().await.map_err(|_| JournalError::Closed)?;
            replica.broker.publish_batch(&publications, NATS_PUBLISH_TRY).await
        };
        match published {
            Ok(sequences) => {
                let last = *sequences.end();
                for (event, sequence) in events.iter().zip(sequences.clone()) {
                    replica.check_sequence(shard, event.after, sequence)?;
                }
                let stored = events.iter().zip(sequences.clone()).map(|(event, sequence)| event.stored_as(sequence));
                replica.stored(shard, stored.collect());
                replica.visible(shard, last).await;
                let stored = events.drain(..).zip(sequences);
                answers.extend(stored.map(|(event, sequence)| (event, Appended::Stored(sequence))));
            }
            Err(PublishError::WrongLast(_) | PublishError::InFlight) => {
                attempts.again("events with the same ids are being stored").await?;
                take_known(replica, shard, &mut events, &mut answers, &mut attempts).await?;
            }
            Err(PublishError::Busy(_)) => attempts.again("the NATS servers are busy").await?,
            Err(PublishError::Full(_)) => {
                make_room_for(replica, shard, &events).await?;
                attempts.again("the NATS stream is full").await?;
            }
            Err(error) => {
                events.iter_mut().for_each(|event| event.uncertain = true);
                attempts.after(from_publish(error)).await?;
                take_known(replica, shard, &mut events, &mut answers, &mut attempts).await?;
            }
        }
    }
    Ok(answers)
}

/// Takes those events out of a batch whose answer is known. Asks until the brokers answer: what may be stored is not sent
/// again before.
async fn take_known(
    replica: &Replica,
    shard: Shard,
    events: &mut Vec<Outgoing>,
    answers: &mut Vec<(Outgoing, Appended)>,
    attempts: &mut Attempts,
) -> Result<()> {
    loop {
        match settle_known(replica, shard, events).await {
            Ok(known) => {
                answers.extend(known);
                return Ok(());
            }
            Err(error) => attempts.after(error).await?,
        }
    }
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
                let answer = stored(replica, shard, &event, sequence).await?;
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

/// Makes room for events whose shard's stream has reached its maximum size.
async fn make_room_for(replica: &Replica, shard: Shard, events: &[Outgoing]) -> Result<()> {
    let Some(first) = events.first() else { return Ok(()) };
    let now = events.iter().map(|event| event.head.received).fold(first.head.received, Ord::max).timestamp();
    let needed = events.iter().map(|event| event.head.counted()).sum();
    replica.make_room(&first.endpoint, shard, Room { needed, max_bytes: None, full: true, now }).await
}

/// Tells the owner of the shard of a stored event.
async fn stored(replica: &Replica, shard: Shard, event: &Outgoing, sequence: Sequence) -> Result<Appended> {
    replica.check_sequence(shard, event.after, sequence)?;
    replica.stored(shard, vec![event.stored_as(sequence)]);
    replica.visible(shard, sequence).await;
    Ok(Appended::Stored(sequence))
}
