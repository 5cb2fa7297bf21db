//! The log of one endpoint: its incarnations, its kept events, and what was removed.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use grapnel_api::ObjectKey;
use tokio::sync::Notify;

use super::{
    gaps::Gaps,
    rows::{Row, Rows},
    usage::Usage,
};
use crate::{
    Sequence,
    limits::FORMER_UIDS,
    machine::{Micros, Upcoming},
};

/// The log of all objects that have had one endpoint's name.
#[derive(Debug, Default)]
pub(super) struct ShardEndpoint {
    /// Those objects of which something is kept, and the last ones; the last one is current.
    pub(super) lives: Vec<Life>,
    pub(super) rows: Rows,
    /// Events that are being deleted. They are no longer part of the log.
    pub(super) leaving: BTreeMap<Sequence, Row>,
    pub(super) gaps: Gaps,
    /// The consumers, by where they start.
    pub(super) consumers: BTreeSet<(Sequence, ObjectKey)>,
    /// Number of consumers that attached to each incarnation.
    readers: BTreeMap<u32, u32>,
    /// Number of events indexed so far.
    pub(super) appended: u64,
    /// Wakes the tasks that wait for new events.
    pub(super) notify: Arc<Notify>,
}

/// One incarnation of an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Life {
    /// Ascends from one incarnation to the next.
    pub(super) number: u32,
    pub(super) uid: Arc<str>,
    /// The retention that it was last listed with.
    pub(super) retention: Option<Duration>,
    pub(super) events: u64,
    pub(super) usage: Usage,
}

impl Life {
    pub(super) fn new(number: u32, uid: Arc<str>, retention: Option<Duration>) -> Self {
        Self { number, uid, retention, events: 0, usage: Usage::default() }
    }
}

impl ShardEndpoint {
    /// Returns the current incarnation.
    pub(super) fn current(&self) -> Option<&Life> {
        self.lives.last()
    }

    pub(super) fn is_current(&self, uid: &str) -> bool {
        self.current().is_some_and(|life| *life.uid == *uid)
    }

    pub(super) fn life_of(&self, uid: &str) -> Option<&Life> {
        self.lives.iter().rev().find(|life| *life.uid == *uid)
    }

    pub(super) fn life(&self, number: u32) -> Option<&Life> {
        self.lives.get(self.lives.binary_search_by_key(&number, |life| life.number).ok()?)
    }

    pub(super) fn life_mut(&mut self, number: u32) -> Option<&mut Life> {
        let at = self.lives.binary_search_by_key(&number, |life| life.number).ok()?;
        self.lives.get_mut(at)
    }

    /// Makes the object with this uid the current one, and returns its number. An earlier one becomes current again with
    /// what is left of it.
    pub(super) fn begin_life(&mut self, uid: &Arc<str>) -> u32 {
        if let Some(current) = self.current().filter(|current| current.uid == *uid) {
            return current.number;
        }
        let number = self.current().map_or(0, |current| current.number).saturating_add(1);
        let earlier = self.lives.iter().position(|life| life.uid == *uid);
        match earlier.map(|at| self.lives.remove(at)) {
            None => self.lives.push(Life::new(number, Arc::clone(uid), None)),
            Some(life) => {
                let renumber = |row: &mut Row| {
                    if row.life == life.number {
                        row.life = number;
                    }
                };
                self.rows.update(0, Sequence::MAX, renumber);
                self.leaving.values_mut().for_each(renumber);
                self.lives.push(Life { number, ..life });
            }
        }
        number
    }

    /// Adds stored incarnations, in order.
    pub(super) fn restore_lives(&mut self, lives: Vec<Life>) {
        for life in lives {
            if self.current().is_none_or(|current| current.number < life.number) {
                self.lives.push(life);
            }
        }
    }

    /// Forgets the oldest incarnations of which nothing is kept, beyond [`FORMER_UIDS`]. The index must be complete.
    pub(super) fn prune_lives(&mut self) {
        while self.lives.len() > FORMER_UIDS + 1 {
            let former = self.lives.len().saturating_sub(1);
            let Some(at) = self.lives.iter().take(former).position(|life| life.events == 0) else { return };
            self.lives.remove(at);
        }
    }

    /// Returns how many consumers read events of this incarnation.
    pub(super) fn readers_of(&self, life: u32) -> u32 {
        self.readers.range(..=life).map(|(_, readers)| readers).sum()
    }

    /// Registers a consumer.
    pub(super) fn add_consumer(&mut self, start: Sequence, consumer: ObjectKey, life: u32) {
        if self.consumers.insert((start, consumer)) {
            *self.readers.entry(life).or_default() += 1;
        }
    }

