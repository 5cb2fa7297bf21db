//! A scan of the headers of a stream, without the bodies.
//!
//! Direct reads cannot leave out the bodies; a consumer can. It is in the memory of one broker, which may lag behind the leader,
//! and what it sends is lost with a connection. So a scan counts what it gets, and ends only when the leader knows of no
//! message after the last one that was passed; after any trouble it goes on from there with another consumer.

use std::time::Duration;

use async_nats::Subscriber;
use futures_util::StreamExt;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use super::{Broker, BrokerError, Message, ReadFrom, connection::invalid, error::code, message::parsed};
use crate::limits::{NATS_REQUEST_TIMEOUT, NATS_SCAN_LAG, NATS_SCAN_PULL, NATS_SCAN_TRIES, NATS_STREAM_TIMEOUT};

/// How long the brokers keep an unused consumer: one that a process left behind when it ended during a scan.
const ABANDONED: Duration = Duration::from_secs(30);

/// Where a scan is.
struct Scan<'a> {
    stream: &'a str,
    filter: &'a str,
    /// Everything before this sequence has been passed.
    next: u64,
    each: &'a mut (dyn FnMut(Message) + Send + Sync),
}

/// A consumer for one part of a scan.
struct Consumer {
    name: String,
    inbox: String,
    messages: Subscriber,
    /// How many messages it has sent.
    sent: u64,
}

/// What a consumer says of a message, in the subject for its acknowledgement.
struct Position {
    stream_sequence: u64,
    consumer_sequence: u64,
    time: Timestamp,
    pending: u64,
}

#[derive(Deserialize)]
struct Created {
    num_pending: u64,
}

impl Broker {
    /// Passes every message from sequence `from` on whose subject matches, without its body, in order, until the end of the
    /// stream as its leader knows it. Returns the last sequence of the stream: every message up to it has been passed.
    ///
    /// # Errors
    ///
    /// After several failures without progress, the last of them. What was passed before is complete up to the last message.
    pub(crate) async fn heads(
        &self,
        stream: &str,
        from: u64,
        filter: &str,
        each: &mut (dyn FnMut(Message) + Send + Sync),
    ) -> Result<u64, BrokerError> {
        let mut scan = Scan { stream, filter, next: from.max(1), each };
        let mut failures = 0;
        loop {
            let before = scan.next;
            let failure = match self.scan_to_end(&mut scan).await {
                Ok(last) => return Ok(last),
                Err(error @ (BrokerError::Invalid(_) | BrokerError::Refused { code: code::STREAM_NOT_FOUND, .. })) => {
                    return Err(error);
                }
                Err(error) => error,
            };
            failures = if scan.next > before { 0 } else { failures + 1 };
            if failures >= NATS_SCAN_TRIES {
                return Err(failure);
            }
            sleep(NATS_SCAN_LAG).await;
        }
    }

    /// Scans with one consumer. An end that is not the leader's is an error.
    async fn scan_to_end(&self, scan: &mut Scan<'_>) -> Result<u64, BrokerError> {
        let missing = || BrokerError::Refused { code: code::STREAM_NOT_FOUND, text: "stream not found".to_owned() };
        let last = self.stream(scan.stream).await?.ok_or_else(missing)?.last_sequence;
        if scan.next <= last {
            let (mut consumer, pending) = self.create_consumer(scan).await?;
            let scanned = self.consume(scan, &mut consumer, pending).await;
            let delete = format!("CONSUMER.DELETE.{}.{}", scan.stream, consumer.name);
            // If this fails, the brokers remove it after a while.
            let _ = self.api::<Value>(delete, &json!({}), NATS_REQUEST_TIMEOUT).await;
            scanned?;
        }
        match self.next(scan.stream, scan.next, scan.filter, ReadFrom::Leader).await? {
            None => Ok(last.max(scan.next - 1)),
            // It came after the scan began.
            Some(message) if message.sequence > last => Ok(message.sequence - 1),
            Some(_) => Err(BrokerError::Malformed("a replica of the stream lags behind its leader".to_owned())),
        }
    }

