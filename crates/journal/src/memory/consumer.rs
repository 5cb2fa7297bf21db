//! One consumer: claims, settlements and counts.

use std::{collections::BTreeMap, time::Duration};

use grapnel_api::{Incarnation, ObjectKey};
use jiff::Timestamp;

use super::kept_event::KeptEvent;
use crate::{
    Claim, Claimed, Delivery, DeliveryRecord, DeliveryState, Detached, EventEntry, Exchange, Failure, Outcome,
    Progress, Sequence, Settlement, SkipReason, StoredEvent, limits::CLAIM_BYTES,
};

/// A consumer, and the state of each of its events.
#[derive(Clone)]
pub(super) struct MemoryConsumer {
    pub(super) incarnation: Incarnation,
    pub(super) endpoint: ObjectKey,
    /// Its events are those after this sequence.
    pub(super) start: Sequence,
    /// Every kept event of the consumer.
    pub(super) deliveries: BTreeMap<Sequence, MemoryDelivery>,
    delivered: u64,
    /// Not durable: since the last claim, a retry or a redelivered event was released, or an event was redelivered.
    released: bool,
    /// Not durable: the last claim was in order and stopped at a delivery that is in flight or not due.
    held_up: bool,
}

/// One event for one consumer.
#[derive(Clone)]
pub(super) struct MemoryDelivery {
    pub(super) stage: Stage,
    /// Not durable.
    pub(super) in_flight: bool,
    /// Attempts that have ended since the event was last redelivered.
    attempts: u32,
    last: Option<Exchange>,
    failure: Option<Failure>,
}

/// The progress of a delivery, apart from an attempt in flight.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Not attempted.
    New,
    /// Redelivered, and not attempted since.
    Queued { due: Timestamp },
    /// Failed, and to be attempted again.
    Retrying { due: Timestamp },
    /// Dead-lettered at `since`.
    Dead { since: Timestamp },
    /// Dead-lettered until its retention passed.
    DeadLetterRemoved,
    /// Delivered.
    Delivered,
    /// Skipped by this consumer.
    Skipped(SkipReason),
}

impl Stage {
    /// Returns whether the event is attempted when it is due, rather than in sequence.
    fn is_retry(self) -> bool {
        matches!(self, Self::Queued { .. } | Self::Retrying { .. })
    }
}

impl MemoryDelivery {
    fn new(stage: Stage) -> Self {
        Self { stage, in_flight: false, attempts: 0, last: None, failure: None }
    }

    pub(super) fn state(&self) -> DeliveryState {
        match self.stage {
            _ if self.in_flight => DeliveryState::InFlight,
            Stage::New | Stage::Queued { .. } => DeliveryState::Pending,
            Stage::Retrying { .. } => DeliveryState::Retrying,
            Stage::Dead { .. } => DeliveryState::DeadLettered,
            Stage::DeadLetterRemoved | Stage::Delivered | Stage::Skipped(_) => DeliveryState::Settled,
        }
    }

    fn outcome(&self) -> Outcome {
        match self.stage {
            Stage::New | Stage::Queued { .. } => Outcome::Pending,
            Stage::Retrying { .. } => Outcome::Retrying,
            Stage::Dead { .. } | Stage::DeadLetterRemoved => Outcome::Dead,
            Stage::Delivered => Outcome::Delivered,
            Stage::Skipped(reason) => Outcome::Skipped(reason),
        }
    }

    pub(super) fn record(&self, event: &StoredEvent) -> DeliveryRecord {
        let due = match self.stage {
            Stage::Retrying { due } if !self.in_flight => Some(due),
            _ => None,
        };
        DeliveryRecord {
            event: EventEntry::Kept(event.summary()),
            state: self.state(),
            outcome: self.outcome(),
            attempts: self.attempts,
            due,
            last: self.last,
            failure: self.failure.clone(),
        }
    }

