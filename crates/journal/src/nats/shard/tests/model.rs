//! Random operations, on a shard and on the naive engine, which is too simple to be wrong.

use std::{collections::BTreeMap, fmt::Debug, time::Duration};

use bytes::Bytes;
use futures_util::FutureExt;
use grapnel_api::Incarnation;
use proptest::{prelude::*, sample::Index};

use super::{
    super::{ListedDelivery, Shares},
    harness::{Shard, at, dead, delivered, key, object, retry},
    operations::{CONSUMERS, ENDPOINTS, End, Op, Pick, ops},
};
use crate::{
    Arrival, Claim, DeliveryQuery, DeliveryState, EventQuery, Journal, JournalError, Redelivered, RedeliveryStep,
    Retention, Selection, Sequence, Settlement, Start,
    machine::Micros,
    memory::{MemoryJournal, MemoryOptions},
    record::encode_event,
    testing::validated,
};

const ALL: usize = 1000;
const LONGEST_DELAY: u64 = 15;

/// The bounds of a journal: its own, and that of a namespace.
type Bounds = (u64, u64);

fn config() -> ProptestConfig {
    ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_shard_agrees_with_the_naive_engine(ops in ops(30)) {
        check(ops, (0, 0));
    }

    /// With bounds, the oldest events go first: they are received in order here.
    #[test]
    fn a_bounded_shard_agrees_with_the_naive_engine(
        ops in ops(0),
        bounds in (prop_oneof![Just(0), 500u64..6000], prop_oneof![Just(0), 500u64..6000]),
    ) {
        check(ops, bounds);
    }
}

fn check(ops: Vec<Op>, bounds: Bounds) {
    let mut pair = Pair::new(bounds);
    for (step, op) in ops.into_iter().enumerate() {
        let what = format!("after step {step}: {op:?}");
        pair.step(op, &what);
        pair.compare(&what);
    }
}

/// The result of a call of the naive engine, which never waits.
fn now<T>(call: impl Future<Output = T>) -> T {
    call.now_or_never().expect("it does not wait")
}

fn kind<T>(result: Result<T, JournalError>) -> Result<T, String> {
    result.map_err(|error| match error {
        JournalError::ShareExhausted(share) => format!("{share:?}"),
        other => other.kind().to_owned(),
    })
}

struct Pair {
    shard: Shard,
    naive: MemoryJournal,
    bounds: Bounds,
    now: i64,
    endpoints: [usize; ENDPOINTS],
    consumers: [usize; CONSUMERS],
    /// The sequences of the events of each endpoint, in the order of their appends: of the naive engine, and of the shard.
    sequences: [Vec<(Sequence, Sequence)>; ENDPOINTS],
    /// All ids, with their events.
    ids: Vec<(String, usize, Sequence)>,
}

impl Pair {
    fn new(bounds: Bounds) -> Self {
        let options = MemoryOptions {
            first_sequence: 5,
            stride: 3,
            max_bytes: bounds.0,
            namespace_share: Some(bounds.1),
            ..MemoryOptions::default()
        };
        Self {
            shard: Shard::new(),
            naive: MemoryJournal::new(options),
            bounds,
            now: 0,
            endpoints: [0; ENDPOINTS],
            consumers: [0; CONSUMERS],
            sequences: Default::default(),
            ids: Vec::new(),
        }
    }

    fn endpoint(&self, number: usize) -> Incarnation {
        object(&format!("in-{number}"), &self.endpoints[number].to_string())
    }

    fn consumer(&self, number: usize) -> Incarnation {
        object(&format!("out-{number}"), &self.consumers[number].to_string())
    }

    /// Returns the endpoint that a consumer reads, or any.
    fn endpoint_of(&self, consumer: &Incarnation) -> usize {
        let attached = now(self.naive.consumers()).unwrap();
        let found = attached.iter().find(|attached| attached.consumer == *consumer);
        usize::from(found.is_some_and(|attached| attached.endpoint == key("in-1")))
    }