    pub(super) fn remove_consumer(&mut self, start: Sequence, consumer: ObjectKey, life: u32) {
        if self.consumers.remove(&(start, consumer))
            && let Some(readers) = self.readers.get_mut(&life)
        {
            *readers = readers.saturating_sub(1);
            if *readers == 0 {
                self.readers.remove(&life);
            }
        }
    }

    /// Adds an event to the log. Returns how the usage changes.
    pub(super) fn add(&mut self, row: Row) -> Usage {
        if !self.rows.insert(row) {
            return Usage::default();
        }
        let change = Usage::of(&row);
        if let Some(life) = self.life_mut(row.life) {
            life.events += 1;
            life.usage += change;
        }
        change
    }

    /// Removes an event from the log. Returns it, and how the usage changes.
    pub(super) fn take(&mut self, sequence: Sequence) -> Option<(Row, Usage)> {
        let row = self.rows.remove(sequence)?;
        let change = -Usage::of(&row);
        if let Some(life) = self.life_mut(row.life) {
            life.events = life.events.saturating_sub(1);
            life.usage += change;
        }
        Some((row, change))
    }

    /// Adds to the pins of the events from `first` to `last` that `reads` accepts. Returns their number and how the usage
    /// changes.
    pub(super) fn pin(
        &mut self,
        first: Sequence,
        last: Sequence,
        by: i32,
        reads: impl Fn(&Row) -> bool,
    ) -> (u64, Usage) {
        let (mut pinned, mut change) = (0, Usage::default());
        let mut changes: BTreeMap<u32, Usage> = BTreeMap::new();
        self.rows.update(first, last, |row| {
            if !reads(row) {
                return;
            }
            let before = Usage::of(row);
            row.pins = row.pins.saturating_add_signed(by);
            let changed = Usage::of(row) + -before;
            pinned += 1;
            if changed != Usage::default() {
                change += changed;
                *changes.entry(row.life).or_default() += changed;
            }
        });
        for (life, changed) in changes {
            if let Some(life) = self.life_mut(life) {
                life.usage += changed;
            }
        }
        (pinned, change)
    }

    /// Returns the first event after a position that `reads` accepts.
    pub(super) fn upcoming(&self, position: Sequence, reads: impl Fn(&Row) -> bool) -> Option<Upcoming> {
        let first = position.checked_add(1)?;
        let row = self.rows.ascending(first).find(|row| reads(row))?;
        Some(Upcoming { first, sequence: row.sequence })
    }

    /// Returns the first sequence of which no event before this one is kept.
    pub(super) fn first_before(&self, sequence: Sequence) -> Sequence {
        let before = sequence.checked_sub(1).and_then(|last| self.rows.descending(last).next());
        before.map_or(0, |row| row.sequence + 1)
    }

    /// Adds a removed event to the gaps. While it is not known which events are kept, no gaps are merged.
    pub(super) fn add_gap(&mut self, sequence: Sequence, received: Micros, is_loaded: bool) {
        let Self { gaps, rows, leaving, consumers, .. } = self;
        gaps.add(sequence, received, &|left, right| !is_loaded || is_between(rows, leaving, consumers, left, right));
    }

    /// Merges gaps that are no longer separated, or were added while it was not known which events are kept.
    pub(super) fn merge_gaps(&mut self) {
        let Self { gaps, rows, leaving, consumers, .. } = self;
        gaps.merge(&|left, right| is_between(rows, leaving, consumers, left, right));
    }

    /// Returns whether nothing depends on the endpoint.
    pub(super) fn is_forgettable(&self) -> bool {
        self.rows.is_empty() && self.leaving.is_empty() && self.consumers.is_empty()
    }
}

/// Returns whether a kept event or the start of a consumer separates two positions. An event that is being removed does
/// too: it is added to the gaps later, or kept.
fn is_between(
    rows: &Rows,
    leaving: &BTreeMap<Sequence, Row>,
    consumers: &BTreeSet<(Sequence, ObjectKey)>,
    left: Sequence,
    right: Sequence,
) -> bool {
    let is_kept = || rows.ascending(left).next().is_some_and(|row| row.sequence <= right);
    let is_leaving = || leaving.range(left..=right).next().is_some();
    let lowest = (left, ObjectKey::new("", ""));
    let starts = || consumers.range(lowest..).next().is_some_and(|(start, _)| *start < right);
    is_kept() || is_leaving() || starts()
}
