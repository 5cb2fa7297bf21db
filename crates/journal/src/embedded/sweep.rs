//! Retention, and which events may be removed.
//!
//! Removable events are determined outside the writer, from the cursors in memory and the positions in the index; no
//! event is read. "Settled" is final unless a consumer is attached or an event is redelivered in between. In these
//! cases, and when events were removed otherwise, the endpoint's epoch has changed, and the writer drops the plan. It
//! is then made again.

use std::{collections::HashMap, sync::Arc, time::Duration};

use jiff::Timestamp;

use super::{
    Engine,
    consumer::Consumer,
    endpoint::{Endpoint, Span},
    keeper_inbox::Work,
    segments::Segment,
    task::{Removal, Task},
};
use crate::{
    Result, Retention, Sequence, Swept,
    limits::{DEFAULT_DEAD_LETTER_RETENTION, DEFAULT_RETENTION, SWEEP_STEP},
    machine::{Micros, RangeSet},
};

/// Which events a plan removes.
#[derive(Debug, Clone, Copy)]
pub(super) enum Wanted {
    /// Settled events received until then.
    Until(Micros),
    /// Settled events of any age: the first that together have this many bytes.
    Bytes(u64),
}

/// Plans the removal of events of one incarnation of an endpoint in one segment; `None` if none can be removed.
pub(super) fn plan(
    engine: &Engine,
    endpoint: &Arc<Endpoint>,
    segment: &Arc<Segment>,
    span: Span,
    wanted: Wanted,
) -> Result<Option<Removal>> {
    let Some(part) = segment.part(endpoint.number) else { return Ok(None) };
    let epoch = endpoint.epoch();
    let (first, last) = (part.first.max(span.first), part.last.min(span.last));
    if first > last || matches!(wanted, Wanted::Until(cutoff) if part.oldest > cutoff) {
        return Ok(None);
    }
    let kept = endpoint.state.lock().removed.outside(first, last);
    if kept.is_empty() {
        return Ok(None);
    }
    let mut pinned = RangeSet::default();
    for consumer in endpoint.consumers.read().iter() {
        for range in consumer.state().pinned(first, last) {
            pinned.insert(*range.start(), *range.end());
        }
    }
    let free: Vec<_> = kept.iter().flat_map(|range| pinned.outside(*range.start(), *range.end())).collect();
    let whole = free.len() == 1 && free.first() == Some(&(part.first..=part.last));
    let enough = match wanted {
        Wanted::Until(cutoff) => part.newest <= cutoff,
        Wanted::Bytes(bytes) => part.bytes <= bytes,
    };
    let removal = |ranges, events, bytes| {
        let freed = vec![(Arc::clone(segment), events, bytes)];
        Some(Removal { endpoint: Arc::clone(endpoint), epoch, ranges, freed })
    };
    if whole && enough {
        return Ok(removal(vec![(part.first, part.last)], part.count, part.bytes));
    }
    let (mut ranges, mut events, mut bytes): (Vec<(Sequence, Sequence)>, u64, u64) = (Vec::new(), 0, 0);
    'free: for range in free {
        let (mut from, last) = range.into_inner();
        let mut next = from;
        loop {
            let positions = engine.positions(endpoint, next, last, SWEEP_STEP)?;
            let Some((_, end)) = positions.last() else { break };
            next = end.sequence + 1;
            let more = positions.len() == SWEEP_STEP;
            for (_, position) in positions {
                match wanted {
                    Wanted::Until(cutoff) if position.received > cutoff => {
                        from = position.sequence + 1;
                        continue;
                    }
                    Wanted::Bytes(most) if bytes >= most => break 'free,
                    _ => {}
                }
                // A gap between this range and the last has no events, so the ranges are merged.
                match ranges.last_mut() {
                    Some((_, before)) if *before + 1 == from => *before = position.sequence,
                    _ => ranges.push((from, position.sequence)),
                }
                from = position.sequence + 1;
                events += 1;
                bytes += u64::from(position.len);
            }
            if !more {
                break;
            }
        }
    }
    Ok(if ranges.is_empty() { None } else { removal(ranges, events, bytes) })
}

/// Plans the removal of an endpoint's events in one segment, for the oldest incarnation with removable events.
pub(super) fn plan_any(
    engine: &Engine,
    endpoint: &Arc<Endpoint>,
    segment: &Arc<Segment>,
    bytes: u64,
) -> Result<Option<Removal>> {
    for span in endpoint.spans() {
        if let Some(removal) = plan(engine, endpoint, segment, span, Wanted::Bytes(bytes))? {
            return Ok(Some(removal));
        }
    }
    Ok(None)
}

