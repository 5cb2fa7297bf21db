//! The shards of a replica that ends, dies or is paused go to another one.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use grapnel_test_support::{eventually, program::Grapnel};
use serde_json::Value;

use crate::{
    audit::items,
    site::{ENDPOINTS, IN_FLIGHT},
    stage::{Request, Stage},
};

/// Events for each endpoint.
const EVENTS: usize = 10;

/// Rounds of events while shards move.
const ROUNDS: usize = 25;

/// A replica that is told to stop hands its shards over. Those of one that is killed are taken over when their leases have
/// expired.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_replica_delivers_when_one_ends_or_dies() {
    let stage = Stage::new().await;
    let (a, b) = (stage.replica("a").await, stage.replica("b").await);
    let of_a = stage.shared(&b).await;
    a.send_signal("TERM");
    let begun = Instant::now();
    stage.send(&b, "after-the-end").await;
    let by = stage.taken("after-the-end").await;
    let handed_over = begun.elapsed();
    eprintln!("{} of {ENDPOINTS} endpoints handed over in {handed_over:?}", of_a.len());
    let (status, log) = a.ended().await;
    assert!(status.success(), "{log}");
    assert!(of_a.iter().any(|endpoint| by[endpoint] == "b"), "{by:?}");

    let a = stage.replica("a").await;
    let of_a = stage.shared(&b).await;
    a.kill();
    let begun = Instant::now();
    stage.send(&b, "after-the-death").await;
    let by = stage.taken("after-the-death").await;
    let taken_over = begun.elapsed();
    eprintln!("{} of {ENDPOINTS} endpoints taken over in {taken_over:?}", of_a.len());
    assert!(by.values().all(|by| by == "b"), "{by:?}");
    assert!(handed_over < taken_over, "a replica that ends in order is not waited for: {handed_over:?} {taken_over:?}");
}

/// Shards that move to a new replica take nothing along that is in flight: no event is delivered twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_replica_repeats_nothing() {
    let stage = Stage::new().await;
    stage.delay(Duration::from_millis(300));
    let a = stage.replica("a").await;
    stage.send(&a, "before").await;
    let b = stage.replica("b").await;
    stage.shared(&a).await;
    // The shards move one after the other.
    for round in 0..ROUNDS {
        let id = format!("after-{round}");
        stage.send(&b, &id).await;
        stage.taken(&id).await;
    }
    let mut times: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
    for Request { endpoint, id, replica, .. } in stage.arrived() {
        times.entry((endpoint, id)).or_default().push(replica);
    }
    let rounds = times.len() / ENDPOINTS;
    times.retain(|_, replicas| replicas.len() > 1);
    assert!(times.is_empty(), "of {rounds} events for each endpoint: {times:?}");
}

/// A replica that is paused for longer than its leases last is replaced. When it goes on, it changes nothing that its successor
/// has decided: what it was refused meanwhile, and would have given up, stays delivered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_replica_changes_nothing_afterwards() {
    let stage = Stage::new().await;
    let (a, b) = (stage.replica("a").await, stage.replica("b").await);
    stage.shared(&b).await;
    for name in ["a", "b"] {
        stage.answer(name, None);
    }
    let ids: Vec<String> = (0..EVENTS).map(|number| format!("event-{number}")).collect();
    for id in &ids {
        stage.send(&b, id).await;
    }
    eventually("all deliveries that may be in flight", async || {
        let waiting = [stage.waiting("a").len(), stage.waiting("b").len()];
        if waiting.iter().sum::<usize>() == ENDPOINTS * IN_FLIGHT { Ok(()) } else { Err(waiting) }
    })
    .await;
    let in_flight = stage.waiting("a");
    assert!(!in_flight.is_empty());
    a.send_signal("STOP");
    let before = stage.arrived().len();
    stage.answer("b", Some(200));
    for id in &ids {
        assert!(stage.taken(id).await.values().all(|by| by == "b"));
    }
    let settled = deliveries(&b).await;
    assert_eq!(settled.len(), EVENTS * ENDPOINTS / 2, "{settled:?}");
    assert!(settled.iter().all(|(_, outcome, _)| outcome == "delivered"), "{settled:?}");

    // It would give up now what it has in flight.
    stage.answer("a", Some(410));
    a.send_signal("CONT");
    eventually("the answers to what was in flight", async || stage.waiting("a").is_empty()).await;
    stage.answer("a", Some(200));
    // Its shards come back to it, so everything that it had to say about them has been said.
    stage.shared(&b).await;
    let late = stage.arrived().split_off(before);
    let late: BTreeSet<_> = late.into_iter().filter(|it| it.replica == "a" && ids.contains(&it.id)).collect();
    eprintln!("{} in flight at the pause, {} sent after it", in_flight.len(), late.len());
    assert!(late.is_subset(&in_flight), "{late:?} are not in {in_flight:?}");
    for replica in [&a, &b] {
        let now: BTreeSet<_> = deliveries(replica).await;
        assert_eq!(now, settled, "as process {} lists them", replica.pid());
    }
}

