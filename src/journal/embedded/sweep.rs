//! Removing what its retention has passed, or what must make room.
//!
//! What to remove is decided step by step away from the committer, from the cursors in memory and
//! the exceptions on disk. "Settled" is for ever, unless a consumer is attached or an event is queued
//! once more in between: then, and when somebody else removed events, the endpoint's epoch has changed,
//! and the committer drops the step. It is decided again.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use jiff::Timestamp;

use super::{
    Engine,
    commit::{Answer, Committer, Task, event_cost},
    compact,
    consumer::Consumer,
    endpoint::Endpoint,
    settle::exception,
    store::{Store, from_fjall},
};
use crate::{
    journal::{
        Result, Retention, Sequence, Swept,
        record::{self, ExceptionState, IndexRow, decode_u64, encode_u64, key},
    },
    rules::limits::{DEFAULT_DEAD_LETTER_RETENTION, DEFAULT_RETENTION, RECLAIM_STEPS, SWEEP_LOOKAHEAD, SWEEP_STEP},
};

/// Events that can go.
pub(super) struct RemovalPlan {
    endpoint: Arc<Endpoint>,
    epoch: u64,
    /// When it was decided: ids whose window is over by then are forgotten too.
    now: Timestamp,
    removals: Vec<Removal>,
    /// Settled, but too young.
    young: usize,
    /// Nothing at or after `from` lies below this sequence, once the removals are done.
    from: Sequence,
    first_kept: Sequence,
    /// Where the next step begins; `None` at the end of the log.
    next: Option<Sequence>,
}

struct Removal {
    sequence: Sequence,
    received: Timestamp,
    index_key: Bytes,
    cost: u64,
}

/// A removal to carry out; answers how many events went, `None` when it has to be decided again.
pub(super) struct Remove {
    pub(super) plan: RemovalPlan,
    pub(super) answer: Answer<Option<u64>>,
}

/// Dead letters to remove.
pub(super) struct Bury {
    consumer: Arc<Consumer>,
    dead: Vec<(Timestamp, Sequence)>,
    answer: Answer<u64>,
}

/// Ids to forget: key of the stub, key in the index, sequence.
pub(super) struct Forget {
    stubs: Vec<(Bytes, Bytes, Sequence)>,
    answer: Answer<()>,
}

/// Where the search for settled events that can go early stands.
#[derive(Default)]
pub(super) struct Reclaim {
    /// Per endpoint.
    searched: HashMap<u32, Searched>,
    /// Something may have become removable behind those positions.
    settled: bool,
}

/// How far an endpoint has been searched.
#[derive(Clone, Copy)]
struct Searched {
    /// Where to look on.
    next: Sequence,
    /// Nothing that can go from there on was received before; `None` if that is not known.
    not_before: Option<Timestamp>,
}

impl Reclaim {
    /// Something may be removable that was not before.
    pub(super) fn something_settled(&mut self) {
        self.settled = true;
    }
}

/// What a step is to remove.
#[derive(Clone, Copy)]
pub(super) enum Wanted {
    /// Settled events received until then.
    Until(Timestamp),
    /// Settled events of any age, the first ones that together have so many bytes. No more rows are read than these:
    /// bodies may be large.
    Bytes(u64),
}

