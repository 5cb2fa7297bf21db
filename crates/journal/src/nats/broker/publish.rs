//! One message, acknowledged.

use std::{ops::RangeInclusive, time::Duration};

use serde::Deserialize;
use tokio::time::Instant;

use super::{Broker, BrokerError, Publication, PublishError, api::ApiError, error::code};

/// An acknowledgement, or why there is none.
#[derive(Deserialize)]
struct Acknowledgement {
    #[serde(default)]
    seq: u64,
    /// Number of the messages of a batch.
    count: Option<u64>,
    error: Option<ApiError>,
}

impl Broker {
    /// Publishes a message to its stream and returns its sequence. One attempt, which waits at most `timeout`.
    ///
    /// # Errors
    ///
    /// See [`PublishError`]. After [`PublishError::Unavailable`] the message may be stored all the same, now or later.
    pub(crate) async fn publish(&self, message: &Publication, timeout: Duration) -> Result<u64, PublishError> {
        let headers = message.header_map()?;
        let deadline = Instant::now() + timeout;
        // The maximum size is that of the connected broker.
        self.connected_by(deadline, timeout).await?;
        self.check_size(message, &headers)?;
        let (subject, payload) = (message.subject.clone(), message.payload.clone());
        let mut reply = self.send(subject, headers, payload, 1, deadline, timeout).await?;
        let answer = self.answer(&mut reply, &message.subject, deadline, timeout).await?;
        self.acknowledged(&answer, message)
    }

    /// Reads an acknowledgement of one message.
    pub(super) fn acknowledged(
        &self,
        answer: &async_nats::Message,
        message: &Publication,
    ) -> Result<u64, PublishError> {
        self.read_acknowledgement(answer, message).map(|(sequence, _)| sequence)
    }

    /// Reads the acknowledgement of a batch, which ends with `last`.
    pub(super) fn committed(
        &self,
        answer: &async_nats::Message,
        last: &Publication,
        messages: usize,
    ) -> Result<RangeInclusive<u64>, PublishError> {
        match self.read_acknowledgement(answer, last)? {
            (last, Some(count)) if count == messages as u64 => Ok(last.saturating_sub(count.saturating_sub(1))..=last),
            // A broker that knows no batches has stored the messages, each alone.
            (_, count) => {
                Err(BrokerError::Malformed(format!("{count:?} of the {messages} messages of a batch")).into())
            }
        }
    }

    /// Returns the sequence, and the number of the messages of a batch.
    fn read_acknowledgement(
        &self,
        answer: &async_nats::Message,
        message: &Publication,
    ) -> Result<(u64, Option<u64>), PublishError> {
        let acknowledgement: Acknowledgement =
            serde_json::from_slice(&answer.payload).map_err(|error| BrokerError::Malformed(error.to_string()))?;
        match acknowledgement.error.map(ApiError::split) {
            None if acknowledgement.seq > 0 => Ok((acknowledgement.seq, acknowledgement.count)),
            None => Err(BrokerError::Malformed("an acknowledgement without a sequence".to_owned()).into()),
            Some((code::MESSAGE_TOO_LARGE, _)) => {
                Err(PublishError::TooLarge { bytes: message.payload.len() as u64, max: self.max_payload() as u64 })
            }
            Some((code, text)) => Err(PublishError::from_code(code, text)),
        }
    }

    /// Refuses what the broker would close the connection for.
    pub(super) fn check_size(
        &self,
        message: &Publication,
        headers: &async_nats::HeaderMap,
    ) -> Result<(), PublishError> {
        let line = |name: &str, value: &str| name.len() + value.len() + 4;
        let lines: usize = headers
            .iter()
            .map(|(name, values)| values.iter().map(|value| line(name.as_ref(), value.as_str())).sum::<usize>())
            .sum();
        let bytes = message.payload.len() + lines + 12;
        let max = self.max_payload();
        if bytes > max {
            return Err(PublishError::TooLarge { bytes: bytes as u64, max: max as u64 });
        }
        Ok(())
    }
}
