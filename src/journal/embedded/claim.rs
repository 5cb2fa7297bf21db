//! Taking deliveries.

use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;

use super::{
    Engine,
    commit::Task,
    consumer::{Consumer, Taken},
    due::{DueKey, Horizon},
    settle::{End, Settle},
    store::{Store, from_fjall},
};
use crate::{
    journal::{
        Claimed, Delivery, Result, Sequence,
        record::{self, decode_u32, key},
    },
    rules::limits::{CLAIM_BYTES, DUE_WINDOW},
};

/// What has been taken goes back when the claim fails or its future is dropped.
pub(super) struct TakenGuard<'a> {
    pub(super) consumer: &'a Consumer,
    pub(super) taken: Vec<Taken>,
}

impl Drop for TakenGuard<'_> {
    fn drop(&mut self) {
        if !self.taken.is_empty() {
            self.consumer.give_back(self.taken.iter().map(|taken| taken.sequence));
        }
    }
}

/// Claims at most `limit` deliveries.
pub(super) async fn claim(
    engine: &Arc<Engine>,
    consumer: &Arc<Consumer>,
    limit: usize,
    now: Timestamp,
) -> Result<Claimed> {
    let _turn = consumer.claiming.lock().await;
    consumer.state().begin_claim();
    let mut claimed = Claimed::default();
    match fill(engine, consumer, limit, now, &mut claimed).await {
        Ok(()) => Ok(claimed),
        Err(error) if claimed.deliveries.is_empty() => Err(error),
        Err(_) => {
            // What is in hand is delivered; the next claim, at once, hears of the trouble if it lasts.
            claimed.next_due = Some(now);
            Ok(claimed)
        }
    }
}

async fn fill(
    engine: &Arc<Engine>,
    consumer: &Arc<Consumer>,
    limit: usize,
    now: Timestamp,
    claimed: &mut Claimed,
) -> Result<()> {
    // More than one turn only when what was taken turns out not to exist any more.
    while claimed.deliveries.len() < limit {
        let room = limit - claimed.deliveries.len();
        let mut guard = TakenGuard { consumer, taken: Vec::new() };
        loop {
            consumer.state().take_due(&mut guard.taken, room, now);
            if guard.taken.len() == room || !refill(engine, consumer).await? {
                break;
            }
        }
        consumer.state().take_new(&mut guard.taken, room, consumer.endpoint.head());
        if guard.taken.is_empty() {
            break;
        }
        if load(engine, consumer, &mut guard, &mut claimed.deliveries).await? == Load::Full {
            break;
        }
    }
    // Known exactly, also when the window was just used up.
    refill(engine, consumer).await?;
    claimed.next_due = consumer.state().due.next_due();
    Ok(())
}

/// Reads the next part of the due-time order when the window is used up; false if there is none.
async fn refill(engine: &Arc<Engine>, consumer: &Arc<Consumer>) -> Result<bool> {
    let horizon = {
        let mut state = consumer.state();
        if !state.due.is_exhausted() || state.waiting_retries() == 0 {
            return Ok(false);
        }
        state.due.begin_scan()
    };
    let number = consumer.number;
    // Dropping the future in mid-scan leaves the notes of this scan; the next one starts new ones.
    let rows = engine
        .blocking(move |store| {
            let after: DueKey = match horizon {
                Horizon::UpTo(key) => key,
                Horizon::Nothing | Horizon::All => (Timestamp::MIN, 0),
            };
            let first = key::timed(key::DUE, number, after.0, after.1.saturating_add(1)).to_vec();
            let last = key::timed(key::DUE, number, Timestamp::MAX, Sequence::MAX).to_vec();
            let mut rows = Vec::with_capacity(DUE_WINDOW);
            for row in store.state.range(first..=last).take(DUE_WINDOW) {
                let (key, attempt) = row.into_inner().map_err(from_fjall)?;
                rows.push((key::timed_parts(&key)?, decode_u32(attempt.into())?));
            }
            Ok(rows)
        })
        .await;
    let mut state = consumer.state();
    match rows {
        Ok(mut rows) => {
            let complete = rows.len() < DUE_WINDOW;
            let horizon = rows.last().map(|(key, _)| *key);
            // After a reopening of the files a retry under way may lie beyond the horizon.
            rows.retain(|((_, sequence), _)| !state.flights.contains_key(sequence));
            state.due.end_scan(rows, horizon, complete);
            Ok(true)
        }
        Err(error) => {
            state.due.abandon_scan();
            Err(error)
        }
    }
}

