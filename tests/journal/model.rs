//! Random operations, on an engine and on a model too simple to be wrong.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use grapnel::{
    api::ObjectKey,
    journal::{
        Appended, DeliveryQuery, DeliveryState, EventQuery, Journal, JournalError, Progress, Redelivered, Retention,
        Selection, Settlement, Start, Step, Swept,
    },
};
use proptest::{prelude::*, sample::Index};

use super::{
    arrivals::{arrival, at, dead, key, retry},
    suite::Engine,
};

const ENDPOINTS: usize = 2;
const CONSUMERS: usize = 3;
const WINDOW: i64 = 100;
const ALL: usize = 1000;

#[derive(Debug, Clone)]
pub(crate) enum Op {
    /// Ids, each with or without a window.
    Append(Vec<(usize, u8, bool)>),
    Attach(usize, usize, bool),
    Detach(usize),
    Claim(usize, usize),
    ClaimInOrder(usize, usize),
    Settle(usize, Vec<(Index, End)>),
    Advance(i64),
    Sweep([i64; ENDPOINTS], [i64; CONSUMERS]),
    /// In steps of that many, or a dry run.
    Redeliver(usize, Pick, usize, bool),
    /// With a close before, or without.
    Reopen(bool),
}

#[derive(Debug, Clone)]
pub(crate) enum Pick {
    DeadLettered,
    Events(Vec<u8>),
    /// So long ago.
    Received(Option<i64>, Option<i64>),
}

#[derive(Debug, Clone)]
pub(crate) enum End {
    Delivered,
    Skipped,
    Released,
    Retry(i64),
    Dead,
}

pub(crate) fn ops() -> impl Strategy<Value = Vec<Op>> {
    let end = prop_oneof![
        3 => Just(End::Delivered),
        1 => Just(End::Skipped),
        1 => Just(End::Released),
        3 => (0i64..40).prop_map(End::Retry),
        2 => Just(End::Dead),
    ];
    let side = || prop::option::weighted(0.7, 0i64..150);
    let pick = prop_oneof![
        2 => Just(Pick::DeadLettered),
        2 => prop::collection::vec(0u8..45, 0..8).prop_map(Pick::Events),
        3 => (side(), side()).prop_map(|(since, until)| Pick::Received(since, until)),
    ];
    let op = prop_oneof![
        6 => prop::collection::vec((0..ENDPOINTS, 0u8..40, prop::bool::weighted(0.9)), 1..6).prop_map(Op::Append),
        2 => (0..CONSUMERS, 0..ENDPOINTS, any::<bool>()).prop_map(|(c, e, now)| Op::Attach(c, e, now)),
        1 => (0..CONSUMERS).prop_map(Op::Detach),
        6 => (0..CONSUMERS, 0usize..6).prop_map(|(c, limit)| Op::Claim(c, limit)),
        4 => (0..CONSUMERS, 1usize..6).prop_map(|(c, limit)| Op::ClaimInOrder(c, limit)),
        6 => (0..CONSUMERS, prop::collection::vec((any::<Index>(), end), 1..6)).prop_map(|(c, e)| Op::Settle(c, e)),
        3 => (0i64..60).prop_map(Op::Advance),
        2 => ([0i64..150, 0i64..150], [0i64..100, 0i64..100, 0i64..100]).prop_map(|(e, c)| Op::Sweep(e, c)),
        3 => (0..CONSUMERS, pick, 1usize..6, prop::bool::weighted(0.2)).prop_map(|(c, p, n, d)| Op::Redeliver(c, p, n, d)),
        1 => any::<bool>().prop_map(Op::Reopen),
    ];
    // Something to work with, then anything.
    prop::collection::vec(op, 20..90).prop_map(|mut ops| {
        ops.insert(0, Op::Attach(0, 0, true));
        ops.insert(1, Op::Attach(1, 0, false));
        ops
    })
}

#[derive(Default)]
struct Log {
    head: u64,
    events: BTreeMap<u64, (String, i64)>,
    /// When those that are kept no longer were received.
    removed: BTreeMap<u64, i64>,
    /// Sequence, received, known until.
    ids: HashMap<String, (u64, i64, i64)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Pending,
    InFlight(u32, Option<i64>),
    Retrying(u32, i64),
    Dead(u32, i64),
    Settled,
}

