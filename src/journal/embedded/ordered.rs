//! Taking deliveries strictly by sequence.

use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;

use super::{
    Engine,
    claim::{TakenGuard, load},
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
    while limit > 0 && claimed.deliveries.is_empty() {
        let retries = lowest_retries(engine, consumer, limit).await?;
        let mut guard = TakenGuard { consumer, taken: Vec::new() };
        let head = consumer.endpoint.head();
        claimed.next_due = consumer.state().take_in_order(&mut guard.taken, limit, head, &retries, now);
        if guard.taken.is_empty() {
            break;
        }
        load(engine, consumer, &mut guard, &mut claimed.deliveries).await?;
    }
    Ok(claimed)
}

/// The retries of the lowest sequences, ascending: `limit`, or all there are. None while something is in flight, because
/// then nothing is taken.
async fn lowest_retries(engine: &Arc<Engine>, consumer: &Arc<Consumer>, limit: usize) -> Result<Vec<(DueKey, u32)>> {
    loop {
        let (from, begun) = {
            let state = consumer.state();
            if !state.flights.is_empty() || state.waiting_retries() == 0 {
                return Ok(Vec::new());
            }
            state.due.begin_search()
        };
        let number = consumer.number;
        let found = engine
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
        if consumer.state().due.end_search(begun, lowest) {
            return Ok(found);
        }
    }
}
