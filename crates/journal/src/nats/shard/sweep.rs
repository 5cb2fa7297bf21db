//! Retention: dead letters first, then the events that nothing keeps any more.

use std::{
    collections::{BTreeMap, HashMap},
    ops::Bound,
    time::Duration,
};

use grapnel_api::{Incarnation, ObjectKey};
use jiff::Timestamp;

use super::{Change, Removal, ShardState, endpoint::ShardEndpoint, room::RoomScope};
use crate::{
    Retention, Sequence,
    limits::{DEFAULT_DEAD_LETTER_RETENTION, DEFAULT_RETENTION},
    machine::Micros,
};

/// Maximum number of settled events that one step examines.
const SWEEP_SCAN: usize = 4096;

/// One step of a sweep.
#[derive(Debug, Default)]
pub(crate) struct SweepStep {
    /// To be made durable and applied before the next step.
    pub(crate) changes: Vec<Change>,
    /// Number of dead letters that these changes remove.
    pub(crate) dead_letters: u64,
    /// To be deleted: see [`ShardState::finish_removals`] and [`ShardState::abort_removals`].
    pub(crate) remove: Vec<Removal>,
    /// Whether another step is needed.
    pub(crate) more: bool,
}

/// A sweep in progress.
#[derive(Debug)]
pub(crate) struct Sweep {
    now: Micros,
    letters: HashMap<ObjectKey, Duration>,
    endpoints: BTreeMap<Incarnation, Duration>,
    phase: Phase,
}

/// What the next step examines.
#[derive(Debug)]
enum Phase {
    /// Dead letters of this consumer and the following ones.
    Letters(Option<ObjectKey>),
    /// The retention of listed endpoints after this one.
    Retentions(Option<Incarnation>),
    /// Events from this one on, and the endpoints after it.
    Events(Option<(ObjectKey, Sequence)>),
    Done,
}

impl Sweep {
    pub(crate) fn new(retention: Retention, now: Timestamp) -> Self {
        Self {
            now: Micros::floor(now),
            letters: retention.consumers.into_iter().collect(),
            endpoints: retention.endpoints.into_iter().collect(),
            phase: Phase::Letters(None),
        }
    }
}

impl ShardState {
    /// Carries out one step of a sweep, with about `limit` changes or removals. A sweep ends with the step that has no
    /// `more`, or by being dropped.
    pub(crate) fn sweep(&mut self, sweep: &mut Sweep, limit: usize) -> SweepStep {
        let mut step = SweepStep::default();
        let limit = limit.max(1);
        if let Phase::Letters(from) = &mut sweep.phase {
            let from = from.take();
            sweep.phase = match self.sweep_letters(sweep, from, limit, &mut step) {
                Some(from) => Phase::Letters(Some(from)),
                None => Phase::Retentions(None),
            };
        }
        if let Phase::Retentions(after) = &mut sweep.phase
            && step.changes.is_empty()
        {
            let after = after.take();
            sweep.phase = match self.sweep_retentions(sweep, after, limit, &mut step) {
                Some(after) => Phase::Retentions(Some(after)),
                None => Phase::Events(None),
            };
        }
        // Events depend on the changes.
        if let Phase::Events(from) = &mut sweep.phase
            && step.changes.is_empty()
        {
            let from = from.take();
            sweep.phase = match self.sweep_events(sweep, from, limit, &mut step) {
                Some(from) => Phase::Events(Some(from)),
                None => Phase::Done,
            };
            if matches!(sweep.phase, Phase::Done) {
                self.forget_endpoints(sweep);
            }
        }
        step.more = !matches!(sweep.phase, Phase::Done);
        step
    }

    /// Returns the consumer at which the next step begins.
    fn sweep_letters(
        &mut self,
        sweep: &Sweep,
        from: Option<ObjectKey>,
        limit: usize,
        step: &mut SweepStep,
    ) -> Option<ObjectKey> {
        let from = from.map_or(Bound::Unbounded, Bound::Included);
        for (key, consumer) in self.consumers.range_mut((from, Bound::Unbounded)) {
            let left = limit.saturating_sub(step.changes.len());
            let kept = sweep.letters.get(key).copied().unwrap_or(DEFAULT_DEAD_LETTER_RETENTION);
            let dead = consumer.machine.died_by(sweep.now.before(kept), left);
            step.dead_letters += dead.len() as u64;
            let removed = |sequence| Change::LetterRemoved { consumer: consumer.object.clone(), sequence };
            step.changes.extend(dead.into_iter().map(removed));
            // It may have more.
            if step.changes.len() >= limit {
                return Some(key.clone());
            }
        }
        None
    }

