//! What waits for the records of a round: when they are synced, and what becomes of it.
//!
//! Changes of the state wait until the records that describe them are written. If the records may not be lost once their
//! callers have an answer, they are synced first; otherwise a later sync makes them durable. When a write fails,
//! everything that waits for it fails, and nothing more is written to that segment.

use std::{collections::HashSet, time::Instant};

use grapnel_api::ObjectKey;

use super::{batch::OpenSegment, error::from_io, writer_health::WriterHealth};
use crate::{JournalError, Result};

/// The records of a round that are not written yet.
pub(super) trait Records {
    /// Returns whether there are none.
    fn is_empty(&self) -> bool;

    /// Writes them, and syncs everything written so far if they have to be durable.
    ///
    /// # Errors
    /// After an error it is unknown what reached the disk.
    fn write(&mut self, durable: bool) -> Result<()>;

    /// Discards them, and what may have been written of them.
    fn abandon(&mut self);
}

impl Records for OpenSegment {
    fn is_empty(&self) -> bool {
        OpenSegment::is_empty(self)
    }

    fn write(&mut self, durable: bool) -> Result<()> {
        OpenSegment::write(self, durable).map_err(|error| from_io(self.segment.path().display(), error))
    }

    fn abandon(&mut self) {
        OpenSegment::abandon(self);
    }
}

/// What waits until the records of the round so far are written.
pub(super) struct Pending<E> {
    /// Changes to make then.
    effects: Vec<E>,
    durable: bool,
    /// Objects that membership tasks concern.
    objects: HashSet<ObjectKey>,
}

impl<E> Default for Pending<E> {
    fn default() -> Self {
        Self { effects: Vec::new(), durable: false, objects: HashSet::new() }
    }
}

impl<E> Pending<E> {
    /// Adds a change to make once the records are written or have failed.
    pub(super) fn push(&mut self, effect: E) {
        self.effects.push(effect);
    }

    /// Requires that the records are synced.
    pub(super) fn sync(&mut self) {
        self.durable = true;
    }

    /// Returns whether a task that concerns this object may join. If not, another one concerns it too, whose records must
    /// be written first, because it decides what the second one does.
    pub(super) fn admits(&mut self, key: &ObjectKey) -> bool {
        self.objects.insert(key.clone())
    }

    /// Writes the records, unless writing is not possible. [`Self::end`] must follow with the same result.
    ///
    /// # Errors
    /// Returns the error of the write, or why writing is not possible. The records are discarded.
    pub(super) fn write(&self, records: &mut impl Records, health: &mut WriterHealth, now: Instant) -> Result<()> {
        let written = match health.write_error() {
            Some(error) => Err(error),
            None if records.is_empty() => Ok(()),
            None => records.write(self.durable).inspect_err(|error| health.break_off(now, error)),
        };
        written.inspect_err(|_: &JournalError| records.abandon())
    }