    /// Returns when the next attempt is due; `None` for a new event and for one that does not wait.
    fn due(&self, claim: &Claim) -> Option<Timestamp> {
        let (Stage::Queued { due } | Stage::Retrying { due }) = self.stage else { return None };
        let latest = claim.now.checked_add(claim.longest_delay).unwrap_or(Timestamp::MAX);
        (!self.in_flight).then_some(if due > latest { claim.now } else { due })
    }

    /// Returns whether the event waits for a retry that is due later than `now`.
    pub(super) fn is_due_later(&self, now: Timestamp) -> bool {
        !self.in_flight && matches!(self.stage, Stage::Retrying { due } if due > now)
    }

    fn is_new(&self) -> bool {
        self.stage == Stage::New && !self.in_flight
    }

    fn take(&mut self, kept: &KeptEvent) -> Delivery {
        self.in_flight = true;
        Delivery { event: kept.event.clone(), attempt: self.attempts + 1 }
    }

    fn fail(&mut self, stage: Stage, failure: Failure) {
        self.stage = stage;
        self.attempts += 1;
        self.last = Some(Exchange { time: failure.time, status: failure.status, took: failure.took });
        self.failure = Some(failure);
    }
}

impl MemoryConsumer {
    pub(super) fn new(
        incarnation: Incarnation,
        endpoint: ObjectKey,
        start: Sequence,
        events: impl IntoIterator<Item = Sequence>,
    ) -> Self {
        let deliveries = events.into_iter().map(|sequence| (sequence, MemoryDelivery::new(Stage::New))).collect();
        Self { incarnation, endpoint, start, deliveries, delivered: 0, released: false, held_up: false }
    }

    /// Adds a stored event.
    pub(super) fn add(&mut self, sequence: Sequence) {
        self.deliveries.insert(sequence, MemoryDelivery::new(Stage::New));
    }

    /// Ends all claims, as at the end of the process.
    pub(super) fn end_claims(&mut self) {
        self.released = false;
        self.held_up = false;
        self.deliveries.values_mut().for_each(|delivery| delivery.in_flight = false);
    }

    pub(super) fn is_ready(&self, max_retries: usize) -> bool {
        let waits = self.held_up || self.is_backlogged(max_retries);
        self.released || (!waits && self.deliveries.values().any(MemoryDelivery::is_new))
    }

    /// Returns whether the consumer is at its maximum number of retries.
    fn is_backlogged(&self, max_retries: usize) -> bool {
        let retries = self.deliveries.values().filter(|delivery| delivery.stage.is_retry()).count();
        retries >= max_retries
    }

    pub(super) fn progress(&self) -> Progress {
        let count = |state| self.deliveries.values().filter(|delivery| delivery.state() == state).count() as u64;
        Progress {
            pending: count(DeliveryState::Pending),
            in_flight: count(DeliveryState::InFlight),
            retrying: count(DeliveryState::Retrying),
            dead: count(DeliveryState::DeadLettered),
            delivered: self.delivered,
        }
    }

    /// Returns what it leaves when it is detached.
    pub(super) fn detached(&self) -> Detached {
        self.progress().into()
    }

    /// Returns whether this consumer allows the event to be removed.
    pub(super) fn has_settled(&self, sequence: Sequence) -> bool {
        self.deliveries.get(&sequence).is_none_or(|delivery| delivery.state() == DeliveryState::Settled)
    }

    /// Removes dead letters that died at or before `until`, and returns how many.
    pub(super) fn drop_dead_letters(&mut self, until: Timestamp) -> u64 {
        let mut dropped = 0;
        for delivery in self.deliveries.values_mut() {
            if matches!(delivery.stage, Stage::Dead { since } if since <= until) {
                delivery.stage = Stage::DeadLetterRemoved;
                dropped += 1;
            }
        }
        dropped
    }

    pub(super) fn claim(
        &mut self,
        claim: &Claim,
        events: &BTreeMap<Sequence, KeptEvent>,
        max_retries: usize,
    ) -> Claimed {
        self.released = false;
        self.held_up = false;
        if claim.in_order { self.claim_in_order(claim, events) } else { self.claim_any(claim, events, max_retries) }
    }

