//! When the journal fails or is slow, and when the server ends.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use futures_util::FutureExt;
use grapnel::catalog::Endpoint;
use grapnel_api::ObjectKey;
use grapnel_journal::{Appended, Arrival, Journal, JournalError, Result, ShareExhausted, ShareScope};
use parking_lot::Mutex;
use tokio::{net::TcpStream, sync::Semaphore};

use super::{
    client::{Post, Wire},
    fixture::{Plan, Served, endpoint},
    front::{Front, Fronted},
};

/// A real journal whose appends can be made to fail, or to wait.
pub(crate) struct Troubled {
    journal: Arc<dyn Journal>,
    fault: Mutex<Option<fn() -> JournalError>>,
    /// One permit lets one append through.
    gate: Semaphore,
    /// One permit for every append that has come to the gate.
    arrived: Semaphore,
}

#[async_trait]
impl Front for Troubled {
    fn journal(&self) -> &dyn Journal {
        &*self.journal
    }

    async fn append(&self, events: Vec<Arrival>) -> Result<Vec<Appended>> {
        self.arrived.add_permits(1);
        let fault = *self.fault.lock();
        if let Some(fault) = fault {
            return Err(fault());
        }
        self.gate.acquire().await.unwrap().forget();
        self.journal.append(events).await
    }
}

pub(crate) async fn troubled(mut plan: Plan) -> (Served, Arc<Troubled>) {
    let slot = Arc::new(Mutex::new(None));
    let filled = Arc::clone(&slot);
    plan.wrap = Box::new(move |journal| {
        let gate = Semaphore::new(0);
        let troubled = Arc::new(Troubled { journal, fault: Mutex::new(None), gate, arrived: Semaphore::new(0) });
        *filled.lock() = Some(Arc::clone(&troubled));
        Arc::new(Fronted(troubled))
    });
    let served = plan.serve().await;
    let troubled = slot.lock().take().unwrap();
    (served, troubled)
}

impl Troubled {
    pub(crate) async fn has_arrived(&self) {
        self.arrived.acquire().await.unwrap().forget();
    }

    /// Lets so many appends through.
    pub(crate) fn permit(&self, appends: usize) {
        self.gate.add_permits(appends);
    }
}

