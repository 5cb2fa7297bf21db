//! Removing events: their retention has passed, or their bytes are needed.

use futures_util::{StreamExt, stream};
use jiff::Timestamp;

use super::OwnedShard;
use crate::{
    JournalError, Result, Retention, Swept,
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
            let mut removing = Removing { shard: self, left: step.remove };
            self.commit(step.changes).await?;
            let removals = std::mem::take(&mut removing.left);
            swept.dead_letters += step.dead_letters;
            swept.events += removals.len() as u64;
            self.remove(removals, now).await?;
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
        let mut removing = Removing { shard: self, left: removals };
        let deletions: Vec<_> = removing.left.iter().cloned().map(|removal| self.remove_one(removal, now)).collect();
        let mut deletions = stream::iter(deletions).buffer_unordered(NATS_LOOKUPS);
        let (mut removed, mut failed) = (Vec::new(), None);
        while let Some((removal, result)) = deletions.next().await {
            match result {
                Ok(()) => {
                    removing.left.retain(|left| left.sequence != removal.sequence);
                    removed.push(removal);
                }
                Err(error) => failed = Some(error),
            }
        }
        drop(deletions);
        drop(removing);
        let changes = self.state().finish_removals(&removed);
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

    /// Returns an error if the shard may have moved: its next owner decides what is removed.
    fn check_serves(&self) -> Result<()> {
        let moved = || JournalError::Unavailable("the shard has moved to another replica".into());
        if self.serves() { Ok(()) } else { Err(moved()) }
    }

    async fn delete(&self, removal: &Removal, now: Timestamp) -> Result<()> {
        let stream = self.layout.events_stream(self.shard);
        self.check_serves()?;
        let mut remembered = None;
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
                    // A full stream takes in nothing: the event makes room first, and its id is unknown for a moment.
                    Err(PublishError::Full(_)) => remembered = Some(tombstone),
                    Err(error) => return Err(from_publish(error)),
                }
            }
        }
        self.check_serves()?;
        self.broker.delete(&stream, removal.sequence).await.map_err(from_broker)?;
        if let Some(tombstone) = remembered {
            let tombstone = Publication { expected: Some(Expected::LastOnSubject(0)), ..tombstone };
            if let Ok(sequence) = self.broker.publish(&tombstone, NATS_PUBLISH_TRY).await {
                self.passed(sequence);
            }
        }
        Ok(())
    }
}

/// Events that are being removed. Those that are left when this is dropped stay in the log.
struct Removing<'a> {
    shard: &'a OwnedShard,
    left: Vec<Removal>,
}

impl Drop for Removing<'_> {
    fn drop(&mut self) {
        if !self.left.is_empty() {
            self.shard.state().abort_removals(&self.left);
        }
    }
}