/// Decides one step.
pub(super) fn plan(
    store: &Store,
    endpoint: &Arc<Endpoint>,
    from: Sequence,
    wanted: Wanted,
    now: Timestamp,
) -> Result<RemovalPlan> {
    let epoch = endpoint.epoch.load(Ordering::Acquire);
    let head = endpoint.head();
    let mut sequences = Vec::with_capacity(SWEEP_STEP);
    let range = key::event(endpoint.number, from)..=key::event(endpoint.number, head);
    if from <= head {
        for row in store.events.range(range).take(SWEEP_STEP) {
            sequences.push(key::event_sequence(&row.key().map_err(from_fjall)?)?);
        }
    }
    let mut plan = RemovalPlan {
        endpoint: endpoint.clone(),
        epoch,
        now,
        removals: Vec::new(),
        young: 0,
        from,
        first_kept: head + 1,
        next: None,
    };
    let (Some(&first), Some(&last)) = (sequences.first(), sequences.last()) else { return Ok(plan) };
    if sequences.len() == SWEEP_STEP {
        plan.next = Some(last + 1);
        plan.first_kept = last + 1;
    }
    // The cursors are read before the exceptions: what they call attempted has its row by now.
    let mut settled: HashSet<Sequence> = sequences.iter().copied().collect();
    for consumer in endpoint.consumers.read().iter() {
        let exceptions = {
            let state = consumer.state();
            settled.retain(|sequence| state.cursor.contains(*sequence));
            state.cursor.retrying + state.cursor.dead > 0
        };
        if exceptions && !settled.is_empty() {
            let range = key::exception(consumer.number, first)..=key::exception(consumer.number, last);
            for row in store.state.range(range) {
                settled.remove(&key::exception_sequence(&row.key().map_err(from_fjall)?)?);
            }
        }
    }
    if let Some(kept) = sequences.iter().find(|sequence| !settled.contains(sequence)) {
        plan.first_kept = plan.first_kept.min(*kept);
    }
    if settled.is_empty() {
        return Ok(plan);
    }
    let mut bytes = 0;
    let range = key::event(endpoint.number, first)..=key::event(endpoint.number, last);
    for row in store.events.range(range) {
        let is_settled = |key: &fjall::UserKey| key::event_sequence(key).is_ok_and(|s| settled.contains(&s));
        let (key, Some(row)) = row.into_inner_if(is_settled).map_err(from_fjall)? else { continue };
        let row = Bytes::from(row);
        let (sequence, len) = (key::event_sequence(&key)?, row.len());
        let event = record::decode_event(sequence, row)?;
        if matches!(wanted, Wanted::Until(cutoff) if event.received > cutoff) {
            plan.young += 1;
            plan.first_kept = plan.first_kept.min(sequence);
            continue;
        }
        let index_key = key::index(endpoint.number, &event.id);
        let cost = event_cost(len, index_key.len());
        plan.removals.push(Removal { sequence, received: event.received, index_key, cost });
        bytes += cost;
        if matches!(wanted, Wanted::Bytes(wanted) if bytes >= wanted) {
            plan.next = Some(sequence + 1);
            plan.first_kept = plan.first_kept.min(sequence + 1);
            break;
        }
    }
    Ok(plan)
}

impl Committer {
    /// Carries a plan out; `None` if it no longer holds.
    pub(super) fn remove(&mut self, plan: &RemovalPlan) -> Result<Option<u64>> {
        let endpoint = &plan.endpoint;
        if endpoint.epoch.load(Ordering::Acquire) != plan.epoch {
            return Ok(None);
        }
        let mut row = endpoint.row.lock().clone();
        let mut bytes = 0;
        self.write(|store| {
            let mut batch = store.batch(3 * plan.removals.len() + 1);
            for removal in &plan.removals {
                batch.remove(&store.events, key::event(endpoint.number, removal.sequence));
                bytes += removal.cost;
                let index = Store::get(&store.index, &removal.index_key)?.map(IndexRow::decode).transpose()?;
                // The id may belong to a later event by now.
                let Some(index) = index.filter(|index| index.sequence == removal.sequence) else { continue };
                if index.keep_until > plan.now {
                    let stub = key::stub(index.keep_until, &removal.index_key);
                    batch.insert(&store.state, stub, encode_u64(removal.sequence));
                } else {
                    batch.remove(&store.index, removal.index_key.clone());
                }
            }
            row.count = row.count.saturating_sub(plan.removals.len() as u64);
            row.bytes = row.bytes.saturating_sub(bytes);
            if plan.from <= row.oldest {
                row.oldest = row.oldest.max(plan.first_kept);
            }
            batch.insert(&store.state, key::numbered(key::ENDPOINTS, endpoint.number), row.encode());
            store.commit_lazily(batch)
        })?;
        *endpoint.row.lock() = row;
        endpoint.epoch.fetch_add(1, Ordering::AcqRel);
        let live = &self.engine.live_bytes;
        live.store(live.load(Ordering::Acquire).saturating_sub(bytes), Ordering::Release);
        self.engine.garbage.removed(bytes);
        Ok(Some(plan.removals.len() as u64))
    }

