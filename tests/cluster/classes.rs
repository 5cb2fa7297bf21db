//! Two operators at the same API server: each serves its class, and two that serve the same objects say so.

use std::time::Duration;

use serde_json::Value;
use tokio::time::sleep;

use crate::{
    fixture::{Cluster, Operator, condition},
    program::{Grapnel, receiver::Receiver},
    shop,
};

/// An operator with a Lease of its own, which makes it another installation.
fn operator(cluster: &Cluster, lease: &str) -> Operator {
    cluster.operator().with(["--lease-name", lease, "--identity", lease])
}

fn with_class(manifest: &str, class: &str) -> String {
    format!("{manifest}  className: {class}\n")
}

fn writer(object: &Value) -> &str {
    object["status"]["writer"].as_str().unwrap_or_default()
}

async fn writes(grapnel: &Grapnel) -> f64 {
    let (_, text) = grapnel.admin("/metrics").await;
    let lines = text.lines().filter_map(|line| line.strip_prefix("grapnel_status_writes_total"));
    lines.map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap()).sum()
}

#[tokio::test]
async fn each_operator_serves_its_class_and_an_object_can_change_hands() {
    let receiver = Receiver::start().await;
    let cluster = Cluster::new().await;
    let plain = operator(&cluster, "plain").start().await;
    let web = operator(&cluster, "web").with(["--class", "web"]).start().await;
    let name = |lease: &str| format!("{}/{lease}", cluster.namespace);
    cluster.apply(&shop::secret(shop::ORDERS)).await;
    cluster.apply(&shop::endpoint("orders")).await;
    cluster.apply(&with_class(&shop::endpoint("pages"), "web")).await;
    cluster.apply(&with_class(&shop::endpoint("nobodys"), "other")).await;
    let orders = cluster.until_ready("WebhookEndpoint", "orders").await;
    let pages = cluster.until_ready("WebhookEndpoint", "pages").await;
    assert_eq!((writer(&orders), writer(&pages)), (&*name("plain"), &*name("web")));
    assert_eq!(shop::order(&plain, &cluster, "orders", "one").await.0, 200);
    assert_eq!(shop::order(&plain, &cluster, "pages", "one").await.0, 404);
    assert_eq!(shop::order(&web, &cluster, "pages", "one").await.0, 200);
    assert_eq!(shop::order(&web, &cluster, "orders", "one").await.0, 404);

    // A subscription does not read an endpoint that another operator serves.
    cluster.apply(&shop::subscription("stray", "pages", &receiver.url)).await;
    let message = cluster.until_condition("WebhookSubscription", "stray", "Ready", "False", "ClassMismatch").await;
    assert!(message.contains("spec.className"), "{message}");

    // Pending events stay with the operator that has taken them in, until the object comes back.
    let parked = shop::subscription("fulfilment", "orders", &receiver.url) + "  suspend: true\n";
    cluster.apply(&parked).await;
    cluster.until_ready("WebhookSubscription", "fulfilment").await;
    assert_eq!(shop::order(&plain, &cluster, "orders", "two").await.0, 200);
    cluster.until("WebhookSubscription", "fulfilment", "one pending", |object| object["status"]["pending"] == 1).await;
    cluster.apply(&with_class(&parked, "web")).await;
    cluster
        .until("WebhookSubscription", "fulfilment", "the other writer", |object| {
            writer(object) == name("web") && condition(object, "Ready").1 == "ClassMismatch"
        })
        .await;
    cluster.apply(&shop::subscription("fulfilment", "orders", &receiver.url)).await;
    cluster
        .until("WebhookSubscription", "fulfilment", "its delivery", |object| {
            writer(object) == name("plain") && object["status"]["delivered"] == 1
        })
        .await;
    assert_eq!(receiver.next().await.header("webhook-id"), "two");

    // An endpoint goes over with its counts.
    cluster.until("WebhookEndpoint", "orders", "its counts", |object| object["status"]["received"] == 2).await;
    cluster.apply(&with_class(&shop::endpoint("orders"), "web")).await;
    let orders = cluster
        .until("WebhookEndpoint", "orders", "the other writer", |object| {
            writer(object) == name("web") && condition(object, "Ready").0 == "True"
        })
        .await;
    assert_eq!(orders["status"]["received"], 2);
    assert_eq!(shop::order(&web, &cluster, "orders", "three").await.0, 200);
    // Each operator learns of the change from a watch of its own, and the former may learn of it last.
    plain
        .eventually("the end of its route", async || {
            (shop::order(&plain, &cluster, "orders", "three").await.0 == 404).then_some(())
        })
        .await;

    let nobodys = cluster.get("WebhookEndpoint", "nobodys").await;
    assert!(nobodys["status"]["conditions"].is_null(), "{nobodys}");
    assert!(nobodys["metadata"]["finalizers"].is_null());
    let events = cluster.list("Event").await;
    assert!(events.iter().all(|event| event["regarding"]["name"] != "nobodys"), "{events:?}");
    for grapnel in [&plain, &web] {
        assert_eq!(shop::order(grapnel, &cluster, "nobodys", "one").await.0, 404);
        assert!(
            !grapnel.log().contains("overwrites the statuses"),
            "a change of hands is no contest: {}",
            grapnel.log()
        );
    }
}

#[tokio::test]
async fn two_operators_of_the_same_objects_say_so_and_stop_fighting() {
    const OBJECTS: usize = 5;
    let cluster = Cluster::new().await;
    let (first, second) = (operator(&cluster, "first").start().await, operator(&cluster, "second").start().await);
    cluster.apply(&shop::secret(shop::ORDERS)).await;
    for number in 0..OBJECTS {
        cluster.apply(&shop::endpoint(&format!("e-{number}"))).await;
    }
    for number in 0..OBJECTS {
        let name = format!("e-{number}");
        let object = cluster
            .until("WebhookEndpoint", &name, "the contest", |object| condition(object, "Contested").0 == "True")
            .await;
        let (_, reason, message) = condition(&object, "Contested");
        assert_eq!(reason, "OverwrittenByAnother");
        assert!(message.contains(&format!("{}/", cluster.namespace)), "it names the other one: {message}");
    }
    // The proof of an absence takes time.
    sleep(Duration::from_secs(30)).await;
    let total = writes(&first).await + writes(&second).await;
    assert!(total <= (OBJECTS * 10) as f64, "{total} writes of {OBJECTS} statuses by two operators");
    for (grapnel, other) in [(&first, "second"), (&second, "first")] {
        let log = grapnel.log();
        let warnings: Vec<_> = log.lines().filter(|line| line.contains("overwrites the statuses")).collect();
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].contains(&format!("{}/{other}", cluster.namespace)), "{warnings:?}");
    }
    let before = writes(&first).await + writes(&second).await;
    sleep(Duration::from_secs(5)).await;
    assert!(writes(&first).await + writes(&second).await - before <= OBJECTS as f64);
}
