//! Random operations, on an engine and on the naive one, which is too simple to be wrong.

use std::{collections::BTreeSet, fmt::Debug, time::Duration};

use grapnel_api::Incarnation;
use grapnel_journal::{
    Arrival, Claim, DeliveryQuery, DeliveryState, EventQuery, JournalError, Redelivered, RedeliveryStep, Retention,
    Selection, Settlement, SkipReason, Start,
};
use proptest::{prelude::*, sample::Index, test_runner::TestRunner};

use super::{
    arrivals::{arrival, at, dead, delivered, key, object, retry},
    memory::Memory,
    session::{ALL, Engine, Ordinal, Session},
};

const ENDPOINTS: usize = 2;
const CONSUMERS: usize = 3;
const IDS: u8 = 32;
/// In seconds.
const WINDOW: u64 = 100;
/// The longest delay of a retry policy, where a claim has one; that of some retries is longer.
const LONGEST_DELAY: u64 = 15;

#[derive(Debug, Clone)]
enum Op {
    /// Of an endpoint, an id, and how many seconds the clock of its receipt was ahead.
    Append(Vec<(usize, u8, i64)>),
    /// To the incarnation of an endpoint before the current one.
    AppendToEarlier(usize, u8),
    /// It is deleted and created again.
    RecreateEndpoint(usize),
    RecreateConsumer(usize),
    /// Of a consumer to an endpoint, from now on or from the beginning.
    Attach(usize, usize, bool),
    Detach(usize),
    /// At most so many, in order or not, with a longest delay or without.
    Claim(usize, usize, bool, bool),
    /// For the incarnation of a consumer before the current one.
    ClaimForEarlier(usize),
    Settle(usize, Vec<(Index, End)>),
    Advance(i64),
    /// Those without a retention are not listed.
    Sweep([Option<u64>; ENDPOINTS], [Option<u64>; CONSUMERS]),
    /// In steps of so many, or a dry run.
    Redeliver(usize, Pick, usize, bool),
    /// With a close before, or without.
    Reopen(bool),
}

#[derive(Debug, Clone)]
enum End {
    Delivered,
    Skipped(SkipReason),
    Released,
    Retry(i64),
    Dead,
}

#[derive(Debug, Clone)]
enum Pick {
    DeadLettered,
    Retrying,
    Events(Vec<u8>),
    /// So long ago.
    Received(Option<i64>, Option<i64>),
}

fn pick() -> impl Strategy<Value = Pick> {
    let side = || prop::option::weighted(0.7, 0i64..150);
    prop_oneof![
        2 => Just(Pick::DeadLettered),
        2 => Just(Pick::Retrying),
        // Each once: how often one counts that is looked up in two steps is up to the engine.
        2 => prop::collection::btree_set(0..IDS + 4, 0..8).prop_map(|ids| Pick::Events(ids.into_iter().collect())),
        3 => (side(), side()).prop_map(|(since, until)| Pick::Received(since, until)),
    ]
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let end = prop_oneof![
        3 => Just(End::Delivered),
        1 => prop_oneof![Just(SkipReason::Filter), Just(SkipReason::Type), Just(SkipReason::Shadow)].prop_map(End::Skipped),
        1 => Just(End::Released),
        3 => (0i64..40).prop_map(End::Retry),
        2 => Just(End::Dead),
    ];
    let ends = prop::collection::vec((any::<Index>(), end), 1..6);
    let ahead = prop_oneof![3 => Just(0i64), 1 => 0i64..30];
    let events = prop::collection::vec((0..ENDPOINTS, 0..IDS, ahead), 1..6);
    let kept = |seconds| prop::option::weighted(0.8, 0u64..seconds);
    let sweep = ([kept(150), kept(150)], [kept(100), kept(100), kept(100)]);
    let op = prop_oneof![
        12 => events.prop_map(Op::Append),
        1 => (0..ENDPOINTS, 0..IDS).prop_map(|(e, id)| Op::AppendToEarlier(e, id)),
        1 => (0..ENDPOINTS).prop_map(Op::RecreateEndpoint),
        1 => (0..CONSUMERS).prop_map(Op::RecreateConsumer),
        5 => (0..CONSUMERS, 0..ENDPOINTS, any::<bool>()).prop_map(|(c, e, now)| Op::Attach(c, e, now)),
        1 => (0..CONSUMERS).prop_map(Op::Detach),
        12 => (0..CONSUMERS, 0usize..6, prop::bool::weighted(0.4), prop::bool::weighted(0.2))
            .prop_map(|(c, limit, in_order, bounded)| Op::Claim(c, limit, in_order, bounded)),
        1 => (0..CONSUMERS).prop_map(Op::ClaimForEarlier),
        12 => (0..CONSUMERS, ends).prop_map(|(c, ends)| Op::Settle(c, ends)),
        6 => (0i64..60).prop_map(Op::Advance),
        4 => sweep.prop_map(|(events, letters)| Op::Sweep(events, letters)),
        6 => (0..CONSUMERS, pick(), 1usize..6, prop::bool::weighted(0.2))
            .prop_map(|(c, pick, limit, dry_run)| Op::Redeliver(c, pick, limit, dry_run)),
        2 => any::<bool>().prop_map(Op::Reopen),
    ];
    // Something to work with, then anything.
    prop::collection::vec(op, 20..90).prop_map(|mut ops| {
        ops.insert(0, Op::Attach(0, 0, true));
        ops.insert(1, Op::Attach(1, 0, false));
        ops
    })
}

