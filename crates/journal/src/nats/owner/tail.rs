//! Following the events stream of a shard.

use std::{sync::Arc, time::Duration};

use super::OwnedShard;
use crate::{
    Result, Sequence,
    limits::{NATS_POLL, NATS_TAIL_BYTES, NATS_TAIL_EVENTS},
    nats::{
        broker::{Message, ReadFrom},
        error::from_broker,
        event_message::EventMessage,
    },
};

/// How long the owner waits for its own appends to fill a gap before it reads the stream.
const GAP: Duration = Duration::from_millis(2);

/// The pause after a failed read, and before a broker that lags behind is asked again.
const AGAIN: Duration = Duration::from_millis(20);

impl OwnedShard {
    /// Learns that an event of another replica is in the stream.
    pub(in crate::nats) fn wake(&self, sequence: Sequence) {
        self.newest.send_modify(|newest| newest.foreign = newest.foreign.max(sequence));
    }

    /// Waits until every event is indexed that was in the stream when this was called.
    pub(in crate::nats) async fn catch_up(&self) -> Result<()> {
        let stream = self.layout.events_stream(self.shard);
        let info = self.broker.stream(&stream).await.map_err(from_broker)?;
        let last = info.map_or(0, |info| info.last_sequence);
        self.wake(last);
        let mut indexed = self.indexed.subscribe();
        tokio::select! {
            _ = indexed.wait_for(|indexed| *indexed >= last) => Ok(()),
            () = self.ended() => Err(crate::JournalError::Unavailable("the shard moves to another replica".into())),
        }
    }

    /// Indexes new events until the tenure ends.
    pub(super) async fn follow(self: Arc<Self>) {
        let mut newest = self.newest.subscribe();
        loop {
            let tail = self.state().tail();
            let known = *newest.borrow_and_update();
            if known.foreign <= tail && known.own > tail {
                tokio::time::sleep(GAP).await;
                if self.state().tail() > tail {
                    // Own appends still fill the gaps.
                    continue;
                }
            } else if known.foreign <= tail {
                tokio::select! {
                    // The sender lives as long as `self`.
                    _ = newest.changed() => continue,
                    () = tokio::time::sleep(NATS_POLL) => {}
                    () = self.ended() => return,
                }
            }
            if !self.serves() {
                return;
            }
            let known = known.own.max(known.foreign);
            if let Err(error) = self.read_on(known).await {
                tracing::debug!(shard = self.shard, %error, "the events stream cannot be read");
                tokio::time::sleep(AGAIN).await;
            }
        }
    }

    /// Reads what follows the index. `known` is a sequence that is known to be in the stream.
    async fn read_on(&self, known: Sequence) -> Result<()> {
        let (stream, events) = (self.layout.events_stream(self.shard), self.layout.events(self.shard));
        loop {
            let from = self.state().tail() + 1;
            let batch = self.broker.batch(&stream, from, &events, NATS_TAIL_EVENTS, NATS_TAIL_BYTES).await;
            let batch = batch.map_err(from_broker)?;
            let (read, more) = (batch.messages.len(), batch.pending > 0);
            self.take(batch.messages);
            if read == 0 {
                let tail = self.state().tail();
                if tail < known {
                    // Deleted meanwhile, or not at the broker that answered.
                    self.pass_deleted(known).await?;
                }
                return Ok(());
            }
            if !more {
                return Ok(());
            }
        }
    }

    /// Lets the index pass sequences up to `known` of which the leader has none any more.
    async fn pass_deleted(&self, known: Sequence) -> Result<()> {
        let (stream, events) = (self.layout.events_stream(self.shard), self.layout.events(self.shard));
        let tail = self.state().tail();
        // Before the look for a message: what comes after it is not passed.
        let info = self.broker.stream(&stream).await.map_err(from_broker)?;
        let last = info.map_or(0, |info| info.last_sequence);
        let next = self.broker.next(&stream, tail + 1, &events, ReadFrom::Leader).await.map_err(from_broker)?;
        match next {
            Some(message) => {
                self.pass(message.sequence - 1);
                self.take(vec![message]);
            }
            None => self.pass(known.min(last)),
        }
        if self.state().tail() == tail {
            tokio::time::sleep(AGAIN).await;
        }
        Ok(())
    }

    /// Learns that this replica has published something else than an event under this sequence.
    pub(super) fn passed(&self, sequence: Sequence) {
        let tail = self.state().tail();
        if tail + 1 == sequence {
            self.pass(sequence);
        } else if tail < sequence {
            self.newest.send_modify(|newest| newest.own = newest.own.max(sequence));
        }
    }

    /// Lets the index pass everything up to a sequence.
    fn pass(&self, sequence: Sequence) {
        let tail = {
            let mut state = self.state();
            state.set_tail(sequence);
            self.index_ahead(&mut state, &mut self.ahead.lock());
            state.tail()
        };
        self.reached(tail);
    }

    /// Indexes messages of the stream, ascending.
    fn take(&self, messages: Vec<Message>) {
        let (tail, has_begun) = {
            let mut state = self.state();
            for message in messages {
                let sequence = message.sequence;
                if sequence <= state.tail() {
                    continue;
                }
                match (EventMessage::read(&message), self.layout.endpoint_of(&message.subject)) {
                    (Ok(EventMessage::Event(head)), Some(endpoint)) => {
                        self.index(&mut state, &head.indexed(sequence, endpoint), message.payload);
                    }
                    (Ok(EventMessage::Tombstone { .. }), _) => state.set_tail(sequence),
                    (Err(_), _) | (_, None) => {
                        tracing::error!(
                            shard = self.shard,
                            sequence,
                            subject = message.subject,
                            "a message of the events stream is not an event"
                        );
                        state.set_tail(sequence);
                    }
                }
            }
            self.index_ahead(&mut state, &mut self.ahead.lock());
            (state.tail(), state.has_begun())
        };
        self.reached(tail);
        if has_begun {
            self.record_begun();
        }
    }
}