    /// Returns the ordinal of an event, by its sequence in the naive engine.
    fn naive_ordinal(&self, endpoint: usize, sequence: Sequence) -> usize {
        self.sequences[endpoint].binary_search_by_key(&sequence, |(naive, _)| *naive).unwrap()
    }

    fn shard_ordinal(&self, endpoint: usize, sequence: Sequence) -> usize {
        self.sequences[endpoint].binary_search_by_key(&sequence, |(_, shard)| *shard).unwrap()
    }

    fn step(&mut self, op: Op, what: &str) {
        match op {
            Op::Append(endpoint, count, ahead, bytes, share) => self.append(endpoint, count, ahead, bytes, share, what),
            Op::RecreateEndpoint(number) => self.endpoints[number] += 1,
            Op::RecreateConsumer(number) => self.consumers[number] += 1,
            Op::Attach(number, to, from_now) => {
                let start = if from_now { Start::Now } else { Start::Earliest };
                let (consumer, endpoint) = (self.consumer(number), self.endpoint(to));
                let expected = kind(now(self.naive.attach(&consumer, &endpoint, start)));
                assert_eq!(kind(self.shard.attach(&consumer, &endpoint, start)), expected, "{what}");
            }
            Op::Detach(number) => {
                let consumer = self.consumer(number);
                assert_eq!(self.shard.detach(&consumer), now(self.naive.detach(&consumer)).unwrap(), "{what}");
            }
            Op::Claim(number, limit, in_order, bounded) => self.claim(number, limit, in_order, bounded, what),
            Op::Settle(number, ends) => self.settle(number, ends, what),
            Op::Advance(seconds) => self.now += seconds,
            Op::Sweep(events, letters, limit) => self.sweep(events, letters, limit, what),
            Op::Redeliver(number, pick, limit, dry_run) => {
                let step = RedeliveryStep { from: None, limit, dry_run, now: at(self.now) };
                self.redeliver(number, &pick, step, what);
            }
            Op::Checkpoint => self.shard.checkpoint(),
            Op::Restart => {
                self.naive = self.naive.reopen();
                self.shard.restart();
            }
        }
    }

    fn append(&mut self, number: usize, count: usize, ahead: i64, bytes: usize, share: Option<u64>, what: &str) {
        let (endpoint, received) = (self.endpoint(number), self.now + ahead);
        let arrival = |n| {
            let id = format!("event-{}", self.ids.len() + n);
            let arrival = Arrival {
                endpoint: endpoint.clone(),
                validated: validated(&id, "any", Bytes::from(vec![b'x'; bytes])),
                received: at(received),
                content_type: None,
                remote: None,
                headers: Vec::new(),
                window: None,
                max_bytes: share,
            };
            (id, arrival)
        };
        let arrivals: Vec<_> = (0..count).map(arrival).collect();
        let costs: Vec<_> = arrivals.iter().map(|(_, arrival)| encode_event(arrival).len() as u32 + 64).collect();
        let (ids, arrivals): (Vec<_>, Vec<_>) = arrivals.into_iter().unzip();
        let expected = now(self.naive.append(arrivals));
        if let Ok(Some(change)) = self.shard.state.endpoint_changes(&endpoint) {
            self.shard.commit(&[change]);
        }
        let needed = costs.iter().map(|cost| u64::from(*cost)).sum();
        let shares = Shares { journal: self.bounds.0, namespace: self.bounds.1, ..Shares::default() };
        let room = self.shard.state.room(&endpoint, needed, share, &shares);
        self.shard.check();
        let stored = match (expected, room) {
            (Ok(stored), Ok(removals)) => {
                self.shard.remove(&removals);
                stored
            }
            (expected, room) => {
                assert_eq!(kind(room.map(|_| ())), kind(expected.map(|_| ())), "{what}");
                return;
            }
        };
        for ((id, cost), appended) in ids.into_iter().zip(costs).zip(stored) {
            let crate::Appended::Stored(naive) = appended else { panic!("{what}: {appended:?}") };
            let sequence = self.shard.append(&endpoint, received, cost);
            self.sequences[number].push((naive, sequence));
            self.ids.push((id, number, sequence));
        }
    }