/// Compares engines with the naive one, each with operations of its own.
pub(crate) fn agrees(engine: impl Fn() -> Box<dyn Engine>) {
    let config = ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() };
    let compared = TestRunner::new(config).run(&ops(), |ops| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(check(&*engine(), ops));
        Ok(())
    });
    if let Err(error) = compared {
        panic!("{error}");
    }
}

async fn check(engine: &dyn Engine, ops: Vec<Op>) {
    let naive = Memory::model();
    let mut pair = Pair {
        engine: Session::open(engine),
        naive: Session::open(&naive),
        now: 0,
        endpoints: [0; ENDPOINTS],
        known: Default::default(),
        consumers: [0; CONSUMERS],
    };
    for (step, op) in ops.into_iter().enumerate() {
        let what = format!("after step {step}: {op:?}");
        pair.step(op, &what).await;
        pair.compare(&what).await;
    }
}

/// Both engines, after the same operations.
struct Pair<'a> {
    engine: Session<'a>,
    naive: Session<'a>,
    now: i64,
    /// How often each was created again.
    endpoints: [usize; ENDPOINTS],
    /// The incarnations that the journals have seen.
    known: [BTreeSet<usize>; ENDPOINTS],
    consumers: [usize; CONSUMERS],
}

/// The label of an error is all that engines have in common.
fn kind<T>(result: Result<T, JournalError>) -> Result<T, &'static str> {
    result.map_err(|error| error.kind())
}