    /// Returns the endpoint after which the next step begins.
    fn sweep_retentions(
        &self,
        sweep: &Sweep,
        after: Option<Incarnation>,
        limit: usize,
        step: &mut SweepStep,
    ) -> Option<Incarnation> {
        let after = after.map_or(Bound::Unbounded, Bound::Excluded);
        for (endpoint, retention) in sweep.endpoints.range((after, Bound::Unbounded)) {
            let current = self.endpoints.get(&endpoint.key).and_then(ShardEndpoint::current);
            if current.is_some_and(|life| life.uid == endpoint.uid && life.retention != Some(*retention)) {
                step.changes.push(Change::Retention { endpoint: endpoint.clone(), retention: *retention });
                if step.changes.len() >= limit {
                    return Some(endpoint.clone());
                }
            }
        }
        None
    }

    /// Returns the event at which the next step begins.
    fn sweep_events(
        &mut self,
        sweep: &Sweep,
        from: Option<(ObjectKey, Sequence)>,
        limit: usize,
        step: &mut SweepStep,
    ) -> Option<(ObjectKey, Sequence)> {
        let (begin, mut sequence) = from.map_or((Bound::Unbounded, 0), |(key, at)| (Bound::Included(key), at));
        let mut expired: Vec<(ObjectKey, Vec<Sequence>)> = Vec::new();
        let (mut found, mut examined, mut next) = (0, 0, None);
        'endpoints: for (key, log) in self.endpoints.range((begin, Bound::Unbounded)) {
            let cutoff_of = |retention: Option<Duration>| sweep.now.before(retention.unwrap_or(DEFAULT_RETENTION));
            let latest = log.lives.iter().map(|life| cutoff_of(life.retention)).max();
            let mut of_endpoint = Vec::new();
            for row in log.rows.settled(sequence, latest.unwrap_or_default()) {
                if found >= limit || examined >= SWEEP_SCAN {
                    next = Some((key.clone(), row.sequence));
                    expired.push((key.clone(), of_endpoint));
                    break 'endpoints;
                }
                examined += 1;
                let retention = log.life(row.life).and_then(|life| life.retention);
                if row.received <= cutoff_of(retention) {
                    found += 1;
                    of_endpoint.push(row.sequence);
                }
            }
            if !of_endpoint.is_empty() {
                expired.push((key.clone(), of_endpoint));
            }
            sequence = 0;
        }
        for (endpoint, sequences) in expired {
            step.remove.extend(self.begin_removals(&endpoint, &sequences));
        }
        next
    }

    /// Returns whether anything is known of an endpoint. One that is gone is forgotten by the sweep after the removal of
    /// its last event.
    pub(crate) fn has_endpoint(&self, endpoint: &ObjectKey) -> bool {
        self.endpoints.contains_key(endpoint)
    }

    /// Forgets the endpoints that do not exist any more and of which nothing is left.
    fn forget_endpoints(&mut self, sweep: &Sweep) {
        let is_listed = |key: &ObjectKey| {
            let lowest = Incarnation::of_file(key.clone());
            sweep.endpoints.range(lowest..).next().is_some_and(|(listed, _)| listed.key == *key)
        };
        self.endpoints.retain(|key, log| !log.is_forgettable() || is_listed(key));
        let endpoints = &self.endpoints;
        self.refusals.retain(|scope, _| match scope {
            RoomScope::Endpoint(endpoint) => {
                let log = endpoints.get(&endpoint.key);
                log.is_some_and(|log| log.is_current(&endpoint.uid)) || sweep.endpoints.contains_key(endpoint)
            }
            RoomScope::Namespace(_) | RoomScope::Shard => true,
        });
    }
}