struct Reader {
    endpoint: usize,
    /// Its first event is the one after.
    start: u64,
    states: BTreeMap<u64, State>,
    delivered: u64,
}

#[derive(Default)]
struct Model {
    now: i64,
    logs: [Log; ENDPOINTS],
    readers: BTreeMap<usize, Reader>,
}

fn endpoint(number: usize) -> ObjectKey {
    key(&format!("in-{number}"))
}

fn consumer(number: usize) -> ObjectKey {
    key(&format!("out-{number}"))
}

/// Runs the operations on both and compares after each.
pub(crate) async fn check(engine: &dyn Engine, ops: Vec<Op>) {
    let mut model = Model::default();
    let mut journal = engine.open();
    for (step, op) in ops.into_iter().enumerate() {
        let what = format!("after step {step}: {op:?}");
        if let Op::Reopen(close) = op {
            if close {
                journal.close().await.unwrap();
            }
            drop(journal);
            journal = engine.open();
            model.restart();
        } else {
            model.step(&journal, op, &what).await;
        }
        model.compare(&journal, &what).await;
    }
}

impl Model {
    async fn step(&mut self, journal: &Arc<dyn Journal>, op: Op, what: &str) {
        match op {
            Op::Append(batch) => {
                let mut arrivals = Vec::new();
                let mut expected = Vec::new();
                for (number, id, windowed) in batch {
                    let id = format!("event-{id}");
                    let mut arrival = arrival(&endpoint(number), &id, self.now);
                    arrival.window = windowed.then(|| Duration::from_secs(WINDOW as u64));
                    arrivals.push(arrival);
                    expected.push(self.append(number, id, windowed));
                }
                assert_eq!(journal.append(arrivals).await.unwrap(), expected, "{what}");
            }
            Op::Attach(number, to, now) => {
                let start = if now { Start::Now } else { Start::Earliest };
                let outcome = journal.attach(&consumer(number), &endpoint(to), start).await;
                match self.readers.get(&number) {
                    Some(reader) if reader.endpoint != to => {
                        assert!(matches!(outcome, Err(JournalError::EndpointChanged { .. })), "{what}");
                    }
                    Some(_) => outcome.unwrap(),
                    None => {
                        outcome.unwrap();
                        let kept = self.logs[to].events.keys().filter(|_| !now);
                        let states: BTreeMap<_, _> = kept.map(|sequence| (*sequence, State::Pending)).collect();
                        let start = states.keys().next().map_or(self.logs[to].head, |first| first - 1);
                        self.readers.insert(number, Reader { endpoint: to, start, states, delivered: 0 });
                    }
                }
            }
            Op::Detach(number) => {
                journal.detach(&consumer(number)).await.unwrap();
                self.readers.remove(&number);
            }
            Op::Claim(number, limit) | Op::ClaimInOrder(number, limit) => {
                let in_order = matches!(op, Op::ClaimInOrder(..));
                let (consumer, now) = (consumer(number), self.now);
                let outcome = match in_order {
                    true => journal.claim_in_order(&consumer, limit, at(now)).await,
                    false => journal.claim(&consumer, limit, at(now)).await,
                };
                let Some(reader) = self.readers.get_mut(&number) else {
                    assert!(matches!(outcome, Err(JournalError::UnknownConsumer(_))), "{what}");
                    return;
                };
                let claimed = outcome.unwrap();
                let got: Vec<_> = claimed.deliveries.iter().map(|d| (d.event.sequence, d.attempt)).collect();
                let (expected, next_due) = match in_order {
                    true => reader.claim_in_order(limit, now),
                    false => (reader.claim(limit, now), reader.next_due()),
                };
                assert_eq!(got, expected, "{what}");
                for delivery in &claimed.deliveries {
                    let id = &self.logs[reader.endpoint].events[&delivery.event.sequence].0;
                    assert_eq!(&*delivery.event.id, id, "{what}");
                }
                assert_eq!(claimed.next_due, next_due.map(at), "{what}");
            }
            Op::Settle(number, ends) => self.settle(journal, number, ends, what).await,
            Op::Advance(seconds) => self.now += seconds,
            Op::Sweep(events, letters) => {
                let span = |seconds: i64| Duration::from_secs(seconds as u64);
                let retention = Retention {
                    endpoints: events.iter().enumerate().map(|(n, s)| (endpoint(n), span(*s))).collect(),
                    consumers: letters.iter().enumerate().map(|(n, s)| (consumer(n), span(*s))).collect(),
                };
                let swept = journal.sweep(retention, at(self.now)).await.unwrap();
                assert_eq!(swept, self.sweep(events, letters), "{what}");
            }
            Op::Redeliver(number, pick, limit, dry_run) => {
                self.redeliver(journal, number, &pick, limit, dry_run, what).await;
            }
            Op::Reopen(_) => unreachable!(),
        }
    }

