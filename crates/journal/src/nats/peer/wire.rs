//! The encoding of questions and answers.

use grapnel_api::{Incarnation, ObjectKey};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    Attached, AttachedConsumer, DeliveryPage, DeliveryQuery, Detached, EventPage, EventQuery, JournalError, Progress,
    Redelivered, RedeliveryStep, Result, Selection, Sequence, ShareExhausted, Start, nats::room::Room,
};

/// The version of the encoding.
const VERSION: u8 = 1;

/// A name and a uid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::nats) struct Object {
    key: ObjectKey,
    uid: String,
}

impl From<&Incarnation> for Object {
    fn from(incarnation: &Incarnation) -> Self {
        Self { key: incarnation.key.clone(), uid: incarnation.uid.to_string() }
    }
}

impl From<Object> for Incarnation {
    fn from(object: Object) -> Self {
        Self::new(object.key, object.uid)
    }
}

/// A question to the owner of a shard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::nats) enum Request {
    Attach {
        consumer: Object,
        endpoint: Object,
        start: Start,
    },
    Detach {
        consumer: Object,
    },
    Redeliver {
        consumer: Object,
        selection: Selection,
        step: RedeliveryStep,
    },
    Deliveries {
        consumer: Object,
        query: DeliveryQuery,
    },
    Events {
        endpoint: Object,
        query: EventQuery,
    },
    /// Which of these events belong to a consumer.
    Belonging {
        consumer: Object,
        sequences: Vec<Sequence>,
    },
    /// Make room for an append.
    Room {
        endpoint: Object,
        room: Room,
    },
    /// The `part`-th part of the counts of everything in the shard.
    Report {
        part: usize,
    },
}

/// An answer of the owner of a shard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::nats) enum Answer {
    Attached(Attached),
    Detached(Option<Detached>),
    Redelivered(Redelivered),
    Deliveries(DeliveryPage),
    Events(EventPage),
    Belonging(Vec<bool>),
    Room,
    Report(Report),
}

/// Counts of a shard, as its owner has them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::nats) struct Report {
    pub(in crate::nats) consumers: Vec<ReportedConsumer>,
    pub(in crate::nats) endpoints: Vec<ReportedEndpoint>,
    /// Bytes by namespace.
    pub(in crate::nats) namespaces: Vec<(String, u64)>,
    /// Whether another part follows.
    pub(in crate::nats) more: bool,
}

/// A consumer in a report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::nats) struct ReportedConsumer {
    pub(in crate::nats) consumer: Object,
    pub(in crate::nats) endpoint: ObjectKey,
    pub(in crate::nats) progress: Progress,
}

/// An endpoint in a report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::nats) struct ReportedEndpoint {
    pub(in crate::nats) endpoint: Object,
    pub(in crate::nats) bytes: u64,
    pub(in crate::nats) exhausted: Option<ShareExhausted>,
}

impl ReportedConsumer {
    pub(in crate::nats) fn new(attached: &AttachedConsumer, progress: Progress) -> Self {
        Self { consumer: (&attached.consumer).into(), endpoint: attached.endpoint.clone(), progress }
    }
}

/// An error of the owner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum WireError {
    Full(String),
    ShareExhausted(ShareExhausted),
    TooLarge { bytes: u64, max: u64 },
    Unavailable(String),
    Io(String),
    Damaged(String),
    EndpointReplaced(ObjectKey),
    UnknownConsumer(ObjectKey),
    Moved(ObjectKey),
    EndpointChanged { consumer: ObjectKey, endpoint: ObjectKey },
    Closed,
}

impl From<JournalError> for WireError {
    fn from(error: JournalError) -> Self {
        match error {
            JournalError::Full(why) => Self::Full(why),
            JournalError::ShareExhausted(share) => Self::ShareExhausted(share),
            JournalError::TooLarge { bytes, max } => Self::TooLarge { bytes, max },
            JournalError::Unavailable(why) => Self::Unavailable(why),
            JournalError::Io(why, None) => Self::Io(why),
            JournalError::Io(why, Some(cause)) => Self::Io(format!("{why}: {cause}")),
            JournalError::Damaged(what) => Self::Damaged(what),
            JournalError::EndpointReplaced(key) => Self::EndpointReplaced(key),
            JournalError::UnknownConsumer(key) => Self::UnknownConsumer(key),
            JournalError::Moved(key) => Self::Moved(key),
            JournalError::EndpointChanged { consumer, endpoint } => Self::EndpointChanged { consumer, endpoint },
            JournalError::Closed => Self::Closed,
        }
    }
}

impl From<WireError> for JournalError {
    fn from(error: WireError) -> Self {
        match error {
            WireError::Full(why) => Self::Full(why),
            WireError::ShareExhausted(share) => Self::ShareExhausted(share),
            WireError::TooLarge { bytes, max } => Self::TooLarge { bytes, max },
            WireError::Unavailable(why) => Self::Unavailable(why),
            WireError::Io(why) => Self::Io(why, None),
            WireError::Damaged(what) => Self::Damaged(what),
            WireError::EndpointReplaced(key) => Self::EndpointReplaced(key),
            WireError::UnknownConsumer(key) => Self::UnknownConsumer(key),
            WireError::Moved(key) => Self::Moved(key),
            WireError::EndpointChanged { consumer, endpoint } => Self::EndpointChanged { consumer, endpoint },
            // It shuts down; this replica does not.
            WireError::Closed => Self::Unavailable("the replica that owns the shard shuts down".into()),
        }
    }
}

/// Encodes a request or an answer.
pub(super) fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>> {
    let mut bytes = vec![VERSION];
    serde_json::to_writer(&mut bytes, message)
        .map_err(|error| JournalError::Io(format!("a request to a replica: {error}"), None))?;
    Ok(bytes)
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    let unreadable = |why: String| JournalError::Unavailable(format!("a replica of another version answers: {why}"));
    match bytes.split_first() {
        Some((&VERSION, json)) => serde_json::from_slice(json).map_err(|error| unreadable(error.to_string())),
        Some((version, _)) => Err(unreadable(format!("version {version} of its messages"))),
        None => Err(unreadable("an empty message".into())),
    }
}

/// Decodes a request.
pub(super) fn decode_request(bytes: &[u8]) -> Result<Request> {
    decode(bytes)
}

/// Encodes what a request came to.
pub(super) fn encode_answer(answer: Result<Answer>) -> Result<Vec<u8>> {
    encode(&answer.map_err(WireError::from))
}

/// Decodes what a request came to.
pub(super) fn decode_answer(bytes: &[u8]) -> Result<Result<Answer>> {
    let answer: Result<Answer, WireError> = decode(bytes)?;
    Ok(answer.map_err(JournalError::from))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_read_as_they_were_written() {
        let consumer = Incarnation::new(ObjectKey::new("shop", "out"), "uid");
        let request = Request::Detach { consumer: (&consumer).into() };
        assert_eq!(decode_request(&encode(&request).unwrap()).unwrap(), request);
        let answers = [Ok(Answer::Room), Err(JournalError::Moved(consumer.key.clone()))];
        for answer in answers {
            let shown = format!("{answer:?}");
            assert_eq!(format!("{:?}", decode_answer(&encode_answer(answer).unwrap()).unwrap()), shown);
        }
    }

    #[test]
    fn other_versions_and_garbage_are_errors() {
        for bytes in [&b""[..], b"\x02{}", b"\x01", b"\x01{\"Unknown\":1}", b"\x01\xff"] {
            let error = decode_request(bytes).unwrap_err();
            assert!(matches!(error, JournalError::Unavailable(_)), "{error}");
        }
    }
}
