//! Which of the selected events a replay's filter admits.

use std::sync::Arc;

use grapnel_api::Incarnation;
use grapnel_expression::Expression;
use grapnel_journal::{Journal, JournalError, Sequence};

use crate::{
    catalog::Subscription,
    dispatch::{FilterError, admits},
};

/// The result of a filter for some events.
#[derive(Debug, Default)]
pub(super) struct Matching {
    /// The events for which it is true.
    pub(super) matched: Vec<Sequence>,
    /// Number of events that are no longer kept, or damaged.
    pub(super) gone: u64,
    /// Number of events for which it failed, and the last of the errors.
    pub(super) failed: u64,
    pub(super) error: Option<FilterError>,
}

/// Evaluates a filter for events of a subscription. The events are read in bounded parts.
pub(super) async fn matching(
    journal: &dyn Journal,
    consumer: &Incarnation,
    subscription: &Subscription,
    filter: &Arc<Expression>,
    sequences: &[Sequence],
) -> Result<Matching, JournalError> {
    let (mut found, mut left) = (Matching::default(), sequences);
    while !left.is_empty() {
        let events = journal.peek(consumer, left).await?;
        let (read, rest) = left.split_at(events.len().min(left.len()));
        if read.is_empty() {
            break;
        }
        left = rest;
        for (sequence, event) in read.iter().zip(events) {
            let Some(event) = event else {
                found.gone += 1;
                continue;
            };
            match admits(filter, &subscription.endpoint.key, &subscription.reading, event).await {
                Ok(true) => found.matched.push(*sequence),
                Ok(false) => {}
                Err(error) => {
                    found.failed += 1;
                    found.error = Some(error);
                }
            }
            tokio::task::yield_now().await;
        }
    }
    Ok(found)
}