    fn append(&mut self, number: usize, id: String, windowed: bool) -> Appended {
        let log = &mut self.logs[number];
        match log.ids.get(&id) {
            Some((sequence, received, _)) if windowed && self.now < received + WINDOW => {
                return Appended::Duplicate(*sequence);
            }
            _ => {}
        }
        log.head += 1;
        let until = if windowed { self.now + WINDOW } else { self.now };
        log.ids.insert(id.clone(), (log.head, self.now, until));
        log.events.insert(log.head, (id, self.now));
        for reader in self.readers.values_mut().filter(|reader| reader.endpoint == number) {
            reader.states.insert(log.head, State::Pending);
        }
        Appended::Stored(log.head)
    }

    async fn settle(&mut self, journal: &Arc<dyn Journal>, number: usize, ends: Vec<(Index, End)>, what: &str) {
        let now = self.now;
        let Some(reader) = self.readers.get_mut(&number) else { return };
        // Mostly of what is in flight, but of anything.
        let flying = |(sequence, state): (&u64, &State)| matches!(state, State::InFlight(..)).then_some(*sequence);
        let mut candidates: Vec<u64> = reader.states.iter().filter_map(flying).collect();
        candidates.push(reader.states.keys().next().copied().unwrap_or(7));
        let mut settlements = Vec::new();
        let mut seen = Vec::new();
        for (index, end) in ends {
            let sequence = candidates[index.index(candidates.len())];
            let settlement = match end {
                End::Delivered => Settlement::Delivered,
                End::Skipped => Settlement::Skipped,
                End::Released => Settlement::Released,
                End::Retry(after) => retry(now + after),
                End::Dead => dead(now),
            };
            settlements.push((sequence, settlement));
            let Some(State::InFlight(attempt, due)) = reader.states.get(&sequence).copied() else { continue };
            if seen.contains(&sequence) {
                continue;
            }
            seen.push(sequence);
            let state = match end {
                End::Delivered => {
                    reader.delivered += 1;
                    State::Settled
                }
                End::Skipped => State::Settled,
                End::Released => due.map_or(State::Pending, |due| State::Retrying(attempt, due)),
                End::Retry(after) => State::Retrying(attempt + 1, now + after),
                End::Dead => State::Dead(attempt, now),
            };
            reader.states.insert(sequence, state);
        }
        journal.settle(&consumer(number), settlements).await.expect(what);
    }

