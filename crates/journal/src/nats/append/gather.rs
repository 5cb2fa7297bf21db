//! Events of concurrent calls, published together.
//!
//! The brokers, and this process, spend less on an event in a batch than on one alone. While batches of a shard are being
//! published, the events that arrive for it are gathered, and go as the next batch; without others an event goes alone and
//! at once. As many wait as there are callers: an event whose caller has given up is dropped.
//! What its neighbours meet is not an event's concern: if one of them cannot be stored, none is, and each goes on alone.

use std::{
    collections::{HashSet, VecDeque},
    hash::{DefaultHasher, Hash, Hasher},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::outgoing::Outgoing;
use crate::{
    JournalError, Result, Sequence,
    limits::{
        NATS_APPEND_DEADLINE, NATS_GATHERED_BATCHES, NATS_GATHERED_BYTES, NATS_GATHERED_EVENTS, NATS_PUBLISH_TRY,
    },
    nats::{broker::PublishError, layout::Shard, replica::Replica},
};

/// Number of stored subjects that are remembered.
const KNOWN_SUBJECTS: usize = 16 << 10;

/// What the brokers said about an event; `None` if it has to go alone.
type Said = Option<Result<Sequence, PublishError>>;

/// An event whose caller waits for the answer.
struct Waiting {
    event: Outgoing,
    subject: u64,
    answer: oneshot::Sender<(Outgoing, Said)>,
}

/// The events that wait for the next batch of a shard.
#[derive(Default)]
struct Lane {
    waiting: VecDeque<Waiting>,
    /// Batches that are being published.
    open: usize,
}

/// The events of a replica that wait for the next batch, by shard.
pub(in crate::nats) struct Gathering {
    lanes: Box<[Mutex<Lane>]>,
    known: KnownSubjects,
}

/// Hashes of subjects under which this replica has stored an event lately. A later hash takes the place of an earlier
/// one.
struct KnownSubjects(Box<[AtomicU64]>);

impl KnownSubjects {
    fn slot(&self, hash: u64) -> Option<&AtomicU64> {
        self.0.get(hash as usize % KNOWN_SUBJECTS)
    }

    fn has(&self, hash: u64) -> bool {
        self.slot(hash).is_some_and(|slot| slot.load(Relaxed) == hash)
    }

    fn add(&self, hash: u64) {
        if let Some(slot) = self.slot(hash) {
            slot.store(hash, Relaxed);
        }
    }
}

fn hash_of(subject: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    subject.hash(&mut hasher);
    hasher.finish()
}

impl Gathering {
    /// Creates empty lanes for so many shards.
    pub(in crate::nats) fn new(shards: usize) -> Self {
        Self {
            lanes: (0..shards).map(|_| Mutex::default()).collect(),
            known: KnownSubjects((0..KNOWN_SUBJECTS).map(|_| AtomicU64::new(0)).collect()),
        }
    }
}

/// Publishes an event, with others if there are others, and takes it into the index. Without an answer it has to go alone.
///
/// # Errors
///
/// [`JournalError::Unavailable`] if the events before it take too long, and [`JournalError::Closed`] if the runtime ends.
pub(super) async fn publish(replica: &Arc<Replica>, shard: Shard, event: Outgoing) -> Result<(Outgoing, Said)> {
    let gathering = &replica.gathering;
    let subject = hash_of(&event.publication.subject);
    let Some(lane) = gathering.lanes.get(usize::from(shard)) else { return Ok((event, None)) };
    if gathering.known.has(subject) {
        // Likely a duplicate, which would keep the others from being stored.
        return Ok((event, None));
    }
    let (answer, answered) = oneshot::channel();
    let opens = {
        let mut lane = lane.lock();
        lane.waiting.push_back(Waiting { event, subject, answer });
        let opens = lane.open < NATS_GATHERED_BATCHES;
        lane.open += usize::from(opens);
        opens
    };
    if opens {
        tokio::spawn(publish_waiting(Arc::clone(replica), shard));
    }
    match tokio::time::timeout(NATS_APPEND_DEADLINE, answered).await {
        Ok(answer) => answer.map_err(|_| JournalError::Closed),
        Err(_) => Err(JournalError::Unavailable("the NATS servers are slower than events arrive".into())),
    }
}

/// A batch that is open. When its task ends without notice, another may take its place.
struct Open<'a> {
    lane: &'a Mutex<Lane>,
    is_over: bool,
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            self.lane.lock().open -= 1;
        }
    }
}

/// Publishes batch after batch until no event of the shard waits.
async fn publish_waiting(replica: Arc<Replica>, shard: Shard) {
    let Some(lane) = replica.gathering.lanes.get(usize::from(shard)) else { return };
    let mut open = Open { lane, is_over: false };
    loop {
        let batch = {
            let mut lane = lane.lock();
            let batch = next_batch(&mut lane.waiting);
            if batch.is_empty() {
                // While the lane is locked: an event that arrives now opens another batch.
                lane.open -= 1;
                open.is_over = true;
                return;
            }
            batch
        };
        publish_together(&replica, shard, batch).await;
    }
}

