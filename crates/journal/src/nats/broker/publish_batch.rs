//! Several messages of one stream, stored all or none: an atomic batch.
//!
//! The messages carry the id of the batch and count up; the last one commits. The first and the last are requests: the first is
//! answered with nothing when the broker has opened the batch, the last with the acknowledgement. All are sent without waiting;
//! a batch whose messages do not all arrive is dropped as a whole.

use std::time::Duration;

use async_nats::HeaderValue;
use tokio::time::Instant;

use super::{Broker, BrokerError, Publication, PublishError, error::code};
use crate::limits::NATS_BATCH;

impl Broker {
    /// Publishes messages of one stream, all or none, and returns the sequence of the last. One attempt, which waits at most
    /// `timeout`. No two messages may have the same subject.
    ///
    /// # Errors
    ///
    /// See [`PublishError`]. [`PublishError::WrongLast`] does not tell which message was meant.
    pub(crate) async fn publish_batch(&self, messages: &[Publication], timeout: Duration) -> Result<u64, PublishError> {
        let (last, before) = match messages {
            [] => return Err(PublishError::Refused { code: 0, text: "a batch without messages".to_owned() }),
            [only] => return self.publish(only, timeout).await,
            [before @ .., last] => (last, before),
        };
        if messages.len() > NATS_BATCH {
            let text = format!("a batch of {} messages; at most {NATS_BATCH} are possible", messages.len());
            return Err(PublishError::Refused { code: code::BATCH_TOO_LARGE, text });
        }
        let id = self.client.new_inbox();
        // Nothing is sent of a batch that cannot be sent as a whole.
        let mut maps = Vec::with_capacity(messages.len());
        for (message, position) in messages.iter().zip(1_u64..) {
            let mut headers = message.header_map()?;
            headers.insert("Nats-Batch-Id", batch_id(&id));
            headers.insert("Nats-Batch-Sequence", HeaderValue::from(position));
            maps.push(headers);
        }
        if let Some(headers) = maps.last_mut() {
            headers.insert("Nats-Batch-Commit", HeaderValue::from(1_u64));
        }
        for (message, headers) in messages.iter().zip(&maps) {
            self.check_size(message, headers)?;
        }

        let deadline = Instant::now() + timeout;
        let mut opened = None;
        let mut maps = maps.into_iter();
        for (message, headers) in before.iter().zip(maps.by_ref()) {
            let (subject, payload) = (message.subject.clone(), message.payload.clone());
            if opened.is_none() {
                opened = Some(self.send(subject, headers, payload, 1, deadline, timeout).await?);
            } else {
                let sent = self.client.publish_with_headers(subject, headers, payload);
                match tokio::time::timeout_at(deadline, sent).await {
                    Ok(sent) => sent.map_err(super::connection::invalid)?,
                    Err(_) => return Err(BrokerError::Timeout(timeout).into()),
                }
            }
        }
        let headers = maps.next().unwrap_or_default();
        let mut committed =
            self.send(last.subject.clone(), headers, last.payload.clone(), 1, deadline, timeout).await?;
        let answer = self.answer(&mut committed, &last.subject, deadline, timeout).await;
        let outcome = answer.map_err(PublishError::from).and_then(|answer| self.acknowledged(&answer, last));
        // Of a batch that was not opened, the first answer says why and the last only that it is incomplete.
        if let (Err(_), Some(mut opened)) = (&outcome, opened)
            && let Some(refusal) = opened.arrived().filter(|answer| !answer.payload.is_empty())
        {
            return self.acknowledged(&refusal, last);
        }
        outcome
    }
}

/// The id of a batch: at most 64 characters.
fn batch_id(inbox: &str) -> HeaderValue {
    let id: String = inbox.chars().filter(char::is_ascii_alphanumeric).take(64).collect();
    HeaderValue::from(id)
}