    fn claim(&mut self, number: usize, limit: usize, in_order: bool, bounded: bool, what: &str) {
        let consumer = self.consumer(number);
        let endpoint = self.endpoint_of(&consumer);
        let mut claim = Claim { in_order, ..Claim::new(limit, at(self.now)) };
        if bounded {
            claim.longest_delay = Duration::from_secs(LONGEST_DELAY);
        }
        // In which order those come that are due because of it is up to the engine.
        let any_order = bounded && !in_order;
        if any_order {
            claim.limit = ALL;
        }
        let expected = now(self.naive.claim(&consumer, claim)).map(|claimed| {
            let taken = claimed.deliveries.iter();
            let taken = taken.map(|it| (self.naive_ordinal(endpoint, it.event.sequence), it.attempt));
            (taken.collect::<Vec<_>>(), claimed.next_due)
        });
        let claimed = self.shard.claim(&consumer, &claim).map(|(taken, due)| {
            let taken = taken.iter().map(|(sequence, attempt)| (self.shard_ordinal(endpoint, *sequence), *attempt));
            (taken.collect::<Vec<_>>(), due)
        });
        let (mut expected, mut claimed) = (kind(expected), kind(claimed));
        if any_order {
            [&mut expected, &mut claimed].into_iter().flatten().for_each(|(taken, _)| taken.sort_unstable());
        }
        assert_eq!(claimed, expected, "{what}");
    }

    fn settle(&mut self, number: usize, ends: Vec<(Index, End)>, what: &str) {
        let consumer = self.consumer(number);
        let endpoint = self.endpoint_of(&consumer);
        // Mostly of what is in flight, but of anything.
        let query = DeliveryQuery { limit: ALL, ..DeliveryQuery::default() };
        let records = now(self.naive.deliveries(&consumer, query)).map(|page| page.deliveries).unwrap_or_default();
        let in_flight = records.iter().filter(|record| record.state == DeliveryState::InFlight);
        let mut candidates: Vec<_> = in_flight.map(|record| record.event.sequence()).collect();
        candidates.extend(records.first().map(|record| record.event.sequence()));
        if candidates.is_empty() {
            return;
        }
        let (mut naive, mut shard) = (Vec::new(), Vec::new());
        for (index, end) in ends {
            let settlement = match end {
                End::Delivered => delivered(self.now),
                End::Skipped(reason) => Settlement::Skipped { reason, time: at(self.now) },
                End::Released => Settlement::Released,
                End::Retry(after) => retry(self.now + after),
                End::Dead => dead(self.now),
            };
            let sequence = *index.get(&candidates);
            naive.push((sequence, settlement.clone()));
            shard.push((self.sequences[endpoint][self.naive_ordinal(endpoint, sequence)].1, settlement));
        }
        let expected = kind(now(self.naive.settle(&consumer, naive)));
        assert_eq!(kind(self.shard.settle(&consumer, shard)), expected, "{what}");
    }

    fn sweep(&mut self, events: [Option<u64>; ENDPOINTS], letters: [Option<u64>; CONSUMERS], limit: usize, what: &str) {
        let listed = |(number, seconds): (usize, Option<u64>)| Some((number, Duration::from_secs(seconds?)));
        let events = events.into_iter().enumerate().filter_map(listed);
        let letters = letters.into_iter().enumerate().filter_map(listed);
        let retention = Retention {
            endpoints: events.map(|(number, kept)| (self.endpoint(number), kept)).collect(),
            consumers: letters.map(|(number, kept)| (key(&format!("out-{number}")), kept)).collect(),
        };
        let expected = now(self.naive.sweep(retention.clone(), at(self.now))).unwrap();
        assert_eq!(self.shard.sweep(retention, self.now, limit), expected, "{what}");
        // The naive engine forgets no endpoint.
        for number in 0..ENDPOINTS {
            if !self.shard.state.endpoints.contains_key(&key(&format!("in-{number}"))) {
                self.endpoints[number] += 1;
            }
        }
    }

