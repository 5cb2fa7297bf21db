//! All tasks of the writer other than appends: each becomes records, and a change that is made once they are written.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use grapnel_api::Incarnation;
use tokio::sync::oneshot;

use super::{
    Engine,
    consumer::Consumer,
    endpoint::{Endpoint, Kept},
    entry::{self, NewConsumer, NewEndpoint},
    frame::Kind,
    rewrite::Rewritten,
    segment_name::SegmentName,
    segments::Segment,
    writer::Writer,
};
use crate::{
    Attached, Detached, JournalError, Result, Sequence, Start,
    machine::{ConsumerState, End, Ended, Micros},
    record::codec::put_var,
};

/// The channel for a caller's result.
pub(super) type Answer<T> = oneshot::Sender<Result<T>>;

/// A change of the state, made once the records of the round are written or have failed.
pub(super) type Effect = Box<dyn FnOnce(&Engine, Result<(), &JournalError>) + Send>;

/// Any task that is not an append.
pub(super) enum Task {
    /// Registers an incarnation of an endpoint.
    Endpoint {
        endpoint: Incarnation,
        answer: Answer<(Arc<Endpoint>, u32)>,
    },
    Attach {
        attach: Attach,
        answer: Answer<Attached>,
    },
    Detach {
        consumer: Incarnation,
        answer: Answer<Option<Detached>>,
    },
    Settle(Settle),
    Redeliver {
        redeliver: Redeliver,
        answer: Answer<Option<(u64, u64)>>,
    },
    /// Removes dead letters; returns how many.
    Purge {
        consumer: Arc<Consumer>,
        dead: Vec<Sequence>,
        answer: Answer<u64>,
    },
    /// Removes events; returns how many, or `None` if the plan has to be made again.
    Remove {
        removal: Removal,
        answer: Answer<Option<u64>>,
    },
    Retention {
        endpoint: Arc<Endpoint>,
        retention: Duration,
        answer: Answer<()>,
    },
    /// Forgets an endpoint whose object is gone, if nothing depends on it.
    Forget {
        endpoint: Arc<Endpoint>,
        now: Micros,
    },
    /// Records that events are damaged.
    Damaged {
        endpoint: Arc<Endpoint>,
        ranges: Vec<(Sequence, Sequence)>,
    },
    /// Makes everything written so far durable.
    Sync(Answer<()>),
    /// Begins a new segment.
    Rotate(Answer<()>),
    /// Deletes segments without kept events; returns how many.
    Drop {
        segments: Vec<SegmentName>,
        answer: Answer<usize>,
    },
    /// Replaces segments by a rewritten one.
    Replace {
        rewritten: Rewritten,
        answer: Answer<()>,
    },
    Close(Answer<()>),
}

/// A consumer to be attached.
pub(super) struct Attach {
    pub(super) consumer: Incarnation,
    pub(super) endpoint: Arc<Endpoint>,
    /// The incarnation of the endpoint that it reads.
    pub(super) incarnation: u32,
    pub(super) start: Start,
}

/// Encoded ends of attempts, whose flights are marked as being settled.
pub(super) struct Settle {
    pub(super) consumer: Arc<Consumer>,
    pub(super) ends: Vec<Ended>,
    pub(super) payload: Bytes,
    pub(super) answer: Answer<()>,
}

/// Events to queue again, and retries to make due.
pub(super) struct Redeliver {
    pub(super) consumer: Arc<Consumer>,
    /// The endpoint's epoch when they were selected.
    pub(super) epoch: u64,
    pub(super) queue: Vec<Sequence>,
    pub(super) hasten: Vec<Sequence>,
    pub(super) due: Micros,
}

/// Events to remove.
pub(super) struct Removal {
    pub(super) endpoint: Arc<Endpoint>,
    /// The endpoint's epoch when they were selected.
    pub(super) epoch: u64,
    pub(super) ranges: Vec<(Sequence, Sequence)>,
    /// The number of events and bytes removed from each segment.
    pub(super) freed: Vec<(Arc<Segment>, u64, u64)>,
}

impl Removal {
    pub(super) fn events(&self) -> u64 {
        self.freed.iter().map(|(_, events, _)| events).sum()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.freed.iter().map(|(_, _, bytes)| bytes).sum()
    }
}

impl Writer {
    /// Turns a task into records of the round.
    pub(super) fn stage_task(&mut self, task: Task) {
        match task {
            Task::Settle(settle) => self.settle(settle),
            Task::Endpoint { endpoint, answer } => self.endpoint(endpoint, answer),
            Task::Attach { attach, answer } => self.attach(attach, answer),
            Task::Detach { consumer, answer } => self.detach(&consumer, answer),
            // The following tasks are rare, and need a state in which everything before is done.
            task => {
                let _ = self.flush();
                self.stage_rare(task);
            }
        }
    }

