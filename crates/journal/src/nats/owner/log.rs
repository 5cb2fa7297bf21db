//! The state log of a shard: entries by its one writer.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::OwnedShard;
use crate::{
    JournalError, Result, Sequence,
    limits::{NATS_CHECKPOINT_BYTES, NATS_ENTRY_BYTES, NATS_ENTRY_CHANGES, NATS_PUBLISH_TRY},
    nats::{
        broker::{Broker, Expected, Publication, PublishError, ReadFrom},
        error::{from_broker, from_publish},
        layout::{Layout, Shard},
        shard::{Change, Entry, Record},
    },
};

/// The pause before an entry that was not confirmed is sent again.
const AGAIN: std::time::Duration = std::time::Duration::from_millis(50);

/// Changes to be made durable together.
pub(super) struct Commit {
    pub(super) changes: Vec<Change>,
    pub(super) answer: oneshot::Sender<Result<()>>,
}

/// Why an entry was not written.
#[derive(Debug)]
pub(super) enum WriteError {
    /// Another replica has written to the log: it owns the shard now.
    Deposed,
    /// The tenure ended before the brokers confirmed.
    Ended,
    /// It cannot be written.
    Failed(JournalError),
}

/// Writes to the end of a state log.
pub(super) struct LogWriter {
    broker: Broker,
    stream: String,
    subject: String,
    epoch: u64,
    /// The last sequence of the log.
    last: Sequence,
}

impl LogWriter {
    /// Creates the writer of a log that ends in `last`.
    pub(super) fn new(broker: Broker, layout: &Layout, shard: Shard, epoch: u64, last: Sequence) -> Self {
        let (stream, subject) = (layout.state_stream(shard), layout.state(shard));
        Self { broker, stream, subject, epoch, last }
    }

    pub(super) fn last(&self) -> Sequence {
        self.last
    }

