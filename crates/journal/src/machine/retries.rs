//! Retries of a consumer.

use std::collections::{BTreeMap, BTreeSet};

use super::Micros;
use crate::Sequence;

/// The attempt number of an event that was redelivered and not attempted since. That of a retry is greater.
pub(crate) const QUEUED_ATTEMPT: u32 = 1;

/// A pending attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Retry {
    /// The attempt must not begin before this time.
    pub(crate) due: Micros,
    /// Number of the attempt.
    pub(crate) attempt: u32,
}

impl Retry {
    fn is_queued(self) -> bool {
        self.attempt == QUEUED_ATTEMPT
    }
}

/// The retries of one consumer, by sequence and by due time. About 60 bytes each.
#[derive(Debug, Clone, Default)]
pub(super) struct Retries {
    all: BTreeMap<Sequence, Retry>,
    /// Retries that are not in flight.
    waiting: BTreeSet<(Micros, Sequence)>,
    /// Number of waiting entries that are queued redeliveries.
    waiting_queued: u64,
}

impl Retries {
    /// Adds or replaces a waiting retry.
    pub(super) fn insert(&mut self, sequence: Sequence, retry: Retry) {
        self.remove(sequence);
        self.all.insert(sequence, retry);
        self.wait(sequence, retry);
    }

    /// Removes a retry, whether it waits or is in flight.
    pub(super) fn remove(&mut self, sequence: Sequence) {
        if let Some(retry) = self.all.remove(&sequence) {
            self.take_off(sequence, retry);
        }
    }

    /// Returns a retry in flight to the waiting ones.
    pub(super) fn release(&mut self, sequence: Sequence) {
        if let Some(retry) = self.all.get(&sequence).copied() {
            self.wait(sequence, retry);
        }
    }

    /// Takes the next retry that is due at `now`, or due later than `horizon`.
    pub(super) fn take_due(&mut self, now: Micros, horizon: Micros) -> Option<(Sequence, Retry)> {
        let first = self.waiting.first().filter(|(due, _)| *due <= now);
        let late = || self.waiting.last().filter(|(due, _)| *due > horizon);
        let sequence = first.or_else(late)?.1;
        Some((sequence, self.take(sequence)?))
    }

    /// Takes the retry of this sequence, if it waits.
    pub(super) fn take(&mut self, sequence: Sequence) -> Option<Retry> {
        let retry = self.all.get(&sequence).copied()?;
        self.take_off(sequence, retry).then_some(retry)
    }

    /// Returns the lowest sequence at or after `from` that has a retry, in flight or not.
    pub(super) fn lowest(&self, from: Sequence) -> Option<(Sequence, Retry)> {
        self.all.range(from..).next().map(|(sequence, retry)| (*sequence, *retry))
    }

    /// Returns the highest sequence at or before `from` that has a retry, in flight or not.
    pub(super) fn highest(&self, from: Sequence) -> Option<Sequence> {
        self.all.range(..=from).next_back().map(|(sequence, _)| *sequence)
    }

    pub(super) fn get(&self, sequence: Sequence) -> Option<Retry> {
        self.all.get(&sequence).copied()
    }

    pub(super) fn next_due(&self) -> Option<Micros> {
        self.waiting.first().map(|(due, _)| *due)
    }

    /// Iterates over the retries, ascending by sequence.
    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = (Sequence, Retry)> + '_ {
        self.all.iter().map(|(sequence, retry)| (*sequence, *retry))
    }

    /// Returns the retries between `first` and `last`.
    pub(super) fn within(&self, first: Sequence, last: Sequence) -> impl Iterator<Item = Sequence> + '_ {
        self.all.range(first..=last.max(first)).map(|(sequence, _)| *sequence).filter(move |s| *s <= last)
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn waiting(&self) -> u64 {
        self.waiting.len() as u64
    }

    pub(super) fn waiting_queued(&self) -> u64 {
        self.waiting_queued
    }

    fn wait(&mut self, sequence: Sequence, retry: Retry) {
        if self.waiting.insert((retry.due, sequence)) {
            self.waiting_queued += u64::from(retry.is_queued());
        }
    }

    fn take_off(&mut self, sequence: Sequence, retry: Retry) -> bool {
        let waited = self.waiting.remove(&(retry.due, sequence));
        self.waiting_queued -= u64::from(waited && retry.is_queued());
        waited
    }
}
