//! A shard with its two streams in memory, and what its owner does with them.

use std::collections::BTreeMap;

use grapnel_api::{Incarnation, ObjectKey};
use jiff::Timestamp;

use super::super::*;
use crate::{
    Attached, Claim, DeliveryQuery, Detached, Exchange, Failure, Redelivered, RedeliveryStep, Result, Retention,
    Selection, Sequence, Settlement, Start, Swept,
    machine::{Micros, Taken},
};

pub(super) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).unwrap()
}

pub(super) fn key(name: &str) -> ObjectKey {
    ObjectKey::new("shop", name)
}

pub(super) fn object(name: &str, uid: &str) -> Incarnation {
    Incarnation::new(key(name), uid)
}

pub(super) fn failure(second: i64) -> Failure {
    let took = std::time::Duration::from_millis(250);
    Failure {
        time: at(second),
        reason: "status".into(),
        status: Some(500),
        took,
        message: format!("at {second}").into(),
    }
}

pub(super) fn delivered(second: i64) -> Settlement {
    let took = std::time::Duration::from_millis(250);
    Settlement::Delivered(Exchange { time: at(second), status: Some(202), took })
}

pub(super) fn retry(due: i64) -> Settlement {
    Settlement::Retry { due: at(due), failure: failure(due - 1) }
}

pub(super) fn dead(second: i64) -> Settlement {
    Settlement::Dead { failure: failure(second) }
}

/// Sequences, each with the number of its attempt.
pub(super) type TakenAttempts = Vec<(Sequence, u32)>;

/// A shard and its streams.
#[derive(Debug)]
pub(super) struct Shard {
    pub(super) state: ShardState,
    /// The event stream: its events, and its last sequence.
    pub(super) events: BTreeMap<Sequence, Head>,
    pub(super) last: Sequence,
    /// The state log, by sequence.
    pub(super) log: BTreeMap<u64, bytes::Bytes>,
    logged: u64,
}

impl Shard {
    pub(super) fn new() -> Self {
        let mut state = ShardState::new();
        state.finish_loading();
        Self { state, events: BTreeMap::new(), last: 0, log: BTreeMap::new(), logged: 0 }
    }

    /// Appends an entry to the state log.
    pub(super) fn write(&mut self, entry: Entry) -> u64 {
        let record = Record { epoch: 7, nonce: self.logged, entry };
        let encoded = record.encode();
        assert_eq!(Record::decode(encoded.clone()).unwrap(), record);
        if let Entry::Changes(changes) = &record.entry {
            let bound: usize = changes.iter().map(Change::encoded_len).sum();
            assert!(encoded.len() <= 64 + bound, "{} of {bound}", encoded.len());
        }
        self.logged += 1;
        self.log.insert(self.logged, encoded);
        self.logged
    }

    pub(super) fn commit(&mut self, changes: &[Change]) {
        if !changes.is_empty() {
            self.write(Entry::Changes(changes.to_vec()));
            changes.iter().for_each(|change| self.state.apply(change));
        }
    }

    /// Stores an event in the event stream, as any replica does.
    pub(super) fn store(&mut self, endpoint: &Incarnation, received: i64, bytes: u32) -> Head {
        // The stream has gaps: tombstones, and events that were deleted.
        self.last += 1 + self.last % 3;
        let received = Micros::floor(at(received));
        let Incarnation { key, uid } = endpoint.clone();
        let head = Head { sequence: self.last, endpoint: key, uid, received, until: received, bytes };
        self.events.insert(self.last, head.clone());
        head
    }

    pub(super) fn append(&mut self, endpoint: &Incarnation, received: i64, bytes: u32) -> Sequence {
        let head = self.store(endpoint, received, bytes);
        self.state.index(&head);
        head.sequence
    }

    pub(super) fn attach(&mut self, consumer: &Incarnation, endpoint: &Incarnation, start: Start) -> Result<Attached> {
        let (changes, attached) = self.state.propose_attach(consumer, endpoint, start)?;
        self.commit(&changes);
        Ok(attached)
    }

    pub(super) fn detach(&mut self, consumer: &Incarnation) -> Option<Detached> {
        let (changes, detached) = self.state.propose_detach(consumer)?;
        self.commit(&changes);
        Some(detached)
    }

    /// Claims, and returns when the next retry is due.
    pub(super) fn claim(
        &mut self,
        consumer: &Incarnation,
        claim: &Claim,
    ) -> Result<(TakenAttempts, Option<Timestamp>)> {
        let (taken, due) = self.state.claim(consumer, claim)?;
        Ok((taken.iter().map(|Taken { sequence, flight }| (*sequence, flight.attempt)).collect(), due))
    }

    /// Settles; the first try fails.
    pub(super) fn settle(&mut self, consumer: &Incarnation, settlements: Vec<(Sequence, Settlement)>) -> Result<()> {
        let changes = self.state.begin_settle(consumer, settlements.clone())?;
        assert!(self.state.begin_settle(consumer, settlements.clone())?.is_empty(), "they are being written");
        self.state.abort_settle(&changes);
        let unreleased = settlements.into_iter().filter(|(_, settlement)| *settlement != Settlement::Released);
        assert_eq!(self.state.begin_settle(consumer, unreleased.collect())?, changes);
        self.commit(&changes);
        Ok(())
    }

