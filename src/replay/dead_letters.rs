//! Which events are dead letters still: between the time at which a replay finds one and the time at which it queues it,
//! a user may redeliver it, or this process may crash after it has queued it.

use grapnel_api::Incarnation;
use grapnel_journal::{DeliveryQuery, DeliveryState, Journal, JournalError, Sequence};

use super::limits;

/// Those of some events, in ascending order, that are dead letters now.
pub(super) async fn still_dead(
    journal: &dyn Journal,
    consumer: &Incarnation,
    sequences: &[Sequence],
) -> Result<Vec<Sequence>, JournalError> {
    let mut dead = Vec::new();
    let (Some(first), Some(last)) = (sequences.first(), sequences.last()) else { return Ok(dead) };
    let mut after = first.saturating_sub(1);
    loop {
        let query = DeliveryQuery {
            state: Some(DeliveryState::DeadLettered),
            after,
            limit: limits::REPLAY_OUTCOME_ROWS,
            ..DeliveryQuery::default()
        };
        let page = journal.deliveries(consumer, query).await?;
        let listed = page.deliveries.iter().map(|record| record.event.sequence());
        dead.extend(listed.filter(|sequence| sequences.binary_search(sequence).is_ok()));
        match page.next {
            Some(next) if next > after && next < *last => after = next,
            _ => return Ok(dead),
        }
    }
}
