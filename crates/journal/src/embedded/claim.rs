//! Claiming and settling deliveries.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;

use super::{
    Engine,
    consumer::Consumer,
    entry,
    task::{Settle, Task},
};
use crate::{
    Claim, Claimed, Delivery, Failure, JournalError, Result, Sequence, Settlement, StoredEvent,
    delivery::DAMAGED,
    limits::{CLAIM_BYTES, ORDERED_CLAIM},
    machine::{End, Ended, Micros, Taken},
    record,
};

/// Releases taken deliveries when the claim fails or its future is dropped.
struct TakenGuard<'a> {
    consumer: &'a Consumer,
    taken: Vec<Taken>,
}

impl Drop for TakenGuard<'_> {
    fn drop(&mut self) {
        if !self.taken.is_empty() {
            self.consumer.give_back(self.taken.iter().map(|taken| taken.sequence));
        }
    }
}

/// Claims deliveries: see [`Journal::claim`](crate::Journal::claim).
pub(super) async fn claim(engine: &Arc<Engine>, consumer: &Arc<Consumer>, claim: Claim) -> Result<Claimed> {
    let _turn = consumer.claiming.lock().await;
    consumer.state().begin_claim();
    let mut claimed = Claimed::default();
    match fill(engine, consumer, claim, &mut claimed).await {
        Ok(()) => Ok(claimed),
        Err(error) if claimed.deliveries.is_empty() => Err(error),
        Err(_) => {
            // The loaded deliveries are in flight and must be returned; the next claim, at once, meets the error again
            // if it persists.
            claimed.next_due = Some(claim.now);
            Ok(claimed)
        }
    }
}

async fn fill(engine: &Arc<Engine>, consumer: &Arc<Consumer>, claim: Claim, claimed: &mut Claimed) -> Result<()> {
    let (now, horizon) = (Micros::floor(claim.now), Micros::ceil(claim.now).after(claim.longest_delay));
    let limit = if claim.in_order { claim.limit.min(ORDERED_CLAIM) } else { claim.limit };
    let endpoint = &consumer.endpoint;
    let upcoming = |position: Sequence| endpoint.upcoming(position);
    // Repeats only when none of the taken events can be read.
    loop {
        let held = claimed.deliveries.len();
        let mut guard = TakenGuard { consumer, taken: Vec::new() };
        {
            let mut state = consumer.state();
            let room = limit.saturating_sub(held);
            if claim.in_order {
                if state.waits_in_order(held) {
                    return Ok(());
                }
                let stopped = state.take_in_order(&mut guard.taken, room, now, horizon, endpoint.head(), &upcoming);
                claimed.next_due = stopped.map(Micros::timestamp);
            } else {
                state.take_due(&mut guard.taken, room, now, horizon);
                state.take_new(&mut guard.taken, room, endpoint.head(), &upcoming);
            }
        }
        if guard.taken.is_empty() {
            break;
        }
        let complete = load(engine, consumer, &mut guard, claim.now, claimed).await?;
        if !complete || claimed.deliveries.len() > held {
            break;
        }
    }
    if !claim.in_order {
        claimed.next_due = consumer.state().next_due().map(Micros::timestamp);
    }
    Ok(())
}

/// Converts taken events into deliveries, in order and while there is room: from memory if recent, otherwise from disk.
/// Unreadable events become dead letters. Returns false when there was no room for the rest, which is released.
async fn load(
    engine: &Arc<Engine>,
    consumer: &Arc<Consumer>,
    guard: &mut TakenGuard<'_>,
    now: Timestamp,
    claimed: &mut Claimed,
) -> Result<bool> {
    let mut lost = Vec::new();
    let recent = recent(consumer, &guard.taken);
    let mut complete = take_over(guard, claimed, recent, &mut lost);
    if complete && !guard.taken.is_empty() {
        let older: Vec<Sequence> = guard.taken.iter().map(|taken| taken.sequence).collect();
        let (of, room) = (Arc::clone(&consumer.endpoint), CLAIM_BYTES.saturating_sub(claimed_bytes(claimed)));
        let loaded = engine.blocking(move |engine| engine.load(&of, &older, room)).await?;
        let whole = loaded.len() == guard.taken.len();
        let loaded = loaded.into_iter().map(|(_, event)| event.map(Arc::new)).collect();
        complete = take_over(guard, claimed, loaded, &mut lost) && whole;
    }
    if !lost.is_empty() {
        bury(engine, consumer, &lost, now).await?;
    }
    Ok(complete)
}