    fn stage_rare(&mut self, task: Task) {
        match task {
            Task::Redeliver { redeliver, answer } => self.redeliver(redeliver, answer),
            Task::Purge { consumer, dead, answer } => self.purge(consumer, dead, answer),
            Task::Remove { removal, answer } => {
                let outcome = self.remove(removal);
                let _ = answer.send(outcome);
            }
            Task::Retention { endpoint, retention, answer } => {
                let mut payload = Vec::with_capacity(10);
                put_var(&mut payload, retention.as_secs());
                self.log.record(Kind::Retention, endpoint.number, &payload);
                self.effect(move |_, outcome| {
                    if outcome.is_ok() {
                        endpoint.state.lock().retention = Some(retention);
                    }
                    reply(answer, outcome);
                });
            }
            Task::Forget { endpoint, now } => {
                if endpoint.is_forgettable(now) {
                    self.engine.retired_head.fetch_max(endpoint.head(), Ordering::AcqRel);
                    self.engine.endpoints.write().remove(&endpoint);
                    endpoint.forget();
                }
            }
            Task::Damaged { endpoint, ranges } => {
                self.log.record(Kind::Damaged, endpoint.number, &entry::encode_ranges(&ranges));
            }
            Task::Sync(answer) => {
                let outcome = self.can_write().and_then(|()| self.sync());
                let _ = answer.send(outcome);
            }
            // Files are deleted only while it is known what is on disk.
            Task::Rotate(answer) => {
                let outcome = self.can_write().and_then(|()| self.rotate());
                let _ = answer.send(outcome);
            }
            Task::Drop { segments, answer } => {
                let outcome = self.can_write().and_then(|()| self.drop_segments(&segments));
                let _ = answer.send(outcome);
            }
            Task::Replace { rewritten, answer } => {
                let outcome = self.can_write().and_then(|()| self.replace_segments(rewritten));
                let _ = answer.send(outcome);
            }
            Task::Close(answer) => {
                self.log.close();
                self.pending.sync();
                let outcome = self.flush();
                self.engine.inbox.close();
                let _ = answer.send(outcome.map_or_else(|error| Err(error.clone_for_caller()), Ok));
            }
            Task::Settle(_) | Task::Endpoint { .. } | Task::Attach { .. } | Task::Detach { .. } => {}
        }
    }

    /// Writes the round first if another of its tasks concerns the same object.
    fn alone(&mut self, key: &grapnel_api::ObjectKey) {
        if !self.pending.admits(key) {
            let _ = self.flush();
            self.pending.admits(key);
        }
    }

    fn settle(&mut self, settle: Settle) {
        let Settle { consumer, ends, payload, answer } = settle;
        if consumer.state().is_detached() {
            let _ = answer.send(Err(JournalError::UnknownConsumer(consumer.object.key.clone())));
            return;
        }
        let offset = self.log.record(Kind::Ended, consumer.number, &payload);
        // A dead letter is made durable at once, so that its event is not delivered again.
        if ends.iter().any(|ended| matches!(ended.end, End::Dead { .. })) {
            self.pending.sync();
        }
        let segment = Arc::clone(&self.log.segment);
        self.settled += 1;
        self.effect(move |_, outcome| {
            let mut state = consumer.state();
            match outcome {
                Ok(()) => {
                    for ended in &ends {
                        state.apply_ended(ended);
                    }
                    let unblocked = state.unblock();
                    drop(state);
                    index_outcomes(&segment, consumer.number, &ends, offset);
                    if unblocked {
                        consumer.notify.notify_waiters();
                    }
                }
                Err(_) => {
                    for ended in &ends {
                        state.abort_settling(ended.sequence);
                    }
                }
            }
            reply(answer, outcome);
        });
    }

    fn endpoint(&mut self, endpoint: Incarnation, answer: Answer<(Arc<Endpoint>, u32)>) {
        self.alone(&endpoint.key);
        let known = self.engine.endpoint(&endpoint.key);
        let (number, incarnation, begin) = match &known {
            Some(known) => match known.incarnation_of(&endpoint.uid) {
                Err(error) => {
                    let _ = answer.send(Err(error));
                    return;
                }
                Ok(Some(incarnation)) => {
                    let _ = answer.send(Ok((Arc::clone(known), incarnation)));
                    return;
                }
                Ok(None) => (known.number, known.present_incarnation() + 1, known.head() + 1),
            },
            None => (self.next_endpoint(), 1, self.engine.retired_head.load(Ordering::Acquire) + 1),
        };
        let new = NewEndpoint { endpoint: endpoint.clone(), incarnation, begin };
        self.log.identity(Kind::Endpoint, number, &new.encode());
        self.effect(move |engine, outcome| {
            let made = outcome.map(|()| apply_endpoint(engine, number, &new));
            let _ = answer.send(match made {
                Ok(endpoint) => Ok((endpoint, incarnation)),
                Err(error) => Err(error.clone_for_caller()),
            });
        });
    }

