//! Errors of the brokers as errors of the journal.

use super::broker::{BrokerError, PublishError};
use crate::JournalError;

/// Returns what a failed read or request means to the caller of the journal.
pub(super) fn from_broker(error: BrokerError) -> JournalError {
    match error {
        BrokerError::Refused { code, text } => JournalError::Io(format!("the NATS server refused: {text} ({code})"), None),
        other => JournalError::Unavailable(other.to_string()),
    }
}

/// Returns what a failed publish means to the caller of the journal.
pub(super) fn from_publish(error: PublishError) -> JournalError {
    match error {
        PublishError::Full(why) => JournalError::Full(format!("the NATS stream is full: {why}")),
        PublishError::TooLarge { bytes, max } => JournalError::TooLarge { bytes, max },
        PublishError::Refused { code, text } => {
            JournalError::Io(format!("the NATS server refused an event: {text} ({code})"), None)
        }
        other => JournalError::Unavailable(other.to_string()),
    }
}
