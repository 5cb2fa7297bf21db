//! What a consumer knows of each event.

use std::ops::RangeInclusive;

use super::ConsumerState;
use crate::{
    DeliveryState, Sequence,
    machine::{Micros, QUEUED_ATTEMPT, Retry},
};

impl ConsumerState {
    /// Returns whether the event may be redelivered: it is settled or dead.
    pub(crate) fn can_redeliver(&self, sequence: Sequence) -> bool {
        sequence > self.start && self.attempted.contains(sequence) && self.retries.get(sequence).is_none()
    }

    /// Returns whether the event waits for a retry that may be made due now.
    pub(crate) fn can_hasten(&self, sequence: Sequence, now: Micros) -> bool {
        let due_later = |retry: Retry| retry.attempt != QUEUED_ATTEMPT && retry.due > now;
        !self.flights.contains_key(&sequence) && self.retries.get(sequence).is_some_and(due_later)
    }

    /// Returns the state of the delivery, the number of attempts that have ended (0 for settled events), and the due
    /// time.
    pub(crate) fn state_of(&self, sequence: Sequence) -> (DeliveryState, u32, Option<Micros>) {
        if let Some(flight) = self.flights.get(&sequence) {
            return (DeliveryState::InFlight, flight.attempt.saturating_sub(1), None);
        }
        if let Some(retry) = self.retries.get(sequence) {
            return match retry.attempt {
                QUEUED_ATTEMPT => (DeliveryState::Pending, 0, None),
                attempt => (DeliveryState::Retrying, attempt - 1, Some(retry.due)),
            };
        }
        if self.dead.contains_key(&sequence) {
            return (DeliveryState::DeadLettered, 0, None);
        }
        match self.attempted.contains(sequence) {
            true => (DeliveryState::Settled, 0, None),
            false => (DeliveryState::Pending, 0, None),
        }
    }

    /// Returns the first sequence at or after `from` that can be in this state; every sequence before it is not.
    pub(crate) fn next_candidate(&self, state: Option<DeliveryState>, from: Sequence) -> Option<Sequence> {
        let retry = || self.retries.lowest(from).map(|(sequence, _)| sequence);
        match state {
            None => Some(from),
            Some(DeliveryState::Pending) => {
                Some(retry().unwrap_or(Sequence::MAX).min(self.attempted.next_outside(from)))
            }
            Some(DeliveryState::Settled) => self.attempted.next_inside(from),
            Some(DeliveryState::Retrying) => retry(),
            Some(DeliveryState::DeadLettered) => self.dead.range(from..).next().map(|(sequence, _)| *sequence),
            Some(DeliveryState::InFlight) => self.flights.range(from..).next().map(|(sequence, _)| *sequence),
        }
    }

    /// Returns the last sequence at or before `from` that can be in this state; every sequence after it, up to `from`, is
    /// not.
    pub(crate) fn previous_candidate(&self, state: Option<DeliveryState>, from: Sequence) -> Option<Sequence> {
        let retry = || self.retries.highest(from);
        match state {
            None => Some(from),
            Some(DeliveryState::Pending) => retry().max(self.attempted.previous_outside(from)),
            Some(DeliveryState::Settled) => self.attempted.previous_inside(from),
            Some(DeliveryState::Retrying) => retry(),
            Some(DeliveryState::DeadLettered) => self.dead.range(..=from).next_back().map(|(sequence, _)| *sequence),
            Some(DeliveryState::InFlight) => self.flights.range(..=from).next_back().map(|(sequence, _)| *sequence),
        }
    }

    /// Returns whether the event must be kept for this consumer, if it reads it: not attempted, retrying or dead.
    pub(crate) fn is_pinned(&self, sequence: Sequence) -> bool {
        !self.attempted.contains(sequence) || self.retries.get(sequence).is_some() || self.dead.contains_key(&sequence)
    }

    /// Returns everything between `first` and `last` that must be kept for this consumer: not attempted, retrying or
    /// dead.
    pub(crate) fn pinned(&self, first: Sequence, last: Sequence) -> Vec<RangeInclusive<Sequence>> {
        let mut pinned = self.attempted.outside(first, last);
        pinned.extend(self.retries.within(first, last).map(|sequence| sequence..=sequence));
        pinned.extend(self.dead.range(first..=last.max(first)).map(|(sequence, _)| *sequence..=*sequence));
        pinned
    }

    /// Returns dead letters that died at or before `cutoff`, at most `limit`.
    pub(crate) fn died_by(&mut self, cutoff: Micros, limit: usize) -> Vec<Sequence> {
        if self.dead.is_empty() || self.oldest_death > cutoff {
            return Vec::new();
        }
        let found: Vec<_> =
            self.dead.iter().filter(|(_, time)| **time <= cutoff).map(|(sequence, _)| *sequence).take(limit).collect();
        if found.is_empty() {
            self.oldest_death = self.dead.values().min().copied().unwrap_or(Micros::MAX);
        }
        found
    }
}