/// Takes the events of the next batch: of equal subjects one. Drops events whose callers have given up.
fn next_batch(waiting: &mut VecDeque<Waiting>) -> Vec<Waiting> {
    let mut batch = Vec::new();
    let (mut subjects, mut bytes, mut repeated) = (HashSet::new(), 0, VecDeque::new());
    while batch.len() < NATS_GATHERED_EVENTS
        && let Some(next) = waiting.pop_front()
    {
        if next.answer.is_closed() {
            continue;
        }
        let len = next.event.publication.payload.len();
        if !batch.is_empty() && bytes + len > NATS_GATHERED_BYTES {
            waiting.push_front(next);
            break;
        }
        if subjects.insert(next.subject) {
            bytes += len;
            batch.push(next);
        } else {
            repeated.push_back(next);
        }
    }
    repeated.into_iter().rev().for_each(|next| waiting.push_front(next));
    batch
}

async fn publish_together(replica: &Replica, shard: Shard, batch: Vec<Waiting>) {
    let publications: Vec<_> = batch.iter().map(|waiting| waiting.event.publication.clone()).collect();
    match replica.broker.publish_batch(&publications, NATS_PUBLISH_TRY).await {
        Ok(sequences) => {
            let stored = batch.iter().zip(sequences.clone());
            replica.stored(shard, stored.map(|(waiting, sequence)| waiting.event.stored_as(sequence)).collect());
            for (Waiting { event, subject, answer }, sequence) in batch.into_iter().zip(sequences) {
                replica.gathering.known.add(subject);
                reply(answer, event, Some(Ok(sequence)));
            }
        }
        // Each may be stored, or not.
        Err(PublishError::Unavailable(why)) => {
            for Waiting { event, answer, .. } in batch {
                reply(answer, event, Some(Err(PublishError::Unavailable(why.clone()))));
            }
        }
        Err(error) => {
            let mut own = (batch.len() == 1).then_some(error);
            for Waiting { event, answer, .. } in batch {
                reply(answer, event, own.take().map(Err));
            }
        }
    }
}

/// Answers a caller, if it still waits.
fn reply(answer: oneshot::Sender<(Outgoing, Said)>, event: Outgoing, said: Said) {
    drop(answer.send((event, said)));
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use grapnel_api::{Incarnation, ObjectKey};

    use super::*;
    use crate::{
        machine::Micros,
        nats::{broker::Publication, event_message::MessageHead},
    };

    fn waiting(place: usize, subject: &str, bytes: usize) -> Waiting {
        let publication =
            Publication { subject: subject.into(), payload: Bytes::from(vec![0; bytes]), ..Publication::default() };
        let head =
            MessageHead { nonce: [0; 8], received: Micros(0), until: Micros(0), len: bytes as u64, uid: "uid".into() };
        let endpoint = Incarnation { key: ObjectKey::new("ns", "in"), uid: "uid".into() };
        let event = Outgoing { place, endpoint, head, publication, window: None, after: 0, uncertain: false };
        let (answer, answered) = oneshot::channel();
        // The caller waits until the test is over.
        std::mem::forget(answered);
        Waiting { event, subject: hash_of(subject), answer }
    }

    /// The places of the events of each batch, until none waits.
    fn batches(mut waiting: VecDeque<Waiting>) -> Vec<Vec<usize>> {
        let mut all = Vec::new();
        loop {
            let batch = next_batch(&mut waiting);
            if batch.is_empty() {
                assert!(waiting.is_empty());
                return all;
            }
            all.push(batch.iter().map(|waiting| waiting.event.place).collect());
        }
    }

    #[test]
    fn a_batch_has_bounds() {
        let many = (0..NATS_GATHERED_EVENTS * 2 + 1).map(|place| waiting(place, &format!("s.{place}"), 10)).collect();
        let lens: Vec<_> = batches(many).iter().map(Vec::len).collect();
        assert_eq!(lens, [NATS_GATHERED_EVENTS, NATS_GATHERED_EVENTS, 1]);
        let large = [1, NATS_GATHERED_BYTES * 2, NATS_GATHERED_BYTES, 1, NATS_GATHERED_BYTES - 1, 1];
        let large = large.iter().enumerate().map(|(place, bytes)| waiting(place, &format!("s.{place}"), *bytes));
        assert_eq!(batches(large.collect()), [vec![0], vec![1], vec![2], vec![3, 4], vec![5]]);
    }

    #[test]
    fn events_without_a_caller_are_dropped() {
        let mut all: VecDeque<_> = (0..5).map(|place| waiting(place, &format!("s.{place}"), 1)).collect();
        all[1].answer = oneshot::channel().0;
        all[4].answer = oneshot::channel().0;
        assert_eq!(batches(all), [vec![0, 2, 3]]);
    }

    /// A batch cannot have two messages of one subject; those that wait stay in order.
    #[test]
    fn of_equal_subjects_one_is_in_a_batch() {
        let subjects = ["a", "b", "a", "c", "a", "b"];
        let all = subjects.iter().enumerate().map(|(place, subject)| waiting(place, subject, 1)).collect();
        assert_eq!(batches(all), [vec![0, 1, 3], vec![2, 5], vec![4]]);
    }

    #[test]
    fn subjects_are_known_until_others_take_their_places() {
        let known = Gathering::new(1).known;
        assert!(!known.has(7));
        known.add(7);
        known.add(8);
        assert!(known.has(7) && known.has(8) && !known.has(7 + KNOWN_SUBJECTS as u64));
        known.add(7 + KNOWN_SUBJECTS as u64);
        assert!(!known.has(7) && known.has(7 + KNOWN_SUBJECTS as u64));
    }
}
