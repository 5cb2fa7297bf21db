//! `spec.deletionPolicy`: what deletion does with events that are not settled.

use crate::{
    fixture::Cluster,
    program::{Grapnel, receiver::Receiver},
    shop,
};

/// An operator with an endpoint and a subscription that drains, whose one event waits for its retry.
async fn waiting(cluster: &Cluster, receiver: &Receiver) -> Grapnel {
    let grapnel = cluster.operator().start().await;
    cluster.apply(&shop::secret(shop::ORDERS)).await;
    cluster.apply(&shop::endpoint("orders")).await;
    cluster.apply(&draining(receiver)).await;
    shop::ready(cluster).await;
    cluster.until("WebhookSubscription", "fulfilment", "the finalizer", is_held).await;
    receiver.answer(503);
    assert_eq!(shop::order(&grapnel, cluster, "orders", "first").await.0, 200);
    receiver.next().await;
    cluster.until("WebhookSubscription", "fulfilment", "its retry", |it| it["status"]["retrying"] == 1).await;
    grapnel
}

fn draining(receiver: &Receiver) -> String {
    let retry = "retry: { maxAttempts: 100, initialDelay: 1s, multiplier: 1, jitter: None }";
    let subscription = shop::subscription("fulfilment", "orders", &receiver.url);
    let (head, _) = subscription.split_once("  retry:").unwrap();
    format!("{head}  {retry}\n  deletionPolicy: Drain\n")
}

fn is_held(object: &serde_json::Value) -> bool {
    let finalizers = object["metadata"]["finalizers"].as_array();
    finalizers.is_some_and(|finalizers| finalizers.iter().any(|name| name == "grapnel.dev/drain"))
}

async fn is_gone(cluster: &Cluster, grapnel: &Grapnel) {
    let gone = async || cluster.api("WebhookSubscription").get_opt("fulfilment").await.unwrap().is_none().then_some(());
    grapnel.eventually("the object is gone", gone).await;
}

#[tokio::test]
async fn a_subscription_that_drains_is_deleted_when_its_events_are_settled() {
    let receiver = Receiver::start().await;
    let cluster = Cluster::new().await;
    let grapnel = waiting(&cluster, &receiver).await;
    cluster.delete("WebhookSubscription", "fulfilment").await;
    // It is held and delivered on, attempt after attempt.
    for _ in 0..3 {
        receiver.next().await;
    }
    let held = cluster.get("WebhookSubscription", "fulfilment").await;
    assert!(is_held(&held) && !held["metadata"]["deletionTimestamp"].is_null());
    receiver.answer(200);
    is_gone(&cluster, &grapnel).await;
    while receiver.next().await.status != 200 {}
    let (_, metrics) = grapnel.admin("/metrics").await;
    assert!(!metrics.contains("webhook_deliveries_abandoned_total{"), "it went after its event had been delivered");
}

#[tokio::test]
async fn another_policy_lets_it_go_and_what_is_abandoned_is_reported() {
    let receiver = Receiver::start().await;
    let cluster = Cluster::new().await;
    let grapnel = waiting(&cluster, &receiver).await;
    cluster.delete("WebhookSubscription", "fulfilment").await;
    receiver.next().await;
    let patch = serde_json::json!({ "spec": { "deletionPolicy": "Drop" } });
    let patch = kube::api::Patch::Merge(patch);
    cluster.api("WebhookSubscription").patch("fulfilment", &Default::default(), &patch).await.unwrap();
    is_gone(&cluster, &grapnel).await;
    grapnel
        .eventually("the Event", async || {
            let events = cluster.list("Event").await;
            let event = events.iter().find(|event| event["reason"] == "DeliveriesAbandoned")?;
            assert_eq!((&event["type"], &event["regarding"]["name"]), (&"Warning".into(), &"fulfilment".into()));
            Some(())
        })
        .await;
}
