//! Core messages between replicas: not stored, and answered by a listener if there is one.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use async_nats::{HeaderMap, Subscriber};
use bytes::Bytes;
use futures_util::{FutureExt, Stream, StreamExt};
use tokio::time::Instant;

use super::{Broker, BrokerError, connection::invalid};

/// A message that was published to a subject that this replica listens to.
#[derive(Debug, Clone)]
pub(crate) struct CoreMessage {
    /// Its subject.
    #[cfg_attr(not(test), expect(dead_code, reason = "the caller knows what it subscribed to"))]
    pub(crate) subject: String,
    /// Where an answer is expected.
    pub(crate) reply: Option<String>,
    /// Its body.
    pub(crate) payload: Bytes,
}

/// The messages of a subject, across reconnections. Those of the time between two connections are lost.
pub(crate) struct Subscription(Subscriber);

impl Stream for Subscription {
    type Item = CoreMessage;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<CoreMessage>> {
        self.0.poll_next_unpin(context).map(|message| {
            message.map(|message| CoreMessage {
                subject: message.subject.into_string(),
                reply: message.reply.map(async_nats::Subject::into_string),
                payload: message.payload,
            })
        })
    }
}

impl Broker {
    /// Publishes a message that may be lost. Never waits: without a connection, or with a full queue, it is dropped.
    pub(crate) fn notify(&self, subject: String, payload: Bytes) {
        if self.is_connected() {
            // Ready at once while the queue has room.
            let _ = tokio::task::unconstrained(self.client.publish(subject, payload)).now_or_never();
        }
    }

    /// Sends a request to the listeners of a subject and waits for one answer.
    pub(crate) async fn request(
        &self,
        subject: String,
        payload: Bytes,
        timeout: Duration,
    ) -> Result<Bytes, BrokerError> {
        Ok(self.exchange(subject, HeaderMap::new(), payload, timeout).await?.payload)
    }

    /// Sends a request that several answer, and returns at most `most` answers: the first within `first`, each other within
    /// `further` of the one before it.
    pub(crate) async fn request_all(
        &self,
        subject: &str,
        most: usize,
        first: Duration,
        further: Duration,
    ) -> Result<Vec<Bytes>, BrokerError> {
        let deadline = Instant::now() + first;
        let sent = self.send(subject.to_owned(), HeaderMap::new(), Bytes::new(), most, deadline, first);
        let mut reply = sent.await?;
        let mut answers = vec![self.answer(&mut reply, subject, deadline, first).await?.payload];
        while answers.len() < most {
            match self.answer(&mut reply, subject, Instant::now() + further, further).await {
                Ok(answer) => answers.push(answer.payload),
                Err(_) => break,
            }
        }
        Ok(answers)
    }

    /// Listens to a subject from now on, across reconnections.
    pub(crate) async fn subscribe(&self, subject: String) -> Result<Subscription, BrokerError> {
        let subscribed = self.client.subscribe(subject).await;
        subscribed.map(Subscription).map_err(|error| BrokerError::Invalid(error.to_string()))
    }

    /// Answers a request.
    pub(crate) async fn respond(&self, reply: String, payload: Bytes) -> Result<(), BrokerError> {
        self.connected().await?;
        self.client.publish(reply, payload).await.map_err(invalid)
    }
}