    fn claim_any(&mut self, claim: &Claim, events: &BTreeMap<Sequence, KeptEvent>, max_retries: usize) -> Claimed {
        let waiting = self.deliveries.iter().filter_map(|(sequence, d)| Some((d.due(claim)?, *sequence)));
        let mut due: Vec<_> = waiting.filter(|(due, _)| *due <= claim.now).collect();
        due.sort_unstable();
        let may_be_new = !self.is_backlogged(max_retries);
        let new = self.deliveries.iter().filter(|(_, delivery)| may_be_new && delivery.is_new());
        let new = new.map(|(sequence, _)| *sequence);
        let wanted: Vec<_> = due.into_iter().map(|(_, sequence)| sequence).chain(new).collect();
        let mut claimed = Claimed::default();
        for sequence in wanted {
            let Some(kept) = events.get(&sequence) else { continue };
            if claimed.deliveries.len() == claim.limit || !has_room(&claimed, &kept.event) {
                break;
            }
            claimed.deliveries.extend(self.deliveries.get_mut(&sequence).map(|delivery| delivery.take(kept)));
        }
        claimed.next_due = self.deliveries.values().filter_map(|delivery| delivery.due(claim)).min();
        claimed
    }

    fn claim_in_order(&mut self, claim: &Claim, events: &BTreeMap<Sequence, KeptEvent>) -> Claimed {
        let mut claimed = Claimed::default();
        if self.deliveries.values().any(|delivery| delivery.in_flight) {
            self.held_up = true;
            return claimed;
        }
        for (sequence, delivery) in &mut self.deliveries {
            let due = delivery.due(claim);
            let Some(kept) = events.get(sequence).filter(|_| due.is_some() || delivery.is_new()) else { continue };
            if claimed.deliveries.len() == claim.limit || !has_room(&claimed, &kept.event) {
                break;
            }
            if let Some(due) = due.filter(|due| *due > claim.now) {
                self.held_up = true;
                claimed.next_due = Some(due);
                break;
            }
            claimed.deliveries.push(delivery.take(kept));
        }
        claimed
    }

    pub(super) fn settle(&mut self, settlements: Vec<(Sequence, Settlement)>) {
        for (sequence, settlement) in settlements {
            let Some(delivery) = self.deliveries.get_mut(&sequence).filter(|delivery| delivery.in_flight) else {
                continue;
            };
            delivery.in_flight = false;
            self.held_up = false;
            match settlement {
                Settlement::Delivered(exchange) => {
                    self.delivered += 1;
                    delivery.stage = Stage::Delivered;
                    delivery.attempts += 1;
                    delivery.last = Some(exchange);
                }
                Settlement::Skipped { reason, time } => {
                    delivery.stage = Stage::Skipped(reason);
                    delivery.last = Some(Exchange { time, status: None, took: Duration::ZERO });
                }
                Settlement::Retry { due, failure } => delivery.fail(Stage::Retrying { due }, failure),
                Settlement::Dead { failure } => delivery.fail(Stage::Dead { since: failure.time }, failure),
                // A released new event is new again.
                Settlement::Released => self.released |= delivery.stage != Stage::New,
            }
        }
    }

    /// Queues a settled or dead event.
    pub(super) fn queue(&mut self, sequence: Sequence, now: Timestamp) {
        self.deliveries.insert(sequence, MemoryDelivery::new(Stage::Queued { due: now }));
        self.released = true;
    }

    /// Makes a retry due now.
    pub(super) fn hasten(&mut self, sequence: Sequence, now: Timestamp) {
        if let Some(delivery) = self.deliveries.get_mut(&sequence) {
            delivery.stage = Stage::Retrying { due: now };
            self.released = true;
        }
    }
}

/// Returns whether one more event may be claimed: the first always, others while all fit in [`CLAIM_BYTES`].
fn has_room(claimed: &Claimed, event: &StoredEvent) -> bool {
    let bytes: usize = claimed.deliveries.iter().map(|delivery| delivery.event.body.len()).sum();
    claimed.deliveries.is_empty() || bytes + event.body.len() <= CLAIM_BYTES
}