/// Sweeps all endpoints and consumers.
pub(super) async fn sweep(engine: &Arc<Engine>, retention: Retention, now: Timestamp) -> Result<Swept> {
    let _turn = engine.sweeping.lock().await;
    let now = Micros::floor(now);
    let mut swept = Swept::default();
    let kept: HashMap<_, _> = retention.consumers.into_iter().collect();
    let consumers = engine.consumers.read().all();
    for consumer in consumers {
        let kept = kept.get(&consumer.object.key).copied().unwrap_or(DEFAULT_DEAD_LETTER_RETENTION);
        swept.dead_letters += purge(engine, &consumer, now.before(kept)).await?;
    }
    let listed = retention.endpoints.into_iter().map(|(object, kept)| (object.key, (object.uid, kept)));
    let kept: HashMap<_, _> = listed.collect();
    let mut endpoints = engine.endpoints.read().all();
    // Several at once on a thread that may block: one by one would change threads too often.
    while !endpoints.is_empty() {
        let mut step = Vec::with_capacity(SWEEP_STEP);
        for endpoint in endpoints.drain(..endpoints.len().min(SWEEP_STEP)) {
            let listed = kept.get(&endpoint.key);
            apply_listed(engine, &endpoint, listed, now).await?;
            step.push((endpoint, now));
        }
        swept.events += sweep_events(engine, step).await?;
    }
    engine.keeper.set_time(now);
    engine.keeper.send(Work::Tidy);
    Ok(swept)
}

/// Applies the configuration to an endpoint: the uid and retention of its object, or that it has no object.
async fn apply_listed(
    engine: &Arc<Engine>,
    endpoint: &Arc<Endpoint>,
    listed: Option<&(Arc<str>, Duration)>,
    now: Micros,
) -> Result<()> {
    let Some((uid, retention)) = listed else {
        if endpoint.is_forgettable(now) {
            engine.inbox.offer(Task::Forget { endpoint: Arc::clone(endpoint), now });
        }
        return Ok(());
    };
    let known = {
        let mut state = endpoint.state.lock();
        if *state.uid != **uid {
            // A late request of an earlier object may have arrived after those of this one, which does not make this
            // one earlier.
            for former in state.former.iter_mut().filter(|former| *former.uid == **uid) {
                former.uid = "".into();
            }
            return Ok(());
        }
        state.retention
    };
    if known != Some(*retention) {
        let (endpoint, retention) = (Arc::clone(endpoint), *retention);
        engine.ask(|answer| Task::Retention { endpoint, retention, answer }).await?;
    }
    Ok(())
}

async fn sweep_events(engine: &Arc<Engine>, mut left: Vec<(Arc<Endpoint>, Micros)>) -> Result<u64> {
    let mut removed = 0;
    while !left.is_empty() {
        let step = std::mem::take(&mut left);
        let plans = engine
            .blocking(move |engine| {
                let mut plans = Vec::new();
                let segments = engine.segments.all();
                for (endpoint, now) in step {
                    let nothing = {
                        let state = endpoint.state.lock();
                        state.own.events + state.earlier.events == 0 && state.damaged.iter().len() == 0
                    };
                    if !nothing && let Some(removal) = plan_expired(engine, &endpoint, &segments, now)? {
                        plans.push((removal, now));
                    }
                }
                Ok(plans)
            })
            .await?;
        for (removal, now) in plans {
            // The next segment may have more, or the plan has to be made again.
            left.push((Arc::clone(&removal.endpoint), now));
            removed += engine.ask(|answer| Task::Remove { removal, answer }).await?.unwrap_or(0);
        }
    }
    Ok(removed)
}

/// Plans the removal of an endpoint's expired events, in the first segment that has some.
fn plan_expired(
    engine: &Engine,
    endpoint: &Arc<Endpoint>,
    segments: &[Arc<Segment>],
    now: Micros,
) -> Result<Option<Removal>> {
    for span in endpoint.spans() {
        let cutoff = now.before(span.retention.unwrap_or(DEFAULT_RETENTION));
        for segment in segments {
            if let Some(removal) = plan(engine, endpoint, segment, span, Wanted::Until(cutoff))? {
                return Ok(Some(removal));
            }
        }
    }
    Ok(plan_damaged(endpoint))
}

/// Plans the removal of damaged events that are older than every kept event. Their time of receipt is unknown.
fn plan_damaged(endpoint: &Arc<Endpoint>) -> Option<Removal> {
    let epoch = endpoint.epoch();
    let head = endpoint.head();
    let ranges: Vec<_> = {
        let state = endpoint.state.lock();
        let (_, last) = state.damaged.iter().last()?;
        let kept = state.removed.outside(0, head).into_iter().flat_map(|range| {
            let (first, last) = range.into_inner();
            state.damaged.outside(first, last)
        });
        let oldest = kept.map(|range| *range.start()).min().unwrap_or(Sequence::MAX);
        state.damaged.within(0, last.min(oldest.saturating_sub(1))).map(std::ops::RangeInclusive::into_inner).collect()
    };
    let (Some((first, _)), Some((_, last))) = (ranges.first(), ranges.last()) else { return None };
    let consumers = endpoint.consumers.read();
    let is_pinned = consumers.iter().any(|consumer| !consumer.state().pinned(*first, *last).is_empty());
    drop(consumers);
    (!is_pinned).then(|| Removal { endpoint: Arc::clone(endpoint), epoch, ranges, freed: Vec::new() })
}

async fn purge(engine: &Arc<Engine>, consumer: &Arc<Consumer>, cutoff: Micros) -> Result<u64> {
    let mut purged = 0;
    loop {
        let dead = consumer.state().died_by(cutoff, SWEEP_STEP);
        if dead.is_empty() || consumer.state().is_detached() {
            return Ok(purged);
        }
        let consumer = Arc::clone(consumer);
        purged += engine.ask(|answer| Task::Purge { consumer, dead, answer }).await?;
    }
}