    /// Carries out one step; the first try fails.
    pub(super) fn redeliver(
        &mut self,
        consumer: &Incarnation,
        selection: &Selection,
        step: RedeliveryStep,
        find: impl Fn(&str) -> Option<Sequence>,
    ) -> Result<Redelivered> {
        let found: Vec<_> = ShardState::ids_of_step(selection, &step).iter().map(|id| find(id)).collect();
        let (changes, first) = self.state.begin_redeliver(consumer, selection, &found, step)?;
        self.check();
        self.state.abort_redeliver(&changes);
        let (changes, redelivered) = self.state.begin_redeliver(consumer, selection, &found, step)?;
        assert_eq!(first, redelivered);
        self.commit(&changes);
        Ok(redelivered)
    }

    /// Deletes events from the event stream; the first try fails.
    pub(super) fn remove(&mut self, removals: &[Removal]) {
        self.state.abort_removals(removals);
        self.check();
        for removal in removals {
            let row = self.state.begin_removals(&removal.endpoint, &[removal.sequence]);
            assert_eq!(row, std::slice::from_ref(removal));
            assert!(self.events.remove(&removal.sequence).is_some(), "removed twice");
        }
        let changes = self.state.finish_removals(removals);
        self.commit(&changes);
    }

    pub(super) fn sweep(&mut self, retention: Retention, now: i64, limit: usize) -> Swept {
        let (mut sweep, mut swept) = (Sweep::new(retention, at(now)), Swept::default());
        loop {
            let step = self.state.sweep(&mut sweep, limit);
            assert!(step.changes.len() <= limit && step.remove.len() <= limit);
            swept.dead_letters += step.dead_letters;
            swept.events += step.remove.len() as u64;
            self.commit(&step.changes);
            self.remove(&step.remove);
            if !step.more {
                return swept;
            }
        }
    }

    /// Writes a checkpoint, and deletes what is before it.
    pub(super) fn checkpoint(&mut self) {
        let chunks: Vec<_> = self.state.checkpoint().collect();
        let first = self.logged + 1;
        for chunk in chunks {
            self.write(Entry::Checkpoint(chunk));
        }
        self.write(Entry::CheckpointEnd { first });
        self.log = self.log.split_off(&first);
    }

    /// Replays the state log.
    pub(super) fn replay(&self) -> Result<ShardState, ReplayError> {
        let mut replay = Replay::new(1);
        for (sequence, record) in &self.log {
            replay.record(*sequence, Record::decode(record.clone()).unwrap())?;
        }
        assert_eq!(replay.last(), self.log.keys().last().copied().unwrap_or_default());
        replay.finish()
    }

    /// Another owner takes over.
    pub(super) fn restart(&mut self) {
        self.write(Entry::TakenOver { replica: "b".into() });
        self.state = self.replay().unwrap();
        self.events.values().for_each(|head| self.state.index(head));
        self.state.set_tail(self.last);
        self.state.finish_loading();
    }

    /// Lists all deliveries of a consumer, in short pages.
    pub(super) fn deliveries(&self, consumer: &Incarnation, query: &DeliveryQuery) -> Result<Vec<ListedDelivery>> {
        let (mut all, mut query) = (Vec::new(), DeliveryQuery { limit: 3, ..query.clone() });
        loop {
            let (listed, next) = self.state.list_deliveries(consumer, &query)?;
            assert!(listed.len() <= 3);
            all.extend(listed);
            match next {
                Some(next) => query.after = next,
                None => return Ok(all),
            }
        }
    }

    /// Lists all events of an endpoint, in short pages.
    pub(super) fn list(&self, endpoint: &Incarnation, newest_first: bool) -> Vec<Sequence> {
        let (mut all, mut after) = (Vec::new(), 0);
        loop {
            let listed = self.state.list_events(endpoint, None, after, newest_first, 2);
            all.extend(listed.sequences);
            match listed.next {
                Some(next) => after = next,
                None => return all,
            }
        }
    }

    /// Checks what the state derives from itself.
    pub(super) fn check(&self) {
        let (mut namespaces, mut total) = (BTreeMap::new(), usage::Usage::default());
        for (key, log) in &self.state.endpoints {
            let mut lives = BTreeMap::new();
            for row in log.rows.ascending(0) {
                let readers = self.state.consumers.values().filter(|it| it.endpoint == *key && it.reads(row));
                let pins: u32 = readers
                    .map(|it| {
                        let holds = it.holds.get(&row.sequence).copied().unwrap_or_default();
                        u32::from(it.machine.is_pinned(row.sequence)) + holds.unsigned_abs()
                    })
                    .sum();
                assert_eq!(row.pins, pins, "{key}: {row:?}");
                let (events, usage): &mut (u64, usage::Usage) = lives.entry(row.life).or_default();
                *events += 1;
                *usage += usage::Usage::of(row);
                *namespaces.entry(key.namespace.clone()).or_insert_with(usage::Usage::default) += usage::Usage::of(row);
                total += usage::Usage::of(row);
            }
            for life in &log.lives {
                let counted = lives.get(&life.number).copied().unwrap_or_default();
                assert_eq!((life.events, life.usage), counted, "{key}: {life:?}");
            }
            let separated = log.rows.len() + log.leaving.len() + log.consumers.len() + 1;
            assert!(log.gaps.iter().count() <= separated, "{:?}", log.gaps);
        }
        assert_eq!((&self.state.namespaces, self.state.total), (&namespaces, total));
        for consumer in self.state.consumers.values() {
            let log = &self.state.endpoints[&consumer.endpoint];
            for (sequence, _) in consumer.outcomes.iter() {
                let row = log.rows.get(sequence).or(log.leaving.get(&sequence));
                let row = row.unwrap_or_else(|| panic!("{sequence} is not kept"));
                assert!(consumer.reads(row));
            }
        }
    }
}
