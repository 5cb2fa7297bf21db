//! Brokers that are gone, slow, cut off or full: what senders are answered, and that it passes.

use std::time::Duration;

use grapnel_test_support::{eventually, nats::NatsSettings};

use crate::{
    proxy::{Mode, Proxy},
    site::{Site, ready},
    stage::Stage,
};

/// Longer than an attempt to store an event waits for the acknowledgement.
const TOO_LATE: Duration = Duration::from_secs(4);

/// Without a majority of the brokers nothing is accepted: no event is promised that could be lost. The replica stays ready, so
/// that senders hear when to try again, and goes on by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_quorum_refuses_events_until_it_is_back() {
    let mut stage = Stage::new().await;
    let a = stage.replica("a").await;
    stage.send(&a, "before").await;
    stage.taken("before").await;
    stage.site.brokers.kill(0);
    stage.site.brokers.kill(1);
    stage.refused(&a, "during").await;
    let (status, text) = a.admin("/readyz?verbose").await;
    assert_eq!(status, 200, "{text}");
    assert_eq!(a.admin("/healthz").await.0, 200);
    stage.site.brokers.restart(0);
    stage.site.brokers.restart(1);
    for id in ["during", "after"] {
        stage.send(&a, id).await;
        stage.taken(id).await;
    }
}

/// Acknowledgements that are slow are waited for. Those that come too late are no 2xx, although the event is stored: sent again,
/// it is accepted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_broker_is_waited_for_within_bounds() {
    let stage = Stage::at(Site::single(NatsSettings { sync_always: true, ..NatsSettings::default() }).await).await;
    let proxy = Proxy::start(&stage.address()).await;
    let a = stage.start("a", &proxy.url(), &[]).await;
    ready(&a).await;
    proxy.set(Mode::After(Duration::from_millis(200)));
    stage.send(&a, "slow").await;
    stage.taken("slow").await;
    proxy.set(Mode::After(TOO_LATE));
    stage.refused(&a, "late").await;
    proxy.set(Mode::After(Duration::ZERO));
    for id in ["late", "after"] {
        stage.send(&a, id).await;
        stage.taken(id).await;
    }
}

/// A replica that reaches senders but no broker accepts nothing. Another one delivers meanwhile, and shares with it afterwards.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_is_cut_off_accepts_nothing() {
    let stage = Stage::at(Site::single(NatsSettings { sync_always: true, ..NatsSettings::default() }).await).await;
    let proxy = Proxy::start(&stage.address()).await;
    let a = stage.start("a", &proxy.url(), &[]).await;
    ready(&a).await;
    let b = stage.replica("b").await;
    stage.shared(&b).await;
    proxy.set(Mode::Cut);
    stage.refused(&a, "at-a").await;
    stage.send(&b, "at-b").await;
    let by = stage.taken("at-b").await;
    assert!(by.values().any(|by| by == "b"), "{by:?}");
    eventually("a replica that delivers everything", async || {
        let id = format!("meanwhile-{}", stage.arrived().len());
        stage.send(&b, &id).await;
        let by = stage.taken(&id).await;
        if by.values().all(|by| by == "b") { Ok(()) } else { Err(by) }
    })
    .await;
    proxy.set(Mode::After(Duration::ZERO));
    stage.send(&a, "at-a").await;
    stage.taken("at-a").await;
    stage.shared(&a).await;
}

/// A broker that a partition separates from the others keeps its connections. A replica that is connected to it goes to
/// another one by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_leaves_a_broker_that_is_cut_off_from_the_others() {
    let mut stage = Stage::new().await;
    let a = stage.replica("a").await;
    stage.send(&a, "before").await;
    stage.taken("before").await;
    let connections = || a.log().matches("INFO connected to the NATS servers").count();
    let before = connections();
    for node in 0..3 {
        stage.site.brokers.kill(node);
    }
    // Alone, so that the replica connects to it.
    stage.site.brokers.separate(0);
    stage.site.brokers.restart(0);
    a.eventually("a connection to the separate broker", async || (connections() > before).then_some(())).await;
    stage.site.brokers.restart(1);
    stage.site.brokers.restart(2);
    stage.send(&a, "after").await;
    stage.taken("after").await;
    assert!(a.log().contains("the NATS server does not answer; connecting to another one"), "{}", a.log());
}

/// A full journal refuses events while none is settled, and makes room as soon as some are.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_journal_makes_room_when_events_are_settled() {
    let site = Site::single(NatsSettings { sync_always: true, ..NatsSettings::default() }).await;
    let stage = Stage::at(site.with(&["--journal-max-bytes", "2Mi"])).await;
    let a = stage.replica("a").await;
    stage.answer("a", None);
    let mut stored = 0;
    let refusal = eventually("a journal that is full", async || {
        let body = format!(r#"{{"id":"large-{stored}","padding":"{}"}}"#, "x".repeat(20_000));
        let (status, answer) = a.post("/default/in-0", &[], body).await;
        stored += usize::from(status == 200);
        (status != 200).then_some((status, answer))
    })
    .await;
    eprintln!("{stored} events stored, then {refusal:?}");
    assert_eq!(refusal.0, 503, "{refusal:?}");
    assert!(stored > 3, "{refusal:?}");
    stage.answer("a", Some(200));
    stage.send(&a, "after").await;
    stage.taken("after").await;
}

/// An event that is larger than the brokers take is refused for good.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_larger_than_a_message_is_refused() {
    let settings = NatsSettings { sync_always: true, max_payload: 1 << 20, ..NatsSettings::default() };
    let stage = Stage::at(Site::single(settings).await).await;
    let a = stage.replica("a").await;
    let body = |bytes: usize| format!(r#"{{"id":"large","padding":"{}"}}"#, "x".repeat(bytes));
    let (status, answer) = a.post("/default/in-0", &[], body(1_000_000)).await;
    assert_eq!((status, answer["code"].as_str()), (413, Some("body_too_large")), "{answer}");
    let (status, answer) = a.post("/default/in-0", &[], body(900_000)).await;
    assert_eq!(status, 200, "{answer}");
    stage.send(&a, "after").await;
    stage.taken("after").await;
}