    /// Runs a redelivery to its end, on both.
    fn redeliver(&mut self, number: usize, pick: &Pick, step: RedeliveryStep, what: &str) {
        let consumer = self.consumer(number);
        let endpoint = self.endpoint_of(&consumer);
        let ago = |seconds: &Option<i64>| seconds.map(|seconds| at(self.now - seconds));
        let selection = match pick {
            Pick::DeadLettered => Selection::DeadLettered,
            Pick::Retrying => Selection::Retrying,
            Pick::Events(ids) => {
                let known = |index: &Index| Some(&self.ids.get(index.index(self.ids.len() + 3))?.0);
                Selection::Events(ids.iter().map(|id| known(id).map_or("none", String::as_str).into()).collect())
            }
            Pick::Received(since, until) => Selection::Received { since: ago(since), until: ago(until) },
        };
        let naive = all_steps(step, |step| now(self.naive.redeliver(&consumer, &selection, step)));
        // The ids of an earlier object are not those of the current one.
        let current = self.shard.state.endpoints.get(&key(&format!("in-{endpoint}")));
        let uid = current.and_then(|log| log.current()).map(|life| life.uid.clone());
        let of_current: BTreeMap<_, _> = self
            .ids
            .iter()
            .filter(|(_, of, _)| *of == endpoint)
            .filter(|(.., sequence)| {
                self.shard.events.get(sequence).is_some_and(|head| Some(&head.uid) == uid.as_ref())
            })
            .map(|(id, _, sequence)| (id.clone(), *sequence))
            .collect();
        let shard = &mut self.shard;
        let found =
            all_steps(step, |step| shard.redeliver(&consumer, &selection, step, |id| of_current.get(id).copied()));
        let (Ok(mut found), Ok(naive)) = (found.clone(), naive.clone()) else {
            assert_eq!(found, naive, "{what}");
            return;
        };
        let counted = found.gone == naive.gone || found.gone_before.is_some();
        assert!(found.gone <= naive.gone && counted, "{what}: {found:?}, {naive:?}");
        (found.gone, found.gone_before) = (naive.gone, naive.gone_before);
        match pick {
            // Whether those are selected that are in flight or due already is up to the engine.
            Pick::Retrying => found.skipped = naive.skipped,
            // And how often an id counts that is looked up in two steps.
            Pick::Events(_) => found.skipped = naive.skipped,
            Pick::DeadLettered | Pick::Received(..) => {}
        }
        assert_eq!(found, naive, "{what}");
    }

