//! `spec.deletionPolicy`: what deletion does with events that are not settled.

use std::time::Duration;

use crate::{
    fixture::{Cluster, Operator, PATIENCE, condition},
    program::{Grapnel, receiver::Receiver},
    shop,
};

/// An operator with an endpoint and a subscription that drains, whose one event waits for its retry.
async fn waiting(cluster: &Cluster, receiver: &Receiver) -> Grapnel {
    waiting_at(&cluster.operator(), cluster, receiver).await
}

async fn waiting_at(operator: &Operator, cluster: &Cluster, receiver: &Receiver) -> Grapnel {
    let grapnel = operator.start().await;
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
    has_finalizer(object, "grapnel.dev/drain")
}

fn has_finalizer(object: &serde_json::Value, name: &str) -> bool {
    object["metadata"]["finalizers"].as_array().is_some_and(|finalizers| finalizers.iter().any(|it| it == name))
}

/// An operator of the class `web`, with a journal of its own.
async fn of_web(cluster: &Cluster) -> Grapnel {
    cluster.operator().with(["--lease-name", "web", "--identity", "web", "--class", "web"]).start().await
}

async fn give_to_web(cluster: &Cluster) {
    let patch = kube::api::Patch::Merge(serde_json::json!({ "spec": { "className": "web" } }));
    cluster.api("WebhookSubscription").patch("fulfilment", &Default::default(), &patch).await.unwrap();
}

async fn is_gone(cluster: &Cluster, grapnel: &Grapnel) {
    let gone = async {
        while cluster.api("WebhookSubscription").get_opt("fulfilment").await.unwrap().is_some() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let ended = tokio::time::timeout(PATIENCE, gone).await;
    assert!(ended.is_ok(), "the object is not gone:\n{}", grapnel.log());
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
    let says = |object: &serde_json::Value| {
        let (_, reason, message) = condition(object, "Delivering");
        reason == "TargetFailing" && message.ends_with("; draining: 1 event left before deletion")
    };
    cluster.until("WebhookSubscription", "fulfilment", "that it drains", says).await;
    receiver.answer(200);
    is_gone(&cluster, &grapnel).await;
    // The object goes before the operator has the answer to its last request.
    for line in ["draining: the subscription is deleted when its events are settled", "the drain has ended"] {
        grapnel.eventually(line, async || grapnel.log().contains(line).then_some(())).await;
    }
    while receiver.next().await.status() != Some(200) {}
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

#[tokio::test]
async fn one_that_can_deliver_nothing_does_not_drain_for_ever() {
    let receiver = Receiver::start().await;
    let cluster = Cluster::new().await;
    let operator = cluster.operator().with(["--lease-duration", "3s"]);
    waiting_at(&operator, &cluster, &receiver).await.kill();
    for (kind, name) in [("WebhookSubscription", "fulfilment"), ("WebhookEndpoint", "orders"), ("Secret", "shop")] {
        cluster.delete(kind, name).await;
    }
    // No earlier version is in the memory of the next process.
    let grapnel = operator.start().await;
    is_gone(&cluster, &grapnel).await;
    let series = format!(
        r#"webhook_deliveries_abandoned_total{{namespace="{}",subscription="fulfilment"}} 1"#,
        cluster.namespace
    );
    let counted = async || grapnel.admin("/metrics").await.1.contains(&series).then_some(());
    grapnel.eventually("its event is counted as abandoned", counted).await;
}

#[tokio::test]
async fn a_secret_that_comes_back_in_time_lets_the_drain_go_on() {
    let receiver = Receiver::start().await;
    let cluster = Cluster::new().await;
    let grapnel = waiting(&cluster, &receiver).await;
    cluster.delete("WebhookSubscription", "fulfilment").await;
    cluster.delete("Secret", "shop").await;
    let absent = |object: &serde_json::Value| condition(object, "SecretsResolved").0 == "False";
    cluster.until("WebhookSubscription", "fulfilment", "the lack of its Secret", absent).await;
    receiver.answer(200);
    cluster.apply(&shop::secret(shop::ORDERS)).await;
    while receiver.next().await.status() != Some(200) {}
    is_gone(&cluster, &grapnel).await;
    let (_, metrics) = grapnel.admin("/metrics").await;
    assert!(!metrics.contains("webhook_deliveries_abandoned_total{"), "it went after its event had been delivered");
}

#[tokio::test]
async fn a_class_that_changes_while_it_drains_lets_no_other_operator_end_the_drain() {
    let receiver = Receiver::start().await;
    let cluster = Cluster::new().await;
    let web = of_web(&cluster).await;
    let grapnel = waiting(&cluster, &receiver).await;
    cluster.delete("WebhookSubscription", "fulfilment").await;
    give_to_web(&cluster).await;
    for _ in 0..5 {
        receiver.next().await;
    }
    let held = cluster.get("WebhookSubscription", "fulfilment").await;
    assert!(is_held(&held) && held["spec"]["className"] == "web");
    receiver.answer(200);
    is_gone(&cluster, &grapnel).await;
    while receiver.next().await.status() != Some(200) {}
    let (_, metrics) = grapnel.admin("/metrics").await;
    assert!(!metrics.contains("webhook_deliveries_abandoned_total{"), "it went after its event had been delivered");
    assert!(!web.log().contains("finalizer written"), "{}", web.log());
}

#[tokio::test]
async fn an_operator_that_has_served_a_subscription_before_drains_it_too() {
    let receiver = Receiver::start().await;
    let cluster = Cluster::new().await;
    let _web = of_web(&cluster).await;
    let grapnel = waiting(&cluster, &receiver).await;
    give_to_web(&cluster).await;
    let both = |object: &serde_json::Value| is_held(object) && has_finalizer(object, "web.grapnel.dev/drain");
    cluster.until("WebhookSubscription", "fulfilment", "both finalizers", both).await;
    receiver.answer(200);
    cluster.delete("WebhookSubscription", "fulfilment").await;
    is_gone(&cluster, &grapnel).await;
    while receiver.next().await.status() != Some(200) {}
    let (_, metrics) = grapnel.admin("/metrics").await;
    assert!(!metrics.contains("webhook_deliveries_abandoned_total{"), "it went after its event had been delivered");
}
