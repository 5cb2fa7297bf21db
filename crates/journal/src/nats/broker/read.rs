//! Reading messages: one by its sequence, the last of a subject, and many in the order of the stream.
//!
//! The leader of a stream has everything that was acknowledged. Any other replica of it may lag, and answers faster and without
//! JSON: a *direct* read.

use async_nats::HeaderMap;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::{
    Broker, BrokerError, Message,
    error::code,
    message::{StoredMessage, parsed},
};
use crate::limits::NATS_REQUEST_TIMEOUT;

/// Which replica of a stream answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReadFrom {
    /// The leader.
    Leader,
    /// Any replica, which may lag behind the leader.
    Any,
}

/// Messages in the order of the stream.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// The messages.
    pub(crate) messages: Vec<Message>,
    /// How many messages that match come after the last one.
    pub(crate) pending: u64,
}

/// What to read.
#[derive(Default, Serialize)]
struct Read<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_by_subj: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_by_subj: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    batch: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_bytes: Option<usize>,
}

#[derive(Deserialize)]
struct Found {
    message: StoredMessage,
}

impl Broker {
    /// Returns the message with that sequence.
    pub(crate) async fn get(
        &self,
        stream: &str,
        sequence: u64,
        from: ReadFrom,
    ) -> Result<Option<Message>, BrokerError> {
        self.read_one(stream, Read { seq: Some(sequence), ..Read::default() }, from).await
    }

    /// Returns the last message whose subject matches.
    pub(crate) async fn last(
        &self,
        stream: &str,
        subject: &str,
        from: ReadFrom,
    ) -> Result<Option<Message>, BrokerError> {
        self.read_one(stream, Read { last_by_subj: Some(subject), ..Read::default() }, from).await
    }

    /// Returns the first message at or after `sequence` whose subject matches.
    pub(crate) async fn next(
        &self,
        stream: &str,
        sequence: u64,
        filter: &str,
        from: ReadFrom,
    ) -> Result<Option<Message>, BrokerError> {
        let read = Read { seq: Some(sequence.max(1)), next_by_subj: Some(filter), ..Read::default() };
        self.read_one(stream, read, from).await
    }

    async fn read_one(&self, stream: &str, read: Read<'_>, from: ReadFrom) -> Result<Option<Message>, BrokerError> {
        match from {
            ReadFrom::Leader => {
                let found = self.api::<Found>(format!("STREAM.MSG.GET.{stream}"), &read, NATS_REQUEST_TIMEOUT).await;
                match found {
                    Ok(found) => Message::try_from(found.message).map(Some),
                    Err(BrokerError::Refused { code: code::NO_MESSAGE, .. }) => Ok(None),
                    Err(error) => Err(error),
                }
            }
            ReadFrom::Any => {
                let subject = format!("$JS.API.DIRECT.GET.{stream}");
                let payload = encoded(&read)?;
                let answer = self.exchange(subject, HeaderMap::new(), payload, NATS_REQUEST_TIMEOUT).await?;
                match answer.status.map(|status| status.as_u16()) {
                    Some(NOT_FOUND) => Ok(None),
                    Some(status) => Err(refused(status, &answer)),
                    None => Message::from_direct(answer).map(Some),
                }
            }
        }
    }

    /// Returns messages from sequence `from` on whose subjects match, in order: at most `limit`, and no more after `max_bytes`
    /// of them. Answered by any replica, which may lag behind the leader.
    pub(crate) async fn batch(
        &self,
        stream: &str,
        from: u64,
        filter: &str,
        limit: usize,
        max_bytes: usize,
    ) -> Result<Batch, BrokerError> {
        let read = Read {
            seq: Some(from.max(1)),
            next_by_subj: Some(filter),
            batch: Some(limit.max(1)),
            max_bytes: Some(max_bytes.max(1)),
            ..Read::default()
        };
        let subject = format!("$JS.API.DIRECT.GET.{stream}");
        let timeout = NATS_REQUEST_TIMEOUT;
        let deadline = Instant::now() + timeout;
        let payload = encoded(&read)?;
        // One more says that it was all.
        let answers = limit.max(1) + 1;
        let mut reply = self.send(subject.clone(), HeaderMap::new(), payload, answers, deadline, timeout).await?;
        let mut batch = Batch::default();
        loop {
            let answer = self.answer(&mut reply, &subject, deadline, timeout).await?;
            follows(&answer, batch.messages.last())?;
            match answer.status.map(|status| status.as_u16()) {
                None => batch.messages.push(Message::from_direct(answer)?),
                Some(NOT_FOUND) => return Ok(batch),
                Some(END_OF_BATCH) => {
                    let pending = answer.headers.as_ref().and_then(|headers| headers.get("Nats-Num-Pending"));
                    batch.pending = pending.map_or(Ok(0), |pending| parsed(pending.as_str()))?;
                    return Ok(batch);
                }
                Some(status) => return Err(refused(status, &answer)),
            }
        }
    }
}

/// The status of the message after the last one of a batch.
const END_OF_BATCH: u16 = 204;
/// The status of an answer that says that there is no such message.
const NOT_FOUND: u16 = 404;

/// Makes sure that no answer between this one and the last message of the batch was lost: each names the one before it.
fn follows(answer: &async_nats::Message, last: Option<&Message>) -> Result<(), BrokerError> {
    let Some(before) = answer.headers.as_ref().and_then(|headers| headers.get("Nats-Last-Sequence")) else {
        return Ok(());
    };
    if parsed::<u64>(before.as_str())? == last.map_or(0, |last| last.sequence) {
        return Ok(());
    }
    Err(BrokerError::Disconnected("a message of a batch was lost".to_owned()))
}

fn encoded(read: &Read<'_>) -> Result<bytes::Bytes, BrokerError> {
    let encoded = serde_json::to_vec(read).map_err(|error| BrokerError::Invalid(error.to_string()))?;
    Ok(encoded.into())
}

fn refused(status: u16, answer: &async_nats::Message) -> BrokerError {
    let text = answer.description.clone().unwrap_or_default();
    BrokerError::Refused { code: u64::from(status), text }
}

#[cfg(test)]
mod tests {
    use async_nats::{HeaderMap, StatusCode};

    use super::*;

    /// An answer of a batch that names the one before it.
    fn answer(sequence: u64, before: u64) -> async_nats::Message {
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Sequence", sequence.to_string());
        headers.insert("Nats-Subject", "s");
        headers.insert("Nats-Time-Stamp", "2026-01-01T00:00:00Z");
        headers.insert("Nats-Last-Sequence", before.to_string());
        async_nats::Message {
            subject: "inbox".into(),
            reply: None,
            payload: bytes::Bytes::new(),
            headers: Some(headers),
            status: None,
            description: None,
            length: 0,
        }
    }

    #[test]
    fn a_lost_answer_of_a_batch_is_noticed() {
        let third = Message::from_direct(answer(3, 0)).unwrap();
        assert!(follows(&answer(3, 0), None).is_ok());
        assert!(follows(&answer(9, 3), Some(&third)).is_ok());
        let end = |before| async_nats::Message { status: Some(StatusCode::OK), ..answer(0, before) };
        assert!(follows(&end(3), Some(&third)).is_ok());
        for (lost, last) in [(answer(9, 7), Some(&third)), (answer(3, 1), None), (end(9), Some(&third))] {
            assert!(matches!(follows(&lost, last), Err(BrokerError::Disconnected(_))), "{lost:?}");
        }
    }
}
