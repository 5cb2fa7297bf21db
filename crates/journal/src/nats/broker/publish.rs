//! One message, acknowledged.

use std::time::Duration;

use serde::Deserialize;

use super::{Broker, BrokerError, Publication, PublishError, api::ApiError, error::code};

/// An acknowledgement, or why there is none.
#[derive(Deserialize)]
struct Acknowledgement {
    #[serde(default)]
    seq: u64,
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
        self.check_size(message, &headers)?;
        let answer = self.exchange(message.subject.clone(), headers, message.payload.clone(), timeout).await?;
        self.acknowledged(&answer, message)
    }

    /// Reads an acknowledgement.
    pub(super) fn acknowledged(
        &self,
        answer: &async_nats::Message,
        message: &Publication,
    ) -> Result<u64, PublishError> {
        let acknowledgement: Acknowledgement =
            serde_json::from_slice(&answer.payload).map_err(|error| BrokerError::Malformed(error.to_string()))?;
        match acknowledgement.error.map(ApiError::split) {
            None if acknowledgement.seq > 0 => Ok(acknowledgement.seq),
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