/// Whether everything that was taken has been loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Load {
    All,
    /// There was no room for the rest within [`CLAIM_BYTES`]; it is still taken.
    Full,
}

/// Turns what has been taken into deliveries, in order and while there is room: from memory if it is recent, from disk
/// otherwise.
pub(super) async fn load(
    engine: &Arc<Engine>,
    consumer: &Arc<Consumer>,
    guard: &mut TakenGuard<'_>,
    deliveries: &mut Vec<Delivery>,
) -> Result<Load> {
    let endpoint = &consumer.endpoint;
    // Memory may still hold what had been swept before this consumer came.
    let from_memory = consumer.state().cursor.missing == 0;
    let recent = |taken: &Taken| (taken.sequence, endpoint.recent(taken.sequence).filter(|_| from_memory));
    let wanted: Vec<_> = guard.taken.iter().map(recent).collect();
    let held: Vec<usize> = deliveries.iter().map(|delivery| delivery.event.body.len()).collect();
    let rows = if wanted.iter().all(|(_, row)| row.is_some()) {
        within_room(&held, wanted, |_| Ok(None))?
    } else {
        let number = endpoint.number;
        let from_disk = move |store: &Store| {
            within_room(&held, wanted, |sequence| Store::get(&store.events, key::event(number, sequence)))
        };
        engine.blocking(from_disk).await?
    };
    let mut gone = Vec::new();
    let mut found = Vec::with_capacity(rows.len());
    for (taken, row) in guard.taken.iter().zip(&rows) {
        match row {
            Some(row) => {
                let event = Arc::new(record::decode_event(taken.sequence, row.clone())?);
                found.push(Delivery { event, attempt: taken.flight.attempt });
            }
            None => gone.push(*taken),
        }
    }
    if !gone.is_empty() {
        skip(engine, consumer, &gone).await?;
    }
    guard.taken.drain(..rows.len());
    deliveries.extend(found);
    Ok(if guard.taken.is_empty() { Load::All } else { Load::Full })
}

/// The rows of the first of these, `None` for those that `read` does not find: as many as fit beside what is `held`, and
/// at least one if nothing is.
fn within_room(
    held: &[usize],
    wanted: Vec<(Sequence, Option<Bytes>)>,
    read: impl Fn(Sequence) -> Result<Option<Bytes>>,
) -> Result<Vec<Option<Bytes>>> {
    let (mut bytes, mut any) = (held.iter().sum::<usize>(), !held.is_empty());
    let mut rows = Vec::with_capacity(wanted.len());
    for (sequence, row) in wanted {
        let row = match row {
            Some(row) => Some(row),
            None => read(sequence)?,
        };
        bytes += row.as_ref().map_or(0, Bytes::len);
        if any && bytes > CLAIM_BYTES {
            break;
        }
        any |= row.is_some();
        rows.push(row);
    }
    Ok(rows)
}

/// Settles what had been removed before the consumer came, and all that is missing right after it.
async fn skip(engine: &Arc<Engine>, consumer: &Arc<Consumer>, gone: &[Taken]) -> Result<()> {
    let expected = consumer.state().cursor.missing;
    if (gone.len() as u64) > expected || gone.iter().any(|taken| taken.flight.due.is_some()) {
        // Nothing removes an event that is not settled: if it happened, say so, and go on with the rest.
        tracing::error!(consumer = %consumer.key, sequences = ?gone.iter().map(|t| t.sequence).collect::<Vec<_>>(),
            "events that were not settled are missing from the journal");
    }
    let mut gap = None;
    if let Some(last) = gone.iter().filter(|taken| taken.flight.due.is_none()).map(|taken| taken.sequence).max() {
        let endpoint = consumer.endpoint.clone();
        let head = endpoint.head();
        let next = engine.blocking(move |store| super::membership::oldest(store, &endpoint, last + 1)).await?;
        let end = next.unwrap_or(head + 1).min(head + 1);
        if end > last + 1 {
            gap = Some((last + 1, end - 1));
        }
    }
    let consumer = consumer.clone();
    let ends = gone.iter().map(|taken| (taken.sequence, End::Gone)).collect();
    engine.ask(|answer| Task::Settle(Settle { consumer, ends, gap, answer })).await
}