    pub(super) fn bury(&mut self, bury: Bury) {
        let consumer = &bury.consumer;
        let mut cursor = consumer.state().cursor.clone();
        let mut buried = 0;
        let outcome = self.write(|store| {
            if consumer.state().detached {
                return Ok(());
            }
            let mut batch = store.batch(2 * bury.dead.len() + 1);
            for (time, sequence) in &bury.dead {
                let dead = exception(store, consumer.number, *sequence)?;
                // It may have been queued once more since, and even have died anew.
                if dead.is_some_and(|row| row.state == ExceptionState::Dead && row.due == *time) {
                    batch.remove(&store.state, key::exception(consumer.number, *sequence));
                    buried += 1;
                }
                batch.remove(&store.state, key::timed(key::DEATHS, consumer.number, *time, *sequence));
            }
            cursor.dead = cursor.dead.saturating_sub(buried);
            let row = cursor.to_row(&consumer.key.namespace, &consumer.key.name, consumer.endpoint.number);
            batch.insert(&store.state, key::numbered(key::CONSUMERS, consumer.number), row.encode());
            store.commit_lazily(batch)
        });
        if outcome.is_ok() {
            consumer.state().cursor = cursor;
            self.reclaim.something_settled();
        }
        let _ = bury.answer.send(outcome.map(|()| buried));
    }

    pub(super) fn forget(&mut self, forget: Forget) {
        let outcome = self.write(|store| {
            let mut batch = store.batch(2 * forget.stubs.len());
            for (stub, index_key, sequence) in forget.stubs {
                let index = Store::get(&store.index, &index_key)?.map(IndexRow::decode).transpose()?;
                if index.is_some_and(|index| index.sequence == sequence) {
                    batch.remove(&store.index, index_key);
                }
                batch.remove(&store.state, stub);
            }
            store.commit_lazily(batch)
        });
        let _ = forget.answer.send(outcome);
    }