    fn compare(&self, what: &str) {
        self.shard.check();
        assert_eq!(self.shard.state.consumers(), now(self.naive.consumers()).unwrap(), "{what}");
        assert_eq!(self.shard.state.retrying(), self.naive.vitals().retrying, "{what}");
        self.both(what, |pair| pair.naive.trouble().is_some(), |pair| pair.shard.state.trouble().is_some());
        let bytes = self.naive.usage().bytes;
        assert_eq!(self.shard.state.bytes(), bytes, "{what}");
        let namespaces = self.shard.state.namespaces();
        assert_eq!(namespaces.first().map_or(0, |usage| usage.bytes), bytes, "{what}");
        let shares = Shares { journal: self.bounds.0, namespace: self.bounds.1, ..Shares::default() };
        for number in 0..ENDPOINTS {
            for uid in 0..=self.endpoints[number] {
                let endpoint = object(&format!("in-{number}"), &uid.to_string());
                let (usage, expected) = (self.shard.state.storage(&endpoint, &shares), self.naive.storage(&endpoint));
                assert_eq!(usage.bytes, expected.bytes, "{what}");
                let is_current = self.shard.state.endpoint_changes(&endpoint).is_ok_and(|change| change.is_none());
                assert!(!is_current || usage == expected, "{what}: {usage:?}, {expected:?}");
                let query = EventQuery { limit: ALL, ..EventQuery::default() };
                let page = now(self.naive.events(&endpoint, query)).unwrap();
                let expected = page.events.iter().map(|event| self.naive_ordinal(number, event.sequence()));
                let expected: Vec<_> = expected.collect();
                let ordinals = |sequences: Vec<Sequence>| -> Vec<_> {
                    sequences.into_iter().map(|sequence| self.shard_ordinal(number, sequence)).collect()
                };
                assert_eq!(ordinals(self.shard.list(&endpoint, false)), expected, "{what}");
                let mut newest_first = ordinals(self.shard.list(&endpoint, true));
                newest_first.reverse();
                assert_eq!(newest_first, expected, "{what}");
            }
        }
        for number in 0..CONSUMERS {
            let earlier = object(&format!("out-{number}"), &self.consumers[number].saturating_sub(1).to_string());
            for consumer in [self.consumer(number), earlier] {
                self.compare_consumer(&consumer, what);
            }
        }
    }

    fn compare_consumer(&self, consumer: &Incarnation, what: &str) {
        self.both(what, |pair| pair.naive.progress(consumer), |pair| pair.shard.state.progress(consumer));
        let is_ready = |pair: &Self| pair.naive.ready(consumer).now_or_never().is_some();
        self.both(what, is_ready, |pair| pair.shard.state.is_ready(consumer));
        let endpoint = self.endpoint_of(consumer);
        for (state, newest_first) in
            [(None, false), (None, true), (Some(DeliveryState::Settled), false), (Some(DeliveryState::Pending), true)]
        {
            let query = DeliveryQuery { state, newest_first, limit: ALL, after: 0 };
            let expected = kind(now(self.naive.deliveries(consumer, query.clone())).map(|page| {
                let rows = page.deliveries.into_iter().map(|it| {
                    let sequence = self.naive_ordinal(endpoint, it.event.sequence()) as u64;
                    let due = it.due.map(Micros::floor);
                    let (state, outcome, attempts, last, failure) =
                        (it.state, it.outcome, it.attempts, it.last, it.failure);
                    ListedDelivery { sequence, state, outcome, attempts, due, last, failure }
                });
                rows.collect::<Vec<_>>()
            }));
            let listed = kind(self.shard.deliveries(consumer, &query).map(|rows| {
                let ordinal = |sequence| self.shard_ordinal(endpoint, sequence) as u64;
                rows.into_iter().map(|it| ListedDelivery { sequence: ordinal(it.sequence), ..it }).collect::<Vec<_>>()
            }));
            assert_eq!(listed, expected, "{what}: {consumer:?}, {query:?}");
        }
    }

    /// Asks both the same.
    fn both<T: Debug + PartialEq>(&self, what: &str, naive: impl Fn(&Self) -> T, shard: impl Fn(&Self) -> T) {
        assert_eq!(shard(self), naive(self), "{what}");
    }
}

/// All steps of a redelivery together.
fn all_steps(
    mut step: RedeliveryStep,
    mut run: impl FnMut(RedeliveryStep) -> Result<Redelivered, JournalError>,
) -> Result<Redelivered, String> {
    let mut total = Redelivered::default();
    loop {
        let done = kind(run(step))?;
        assert!(done.queued + done.hastened <= step.limit as u64, "{done:?}");
        total.queued += done.queued;
        total.hastened += done.hastened;
        total.skipped += done.skipped;
        total.gone += done.gone;
        total.gone_ids.extend(done.gone_ids);
        total.gone_before = total.gone_before.or(done.gone_before);
        match done.next {
            Some(next) => step.from = Some(next),
            None => return Ok(total),
        }
    }
}
