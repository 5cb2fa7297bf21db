//! The writer's tasks other than appends: each becomes records, and a change that is made once they are written.

use std::sync::{Arc, atomic::Ordering};

use super::{
    consumer::Consumer,
    endpoint::Kept,
    entry,
    frame::Kind,
    segments::index_outcomes,
    task::{Answer, Redeliver, Removal, Settle, Task},
    writer::Writer,
};
use crate::{JournalError, Result, Sequence, machine::End, record::codec::put_var};

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
                let outcome = self.replace_segments(rewritten);
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
                        consumer.machine.notify.notify_waiters();
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
                consumer.machine.notify.notify_waiters();
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

fn reply(answer: Answer<()>, outcome: Result<(), &JournalError>) {
    let _ = answer.send(outcome.map_err(JournalError::clone_for_caller));
}