    /// Removes settled events of any age until that many bytes are free, nothing is left to remove, or so much has been
    /// looked at that others must have their turn. The oldest go first, but for those that were settled behind what has
    /// been searched already: they come when the search has reached the end and begins anew.
    pub(super) fn reclaim_settled(&mut self, wanted: u64, now: Timestamp) -> Result<()> {
        let endpoints: Vec<_> = self.engine.endpoints.read().all();
        let mut freed = 0;
        for _ in 0..RECLAIM_STEPS {
            let Some(plan) = self.oldest_removable(&endpoints, wanted.saturating_sub(freed), now)? else {
                let unfinished = |endpoint: &Arc<Endpoint>| {
                    self.reclaim.searched.get(&endpoint.number).is_some_and(|searched| searched.next <= endpoint.head())
                };
                if endpoints.iter().any(unfinished) {
                    continue;
                }
                if std::mem::take(&mut self.reclaim.settled) {
                    self.reclaim.searched.clear();
                    continue;
                }
                return Ok(());
            };
            freed += plan.removals.iter().map(|removal| removal.cost).sum::<u64>();
            if self.remove(&plan)?.is_some() {
                let next = plan.next.unwrap_or(plan.endpoint.head() + 1);
                let not_before = plan.removals.last().map(|removal| removal.received);
                self.reclaim.searched.insert(plan.endpoint.number, Searched { next, not_before });
            }
            if freed >= wanted {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Looks one step further in every endpoint whose next removable event may be the oldest of all.
    fn oldest_removable(
        &mut self,
        endpoints: &[Arc<Endpoint>],
        wanted: u64,
        now: Timestamp,
    ) -> Result<Option<RemovalPlan>> {
        let mut candidates = Vec::with_capacity(endpoints.len());
        for endpoint in endpoints {
            let begin = || Searched { next: endpoint.row.lock().oldest, not_before: None };
            let searched = *self.reclaim.searched.entry(endpoint.number).or_insert_with(begin);
            if searched.next <= endpoint.head() {
                candidates.push((searched.not_before, searched.next, endpoint));
            }
        }
        // Those of which nothing is known come first, the others by the time that they may begin with.
        candidates.sort_unstable_by_key(|(not_before, ..)| *not_before);
        let mut oldest: Option<(Timestamp, RemovalPlan)> = None;
        for (not_before, next, endpoint) in candidates {
            if let (Some(not_before), Some((received, _))) = (not_before, &oldest)
                && not_before >= *received
            {
                break;
            }
            let plan = self.engine.read(|store| plan(store, endpoint, next, Wanted::Bytes(wanted), now))?;
            let first = plan.removals.first().map(|removal| removal.received);
            let next = if first.is_some() { plan.from } else { plan.next.unwrap_or(endpoint.head() + 1) };
            self.reclaim.searched.insert(endpoint.number, Searched { next, not_before: first });
            if let Some(first) = first
                && oldest.as_ref().is_none_or(|(received, _)| first < *received)
            {
                oldest = Some((first, plan));
            }
        }
        Ok(oldest.map(|(_, plan)| plan))
    }
}

/// One sweep over everything.
pub(super) async fn sweep(engine: &Arc<Engine>, retention: Retention, now: Timestamp) -> Result<Swept> {
    let _turn = engine.sweeping.lock().await;
    let mut swept = Swept::default();
    let kept_letters: HashMap<_, _> = retention.consumers.into_iter().collect();
    let consumers: Vec<_> = engine.consumers.read().values().cloned().collect();
    for consumer in consumers {
        let kept = kept_letters.get(&consumer.key).copied().unwrap_or(DEFAULT_DEAD_LETTER_RETENTION);
        swept.dead_letters += sweep_dead(engine, &consumer, before(now, kept)).await?;
    }
    let kept_events: HashMap<_, _> = retention.endpoints.into_iter().collect();
    let endpoints = engine.endpoints.read().all();
    for endpoint in endpoints {
        let kept = kept_events.get(&endpoint.key).copied().unwrap_or(DEFAULT_RETENTION);
        swept.events += sweep_events(engine, &endpoint, before(now, kept), now).await?;
    }
    sweep_stubs(engine, now).await?;
    compact::tidy(engine).await?;
    Ok(swept)
}

async fn sweep_events(
    engine: &Arc<Engine>,
    endpoint: &Arc<Endpoint>,
    cutoff: Timestamp,
    now: Timestamp,
) -> Result<u64> {
    let mut from = endpoint.row.lock().oldest;
    let (mut events, mut young) = (0, 0);
    loop {
        let of = endpoint.clone();
        let plan = engine.blocking(move |store| plan(store, &of, from, Wanted::Until(cutoff), now)).await?;
        young = if plan.removals.is_empty() { young + plan.young } else { 0 };
        let next = plan.next;
        let advances = plan.from <= endpoint.row.lock().oldest && plan.first_kept > endpoint.row.lock().oldest;
        if !plan.removals.is_empty() || advances {
            match engine.ask(|answer| Task::Remove(Remove { plan, answer })).await? {
                Some(removed) => events += removed,
                None => continue,
            }
        }
        match next {
            Some(next) if young < SWEEP_LOOKAHEAD => from = next,
            _ => return Ok(events),
        }
    }
}

async fn sweep_dead(engine: &Arc<Engine>, consumer: &Arc<Consumer>, cutoff: Timestamp) -> Result<u64> {
    let mut buried = 0;
    if consumer.state().cursor.dead == 0 {
        return Ok(0);
    }
    loop {
        let number = consumer.number;
        let dead = engine
            .blocking(move |store| {
                let first = key::timed(key::DEATHS, number, Timestamp::MIN, 0);
                let last = key::timed(key::DEATHS, number, cutoff, Sequence::MAX);
                let rows = store.state.range(first..=last).take(SWEEP_STEP);
                rows.map(|row| Ok(key::timed_parts(&row.key().map_err(from_fjall)?)?)).collect::<Result<Vec<_>>>()
            })
            .await?;
        let last = dead.len() < SWEEP_STEP;
        if !dead.is_empty() {
            let consumer = consumer.clone();
            buried += engine.ask(|answer| Task::Bury(Bury { consumer, dead, answer })).await?;
        }
        if last || consumer.state().detached {
            return Ok(buried);
        }
    }
}

async fn sweep_stubs(engine: &Arc<Engine>, now: Timestamp) -> Result<()> {
    loop {
        let stubs = engine
            .blocking(move |store| {
                let mut stubs = Vec::new();
                for row in store.state.range(vec![key::STUBS]..=key::stub(now, &[0xff; 5]).to_vec()).take(SWEEP_STEP) {
                    let (stub, sequence) = row.into_inner().map_err(from_fjall)?;
                    let stub = Bytes::from(stub);
                    let (_, index_key) = key::stub_parts(&stub)?;
                    stubs.push((stub, index_key, decode_u64(sequence.into())?));
                }
                Ok(stubs)
            })
            .await?;
        if stubs.is_empty() {
            return Ok(());
        }
        engine.ask(|answer| Task::Forget(Forget { stubs, answer })).await?;
    }
}

/// `time - span`, at least the beginning of time.
fn before(time: Timestamp, span: Duration) -> Timestamp {
    time.checked_sub(span).unwrap_or(Timestamp::MIN)
}