    /// Writes one entry, and returns its length in bytes. Repeats what is not confirmed while `may_continue`.
    pub(super) async fn write(&mut self, record: &Record, may_continue: impl Fn() -> bool) -> Result<u64, WriteError> {
        let payload = record.encode();
        let len = payload.len() as u64;
        let publication = Publication {
            subject: self.subject.clone(),
            headers: Vec::new(),
            payload,
            expected: Some(Expected::LastInStream(self.last)),
            ttl: None,
        };
        loop {
            if !may_continue() {
                return Err(WriteError::Ended);
            }
            match self.broker.publish(&publication, NATS_PUBLISH_TRY).await {
                Ok(sequence) => {
                    self.last = sequence;
                    return Ok(len);
                }
                Err(PublishError::WrongLast(_)) => {
                    // An earlier attempt of this entry, or the entry of another writer.
                    let next = self.last + 1;
                    match self.broker.get(&self.stream, next, ReadFrom::Leader).await {
                        Ok(Some(message)) if message.payload == publication.payload => {
                            self.last = next;
                            return Ok(len);
                        }
                        Ok(Some(_)) => return Err(WriteError::Deposed),
                        // Either on its way and not stored yet, or purged by another writer.
                        Ok(None) => match self.broker.stream(&self.stream).await {
                            Ok(Some(info)) if info.first_sequence > next && info.last_sequence >= next => {
                                return Err(WriteError::Deposed);
                            }
                            Ok(_) => {}
                            Err(error) => {
                                tracing::debug!(%error, stream = self.stream, "the state log cannot be asked for");
                            }
                        },
                        Err(error) => tracing::debug!(%error, stream = self.stream, "the state log cannot be read"),
                    }
                }
                Err(PublishError::InFlight | PublishError::Busy(_) | PublishError::Unavailable(_)) => {}
                Err(error) => return Err(WriteError::Failed(from_publish(error))),
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// Returns the record of an entry, under a nonce of its own.
    pub(super) fn record(&self, entry: Entry) -> Result<Record, WriteError> {
        let failed = |error| WriteError::Failed(JournalError::Io(format!("no random numbers: {error}"), None));
        let nonce = getrandom::u64().map_err(failed)?;
        Ok(Record { epoch: self.epoch, nonce, entry })
    }

    /// Removes everything before `first`, which a checkpoint has made unnecessary.
    async fn purge(&self, first: Sequence) -> Result<()> {
        self.broker.purge_below(&self.stream, first).await.map(|_| ()).map_err(from_broker)
    }
}

/// Splits changes into those of one entry, at least one, and the rest.
fn split(mut changes: Vec<Change>) -> (Vec<Change>, Vec<Change>) {
    let mut bytes = 0;
    let is_over = |change: &Change| {
        bytes += change.encoded_len();
        bytes > NATS_ENTRY_BYTES
    };
    let end = changes.iter().position(is_over).map_or(changes.len(), |over| over.max(1));
    let rest = changes.split_off(end);
    (changes, rest)
}

impl OwnedShard {
    /// Writes what is committed until the tenure ends. Commits that arrive while an entry is being written share the
    /// next one.
    pub(super) async fn write_log(
        self: Arc<Self>,
        mut writer: LogWriter,
        mut inbox: mpsc::Receiver<Commit>,
        mut since_checkpoint: u64,
    ) {
        let mut checkpoint_len = 0;
        loop {
            let first = tokio::select! {
                commit = inbox.recv() => commit,
                () = self.ended() => None,
            };
            let Some(first) = first else { break };
            let mut commits = vec![first];
            let mut changes = commits.iter().map(|commit| commit.changes.len()).sum::<usize>();
            while changes < NATS_ENTRY_CHANGES
                && let Ok(commit) = inbox.try_recv()
            {
                changes += commit.changes.len();
                commits.push(commit);
            }
            match self.write_commits(&mut writer, commits).await {
                Ok(len) => since_checkpoint += len,
                Err(WriteError::Failed(_)) => {}
                Err(WriteError::Deposed | WriteError::Ended) => break,
            }
            if since_checkpoint > NATS_CHECKPOINT_BYTES.max(checkpoint_len) {
                match self.checkpoint(&mut writer).await {
                    Ok(len) => (since_checkpoint, checkpoint_len) = (0, len),
                    Err(WriteError::Failed(error)) => {
                        tracing::warn!(shard = self.shard, %error, "the state of a shard cannot be written as a whole");
                        // Again after as much as before this attempt.
                        since_checkpoint = 0;
                    }
                    Err(WriteError::Deposed | WriteError::Ended) => break,
                }
            }
        }
        self.end();
    }

    /// Writes commits as entries, applies them, and answers. Returns the bytes written.
    async fn write_commits(&self, writer: &mut LogWriter, commits: Vec<Commit>) -> Result<u64, WriteError> {
        let mut answers = Vec::with_capacity(commits.len());
        // Before everything that depends on them.
        let mut changes = self.state().take_begun();
        let begun = changes.len();
        for commit in commits {
            changes.extend(commit.changes);
            answers.push((commit.answer, changes.len()));
        }
        let (mut written, mut bytes, mut failed) = (0, 0, None);
        while written < changes.len() && failed.is_none() {
            let rest = changes.split_off(written);
            let (entry, rest) = split(rest);
            let record = writer.record(Entry::Changes(entry))?;
            let outcome = writer.write(&record, || self.serves()).await;
            let Entry::Changes(entry) = record.entry else { return Ok(bytes) };
            match outcome {
                Ok(len) => {
                    bytes += len;
                    written += entry.len();
                    let mut state = self.state();
                    entry.iter().for_each(|change| state.apply(change));
                }
                Err(WriteError::Failed(error)) => failed = Some(error),
                // The receivers learn from the dropped senders.
                Err(error) => return Err(error),
            }
            changes.extend(entry);
            changes.extend(rest);
        }
        for (answer, end) in answers {
            let answered = match &failed {
                Some(error) if end > written => Err(error.clone_for_caller()),
                _ => Ok(()),
            };
            drop(answer.send(answered));
        }
        let Some(error) = failed else { return Ok(bytes) };
        let mut state = self.state();
        state.return_begun(changes.iter().take(begun).skip(written).cloned().collect());
        state.abort_settle(changes.get(written..).unwrap_or_default());
        drop(state);
        Err(WriteError::Failed(error))
    }

    /// Writes the whole state, so that what is before it can be removed. Returns its length in bytes.
    async fn checkpoint(&self, writer: &mut LogWriter) -> Result<u64, WriteError> {
        let chunks: Vec<_> = self.state().checkpoint().map(Entry::Checkpoint).collect();
        let first = writer.last() + 1;
        let mut bytes = 0;
        for entry in chunks.into_iter().chain([Entry::CheckpointEnd { first }]) {
            let record = writer.record(entry)?;
            bytes += writer.write(&record, || self.serves()).await?;
        }
        writer.purge(first).await.map_err(WriteError::Failed)?;
        tracing::debug!(shard = self.shard, bytes, "the state of a shard was written as a whole");
        Ok(bytes)
    }
}
