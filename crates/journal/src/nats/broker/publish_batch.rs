//! Several messages of one stream, stored all or none: an atomic batch.
//!
//! The messages carry the id of the batch and count up; the last one commits. The first and the last are requests: the first is
//! answered with nothing when the broker has opened the batch, the last with the acknowledgement. A broker has 50 open at once
//! for a stream, and what is sent of a refused one is sent in vain: of a large batch the others follow when it is open. A batch
//! whose messages do not all arrive is dropped as a whole.

use std::{ops::RangeInclusive, time::Duration};

use async_nats::HeaderValue;
use tokio::time::Instant;

use super::{Broker, BrokerError, Publication, PublishError, error::code};
use crate::limits::{NATS_BATCH, NATS_GATHERED_BYTES};

impl Broker {
    /// Publishes messages of one stream, all or none, and returns their sequences, which follow one another. One attempt,
    /// which waits at most `timeout`. No two messages may have the same subject.
    ///
    /// # Errors
    ///
    /// See [`PublishError`]. [`PublishError::WrongLast`] does not tell which message was meant.
    pub(crate) async fn publish_batch(
        &self,
        messages: &[Publication],
        timeout: Duration,
    ) -> Result<RangeInclusive<u64>, PublishError> {
        let (last, before) = match messages {
            [] => return Err(PublishError::Refused { code: 0, text: "a batch without messages".to_owned() }),
            [only] => return self.publish(only, timeout).await.map(|sequence| sequence..=sequence),
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
        let deadline = Instant::now() + timeout;
        self.connected_by(deadline, timeout).await?;
        for (message, headers) in messages.iter().zip(&maps) {
            self.check_size(message, headers)?;
        }

        let mut maps = maps.into_iter();
        let mut opens = messages.iter().map(|message| message.payload.len()).sum::<usize>() > NATS_GATHERED_BYTES;
        for (message, headers) in before.iter().zip(maps.by_ref()) {
            let (subject, payload) = (message.subject.clone(), message.payload.clone());
            if opens {
                let mut opened = self.send(subject, headers, payload, 1, deadline, timeout).await?;
                let answer = self.answer(&mut opened, &message.subject, deadline, timeout).await?;
                if !answer.payload.is_empty() {
                    // A refusal; if it is an acknowledgement, the broker knows no batches and has stored the message alone.
                    self.acknowledged(&answer, message)?;
                    return Err(BrokerError::Malformed("a broker that knows no batches".to_owned()).into());
                }
                opens = false;
                continue;
            }
            let sent = self.client.publish_with_headers(subject, headers, payload);
            match tokio::time::timeout_at(deadline, sent).await {
                Ok(sent) => sent.map_err(super::connection::invalid)?,
                Err(_) => return Err(BrokerError::Timeout(timeout).into()),
            }
        }
        let headers = maps.next().unwrap_or_default();
        let (subject, payload) = (last.subject.clone(), last.payload.clone());
        let mut committed = self.send(subject, headers, payload, 1, deadline, timeout).await?;
        let answer = self.answer(&mut committed, &last.subject, deadline, timeout).await?;
        self.committed(&answer, last, messages.len())
    }
}

/// The id of a batch: at most 64 characters.
fn batch_id(inbox: &str) -> HeaderValue {
    let id: String = inbox.chars().filter(char::is_ascii_alphanumeric).take(64).collect();
    HeaderValue::from(id)
}
