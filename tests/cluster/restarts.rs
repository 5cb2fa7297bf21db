//! The operator ends, is killed, and starts again.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::{
    fixture::{Cluster, Load, Operator},
    program::receiver::Receiver,
    shop,
};

/// Short, because the Lease of a killed process has to run out before the next one writes.
const LEASE: [&str; 2] = ["--lease-duration", "3s"];

fn patient(receiver: &Receiver) -> String {
    shop::subscription("fulfilment", "orders", &receiver.url).replace("maxAttempts: 3", "maxAttempts: 100")
}

#[tokio::test]
async fn what_was_accepted_is_delivered_and_counted_although_the_operator_is_killed_under_load() {
    let receiver = Receiver::start().await;
    let cluster = Cluster::new().await;
    let operator = cluster.operator().with(LEASE);
    let mut grapnel = operator.start().await;
    shop::open(&cluster, &receiver.url).await;
    cluster.apply(&patient(&receiver)).await;
    shop::ready(&cluster).await;
    let path = format!("/{}/orders", cluster.namespace);
    let mut accepted = BTreeSet::new();
    for round in 0..3 {
        let load = Load::start(&grapnel, &path, shop::ORDERS, &format!("round-{round}"));
        load.more(60).await;
        grapnel.kill();
        let sent = load.end().await;
        assert!(sent.refused.is_empty(), "{:?}", sent.refused);
        accepted.extend(sent.accepted);
        grapnel = operator.start().await;
    }
    let mut delivered = BTreeSet::new();
    while !accepted.is_subset(&delivered) {
        delivered.insert(receiver.next().await.header("webhook-id").to_owned());
    }
    assert_eq!(shop::order(&grapnel, &cluster, "orders", "last").await.0, 200);
    cluster
        .until("WebhookSubscription", "fulfilment", "every delivery in its count", |object| {
            let status = &object["status"];
            status["delivered"].as_u64() > Some(accepted.len() as u64) && status["pending"] == 0
        })
        .await;
}

#[tokio::test]
async fn an_end_on_request_loses_no_count() {
    let receiver = Receiver::start().await;
    let cluster = Cluster::new().await;
    // Counters are written seldom, so the last of them are those that the end writes.
    let operator = cluster.operator().with(["--status-interval", "1h"]);
    let grapnel = operator.start().await;
    shop::open(&cluster, &receiver.url).await;
    shop::ready(&cluster).await;
    for number in 0..5 {
        assert_eq!(shop::order(&grapnel, &cluster, "orders", &format!("early-{number}")).await.0, 200);
        receiver.next().await;
    }
    assert_eq!(shop::order(&grapnel, &cluster, "orders", "early-1").await.1["duplicate"], true);
    grapnel.send_signal("TERM");
    let (status, log) = grapnel.ended().await;
    assert_eq!(status.code(), Some(0), "{log}");
    let counts = |object: &Value| {
        ["received", "duplicates", "rejected"].map(|field| object["status"][field].as_u64().unwrap_or_default())
    };
    assert_eq!(counts(&cluster.get("WebhookEndpoint", "orders").await), [5, 1, 0]);
    assert_eq!(cluster.get("WebhookSubscription", "fulfilment").await["status"]["delivered"], 5);

    let grapnel = operator.start().await;
    for number in 0..3 {
        assert_eq!(shop::order(&grapnel, &cluster, "orders", &format!("late-{number}")).await.0, 200);
        receiver.next().await;
    }
    grapnel.send_signal("TERM");
    grapnel.ended().await;
    assert_eq!(counts(&cluster.get("WebhookEndpoint", "orders").await), [8, 1, 0]);
    assert_eq!(cluster.get("WebhookSubscription", "fulfilment").await["status"]["delivered"], 8);
}

#[tokio::test]
async fn events_taken_in_before_the_new_process_leads_are_counted() {
    let receiver = Receiver::start().await;
    let cluster = Cluster::new().await;
    let operator = cluster.operator().with(["--lease-duration", "5s"]);
    let grapnel = operator.start().await;
    shop::open(&cluster, &receiver.url).await;
    shop::ready(&cluster).await;
    for number in 0..5 {
        assert_eq!(shop::order(&grapnel, &cluster, "orders", &format!("early-{number}")).await.0, 200);
    }
    let received = async |count: u64| {
        let what = format!("{count} received");
        cluster.until("WebhookEndpoint", "orders", &what, |object| object["status"]["received"] == count).await
    };
    received(5).await;
    grapnel.kill();
    // The Lease is still that of the dead process when these arrive.
    let grapnel = operator.start().await;
    for number in 0..3 {
        assert_eq!(shop::order(&grapnel, &cluster, "orders", &format!("late-{number}")).await.0, 200);
    }
    received(8).await;
}

