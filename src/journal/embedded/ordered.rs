//! Taking deliveries strictly by sequence.

use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;

use super::{
    Engine,
    claim::{Load, TakenGuard, load},
    consumer::Consumer,
    due::DueKey,
    store::from_fjall,
};
use crate::{
    journal::{
        Claimed, Result, Sequence,
        record::{ExceptionRow, ExceptionState, key},
    },
    rules::limits::ORDERED_CLAIM,
};

/// Claims at most `limit` deliveries in order.
pub(super) async fn claim(
    engine: &Arc<Engine>,
    consumer: &Arc<Consumer>,
    limit: usize,
    now: Timestamp,
) -> Result<Claimed> {
    let limit = limit.min(ORDERED_CLAIM);
    let _turn = consumer.claiming.lock().await;
    consumer.state().begin_claim();
    let mut claimed = Claimed::default();
    // More than one turn only when what was taken turns out not to exist any more.
    while claimed.deliveries.len() < limit && claimed.next_due.is_none() {
        match turn(engine, consumer, limit, now, &mut claimed).await {
            Ok(true) => {}
            Ok(false) => break,
            // What has been claimed is in flight already and has to be handed over.
            Err(_) if !claimed.deliveries.is_empty() => break,
            Err(error) => return Err(error),
        }
    }
    Ok(claimed)
}

/// Claims more, up to `limit`, and says whether there may be more still.
async fn turn(
    engine: &Arc<Engine>,
    consumer: &Arc<Consumer>,
    limit: usize,
    now: Timestamp,
    claimed: &mut Claimed,
) -> Result<bool> {
    let held = claimed.deliveries.len();
    let retries = lowest_retries(engine, consumer, limit, held).await?;
    let head = consumer.endpoint.head();
    let mut guard = TakenGuard { consumer, taken: Vec::new() };
    {
        let mut state = consumer.state();
        if state.is_held_up(held) {
            return Ok(false);
        }
        claimed.next_due = state.take_in_order(&mut guard.taken, limit - held, head, &retries, now);
    }
    if guard.taken.is_empty() {
        return Ok(false);
    }
    Ok(load(engine, consumer, &mut guard, &mut claimed.deliveries).await? == Load::All)
}

/// The retries of the lowest sequences that wait, ascending: as many as `limit` allows beside `held`, which this claim
/// has taken already, or all there are.
async fn lowest_retries(
    engine: &Arc<Engine>,
    consumer: &Arc<Consumer>,
    limit: usize,
    held: usize,
) -> Result<Vec<(DueKey, u32)>> {
    loop {
        let (from, begun) = {
            let state = consumer.state();
            if state.flights.len() != held || state.waiting_retries() == 0 {
                return Ok(Vec::new());
            }
            state.due.begin_search()
        };
        let number = consumer.number;
        let mut found = engine
            .blocking(move |store| {
                let mut found = Vec::with_capacity(limit);
                // Dead letters lie in between; they are passed once, because the next search begins at what this one finds.
                for row in store.state.range(key::exception(number, from)..=key::exception(number, Sequence::MAX)) {
                    let (key, row) = row.into_inner().map_err(from_fjall)?;
                    let row = ExceptionRow::decode(Bytes::from(row))?;
                    if row.state == ExceptionState::Retrying {
                        found.push(((row.due, key::exception_sequence(&key)?), row.attempt));
                        if found.len() == limit {
                            break;
                        }
                    }
                }
                Ok(found)
            })
            .await?;
        let lowest = found.first().map(|((_, sequence), _)| *sequence);
        let mut state = consumer.state();
        if state.due.end_search(begun, lowest) {
            found.retain(|((_, sequence), _)| !state.flights.contains_key(sequence));
            return Ok(found);
        }
    }
}
