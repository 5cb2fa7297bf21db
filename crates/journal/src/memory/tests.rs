//! Tests of this engine alone. The contract tests for it are in `tests/journal/`.

use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use grapnel_api::ObjectKey;
use jiff::Timestamp;

use super::*;
use crate::{EventEntry, Failure, testing::validated};

fn endpoint() -> Incarnation {
    Incarnation::of_file(ObjectKey::new("shop", "in"))
}

fn consumer() -> Incarnation {
    Incarnation::of_file(ObjectKey::new("shop", "out"))
}

fn arrival(id: &str) -> Arrival {
    Arrival {
        endpoint: endpoint(),
        validated: validated(id, "order.created", Bytes::from_static(b"{}")),
        received: Timestamp::UNIX_EPOCH,
        content_type: None,
        remote: None,
        headers: Vec::new(),
        window: None,
        max_bytes: None,
    }
}

#[tokio::test]
async fn sequences_have_gaps_and_go_on_after_a_reopening() {
    let journal = MemoryJournal::new(MemoryOptions::default());
    let appended = journal.append(vec![arrival("a"), arrival("b")]).await.unwrap();
    assert_eq!(appended, [Appended::Stored(1000), Appended::Stored(1007)]);
    let again = journal.reopen();
    assert!(matches!(journal.append(vec![arrival("c")]).await, Err(JournalError::Closed)));
    assert_eq!(again.append(vec![arrival("c")]).await.unwrap(), [Appended::Stored(1014)]);
}

#[tokio::test]
async fn claims_end_with_the_process() {
    let journal = MemoryJournal::new(MemoryOptions::default());
    journal.attach(&consumer(), &endpoint(), Start::Now).await.unwrap();
    journal.append(vec![arrival("a")]).await.unwrap();
    let claim = Claim::new(9, Timestamp::UNIX_EPOCH);
    assert_eq!(journal.claim(&consumer(), claim).await.unwrap().deliveries.len(), 1);
    assert_eq!(journal.progress(&consumer()).unwrap().in_flight, 1);
    let again = journal.reopen();
    assert_eq!(again.progress(&consumer()), Some(Progress { pending: 1, ..Progress::default() }));
    assert_eq!(again.claim(&consumer(), claim).await.unwrap().deliveries[0].attempt, 1);
}

#[tokio::test]
async fn a_backlog_of_retries_holds_new_events_back() {
    let journal = MemoryJournal::new(MemoryOptions { max_retries: 1, ..MemoryOptions::default() });
    journal.attach(&consumer(), &endpoint(), Start::Now).await.unwrap();
    journal.append(vec![arrival("a"), arrival("b")]).await.unwrap();
    let claim = Claim::new(1, Timestamp::UNIX_EPOCH);
    let claimed = journal.claim(&consumer(), claim).await.unwrap();
    let failure = Failure {
        time: Timestamp::UNIX_EPOCH,
        reason: "status".into(),
        status: None,
        took: Duration::ZERO,
        message: "".into(),
    };
    let retry = Settlement::Retry { due: Timestamp::MAX, failure };
    journal.settle(&consumer(), vec![(claimed.deliveries[0].event.sequence, retry)]).await.unwrap();
    assert!(journal.claim(&consumer(), claim).await.unwrap().deliveries.is_empty());
    let consumer = consumer();
    assert!(journal.ready(&consumer).now_or_never().is_none());
}

#[tokio::test]
async fn lists_can_be_cut_into_small_steps() {
    let journal = MemoryJournal::new(MemoryOptions { list_scan: 1, ..MemoryOptions::default() });
    journal.append(vec![arrival("a"), arrival("b")]).await.unwrap();
    let mut query = EventQuery { limit: 9, ..EventQuery::default() };
    let first = journal.events(&endpoint(), query.clone()).await.unwrap();
    assert_eq!(first.events.iter().map(EventEntry::sequence).collect::<Vec<_>>(), [1000]);
    query.after = first.next.unwrap();
    let second = journal.events(&endpoint(), query).await.unwrap();
    assert_eq!(second.events.iter().map(EventEntry::sequence).collect::<Vec<_>>(), [1007]);
    assert_eq!(second.next, None);
}
