//! Errors of requests to the brokers, and the codes of JetStream that mean something here.

use std::time::Duration;

/// Why a request was not answered as expected.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BrokerError {
    /// Nothing that is connected answers to the subject: no leader, no stream, no owner.
    #[error("no broker or replica answers {0}")]
    NoResponders(String),
    /// No answer in time. A request that changes something may have been carried out.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// There is no connection, or it broke before the answer came.
    #[error("not connected to the brokers: {0}")]
    Disconnected(String),
    /// The brokers refused the request.
    #[error("the brokers refuse the request: {text} ({code})")]
    Refused {
        /// JetStream's error code, or an HTTP-like status below 1000.
        code: u64,
        /// Its description.
        text: String,
    },
    /// The answer cannot be understood.
    #[error("the answer of the brokers cannot be read: {0}")]
    Malformed(String),
    /// The request cannot be sent as it is.
    #[error("the request is invalid: {0}")]
    Invalid(String),
}

/// Why a message was not acknowledged.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PublishError {
    /// The last sequence is another than [`Expected`](super::Expected): this one.
    #[error("the last sequence is {0}")]
    WrongLast(u64),
    /// Another write to the same subject has not been stored yet; nothing is known about its outcome.
    #[error("another write to the subject is in flight")]
    InFlight,
    /// The stream is full, or its disk.
    #[error("the stream is full: {0}")]
    Full(String),
    /// The message is larger than the brokers accept.
    #[error("the message takes {bytes} bytes, the brokers accept at most {max}")]
    TooLarge {
        /// Bytes of the message with its headers.
        bytes: u64,
        /// Maximum bytes.
        max: u64,
    },
    /// The brokers are too busy. Nothing was stored.
    #[error("the brokers are busy: {0}")]
    Busy(String),
    /// No acknowledgement. The message may have been stored, and may yet be.
    #[error("not acknowledged: {0}")]
    Unavailable(String),
    /// The brokers refused the message. Nothing was stored.
    #[error("the brokers refuse the message: {text} ({code})")]
    Refused {
        /// JetStream's error code; 0 if the message was not sent.
        code: u64,
        /// Its description.
        text: String,
    },
}

impl From<BrokerError> for PublishError {
    fn from(error: BrokerError) -> Self {
        match error {
            BrokerError::Refused { code, text } => Self::from_code(code, text),
            BrokerError::Invalid(text) => Self::Refused { code: 0, text },
            BrokerError::NoResponders(_)
            | BrokerError::Timeout(_)
            | BrokerError::Disconnected(_)
            | BrokerError::Malformed(_) => Self::Unavailable(error.to_string()),
        }
    }
}

impl PublishError {
    /// Interprets an error code of JetStream.
    pub(super) fn from_code(code: u64, text: String) -> Self {
        match code {
            code::WRONG_LAST_SEQUENCE => trailing_number(&text).map_or(Self::InFlight, Self::WrongLast),
            code::WRITE_IN_FLIGHT => Self::InFlight,
            code::STORE_FAILED
            | code::ACCOUNT_RESOURCES_EXCEEDED
            | code::INSUFFICIENT_RESOURCES
            | code::STORAGE_EXCEEDED => Self::Full(text),
            // 10008 is sent before anything is proposed. An incomplete batch is dropped as a whole.
            code::NOT_AVAILABLE
            | code::TOO_MANY_REQUESTS
            | code::LAST_SEQUENCE_NOT_READY
            | code::TOO_MANY_BATCHES
            | code::INCOMPLETE_BATCH => Self::Busy(text),
            _ => Self::Refused { code, text },
        }
    }
}

/// The number at the end of a text. JetStream tells the last sequence nowhere else.
fn trailing_number(text: &str) -> Option<u64> {
    text.rsplit(' ').next()?.parse().ok()
}

/// JetStream's error codes.
pub(super) mod code {
    pub(in crate::nats::broker) const ACCOUNT_RESOURCES_EXCEEDED: u64 = 10002;
    pub(in crate::nats::broker) const NOT_AVAILABLE: u64 = 10008;
    pub(in crate::nats::broker) const INSUFFICIENT_RESOURCES: u64 = 10023;
    pub(in crate::nats::broker) const NO_MESSAGE: u64 = 10037;
    pub(in crate::nats::broker) const SEQUENCE_NOT_FOUND: u64 = 10043;
    pub(in crate::nats::broker) const STORAGE_EXCEEDED: u64 = 10047;
    pub(in crate::nats::broker) const MESSAGE_TOO_LARGE: u64 = 10054;
    pub(in crate::nats::broker) const DELETE_FAILED: u64 = 10057;
    pub(in crate::nats::broker) const STREAM_NAME_IN_USE: u64 = 10058;
    pub(in crate::nats::broker) const STREAM_NOT_FOUND: u64 = 10059;
    pub(in crate::nats::broker) const WRONG_LAST_SEQUENCE: u64 = 10071;
    pub(in crate::nats::broker) const STORE_FAILED: u64 = 10077;
    pub(in crate::nats::broker) const LAST_SEQUENCE_NOT_READY: u64 = 10163;
    pub(in crate::nats::broker) const WRITE_IN_FLIGHT: u64 = 10164;
    pub(in crate::nats::broker) const TOO_MANY_REQUESTS: u64 = 10167;
    pub(in crate::nats::broker) const INCOMPLETE_BATCH: u64 = 10176;
    pub(in crate::nats::broker) const BATCH_TOO_LARGE: u64 = 10199;
    pub(in crate::nats::broker) const TOO_MANY_BATCHES: u64 = 10210;
}