    async fn redeliver(
        &mut self,
        journal: &Arc<dyn Journal>,
        number: usize,
        pick: &Pick,
        limit: usize,
        dry_run: bool,
        what: &str,
    ) {
        let ago = |seconds: &Option<i64>| seconds.map(|seconds| self.now - seconds);
        let id = |id: &u8| format!("event-{id}");
        let selection = match pick {
            Pick::DeadLettered => Selection::DeadLettered,
            Pick::Events(ids) => Selection::Events(ids.iter().map(|n| id(n).into()).collect()),
            Pick::Received(since, until) => {
                Selection::Received { since: ago(since).map(at), until: ago(until).map(at) }
            }
        };
        let mut step = Step { from: None, limit, dry_run, now: at(self.now) };
        let mut total = Redelivered::default();
        let outcome = loop {
            let done = match journal.redeliver(&consumer(number), &selection, step).await {
                Ok(done) => done,
                Err(error) => break Err(error),
            };
            assert!(done.queued <= limit as u64, "{what}");
            total.queued += done.queued;
            total.skipped += done.skipped;
            total.gone += done.gone;
            total.gone_ids.extend(done.gone_ids);
            total.gone_before = total.gone_before.or(done.gone_before);
            match done.next {
                Some(next) => step.from = Some(next),
                None => break Ok(()),
            }
        };
        let Some(reader) = self.readers.get_mut(&number) else {
            assert!(matches!(outcome, Err(JournalError::UnknownConsumer(_))), "{what}");
            return;
        };
        outcome.unwrap();
        let log = &self.logs[reader.endpoint];
        let now = self.now;
        let ago = |seconds: &Option<i64>| seconds.map(|seconds| now - seconds);
        let mut gone_ids: Vec<Box<str>> = Vec::new();
        let (mut selected, mut skipped): (Vec<u64>, u64) = (Vec::new(), 0);
        match pick {
            Pick::DeadLettered => {
                let dead = reader.states.iter().filter(|(_, state)| matches!(state, State::Dead(..)));
                selected.extend(dead.map(|(sequence, _)| *sequence));
            }
            Pick::Events(ids) => {
                for id in ids.iter().map(id) {
                    match log.ids.get(&id).map(|known| known.0).filter(|sequence| log.events.contains_key(sequence)) {
                        Some(sequence) if sequence > reader.start => selected.push(sequence),
                        Some(_) => skipped += 1,
                        None => gone_ids.push(id.into()),
                    }
                }
            }
            Pick::Received(since, until) => {
                let (since, until) = (ago(since), ago(until));
                let holds = |received: i64| since.is_none_or(|s| received >= s) && until.is_none_or(|u| received < u);
                let of = log.events.range(reader.start + 1..);
                selected.extend(of.filter(|(_, (_, received))| holds(*received)).map(|(sequence, _)| *sequence));
                // Not all of what is gone can be known, but nothing else is called gone.
                let of = log.removed.range(reader.start + 1..);
                let gone = of.filter(|(_, received)| holds(**received)).count() as u64;
                assert!(total.gone <= gone, "{what}: {total:?} of {gone}");
                assert!(total.gone == gone || until.is_some() || total.gone_before.is_some(), "{what}: {total:?}");
            }
        }
        let mut queued = 0;
        let mut seen = Vec::new();
        for sequence in selected {
            match reader.states.get(&sequence) {
                // A dry run queues nothing, so that an id that is given again in another step counts again.
                Some(State::Settled | State::Dead(..)) if !seen.contains(&sequence) => {
                    queued += 1;
                    seen.push(sequence);
                }
                _ => skipped += 1,
            }
        }
        if dry_run {
            assert_eq!(total.queued + total.skipped, queued + skipped, "{what}");
            assert!(total.queued >= queued, "{what}");
        } else {
            assert_eq!((total.queued, total.skipped), (queued, skipped), "{what}");
            reader.states.extend(seen.into_iter().map(|sequence| (sequence, State::Retrying(1, now))));
        }
        if matches!(pick, Pick::Events(_)) {
            assert_eq!((total.gone, total.gone_ids), (gone_ids.len() as u64, gone_ids), "{what}");
        }
    }

    fn sweep(&mut self, events: [i64; ENDPOINTS], letters: [i64; CONSUMERS]) -> Swept {
        let mut swept = Swept::default();
        for (number, reader) in &mut self.readers {
            for state in reader.states.values_mut() {
                if matches!(state, State::Dead(_, time) if *time + letters[*number] <= self.now) {
                    *state = State::Settled;
                    swept.dead_letters += 1;
                }
            }
        }
        for (number, log) in self.logs.iter_mut().enumerate() {
            let readers = || self.readers.values().filter(|reader| reader.endpoint == number);
            let settled = |s: &u64| readers().all(|r| r.states.get(s).is_none_or(|state| *state == State::Settled));
            let old = |received: i64| received + events[number] <= self.now;
            let gone = log.events.iter().filter(|(s, (_, received))| old(*received) && settled(s));
            let gone: Vec<u64> = gone.map(|(sequence, _)| *sequence).collect();
            for sequence in gone {
                if let Some((_, received)) = log.events.remove(&sequence) {
                    log.removed.insert(sequence, received);
                }
                swept.events += 1;
                for reader in self.readers.values_mut().filter(|reader| reader.endpoint == number) {
                    reader.states.remove(&sequence);
                }
            }
            let (now, events) = (self.now, &log.events);
            log.ids.retain(|_, (sequence, _, until)| events.contains_key(sequence) || *until > now);
        }
        swept
    }

    fn restart(&mut self) {
        for state in self.readers.values_mut().flat_map(|reader| reader.states.values_mut()) {
            if let State::InFlight(attempt, due) = *state {
                *state = due.map_or(State::Pending, |due| State::Retrying(attempt, due));
            }
        }
    }