#[tokio::test]
async fn a_failing_journal_is_unavailable_and_tells_no_details() {
    let (served, troubled) = troubled(Plan::of([endpoint("orders")])).await;
    let post = Post::signed("/shop/orders", r#"{"id":"evt_1","type":"t"}"#);
    let faults: [fn() -> JournalError; 6] = [
        || JournalError::Full("/var/lib/private".into()),
        || JournalError::Unavailable("/var/lib/private".into()),
        || JournalError::Io("/var/lib/private".into(), Some("EIO".into())),
        || JournalError::Damaged("/var/lib/private".into()),
        || JournalError::EndpointReplaced(ObjectKey::new("shop", "orders")),
        || JournalError::Closed,
    ];
    for fault in faults {
        *troubled.fault.lock() = Some(fault);
        let answer = post.send(served.address).await;
        let sentence = answer.refused(503, "unavailable");
        assert!(answer.retry_after() >= 1);
        assert!(!answer.text().contains("/var/lib/private"), "{}", answer.text());
        assert!(!sentence.contains("not stored"), "it may be: {sentence}");
    }
    assert_eq!(served.facts("orders").rejected, 6);
    assert_eq!(served.facts("orders").received, 0);
    *troubled.fault.lock() = None;
    troubled.gate.add_permits(1);
    post.send(served.address).await.accepted();
}

#[tokio::test]
async fn an_exhausted_share_has_its_own_code_and_names_no_tenant() {
    let (served, troubled) = troubled(Plan::of([endpoint("orders")])).await;
    let post = Post::signed("/shop/orders", r#"{"id":"evt_1","type":"t"}"#);
    *troubled.fault.lock() = Some(|| {
        let scope = ShareScope::Namespace("shop".into());
        ShareExhausted { scope, bytes: 12_345, max_bytes: 12_000 }.into()
    });
    let answer = post.send(served.address).await;
    let sentence = answer.refused(503, "storage_exhausted");
    assert!(answer.retry_after() >= 1 && !sentence.contains("12345"), "{sentence}");
    *troubled.fault.lock() = None;
    troubled.gate.add_permits(1);
    post.send(served.address).await.accepted();
    let metrics = served.metrics.encode();
    for line in [
        r#"webhook_failed_total{namespace="shop",endpoint="orders",type="other",error="storage_exhausted"} 1"#,
        r#"grapnel_journal_failures_total{reason="share_exhausted"} 1"#,
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
}

#[tokio::test]
async fn an_event_that_the_journal_cannot_store_is_too_large() {
    let (served, troubled) = troubled(Plan::of([endpoint("orders")])).await;
    let post = Post::signed("/shop/orders", r#"{"id":"evt_1","type":"t"}"#);
    *troubled.fault.lock() = Some(|| JournalError::TooLarge { bytes: 2_000_000, max: 1_000_000 });
    let sentence = post.send(served.address).await.refused(413, "body_too_large");
    assert_eq!(sentence, "the event is larger than the 1000000 bytes that can be stored");
}

#[tokio::test]
async fn a_journal_that_takes_too_long_is_unavailable() {
    let hasty = Endpoint { timeout: Duration::from_millis(200), ..endpoint("orders") };
    let (served, troubled) = troubled(Plan::of([hasty])).await;
    let post = Post::signed("/shop/orders", r#"{"id":"evt_1"}"#);
    let answer = post.send(served.address).await;
    let sentence = answer.refused(503, "unavailable");
    assert!(answer.retry_after() >= 1 && !sentence.contains("not stored"), "{sentence}");
    troubled.gate.add_permits(1);
    post.send(served.address).await.accepted();
}

#[tokio::test]
async fn nothing_is_answered_before_it_is_durable() {
    let (served, troubled) = troubled(Plan::of([endpoint("orders")])).await;
    let mut wire = Wire::open(served.address).await;
    wire.send(&Post::signed("/shop/orders", r#"{"id":"evt_1"}"#).bytes()).await;
    troubled.has_arrived().await;
    let mut byte = [0];
    assert!(wire.stream.peek(&mut byte).now_or_never().is_none());
    assert!(served.stored("orders").await.is_empty());
    troubled.gate.add_permits(1);
    wire.answer().await.accepted();
    assert_eq!(served.stored("orders").await.len(), 1);
}

#[tokio::test]
async fn an_event_whose_client_has_gone_is_counted_all_the_same() {
    let (served, troubled) = troubled(Plan::of([endpoint("orders")])).await;
    let mut wire = Wire::open(served.address).await;
    wire.send(&Post::signed("/shop/orders", r#"{"id":"evt_1"}"#).bytes()).await;
    troubled.has_arrived().await;
    drop(wire);
    troubled.gate.add_permits(1);
    while served.facts("orders").received == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(served.stored("orders").await.len(), 1);
}

#[tokio::test]
async fn shutdown_waits_for_requests_in_progress() {
    let (served, troubled) = troubled(Plan::of([endpoint("orders")])).await;
    let mut idle = Wire::open(served.address).await;
    idle.exchange(&Post::to("/shop/orders", "{}").bytes()).await.refused(401, "missing_signature");
    let mut silent = Wire::open(served.address).await;
    let mut busy = Wire::open(served.address).await;
    busy.send(&Post::signed("/shop/orders", r#"{"id":"evt_1"}"#).bytes()).await;
    troubled.has_arrived().await;

    served.shutdown.cancel();
    idle.ended().await;
    silent.ended().await;
    assert!(TcpStream::connect(served.address).await.is_err(), "nobody is let in any more");
    assert!(!served.server.is_finished());
    troubled.gate.add_permits(1);
    busy.answer().await.accepted();
    busy.ended().await;
    served.server.await.unwrap().unwrap();
}

#[tokio::test]
async fn the_end_does_not_wait_for_ever() {
    let mut plan = Plan::of([endpoint("orders")]);
    plan.options.shutdown_timeout = Duration::from_millis(100);
    let (served, troubled) = troubled(plan).await;
    let mut busy = Wire::open(served.address).await;
    busy.send(&Post::signed("/shop/orders", "{}").bytes()).await;
    troubled.has_arrived().await;
    served.shutdown.cancel();
    served.server.await.unwrap().unwrap();
    busy.ended().await;
}
