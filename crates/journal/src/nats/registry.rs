//! The rows that replicas share, on the META stream.

use async_trait::async_trait;
use bytes::Bytes;

use super::{
    broker::{Broker, Expected, Publication, PublishError, ReadFrom},
    layout::Layout,
    ownership::{Registry, RegistryError, Row},
};
use crate::limits::NATS_PUBLISH_TRY;

/// Rows on the META stream: the revision of a row is the sequence of its message.
pub(super) struct BrokerRegistry {
    broker: Broker,
    layout: Layout,
}

impl BrokerRegistry {
    pub(super) fn new(broker: Broker, layout: Layout) -> Self {
        Self { broker, layout }
    }
}

fn unavailable(error: impl std::fmt::Display) -> RegistryError {
    RegistryError::Unavailable(error.to_string())
}

#[async_trait]
impl Registry for BrokerRegistry {
    async fn read(&self, key: &str) -> Result<Option<Row>, RegistryError> {
        let (stream, subject) = (self.layout.meta_stream(), self.layout.row(key));
        let message = self.broker.last(&stream, &subject, ReadFrom::Leader).await.map_err(unavailable)?;
        Ok(message.map(|message| Row { value: message.payload, revision: message.sequence }))
    }

    async fn read_all(&self, prefix: &str) -> Result<Vec<(String, Row)>, RegistryError> {
        let filter = self.layout.row(&format!("{prefix}>"));
        let messages = self.broker.rows(&self.layout.meta_stream(), &filter).await.map_err(unavailable)?;
        let row = |message: super::broker::Message| {
            let key = self.layout.key_of_row(&message.subject)?.to_owned();
            Some((key, Row { value: message.payload, revision: message.sequence }))
        };
        Ok(messages.into_iter().filter_map(row).collect())
    }

    async fn write(&self, key: &str, value: Bytes, expected: u64) -> Result<u64, RegistryError> {
        let publication = Publication {
            subject: self.layout.row(key),
            headers: Vec::new(),
            payload: value,
            expected: Some(Expected::LastOnSubject(expected)),
            ttl: None,
        };
        match self.broker.publish(&publication, NATS_PUBLISH_TRY).await {
            Ok(revision) => Ok(revision),
            Err(PublishError::WrongLast(_)) => Err(RegistryError::Conflict),
            Err(error) => Err(unavailable(error)),
        }
    }

    async fn remove(&self, key: &str, revision: u64) -> Result<(), RegistryError> {
        let (stream, subject) = (self.layout.meta_stream(), self.layout.row(key));
        let message = self.broker.last(&stream, &subject, ReadFrom::Leader).await.map_err(unavailable)?;
        if message.is_some_and(|message| message.sequence <= revision) {
            // A later row has another sequence: it stays.
            self.broker.delete(&stream, revision).await.map_err(unavailable)?;
        }
        Ok(())
    }

    /// The connected server may be cut off from the others.
    async fn go_around(&self) {
        if self.broker.is_connected() {
            tracing::warn!("the NATS server does not answer; connecting to another one");
            self.broker.reconnect().await;
        }
    }
}