    /// Creates a consumer from the next message on; returns how many messages it has to send.
    async fn create_consumer(&self, scan: &Scan<'_>) -> Result<(Consumer, u64), BrokerError> {
        let inbox = self.client.new_inbox();
        let name: String = inbox.chars().filter(char::is_ascii_alphanumeric).collect();
        let subscribed = self.client.subscribe(inbox.clone()).await;
        let messages = subscribed.map_err(|error| BrokerError::Invalid(error.to_string()))?;
        let request = json!({
            "stream_name": scan.stream,
            "action": "create",
            "config": {
                "name": name,
                "deliver_policy": "by_start_sequence",
                "opt_start_seq": scan.next,
                "ack_policy": "none",
                "replay_policy": "instant",
                "filter_subject": scan.filter,
                "headers_only": true,
                "mem_storage": true,
                "num_replicas": 1,
                "inactive_threshold": ABANDONED.as_nanos() as u64,
            },
        });
        let create = format!("CONSUMER.CREATE.{}.{name}", scan.stream);
        let created: Created = self.api(create, &request, NATS_STREAM_TIMEOUT).await?;
        Ok((Consumer { name, inbox, messages, sent: 0 }, created.num_pending))
    }

    /// Passes what a consumer sends until it has nothing more.
    async fn consume(&self, scan: &mut Scan<'_>, consumer: &mut Consumer, pending: u64) -> Result<(), BrokerError> {
        let mut pending = pending;
        while pending > 0 {
            let pull = format!("$JS.API.CONSUMER.MSG.NEXT.{}.{}", scan.stream, consumer.name);
            let payload = json!({ "batch": NATS_SCAN_PULL, "no_wait": true }).to_string();
            self.connected().await?;
            let pulled = self.client.publish_with_reply(pull, consumer.inbox.clone(), payload.into()).await;
            pulled.map_err(invalid)?;
            for _ in 0..NATS_SCAN_PULL.min(usize::try_from(pending).unwrap_or(usize::MAX)) {
                let message = timeout(NATS_REQUEST_TIMEOUT, consumer.messages.next()).await;
                let message = message.map_err(|_| BrokerError::Timeout(NATS_REQUEST_TIMEOUT))?;
                let message =
                    message.ok_or_else(|| BrokerError::Disconnected("the connection was closed".to_owned()))?;
                if message.status.is_some() {
                    // Nothing more: the rest has been removed meanwhile, or the broker has trouble; the leader will tell.
                    return Ok(());
                }
                let position = Position::of(&message)?;
                consumer.sent += 1;
                if position.consumer_sequence != consumer.sent {
                    return Err(BrokerError::Disconnected("messages of a scan were lost".to_owned()));
                }
                pending = position.pending;
                scan.next = position.stream_sequence + 1;
                (scan.each)(Message {
                    sequence: position.stream_sequence,
                    subject: message.subject.into_string(),
                    headers: message.headers.unwrap_or_default(),
                    payload: message.payload,
                    time: position.time,
                });
                if pending == 0 {
                    break;
                }
            }
        }
        Ok(())
    }
}

impl Position {
    /// Reads `$JS.ACK.….<attempt>.<stream sequence>.<consumer sequence>.<nanoseconds>.<pending>`, after which newer brokers may
    /// add a token.
    fn of(message: &async_nats::Message) -> Result<Self, BrokerError> {
        let malformed = || BrokerError::Malformed("the position of a message".to_owned());
        let reply = message.reply.as_ref().ok_or_else(malformed)?;
        let tokens: Vec<&str> = reply.split('.').collect();
        // Without a domain there are 9 tokens; with a domain and an account, at least 11.
        let numbers = if tokens.len() < 11 { tokens.get(5..9) } else { tokens.get(7..11) };
        let Some([stream_sequence, consumer_sequence, nanoseconds, pending]) = numbers else {
            return Err(malformed());
        };
        let time = Timestamp::from_nanosecond(parsed::<i128>(nanoseconds)?).map_err(|_| malformed())?;
        Ok(Self {
            stream_sequence: parsed(stream_sequence)?,
            consumer_sequence: parsed(consumer_sequence)?,
            time,
            pending: parsed(pending)?,
        })
    }
}