impl Pair<'_> {
    fn endpoint(&self, number: usize) -> Incarnation {
        object(&format!("in-{number}"), &self.endpoints[number].to_string())
    }

    /// The incarnation before the current one.
    fn earlier_endpoint(&self, number: usize) -> Incarnation {
        object(&format!("in-{number}"), &self.endpoints[number].saturating_sub(1).to_string())
    }

    fn consumer(&self, number: usize) -> Incarnation {
        object(&format!("out-{number}"), &self.consumers[number].to_string())
    }

    fn earlier_consumer(&self, number: usize) -> Incarnation {
        object(&format!("out-{number}"), &self.consumers[number].saturating_sub(1).to_string())
    }

    /// Asks both the same.
    async fn both<T: Debug + PartialEq>(&self, what: &str, ask: impl AsyncFn(&Session) -> T) -> T {
        let expected = ask(&self.naive).await;
        assert_eq!(ask(&self.engine).await, expected, "{what}");
        expected
    }

    async fn step(&mut self, op: Op, what: &str) {
        match op {
            Op::Append(events) => {
                let arrivals =
                    events.iter().map(|(number, id, ahead)| self.arrival(self.endpoint(*number), *id, *ahead));
                let arrivals: Vec<_> = arrivals.collect();
                self.both(what, async |session| kind(session.try_append(arrivals.clone()).await)).await.unwrap();
                for (number, ..) in events {
                    self.known[number].insert(self.endpoints[number]);
                }
            }
            // A uid that a journal never saw may be that of the next object as well.
            Op::AppendToEarlier(number, id)
                if self.known[number].contains(&self.endpoints[number].saturating_sub(1)) =>
            {
                let arrival = self.arrival(self.earlier_endpoint(number), id, 0);
                let ask = async |session: &Session| kind(session.try_append(vec![arrival.clone()]).await);
                let _ = self.both(what, ask).await;
            }
            Op::AppendToEarlier(..) => {}
            Op::RecreateEndpoint(number) => self.endpoints[number] += 1,
            Op::RecreateConsumer(number) => self.consumers[number] += 1,
            Op::Attach(number, to, now) => {
                let start = if now { Start::Now } else { Start::Earliest };
                let (consumer, endpoint) = (self.consumer(number), self.endpoint(to));
                let ask = async |session: &Session| kind(session.attach(&consumer, &endpoint, start).await);
                if self.both(what, ask).await.is_ok() {
                    self.known[to].insert(self.endpoints[to]);
                }
            }
            Op::Detach(number) => {
                let consumer = self.consumer(number);
                let ask = async |session: &Session| kind(session.journal().detach(&consumer).await);
                self.both(what, ask).await.unwrap();
            }
            Op::Claim(number, limit, in_order, bounded) => self.claim(number, limit, in_order, bounded, what).await,
            Op::ClaimForEarlier(number) if self.consumers[number] > 0 => {
                let (consumer, claim) = (self.earlier_consumer(number), Claim::new(1, at(self.now)));
                let _ = self.both(what, async |session| kind(session.try_claim(&consumer, claim).await)).await;
            }
            Op::ClaimForEarlier(_) => {}
            Op::Settle(number, ends) => self.settle(number, ends, what).await,
            Op::Advance(seconds) => self.now += seconds,
            Op::Sweep(events, letters) => self.sweep(events, letters, what).await,
            Op::Redeliver(number, pick, limit, dry_run) => {
                let step = RedeliveryStep { from: None, limit, dry_run, now: at(self.now) };
                self.redeliver(number, &pick, step, what).await;
            }
            Op::Reopen(close) => {
                for session in [&mut self.engine, &mut self.naive] {
                    if close {
                        session.journal().close().await.unwrap();
                    }
                    session.reopen();
                }
            }
        }
    }

    /// Some ids never have a window, the others always: how long one without a window is remembered after its event is up to
    /// the engine.
    fn arrival(&self, endpoint: Incarnation, id: u8, ahead: i64) -> Arrival {
        let window = (!id.is_multiple_of(8)).then_some(Duration::from_secs(WINDOW));
        Arrival { window, ..arrival(&endpoint, &name(id), self.now + ahead) }
    }

    async fn claim(&self, number: usize, limit: usize, in_order: bool, bounded: bool, what: &str) {
        let consumer = self.consumer(number);
        let mut claim = Claim { in_order, ..Claim::new(limit, at(self.now)) };
        if bounded {
            claim.longest_delay = Duration::from_secs(LONGEST_DELAY);
        }
        // In which order those come that are due because of it is up to the engine.
        let any_order = bounded && !in_order;
        if any_order {
            claim.limit = ALL;
        }
        let ask = async |session: &Session| {
            let mut claimed = kind(session.try_claim(&consumer, claim).await);
            if let Ok((deliveries, _)) = &mut claimed
                && any_order
            {
                deliveries.sort_unstable();
            }
            claimed
        };
        let _ = self.both(what, ask).await;
    }

    async fn settle(&self, number: usize, ends: Vec<(Index, End)>, what: &str) {
        let (consumer, now) = (self.consumer(number), self.now);
        // Mostly of what is in flight, but of anything.
        let query = DeliveryQuery { limit: ALL, ..Default::default() };
        let records = self.naive.try_records(&consumer, query).await.unwrap_or_default();
        let in_flight = records.iter().filter(|record| record.state == DeliveryState::InFlight);
        let mut candidates: Vec<Ordinal> = in_flight.map(|record| record.event.sequence()).collect();
        candidates.push(records.first().map_or(7, |record| record.event.sequence()));
        let settlements = ends.into_iter().map(|(index, end)| {
            let settlement = match end {
                End::Delivered => delivered(now),
                End::Skipped(reason) => Settlement::Skipped { reason, time: at(now) },
                End::Released => Settlement::Released,
                End::Retry(after) => retry(now + after),
                End::Dead => dead(now),
            };
            (candidates[index.index(candidates.len())], settlement)
        });
        let settlements: Vec<_> = settlements.collect();
        let ask = async |session: &Session| kind(session.try_settle(&consumer, settlements.clone()).await);
        let _ = self.both(what, ask).await;
    }

    async fn sweep(&self, events: [Option<u64>; ENDPOINTS], letters: [Option<u64>; CONSUMERS], what: &str) {
        let listed = |(number, seconds): (usize, Option<u64>)| Some((number, Duration::from_secs(seconds?)));
        let events = events.into_iter().enumerate().filter_map(listed);
        let letters = letters.into_iter().enumerate().filter_map(listed);
        let retention = Retention {
            endpoints: events.map(|(number, kept)| (self.endpoint(number), kept)).collect(),
            consumers: letters.map(|(number, kept)| (key(&format!("out-{number}")), kept)).collect(),
        };
        self.both(what, async |session| session.sweep(retention.clone(), self.now).await).await;
        for number in 0..ENDPOINTS {
            let endpoint = self.endpoint(number);
            for id in 0..IDS {
                self.both(what, async |session| session.find(&endpoint, &name(id)).await).await;
            }
        }
    }

    /// Runs a redelivery to its end, on both.
    async fn redeliver(&self, number: usize, pick: &Pick, step: RedeliveryStep, what: &str) {
        let consumer = self.consumer(number);
        let ago = |seconds: &Option<i64>| seconds.map(|seconds| at(self.now - seconds));
        let selection = match pick {
            Pick::DeadLettered => Selection::DeadLettered,
            Pick::Retrying => Selection::Retrying,
            Pick::Events(ids) => Selection::Events(ids.iter().map(|id| name(*id).into()).collect()),
            Pick::Received(since, until) => Selection::Received { since: ago(since), until: ago(until) },
        };
        let engine = redeliver(&self.engine, &consumer, &selection, step).await;
        let naive = redeliver(&self.naive, &consumer, &selection, step).await;
        let (Ok(mut engine), Ok(naive)) = (engine.clone(), naive.clone()) else {
            assert_eq!(engine, naive, "{what}");
            return;
        };
        // The naive engine counts everything that is gone. Others may count less, but say so, and nothing else is gone.
        let ends = matches!(pick, Pick::Received(_, Some(_)));
        let counted = engine.gone == naive.gone || ends || engine.gone_before.is_some();
        assert!(engine.gone <= naive.gone && counted, "{what}: {engine:?}, {naive:?}");
        (engine.gone, engine.gone_before) = (naive.gone, naive.gone_before);
        if matches!(pick, Pick::Retrying) {
            // Whether those are selected that are in flight or due already is up to the engine.
            (engine.skipped, engine.sequences) = (naive.skipped, naive.sequences.clone());
        }
        assert_eq!(engine, naive, "{what}");
    }

    async fn compare(&self, what: &str) {
        self.both(what, async |session| session.journal().consumers().await.unwrap()).await;
        for number in 0..ENDPOINTS {
            for endpoint in [self.endpoint(number), self.earlier_endpoint(number)] {
                let query = EventQuery { limit: ALL, ..Default::default() };
                self.both(what, async |session| session.list(&endpoint, query.clone()).await).await;
            }
        }
        for number in 0..CONSUMERS {
            for consumer in [self.consumer(number), self.earlier_consumer(number)] {
                self.both(what, async |session| session.journal().progress(&consumer)).await;
                let query = DeliveryQuery { limit: ALL, ..Default::default() };
                let ask = async |session: &Session| kind(session.try_records(&consumer, query.clone()).await);
                let _ = self.both(what, ask).await;
            }
        }
    }
}

fn name(id: u8) -> String {
    format!("event-{id}")
}

/// All steps together.
async fn redeliver(
    session: &Session<'_>,
    consumer: &Incarnation,
    selection: &Selection,
    step: RedeliveryStep,
) -> Result<Redelivered, &'static str> {
    let (mut step, mut total) = (step, Redelivered::default());
    loop {
        let done = kind(session.journal().redeliver(consumer, selection, step).await)?;
        assert!(done.queued + done.hastened <= step.limit as u64, "{done:?}");
        total.queued += done.queued;
        total.hastened += done.hastened;
        total.skipped += done.skipped;
        total.gone += done.gone;
        total.gone_ids.extend(done.gone_ids);
        total.sequences.extend(session.ordinals(consumer, &done.sequences));
        total.gone_before = total.gone_before.or(done.gone_before);
        match done.next {
            Some(next) => step.from = Some(next),
            None => return Ok(total),
        }
    }
}