    fn attach(&mut self, attach: Attach, answer: Answer<Attached>) {
        let Attach { consumer, endpoint, incarnation, start } = attach;
        self.alone(&consumer.key);
        if endpoint.present_incarnation() != incarnation {
            let _ = answer.send(Err(JournalError::EndpointReplaced(endpoint.key.clone())));
            return;
        }
        let attached = self.engine.consumers.read().get(&consumer.key).cloned();
        let replaced = match attached {
            Some(old) if old.object.uid == consumer.uid => {
                let outcome = if old.endpoint.number == endpoint.number {
                    Ok(Attached::default())
                } else {
                    Err(JournalError::EndpointChanged { consumer: consumer.key, endpoint: old.endpoint.key.clone() })
                };
                let _ = answer.send(outcome);
                return;
            }
            other => other,
        };
        if let Some(old) = &replaced {
            self.log.identity(Kind::Detach, old.number, &[]);
        }
        let number = self.next_consumer();
        let (start, appended_before) = begin(&endpoint, start);
        let new = NewConsumer { consumer, endpoint: endpoint.number, start, appended_before };
        self.log.identity(Kind::Attach, number, &new.encode());
        self.pending.sync();
        self.effect(move |engine, outcome| {
            let attached = outcome.map(|()| {
                let replaced = replaced.map(|old| apply_detach(engine, &old));
                apply_attach(engine, number, &new, &endpoint);
                Attached { replaced }
            });
            let _ = answer.send(attached.map_err(JournalError::clone_for_caller));
        });
    }

    fn detach(&mut self, consumer: &Incarnation, answer: Answer<Option<Detached>>) {
        self.alone(&consumer.key);
        let Ok(found) = self.engine.consumer(consumer) else {
            let _ = answer.send(Ok(None));
            return;
        };
        self.log.identity(Kind::Detach, found.number, &[]);
        self.pending.sync();
        self.settled += 1;
        self.effect(move |engine, outcome| {
            let detached = outcome.map(|()| Some(apply_detach(engine, &found)));
            let _ = answer.send(detached.map_err(JournalError::clone_for_caller));
        });
    }

    fn redeliver(&mut self, redeliver: Redeliver, answer: Answer<Option<(u64, u64)>>) {
        let Redeliver { consumer, epoch, queue, hasten, due } = redeliver;
        if consumer.endpoint.epoch() != epoch {
            let _ = answer.send(Ok(None));
            return;
        }
        let (mut queued, mut hastened) = (Vec::new(), Vec::new());
        {
            let state = consumer.state();
            if state.is_detached() {
                let _ = answer.send(Err(JournalError::UnknownConsumer(consumer.object.key.clone())));
                return;
            }
            for sequence in queue {
                if state.can_redeliver(sequence) && !queued.contains(&sequence) {
                    queued.push(sequence);
                }
            }
            hastened.extend(hasten.into_iter().filter(|sequence| state.can_hasten(*sequence, due)));
        }
        if !queued.is_empty() {
            self.log.record(Kind::Redelivered, consumer.number, &entry::encode_due(due, &queued));
        }
        if !hastened.is_empty() {
            self.log.record(Kind::Hastened, consumer.number, &entry::encode_due(due, &hastened));
        }
        self.pending.sync();
        self.effect(move |_, outcome| {
            let done = outcome.map(|()| {
                let mut state = consumer.state();
                for sequence in &queued {
                    state.apply_redelivered(*sequence, due);
                }
                for sequence in &hastened {
                    state.apply_hastened(*sequence, due);
                }
                drop(state);
                // Events that a sweep regarded as settled no longer are.
                consumer.endpoint.next_epoch();
                consumer.notify.notify_waiters();
                Some((queued.len() as u64, hastened.len() as u64))
            });
            let _ = answer.send(done.map_err(JournalError::clone_for_caller));
        });
        let _ = self.flush();
    }

    fn purge(&mut self, consumer: Arc<Consumer>, mut dead: Vec<Sequence>, answer: Answer<u64>) {
        {
            let state = consumer.state();
            // It may have been redelivered since, and even have died again.
            dead.retain(|sequence| state.state_of(*sequence).0 == crate::DeliveryState::DeadLettered);
        }
        if dead.is_empty() || consumer.state().is_detached() {
            let _ = answer.send(Ok(0));
            return;
        }
        self.log.record(Kind::Purged, consumer.number, &entry::encode_sequences(&dead));
        self.settled += 1;
        self.effect(move |_, outcome| {
            let purged = outcome.map(|()| {
                let mut state = consumer.state();
                for sequence in &dead {
                    state.apply_purged(*sequence);
                }
                dead.len() as u64
            });
            let _ = answer.send(purged.map_err(JournalError::clone_for_caller));
        });
    }