#[tokio::test]
async fn what_was_deleted_while_the_operator_was_down_goes_after_the_first_sync() {
    let receiver = Receiver::start().await;
    let cluster = Cluster::new().await;
    let operator = cluster.operator().with(LEASE);
    let grapnel = operator.start().await;
    receiver.answer(500);
    shop::open(&cluster, &receiver.url).await;
    cluster.apply(&patient(&receiver)).await;
    cluster
        .apply(&shop::subscription("kept", "orders", &receiver.url).replace("maxAttempts: 3", "maxAttempts: 100"))
        .await;
    shop::ready(&cluster).await;
    cluster.until_ready("WebhookSubscription", "kept").await;
    assert_eq!(shop::order(&grapnel, &cluster, "orders", "waiting").await.0, 200);
    for _ in 0..2 {
        receiver.next().await;
    }
    grapnel.kill();
    cluster.delete("WebhookSubscription", "fulfilment").await;

    let grapnel = operator.start().await;
    let metrics = grapnel.admin("/metrics").await.1;
    assert!(metrics.contains(r#"subscription="kept""#), "{metrics}");
    // Only that it was deleted with events that were not delivered.
    let of_it: Vec<_> = metrics.lines().filter(|line| line.contains(r#"subscription="fulfilment""#)).collect();
    assert!(matches!(of_it[..], [line] if line.starts_with("webhook_deliveries_abandoned_total")), "{of_it:?}");
    receiver.rest();
    receiver.answer(200);
    let arrived = loop {
        let arrived = receiver.next().await;
        if arrived.status() == Some(200) {
            break arrived;
        }
        assert_eq!(arrived.path, "/kept", "the consumer of the deleted one is gone");
    };
    assert_eq!((arrived.path.as_str(), arrived.header("webhook-id")), ("/kept", "waiting"), "the other is as it was");

    // Made again under its old name, it does not find what its predecessor had not finished.
    cluster.apply(&patient(&receiver)).await;
    cluster.until_ready("WebhookSubscription", "fulfilment").await;
    assert_eq!(shop::order(&grapnel, &cluster, "orders", "fresh").await.0, 200);
    let mut paths = BTreeSet::new();
    while paths.len() < 2 {
        let arrived = receiver.next().await;
        assert_eq!(arrived.header("webhook-id"), "fresh");
        paths.insert(arrived.path);
    }
}

#[tokio::test]
async fn what_was_made_again_under_its_name_while_the_operator_was_down_begins_anew() {
    let receiver = Receiver::start().await;
    let cluster = Cluster::new().await;
    let operator = cluster.operator().with(LEASE);
    let grapnel = operator.start().await;
    receiver.answer(500);
    shop::open(&cluster, &receiver.url).await;
    cluster.apply(&patient(&receiver)).await;
    shop::ready(&cluster).await;
    assert_eq!(shop::order(&grapnel, &cluster, "orders", "waiting").await.0, 200);
    receiver.next().await;
    grapnel.kill();
    for kind in [("WebhookSubscription", "fulfilment"), ("WebhookEndpoint", "orders")] {
        cluster.delete(kind.0, kind.1).await;
    }
    cluster.apply(&shop::endpoint("orders")).await;
    let grapnel = operator.start().await;
    let endpoint = cluster.until_ready("WebhookEndpoint", "orders").await;
    assert_eq!(endpoint["status"]["received"], 0, "another object, with a count of its own");
    receiver.rest();
    receiver.answer(200);
    cluster.apply(&patient(&receiver)).await;
    cluster.until_ready("WebhookSubscription", "fulfilment").await;
    assert_eq!(shop::order(&grapnel, &cluster, "orders", "fresh").await.0, 200);
    assert_eq!(receiver.next().await.header("webhook-id"), "fresh");
}

#[tokio::test]
async fn nothing_is_refused_for_good_before_the_first_sync() {
    let cluster = Cluster::new().await;
    let operator = cluster.operator();
    let grapnel = operator.start().await;
    cluster.apply(&shop::secret(shop::ORDERS)).await;
    cluster.apply(&shop::endpoint("orders")).await;
    cluster.until_ready("WebhookEndpoint", "orders").await;
    grapnel.kill();
    // An API server that never answers: nothing is known, so nothing may be said to be absent.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let text = std::fs::read_to_string(&cluster.kubeconfig).unwrap();
    let (before, rest) = text.split_once("server: ").unwrap();
    let rest = rest.split_once('\n').unwrap().1;
    let elsewhere = operator.data().join("elsewhere");
    std::fs::write(&elsewhere, format!("{before}server: https://{}\n{rest}", silent.local_addr().unwrap())).unwrap();
    let blind = Operator::new(&elsewhere)
        .with(["--watch-namespaces", &cluster.namespace])
        .with(["--lease-namespace", &cluster.namespace]);
    let grapnel = blind.launch();
    assert_eq!(grapnel.admin("/healthz").await.0, 200);
    assert_eq!(grapnel.admin("/readyz").await.0, 503);
    let (status, answer) = shop::order(&grapnel, &cluster, "orders", "early").await;
    assert_eq!((status, answer["code"].as_str()), (503, Some("not_ready")));
    assert_eq!(grapnel.post("/nowhere/at-all", &[], "{}").await.0, 503);
    grapnel.send_signal("TERM");
    let (status, log) = grapnel.ended().await;
    assert_eq!(status.code(), Some(0), "it ends although it never began: {log}");
}
