//! Changes of endpoints and consumers: proposed, and applied once they are durable.

use grapnel_api::Incarnation;

use super::{Change, ShardState, consumer::ShardConsumer, usage::Usage};
use crate::{
    Attached, Detached, JournalError, Result, Sequence, Start,
    machine::{End, Ended},
};

impl ShardState {
    /// Returns the change that makes `endpoint` the current object of its name; `None` if it is already.
    ///
    /// # Errors
    ///
    /// [`JournalError::EndpointReplaced`].
    pub(crate) fn endpoint_changes(&self, endpoint: &Incarnation) -> Result<Option<Change>> {
        let known = self.endpoints.get(&endpoint.key);
        if known.is_some_and(|known| known.is_current(&endpoint.uid)) {
            return Ok(None);
        }
        if known.is_some_and(|known| known.life_of(&endpoint.uid).is_some()) {
            return Err(JournalError::EndpointReplaced(endpoint.key.clone()));
        }
        Ok(Some(Change::Endpoint { endpoint: endpoint.clone() }))
    }

    /// Returns what attaches the consumer: nothing if it is attached. The index must have every event that was stored
    /// before the call.
    ///
    /// # Errors
    ///
    /// [`JournalError::EndpointChanged`] and [`JournalError::EndpointReplaced`].
    pub(crate) fn propose_attach(
        &self,
        consumer: &Incarnation,
        endpoint: &Incarnation,
        start: Start,
    ) -> Result<(Vec<Change>, Attached)> {
        let known = self.consumers.get(&consumer.key);
        let same = known.filter(|known| known.object == *consumer);
        if let Some(known) = same.filter(|known| known.endpoint != endpoint.key) {
            let (consumer, endpoint) = (consumer.key.clone(), known.endpoint.clone());
            return Err(JournalError::EndpointChanged { consumer, endpoint });
        }
        let mut changes = Vec::from_iter(self.endpoint_changes(endpoint)?);
        if same.is_some() {
            return Ok((changes, Attached::default()));
        }
        // Before the first kept event, but after all removed ones.
        let first = match start {
            Start::Now => None,
            Start::Earliest => self.first_of(endpoint),
        };
        let start = first.map_or(self.tail(), |first| first.saturating_sub(1));
        changes.push(Change::Attached { consumer: consumer.clone(), endpoint: endpoint.clone(), start });
        let replaced = known.and_then(|known| self.progress(&known.object)).map(Detached::from);
        Ok((changes, Attached { replaced }))
    }

    /// Returns the first kept event of an endpoint.
    fn first_of(&self, endpoint: &Incarnation) -> Option<Sequence> {
        let log = self.endpoints.get(&endpoint.key)?;
        let life = log.current().filter(|life| life.uid == endpoint.uid)?.number;
        log.rows.ascending(0).find(|row| row.life == life).map(|row| row.sequence)
    }

    /// Returns what detaches the consumer; `None` if it is not attached.
    pub(crate) fn propose_detach(&self, consumer: &Incarnation) -> Option<(Vec<Change>, Detached)> {
        let progress = self.progress(consumer)?;
        Some((vec![Change::Detached { consumer: consumer.clone() }], progress.into()))
    }

    /// Applies a change that is durable. Changes of consumers that are not attached change nothing.
    pub(crate) fn apply(&mut self, change: &Change) {
        match change {
            Change::Endpoint { endpoint } => {
                let log = self.endpoints.entry(endpoint.key.clone()).or_default();
                log.begin_life(&endpoint.uid);
                if self.is_loaded {
                    log.prune_lives();
                }
            }
            Change::Attached { consumer, endpoint, start } => self.attach(consumer, endpoint, *start),
            Change::Detached { consumer } => {
                if self.consumer(consumer).is_ok() {
                    self.remove_consumer(consumer);
                }
            }
            Change::Ended { consumer, ended } => self.end(consumer, ended),
            Change::Queued { consumer, sequence, due } => {
                self.change(consumer, *sequence, |consumer| {
                    let is_queued = consumer.machine.can_redeliver(*sequence);
                    if is_queued {
                        consumer.machine.apply_redelivered(*sequence, *due);
                        consumer.outcomes.remove(*sequence);
                    }
                    is_queued
                });
                self.drop_hold(consumer, *sequence);
            }
            Change::Hastened { consumer, sequence, due } => self.change(consumer, *sequence, |consumer| {
                consumer.machine.apply_hastened(*sequence, *due);
                true
            }),
            Change::LetterRemoved { consumer, sequence } => self.change(consumer, *sequence, |consumer| {
                consumer.machine.apply_purged(*sequence);
                false
            }),
            Change::Retention { endpoint, retention } => {
                let log = self.endpoints.get_mut(&endpoint.key);
                let life = log.and_then(|log| log.lives.iter_mut().rev().find(|life| life.uid == endpoint.uid));
                if let Some(life) = life {
                    life.retention = Some(*retention);
                }
            }
            Change::Removed { endpoint, events } => {
                let Some(log) = self.endpoints.get_mut(endpoint) else { return };
                for (sequence, received) in events {
                    log.add_gap(*sequence, *received, self.is_loaded);
                }
            }
        }
    }