/// Returns the leading events of `taken`, up to the first that is not in memory.
fn recent(consumer: &Consumer, taken: &[Taken]) -> Vec<Option<Arc<StoredEvent>>> {
    let event = |taken: &Taken| {
        let row = consumer.endpoint.recent(taken.sequence)?;
        record::decode_event(taken.sequence, row).ok().map(Arc::new)
    };
    taken.iter().map(event).take_while(Option::is_some).collect()
}

/// Moves the leading taken events to the claimed ones; those that are `None` are lost. Returns false if there is no
/// room for all of them.
fn take_over(
    guard: &mut TakenGuard<'_>,
    claimed: &mut Claimed,
    events: Vec<Option<Arc<StoredEvent>>>,
    lost: &mut Vec<Taken>,
) -> bool {
    let mut bytes = claimed_bytes(claimed);
    let all = events.len();
    let mut moved = 0;
    for (event, taken) in events.into_iter().zip(&guard.taken) {
        match event {
            Some(event) => {
                bytes += event.body.len();
                if !claimed.deliveries.is_empty() && bytes > CLAIM_BYTES {
                    break;
                }
                claimed.deliveries.push(Delivery { event, attempt: taken.flight.attempt });
            }
            None => lost.push(*taken),
        }
        moved += 1;
    }
    guard.taken.drain(..moved);
    moved == all
}

fn claimed_bytes(claimed: &Claimed) -> usize {
    claimed.deliveries.iter().map(|delivery| delivery.event.body.len()).sum()
}

/// Dead-letters events that cannot be read, with the reason `damaged`.
async fn bury(engine: &Arc<Engine>, consumer: &Arc<Consumer>, lost: &[Taken], now: Timestamp) -> Result<()> {
    let failure = || Failure {
        time: now,
        reason: DAMAGED.into(),
        status: None,
        took: Duration::ZERO,
        message: "the event is damaged in the journal; the operator's log names the file".into(),
    };
    let settlements = lost.iter().map(|taken| (taken.sequence, Settlement::Dead { failure: failure() })).collect();
    settle(engine, consumer, settlements).await
}

/// Ends attempts: see [`Journal::settle`](crate::Journal::settle).
pub(super) async fn settle(
    engine: &Arc<Engine>,
    consumer: &Arc<Consumer>,
    settlements: Vec<(Sequence, Settlement)>,
) -> Result<()> {
    let mut ends = Vec::with_capacity(settlements.len());
    let mut released = false;
    {
        let mut state = consumer.state();
        if state.is_detached() {
            return Err(JournalError::UnknownConsumer(consumer.object.key.clone()));
        }
        for (sequence, settlement) in settlements {
            let end = match settlement {
                // A release needs no disk write.
                Settlement::Released => {
                    if !ends.iter().any(|ended: &Ended| ended.sequence == sequence) {
                        released |= state.release(sequence);
                    }
                    continue;
                }
                Settlement::Delivered(exchange) => End::Delivered(exchange),
                Settlement::Skipped { reason, time } => End::Skipped { reason, time: Micros::floor(time) },
                Settlement::Retry { due, failure } => End::Retry { due: Micros::ceil(due), failure },
                Settlement::Dead { failure } => End::Dead { failure },
            };
            if let Some(flight) = state.begin_settling(sequence) {
                ends.push(Ended { sequence, first: flight.first, attempt: flight.attempt, end });
            }
        }
    }
    if released {
        consumer.machine.notify.notify_waiters();
    }
    if ends.is_empty() {
        return Ok(());
    }
    let guard = Settling { consumer, ends };
    // Encoded on the caller's thread to relieve the writer.
    let payload = entry::encode_ends(&guard.ends);
    let (answer, answered) = tokio::sync::oneshot::channel();
    let consumer = Arc::clone(consumer);
    let permit = engine.inbox.room().await?;
    let ends = guard.disarm();
    engine.inbox.task_with(Task::Settle(Settle { consumer, ends, payload, answer }), permit)?;
    answered.await.map_err(|_| JournalError::Closed)?
}

/// Flights whose ends are not queued yet. They can be settled again if the call is dropped before that.
struct Settling<'a> {
    consumer: &'a Consumer,
    ends: Vec<Ended>,
}

impl Settling<'_> {
    fn disarm(mut self) -> Vec<Ended> {
        std::mem::take(&mut self.ends)
    }
}

impl Drop for Settling<'_> {
    fn drop(&mut self) {
        let mut state = self.consumer.state();
        for ended in &self.ends {
            state.abort_settling(ended.sequence);
        }
    }
}