/// A change that comes while a replica is paused is live before its shards are taken over. Only new subscriptions of these
/// wait, and say so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_does_not_wait_for_the_shards_of_a_paused_replica() {
    let stage = Stage::new().await;
    let (a, b) = (stage.replica("a").await, stage.replica("b").await);
    let of_a = stage.shared(&b).await;
    a.send_signal("STOP");
    let kept = of_a.first().unwrap();
    let changed = stage.objects("b", &["all", "more"]).replace(&format!("path: {kept}\n"), "path: elsewhere\n");
    stage.site.objects("b", &changed);
    b.eventually("an endpoint at its new path", async || {
        let (status, answer) = b.post("/default/elsewhere", &[], r#"{"id":"moved"}"#).await;
        if status == 404 { Err(answer) } else { Ok(()) }
    })
    .await;
    let new = |endpoint: &String| endpoint.replace("in-", "more-");
    let of_a: BTreeMap<String, &String> = of_a.iter().map(|endpoint| (new(endpoint), endpoint)).collect();
    let waiting = b.eventually("only new subscriptions of the paused replica to wait", async || {
        let unready = unready(&b).await;
        let is_known = |(name, reason): (&String, &String)| of_a.contains_key(name) && reason == "Progressing";
        if !unready.is_empty() && unready.iter().all(is_known) { Ok(unready) } else { Err(unready) }
    });
    let waiting = waiting.await;
    // A shard may have moved between the last look and the pause.
    for (_, endpoint) in of_a.iter().filter(|(name, _)| !waiting.contains_key(*name)) {
        let is_delivered = |it: &Request| it.replica == "b" && it.endpoint == **endpoint;
        b.eventually("a delivery by the other", async || stage.arrived().iter().any(is_delivered)).await;
    }
    b.eventually("all subscriptions ready", async || {
        let unready = unready(&b).await;
        if unready.is_empty() { Ok(()) } else { Err(unready) }
    })
    .await;
    a.send_signal("CONT");
}

/// The objects that are not ready, with the reasons.
async fn unready(replica: &Grapnel) -> BTreeMap<String, String> {
    let (status, text) = replica.admin("/api/v1/objects").await;
    assert_eq!(status, 200, "{text}");
    let list: Value = serde_json::from_str(&text).unwrap();
    let ready = |item: &Value| {
        let conditions = item["status"]["conditions"].as_array().unwrap();
        conditions.iter().find(|condition| condition["type"] == "Ready").unwrap().clone()
    };
    let items = list["items"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let unready = items.map(|item| (text(&item["name"]), ready(item))).filter(|(_, ready)| ready["status"] != "True");
    unready.map(|(name, ready)| (name, text(&ready["reason"]))).collect()
}

/// The deliveries of the events of this test at the subscriptions whose endpoints keep settled events: subscription and event, outcome, attempts.
async fn deliveries(replica: &Grapnel) -> BTreeSet<(String, String, u64)> {
    let mut all = BTreeSet::new();
    for number in (0..ENDPOINTS).step_by(2) {
        let path = format!("/api/v1/namespaces/default/subscriptions/all-{number}/deliveries");
        let items = replica.eventually("the deliveries", async || {
            let items = items(replica, &path).await;
            // An attempt is settled a moment after its answer.
            let pending = items.iter().find(|item| item["state"] == "inFlight").cloned();
            pending.map_or(Ok(items), Err)
        });
        for item in items.await {
            let id = item["eventId"].as_str().unwrap();
            if id.starts_with("event-") {
                let outcome = item["outcome"].as_str().unwrap().to_owned();
                all.insert((format!("all-{number} {id}"), outcome, item["attempts"].as_u64().unwrap()));
            }
        }
    }
    all
}