    fn attach(&mut self, consumer: &Incarnation, endpoint: &Incarnation, start: Sequence) {
        match self.consumers.get(&consumer.key).map(|known| known.object.clone()) {
            Some(known) if known == *consumer => return,
            Some(replaced) => self.remove_consumer(&replaced),
            None => {}
        }
        let log = self.endpoints.entry(endpoint.key.clone()).or_default();
        let life = log.life_of(&endpoint.uid).map(|life| life.number);
        let life = life.unwrap_or_else(|| log.begin_life(&endpoint.uid));
        log.add_consumer(start, consumer.key.clone(), life);
        let attached = ShardConsumer::new(consumer.clone(), endpoint.key.clone(), life, start);
        self.consumers.insert(consumer.key.clone(), attached);
        if self.is_loaded {
            self.count_in(&consumer.key);
        }
    }

    fn remove_consumer(&mut self, consumer: &Incarnation) {
        let Some(mut removed) = self.consumers.remove(&consumer.key) else { return };
        removed.machine.detach();
        removed.notify.notify_waiters();
        let Some(log) = self.endpoints.get_mut(&removed.endpoint) else { return };
        let start = removed.machine.start();
        log.remove_consumer(start, consumer.key.clone(), removed.life);
        if self.is_loaded {
            // Its start separated gaps.
            log.merge_gaps();
            let mut usage = Usage::default();
            for range in removed.machine.pinned(start.saturating_add(1), Sequence::MAX) {
                usage += log.pin(*range.start(), *range.end(), -1, |row| removed.reads(row)).1;
            }
            for (sequence, holds) in &removed.holds {
                usage += log.pin(*sequence, *sequence, -holds, |_| true).1;
            }
            self.count(&removed.endpoint.namespace, usage);
        }
    }

    fn end(&mut self, consumer: &Incarnation, ended: &Ended) {
        let is_loaded = self.is_loaded;
        let Ok((found, log)) = self.consumer_mut(consumer) else { return };
        if !is_loaded || log.rows.contains(ended.sequence) {
            return self.change(consumer, ended.sequence, |consumer| {
                consumer.machine.apply_ended(ended);
                consumer.outcomes.ended(ended);
                consumer.machine.unblock()
            });
        }
        // The event is gone meanwhile. What would wait for it ends with it.
        match ended.end {
            End::Retry { .. } | End::Dead { .. } => found.lose(ended.first, ended.sequence),
            End::Delivered(_) | End::Skipped { .. } | End::Gone => found.machine.apply_ended(ended),
        }
        if found.machine.unblock() {
            found.notify.notify_waiters();
        }
    }

    /// Changes what a consumer knows of an event that it reads, and what pins the event with it. `change` returns whether
    /// the consumer may have something to claim.
    fn change(&mut self, consumer: &Incarnation, sequence: Sequence, change: impl FnOnce(&mut ShardConsumer) -> bool) {
        let is_loaded = self.is_loaded;
        let Ok((found, log)) = self.consumer_mut(consumer) else { return };
        let is_read = log.rows.get(sequence).is_some_and(|row| found.reads(row));
        if is_loaded && !is_read {
            return;
        }
        let before = found.machine.is_pinned(sequence);
        if change(found) {
            found.notify.notify_waiters();
        }
        let by = i32::from(found.machine.is_pinned(sequence)) - i32::from(before);
        if is_loaded && by != 0 {
            self.pin_one(consumer, sequence, by);
        }
    }

    /// Adds to the pins of one event of a consumer.
    pub(super) fn pin_one(&mut self, consumer: &Incarnation, sequence: Sequence, by: i32) {
        let Ok((found, log)) = self.consumer_mut(consumer) else { return };
        let usage = log.pin(sequence, sequence, by, |_| true).1;
        let namespace = found.endpoint.namespace.clone();
        self.count(&namespace, usage);
    }
}
