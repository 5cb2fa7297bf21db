//! Removing events: their retention has passed, or their bytes are needed.

use futures_util::{StreamExt, stream};
use jiff::Timestamp;

use super::OwnedShard;
use crate::{
    Result, Retention, Swept,
    limits::{NATS_LOOKUPS, NATS_PUBLISH_TRY, SWEEP_STEP},
    machine::Micros,
    nats::{
        broker::{Expected, Publication, PublishError, ReadFrom},
        error::{from_broker, from_publish},
        event_message::{EventMessage, HEAD, TOMBSTONE},
        shard::{Removal, Sweep},
    },
};

impl OwnedShard {
    /// Removes events and dead letters: see [`Journal::sweep`](crate::Journal::sweep).
    pub(in crate::nats) async fn sweep(&self, retention: Retention, now: Timestamp) -> Result<Swept> {
        let mut swept = Swept::default();
        let mut sweep = Sweep::new(retention, now);
        loop {
            let _turn = self.turn.lock().await;
            if !self.serves() {
                return Ok(swept);
            }
            let step = self.state().sweep(&mut sweep, SWEEP_STEP);
            if let Err(error) = self.commit(step.changes).await {
                self.state().abort_removals(&step.remove);
                return Err(error);
            }
            swept.dead_letters += step.dead_letters;
            swept.events += step.remove.len() as u64;
            self.remove(step.remove, now).await?;
            if !step.more {
                return Ok(swept);
            }
        }
    }

    /// Removes events from the stream. The ids of those whose windows are open stay known.
    pub(in crate::nats) async fn remove(&self, removals: Vec<Removal>, now: Timestamp) -> Result<()> {
        if removals.is_empty() {
            return Ok(());
        }
        let results: Vec<_> = removals.into_iter().map(|removal| self.remove_one(removal, now)).collect();
        let results: Vec<_> = stream::iter(results).buffer_unordered(NATS_LOOKUPS).collect().await;
        let (mut removed, mut kept, mut failed) = (Vec::new(), Vec::new(), None);
        for (removal, result) in results {
            match result {
                Ok(()) => removed.push(removal),
                Err(error) => {
                    kept.push(removal);
                    failed = Some(error);
                }
            }
        }
        removed.sort_unstable_by_key(|removal| removal.sequence);
        let changes = {
            let mut state = self.state();
            state.abort_removals(&kept);
            state.finish_removals(&removed)
        };
        {
            let mut recent = self.recent.lock();
            removed.iter().for_each(|removal| recent.remove(removal.sequence));
        }
        self.commit(changes).await?;
        failed.map_or(Ok(()), Err)
    }

    async fn remove_one(&self, removal: Removal, now: Timestamp) -> (Removal, Result<()>) {
        let result = self.delete(&removal, now).await;
        (removal, result)
    }

    async fn delete(&self, removal: &Removal, now: Timestamp) -> Result<()> {
        let stream = self.layout.events_stream(self.shard);
        if removal.until > Micros::floor(now) {
            let message = self.broker.get(&stream, removal.sequence, ReadFrom::Leader).await.map_err(from_broker)?;
            if let Some(message) = message
                && let Ok(EventMessage::Event(head)) = EventMessage::read(&message)
            {
                let rest = removal.until.timestamp().duration_since(now).unsigned_abs();
                let tombstone = Publication {
                    subject: message.subject,
                    headers: vec![(HEAD, head.encode()), (TOMBSTONE, removal.sequence.to_string())],
                    payload: bytes::Bytes::new(),
                    // If another event of the id has followed, that one is remembered.
                    expected: Some(Expected::LastOnSubject(removal.sequence)),
                    ttl: Some(rest.max(std::time::Duration::from_secs(1))),
                };
                match self.broker.publish(&tombstone, NATS_PUBLISH_TRY).await {
                    Ok(sequence) => self.passed(sequence),
                    Err(PublishError::WrongLast(_)) => {}
                    Err(error) => return Err(from_publish(error)),
                }
            }
        }
        self.broker.delete(&stream, removal.sequence).await.map(|_| ()).map_err(from_broker)
    }
}