    /// Ends the wait. Returns the changes, in the order of their records.
    pub(super) fn end(&mut self) -> Vec<E> {
        self.durable = false;
        self.objects.clear();
        std::mem::take(&mut self.effects)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    /// A segment on a disk that fails when it is told to.
    #[derive(Default)]
    struct Disk {
        buffer: Vec<usize>,
        written: Vec<usize>,
        /// How many of the written records are durable.
        synced: usize,
        fails: bool,
        failed: bool,
    }

    impl Records for Disk {
        fn is_empty(&self) -> bool {
            self.buffer.is_empty()
        }

        fn write(&mut self, durable: bool) -> Result<()> {
            assert!(!self.failed, "nothing is written after a failure");
            if self.fails {
                self.failed = true;
                return Err(JournalError::Io("no device".to_owned(), None));
            }
            self.written.append(&mut self.buffer);
            if durable {
                self.synced = self.written.len();
            }
            Ok(())
        }

        fn abandon(&mut self) {
            self.buffer.clear();
        }
    }

    /// A change: its number, whether it must be durable, and the object that it concerns.
    #[derive(Debug, Clone)]
    struct Task {
        number: usize,
        durable: bool,
        object: Option<ObjectKey>,
    }

    #[derive(Debug, Clone)]
    enum Event {
        Task {
            durable: bool,
            object: Option<u8>,
        },
        Flush,
        /// From now on the disk fails, or works.
        Fails(bool),
        /// A new segment is begun after a failure.
        Heal,
    }

    fn events() -> impl Strategy<Value = Vec<Event>> {
        let task = (any::<bool>(), prop::option::weighted(0.3, 0..3_u8));
        let event = prop_oneof![
            6 => task.prop_map(|(durable, object)| Event::Task { durable, object }),
            3 => Just(Event::Flush),
            1 => any::<bool>().prop_map(Event::Fails),
            1 => Just(Event::Heal),
        ];
        prop::collection::vec(event, 0..80)
    }

    #[derive(Default)]
    struct World {
        disk: Disk,
        pending: Pending<Task>,
        health: WriterHealth,
        /// Numbers of the tasks that were answered.
        answered: Vec<usize>,
        begun: usize,
    }

    impl World {
        fn task(&mut self, durable: bool, object: Option<u8>) {
            let object = object.map(|number| ObjectKey::new("shop", format!("object-{number}")));
            if let Some(key) = object.as_ref().filter(|key| !self.pending.admits(key)) {
                self.flush();
                assert!(self.pending.admits(key));
            }
            if durable {
                self.pending.sync();
            }
            self.disk.buffer.push(self.begun);
            self.pending.push(Task { number: self.begun, durable, object });
            self.begun += 1;
        }

        fn flush(&mut self) {
            let outcome = self.pending.write(&mut self.disk, &mut self.health, Instant::now());
            assert_eq!(outcome.is_err(), self.health.is_broken());
            let tasks = self.pending.end();
            let mut objects: Vec<_> = tasks.iter().filter_map(|task| task.object.clone()).collect();
            let count = objects.len();
            objects.sort();
            objects.dedup();
            assert_eq!(objects.len(), count, "two tasks of an object were written together");
            for task in tasks {
                let position = self.disk.written.iter().position(|number| *number == task.number);
                match &outcome {
                    Ok(()) => {
                        let position = position.unwrap();
                        assert!(!task.durable || position < self.disk.synced, "{task:?} was answered before the sync");
                    }
                    Err(_) => assert_eq!(position, None),
                }
                self.answered.push(task.number);
            }
            assert!(self.disk.buffer.is_empty());
        }
    }

    proptest! {
        #[test]
        fn every_task_is_answered_once_in_order_and_not_before_its_records_are_safe(events in events()) {
            let mut world = World::default();
            for event in events {
                match event {
                    Event::Task { durable, object } => world.task(durable, object),
                    Event::Flush => world.flush(),
                    Event::Fails(fails) => world.disk.fails = fails,
                    Event::Heal if world.disk.fails => {}
                    Event::Heal => {
                        // A new segment begins with the whole state, and without what was abandoned.
                        world.flush();
                        world.disk.failed = false;
                        world.health.healed();
                    }
                }
            }
            world.flush();
            prop_assert_eq!(world.answered, (0..world.begun).collect::<Vec<_>>());
        }
    }

    #[test]
    fn only_records_that_need_it_are_synced() {
        let mut world = World::default();
        world.task(false, None);
        world.flush();
        assert_eq!((world.disk.written.len(), world.disk.synced), (1, 0));
        world.task(true, None);
        world.task(false, None);
        world.flush();
        assert_eq!(world.disk.synced, 3, "one sync for all");
        world.task(false, None);
        world.flush();
        assert_eq!(world.disk.synced, 3, "the next round needs none");
    }

    #[test]
    fn a_requirement_to_sync_ends_with_the_failure_of_its_records() {
        let mut world = World::default();
        world.disk.fails = true;
        world.task(true, None);
        world.flush();
        assert!(world.health.try_to_heal(Instant::now() + Duration::from_secs(60)));
        world.health.healed();
        (world.disk.fails, world.disk.failed) = (false, false);
        world.task(false, None);
        world.flush();
        assert_eq!((world.disk.written, world.disk.synced), (vec![1], 0));
    }
}