    /// Removes events if the plan still holds. Everything before has been written.
    pub(super) fn remove(&mut self, removal: Removal) -> Result<Option<u64>> {
        let endpoint = Arc::clone(&removal.endpoint);
        if endpoint.epoch() != removal.epoch {
            return Ok(None);
        }
        self.log.record(Kind::Removed, endpoint.number, &entry::encode_ranges(&removal.ranges));
        self.flush().map_err(|error| error.clone_for_caller())?;
        let (events, bytes) = (removal.events(), removal.bytes());
        {
            let mut state = endpoint.state.lock();
            for (first, last) in &removal.ranges {
                state.remove(*first, *last);
            }
            // A removal concerns one incarnation.
            let own = removal.ranges.first().is_some_and(|(first, _)| *first >= state.begin);
            let kept = if own { &mut state.own } else { &mut state.earlier };
            kept.subtract(Kept { events, bytes });
        }
        for (segment, events, bytes) in &removal.freed {
            segment.remove_live(*events, *bytes);
        }
        let mut namespaces = self.engine.namespaces.lock();
        if let Some(kept) = namespaces.get_mut(&endpoint.key.namespace) {
            *kept = kept.saturating_sub(bytes);
            if *kept == 0 {
                namespaces.remove(&endpoint.key.namespace);
            }
        }
        drop(namespaces);
        endpoint.next_epoch();
        Ok(Some(events))
    }
}

/// Returns where a new consumer begins, and how many events its endpoint had stored before.
fn begin(endpoint: &Endpoint, start: Start) -> (Sequence, u64) {
    let head = endpoint.head();
    let state = endpoint.state.lock();
    match start {
        Start::Now => (head.max(state.begin.saturating_sub(1)), state.appended),
        Start::Earliest => {
            let first = state.removed.next_outside(state.begin);
            let start = first.saturating_sub(1);
            let kept = (head + 1).saturating_sub(first) - state.removed.count(first, head);
            (start, state.appended.saturating_sub(kept))
        }
    }
}

/// Registers an incarnation of an endpoint whose record is durable.
pub(super) fn apply_endpoint(engine: &Engine, number: u32, new: &NewEndpoint) -> Arc<Endpoint> {
    let mut endpoints = engine.endpoints.write();
    if let Some(known) = endpoints.numbered(number) {
        if known.present_incarnation() < new.incarnation {
            known.reincarnate(&new.endpoint.uid, new.incarnation, new.begin);
            known.next_epoch();
        }
        return Arc::clone(known);
    }
    let endpoint = Arc::new(Endpoint::new(&new.endpoint, number, new.incarnation, new.begin));
    endpoints.insert(Arc::clone(&endpoint));
    endpoint
}

/// Attaches a consumer whose record is durable.
pub(super) fn apply_attach(engine: &Engine, number: u32, new: &NewConsumer, endpoint: &Arc<Endpoint>) {
    let state = ConsumerState::new(new.start, new.appended_before);
    insert_consumer(engine, Consumer::new(new.consumer.clone(), number, Arc::clone(endpoint), state));
}

/// Adds a consumer to its endpoint and to the registry.
pub(super) fn insert_consumer(engine: &Engine, consumer: Consumer) {
    let consumer = Arc::new(consumer);
    let endpoint = Arc::clone(&consumer.endpoint);
    endpoint.consumers.write().push(Arc::clone(&consumer));
    endpoint.next_epoch();
    engine.consumers.write().insert(consumer);
}

/// Detaches a consumer whose record is durable.
pub(super) fn apply_detach(engine: &Engine, consumer: &Arc<Consumer>) -> Detached {
    let detached = consumer.progress().into();
    engine.consumers.write().remove(consumer);
    consumer.endpoint.consumers.write().retain(|other| other.number != consumer.number);
    consumer.state().detach();
    consumer.notify.notify_waiters();
    detached
}

/// Indexes outcomes stored in the record at `offset`.
pub(super) fn index_outcomes(segment: &Segment, consumer: u32, ends: &[Ended], offset: u64) {
    let offset = u32::try_from(offset).unwrap_or(u32::MAX);
    segment.extend(|index| {
        for ended in ends {
            index.outcome(consumer, ended.sequence, offset);
        }
    });
}

fn reply(answer: Answer<()>, outcome: Result<(), &JournalError>) {
    let _ = answer.send(outcome.map_err(JournalError::clone_for_caller));
}