    async fn compare(&self, journal: &Arc<dyn Journal>, what: &str) {
        let attached: Vec<_> = self.readers.iter().map(|(n, r)| (consumer(*n), endpoint(r.endpoint))).collect();
        assert_eq!(journal.consumers().await.unwrap(), attached, "{what}");
        for (number, log) in self.logs.iter().enumerate() {
            let query = EventQuery { limit: ALL, ..Default::default() };
            let events = journal.events(&endpoint(number), query).await.unwrap();
            let got = events.iter().map(|event| (event.sequence, event.id.to_string())).collect::<Vec<_>>();
            let kept = log.events.iter().map(|(sequence, (id, _))| (*sequence, id.clone()));
            assert_eq!(got, kept.collect::<Vec<_>>(), "{what}");
        }
        for number in 0..CONSUMERS {
            let progress = journal.progress(&consumer(number));
            assert_eq!(progress, self.readers.get(&number).map(Reader::progress), "{what}: consumer {number}");
            let Some(reader) = self.readers.get(&number) else { continue };
            let query = DeliveryQuery { state: None, after: 0, limit: ALL };
            let listed = journal.deliveries(&consumer(number), query).await.unwrap();
            let got: Vec<_> = listed.iter().map(|d| (d.event.sequence, d.state, d.attempts)).collect();
            assert_eq!(got, reader.listed(), "{what}: consumer {number}");
        }
    }
}

impl Reader {
    fn claim(&mut self, limit: usize, now: i64) -> Vec<(u64, u32)> {
        let due = |(sequence, state): (&u64, &State)| match state {
            State::Retrying(attempt, due) if *due <= now => Some((0, *due, *sequence, *attempt, Some(*due))),
            State::Pending => Some((1, 0, *sequence, 1, None)),
            _ => None,
        };
        let mut ready: Vec<_> = self.states.iter().filter_map(due).collect();
        ready.sort_unstable();
        ready.truncate(limit);
        for (_, _, sequence, attempt, due) in &ready {
            self.states.insert(*sequence, State::InFlight(*attempt, *due));
        }
        ready.into_iter().map(|(_, _, sequence, attempt, _)| (sequence, attempt)).collect()
    }

    fn claim_in_order(&mut self, limit: usize, now: i64) -> (Vec<(u64, u32)>, Option<i64>) {
        let mut claimed = Vec::new();
        if self.states.values().any(|state| matches!(state, State::InFlight(..))) {
            return (claimed, None);
        }
        for (sequence, state) in &mut self.states {
            let (attempt, due) = match *state {
                State::Pending => (1, None),
                State::Retrying(attempt, due) => (attempt, Some(due)),
                _ => continue,
            };
            if claimed.len() == limit {
                break;
            }
            if due.is_some_and(|due| due > now) {
                return (claimed, due);
            }
            *state = State::InFlight(attempt, due);
            claimed.push((*sequence, attempt));
        }
        (claimed, None)
    }

    fn next_due(&self) -> Option<i64> {
        let due = |state: &State| if let State::Retrying(_, due) = state { Some(*due) } else { None };
        self.states.values().filter_map(due).min()
    }

    fn progress(&self) -> Progress {
        let mut progress = Progress { delivered: self.delivered, ..Default::default() };
        for state in self.states.values() {
            match state {
                State::Pending => progress.pending += 1,
                State::InFlight(..) => progress.in_flight += 1,
                State::Retrying(1, _) => progress.pending += 1,
                State::Retrying(..) => progress.retrying += 1,
                State::Dead(..) => progress.dead += 1,
                State::Settled => {}
            }
        }
        progress
    }

    fn listed(&self) -> Vec<(u64, DeliveryState, u32)> {
        let listed = self.states.iter().map(|(sequence, state)| match state {
            State::Pending => (*sequence, DeliveryState::Pending, 0),
            State::InFlight(attempt, _) => (*sequence, DeliveryState::InFlight, attempt - 1),
            State::Retrying(1, _) => (*sequence, DeliveryState::Pending, 0),
            State::Retrying(attempt, _) => (*sequence, DeliveryState::Retrying, attempt - 1),
            State::Dead(attempts, _) => (*sequence, DeliveryState::DeadLettered, *attempts),
            State::Settled => (*sequence, DeliveryState::Settled, 0),
        });
        listed.collect()
    }
}
