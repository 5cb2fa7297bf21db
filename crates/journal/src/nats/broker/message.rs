//! Messages of streams, read and to be published.

use std::{str::FromStr, time::Duration};

use async_nats::{HeaderMap, HeaderName, HeaderValue};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use jiff::Timestamp;
use serde::Deserialize;

use super::BrokerError;

/// A message to publish to a stream.
#[derive(Debug, Clone, Default)]
pub(crate) struct Publication {
    /// Its subject.
    pub(crate) subject: String,
    /// Names and values of its headers, apart from those that the fields below make.
    pub(crate) headers: Vec<(&'static str, String)>,
    /// Its body.
    pub(crate) payload: Bytes,
    /// What has to be true for it to be stored.
    pub(crate) expected: Option<Expected>,
    /// After how long the brokers remove it, rounded up to seconds.
    pub(crate) ttl: Option<Duration>,
}

/// A condition for storing a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expected {
    /// The sequence of the last message on its subject; 0 for none.
    LastOnSubject(u64),
    /// The last sequence of the stream.
    LastInStream(u64),
}

/// A message of a stream.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    /// Its sequence in the stream.
    pub(crate) sequence: u64,
    /// Its subject.
    pub(crate) subject: String,
    /// Its headers, with those that JetStream adds.
    pub(crate) headers: HeaderMap,
    /// Its body.
    pub(crate) payload: Bytes,
    /// When the brokers took it in.
    pub(crate) time: Timestamp,
}

impl Publication {
    /// The headers as they are sent.
    pub(super) fn header_map(&self) -> Result<HeaderMap, BrokerError> {
        let mut map = HeaderMap::new();
        for (name, text) in &self.headers {
            let invalid = || BrokerError::Invalid(format!("a value of header {name} that has line breaks"));
            let value = HeaderValue::from_str(text).map_err(|_| invalid())?;
            let name = HeaderName::from_str(name).map_err(|_| invalid())?;
            map.insert(name, value);
        }
        match self.expected {
            Some(Expected::LastOnSubject(sequence)) => {
                map.insert("Nats-Expected-Last-Subject-Sequence", HeaderValue::from(sequence))
            }
            Some(Expected::LastInStream(sequence)) => {
                map.insert("Nats-Expected-Last-Sequence", HeaderValue::from(sequence))
            }
            None => {}
        }
        if let Some(ttl) = self.ttl {
            let seconds = ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0);
            map.insert("Nats-TTL", HeaderValue::from(seconds.max(1)));
        }
        Ok(map)
    }
}

impl Message {
    /// The value of a header.
    pub(crate) fn header(&self, name: &'static str) -> Option<&str> {
        self.headers.get(name).map(HeaderValue::as_str)
    }

    /// A message as a direct read sends it: position and time are headers.
    pub(super) fn from_direct(message: async_nats::Message) -> Result<Self, BrokerError> {
        let headers = message.headers.unwrap_or_default();
        let text = |name: &'static str| {
            let value = headers.get(name).map(HeaderValue::as_str);
            value.ok_or_else(|| BrokerError::Malformed(format!("a message without {name}")))
        };
        let sequence = parsed(text("Nats-Sequence")?)?;
        let time = parsed(text("Nats-Time-Stamp")?)?;
        let subject = text("Nats-Subject")?.to_owned();
        Ok(Self { sequence, subject, headers, payload: message.payload, time })
    }
}

/// A message in the answer of the stream's leader.
#[derive(Deserialize)]
pub(super) struct StoredMessage {
    subject: String,
    seq: u64,
    #[serde(default)]
    data: String,
    #[serde(default)]
    hdrs: String,
    time: Timestamp,
}

impl TryFrom<StoredMessage> for Message {
    type Error = BrokerError;

    fn try_from(stored: StoredMessage) -> Result<Self, BrokerError> {
        let decode = |text: &str| STANDARD.decode(text).map_err(|error| BrokerError::Malformed(error.to_string()));
        let headers = parse_headers(&decode(&stored.hdrs)?)?;
        let payload = decode(&stored.data)?.into();
        Ok(Self { sequence: stored.seq, subject: stored.subject, headers, payload, time: stored.time })
    }
}

/// Parses a block of headers as it is on the wire: a line with the version, then `name: value` lines.
fn parse_headers(block: &[u8]) -> Result<HeaderMap, BrokerError> {
    let malformed = || BrokerError::Malformed("headers that are not of a message".to_owned());
    let mut map = HeaderMap::new();
    let text = std::str::from_utf8(block).map_err(|_| malformed())?;
    for line in text.split("\r\n").skip(1).filter(|line| !line.is_empty()) {
        let (name, value) = line.split_once(':').ok_or_else(malformed)?;
        let name = HeaderName::from_str(name).map_err(|_| malformed())?;
        map.append(name, HeaderValue::from_str(value.trim()).map_err(|_| malformed())?);
    }
    Ok(map)
}

/// Parses a value of a header.
pub(super) fn parsed<T: FromStr>(text: &str) -> Result<T, BrokerError> {
    text.parse()
        .map_err(|_| BrokerError::Malformed(format!("{:?} in a header", text.chars().take(40).collect::<String>())))
}
