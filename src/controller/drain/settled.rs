//! Whether the events of a subscription are settled.

use grapnel_api::Incarnation;
use grapnel_journal::{DeliveryQuery, DeliveryState, EventEntry, Journal, JournalError};
use jiff::Timestamp;

use crate::controller::limits;

/// The states of unsettled events. An event that is attempted during these reads moves from in flight to retrying or
/// back, so retries are read twice.
const UNSETTLED: [DeliveryState; 4] =
    [DeliveryState::Pending, DeliveryState::Retrying, DeliveryState::InFlight, DeliveryState::Retrying];

/// Whether every event received before the deletion of the object is settled.
pub(super) async fn is_drained(journal: &dyn Journal, subscription: &Incarnation, deleted: Timestamp) -> bool {
    // Counts that another replica has reported are older than the latest event, so they are not relied on.
    let mut states = UNSETTLED.get(..);
    if !journal.is_shared() {
        let Some(progress) = journal.progress(subscription) else { return true };
        if progress.pending + progress.in_flight + progress.retrying == 0 {
            return true;
        }
        // Listing pending events scans all retained settled events, so it is done only if necessary.
        states = if progress.pending == 0 { UNSETTLED.get(1..) } else { states };
    }
    // Two clocks are compared: the API server's and that of the receipt.
    let late = deleted.checked_add(limits::DRAIN_SKEW).unwrap_or(Timestamp::MAX);
    for state in states.unwrap_or_default() {
        match oldest(journal, subscription, *state).await {
            Ok(None) => {}
            Ok(Some(EventEntry::Kept(event))) if event.received > late => {}
            Ok(Some(_)) => return false,
            Err(JournalError::UnknownConsumer(_)) => return true,
            Err(_) => return false,
        }
    }
    true
}

/// The first event in the given state.
async fn oldest(
    journal: &dyn Journal,
    subscription: &Incarnation,
    state: DeliveryState,
) -> Result<Option<EventEntry>, JournalError> {
    let mut after = 0;
    loop {
        let page = journal
            .deliveries(subscription, DeliveryQuery { state: Some(state), after, limit: 1, ..DeliveryQuery::default() })
            .await?;
        match (page.deliveries.into_iter().next(), page.next) {
            (Some(delivery), _) => return Ok(Some(delivery.event)),
            (None, None) => return Ok(None),
            // Each step scans a bounded number of events.
            (None, Some(next)) => after = next,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use bytes::Bytes;
    use grapnel_api::ObjectKey;
    use grapnel_journal::{
        Arrival, Claim, Exchange, Failure, Progress, Settlement, Start,
        memory::{MemoryJournal, MemoryOptions},
        testing::validated,
    };
    use grapnel_test_support::journal_front::{Front, Fronted};

    use super::*;

    #[tokio::test]
    async fn only_what_was_received_before_the_deletion_holds_it() {
        let object = |name| Incarnation::of_file(ObjectKey::new("shop", name));
        let (endpoint, subscription) = (object("orders"), object("fulfilment"));
        // Lists in small steps, because settled events are many and are skipped.
        let journal = MemoryJournal::new(MemoryOptions { list_scan: 2, ..MemoryOptions::default() });
        journal.attach(&subscription, &endpoint, Start::Now).await.unwrap();
        let deleted = Timestamp::UNIX_EPOCH + Duration::from_secs(3600);
        let append = async |id: &str, received| {
            let arrival = Arrival {
                endpoint: endpoint.clone(),
                validated: validated(id, "order.created", Bytes::from_static(b"{}")),
                received,
                content_type: None,
                remote: None,
                headers: Vec::new(),
                window: None,
                max_bytes: None,
            };
            journal.append(vec![arrival]).await.unwrap();
        };
        let claim = async || journal.claim(&subscription, Claim::new(99, deleted)).await.unwrap().deliveries;
        let settle = async |sequence, settlement| {
            journal.settle(&subscription, vec![(sequence, settlement)]).await.unwrap();
        };
        let drained = async || is_drained(&journal, &subscription, deleted).await;
        let took = Duration::ZERO;
        let delivered = || Settlement::Delivered(Exchange { time: deleted, status: Some(200), took });

        for id in 0..9 {
            append(&id.to_string(), Timestamp::UNIX_EPOCH).await;
        }
        assert!(!drained().await, "pending");
        let mut deliveries = claim().await;
        assert!(!drained().await, "in flight");
        let last = deliveries.pop().unwrap().event.sequence;
        for delivery in deliveries {
            settle(delivery.event.sequence, delivered()).await;
        }
        let failure = Failure { time: deleted, reason: "http_5xx".into(), status: Some(503), took, message: "".into() };
        let due = deleted + Duration::from_secs(60);
        settle(last, Settlement::Retry { due, failure: failure.clone() }).await;
        assert!(!drained().await, "retrying");
        journal.claim(&subscription, Claim::new(9, due)).await.unwrap();
        settle(last, delivered()).await;
        assert!(drained().await, "everything is settled");

        let late = deleted + limits::DRAIN_SKEW + Duration::from_secs(1);
        append("late", late).await;
        assert!(drained().await, "a late event is pending");
        let sequence = claim().await[0].event.sequence;
        assert!(drained().await, "a late event is in flight");
        settle(sequence, Settlement::Retry { due, failure }).await;
        assert!(drained().await, "a late event is retrying");
        append("early", deleted).await;
        assert!(!drained().await, "one that was received in time is behind it");
    }

    /// A journal whose counts another replica has reported before the latest events.
    struct Outdated(MemoryJournal);

    impl Front for Outdated {
        fn journal(&self) -> &dyn Journal {
            &self.0
        }
        fn progress(&self, _: &Incarnation) -> Option<Progress> {
            Some(Progress::default())
        }
        fn is_shared(&self) -> bool {
            true
        }
    }

    #[tokio::test]
    async fn counts_that_another_replica_has_reported_end_no_drain() {
        let object = |name| Incarnation::of_file(ObjectKey::new("shop", name));
        let (endpoint, subscription) = (object("orders"), object("fulfilment"));
        let journal = Fronted(Arc::new(Outdated(MemoryJournal::new(MemoryOptions::default()))));
        journal.attach(&subscription, &endpoint, Start::Now).await.unwrap();
        let arrival = Arrival {
            endpoint,
            validated: validated("evt_1", "order.created", Bytes::from_static(b"{}")),
            received: Timestamp::UNIX_EPOCH,
            content_type: None,
            remote: None,
            headers: Vec::new(),
            window: None,
            max_bytes: None,
        };
        journal.append(vec![arrival]).await.unwrap();
        let drained = async || is_drained(&journal, &subscription, Timestamp::UNIX_EPOCH).await;
        assert!(!drained().await);
        journal.detach(&subscription).await.unwrap();
        assert!(drained().await);
    }
}
