//! Objects that change while webhooks come in.

use std::collections::BTreeSet;

use crate::{
    fixture::{Cluster, Load},
    program::receiver::Receiver,
    shop,
};

fn path(cluster: &Cluster, endpoint: &str) -> String {
    format!("/{}/{endpoint}", cluster.namespace)
}

/// Receives until everything in `wanted` has arrived.
async fn all_arrive(receiver: &Receiver, wanted: &BTreeSet<String>) {
    let mut arrived = BTreeSet::new();
    while !wanted.is_subset(&arrived) {
        arrived.insert(receiver.next().await.header("webhook-id").to_owned());
    }
}

#[tokio::test]
async fn a_secret_is_rotated_under_load_without_a_refused_request() {
    let receiver = Receiver::start().await;
    let cluster = Cluster::new().await;
    let grapnel = cluster.operator().start().await;
    shop::open(&cluster, &receiver.url).await;
    shop::ready(&cluster).await;
    let load = Load::start(&grapnel, &path(&cluster, "orders"), shop::ORDERS, "rotation");
    load.more(50).await;

    // The new secret is added beside the old one; senders move; the old one goes.
    cluster
        .apply("apiVersion: v1\nkind: Secret\nmetadata: { name: next }\nstringData: { orders: the-secret-after-it }\n")
        .await;
    let both = shop::endpoint("orders")
        .replace("[{ name: shop, key: orders }]", "[{ name: shop, key: orders }, { name: next, key: orders }]");
    cluster.apply(&both).await;
    cluster.until_ready("WebhookEndpoint", "orders").await;
    load.more(50).await;
    load.sign_with("the-secret-after-it");
    // Whoever has signed with the old one has its answer by now.
    load.more(50).await;
    let new = shop::endpoint("orders").replace("name: shop", "name: next");
    cluster.apply(&new).await;
    cluster.until_ready("WebhookEndpoint", "orders").await;
    load.more(50).await;

    let sent = load.end().await;
    assert!(sent.refused.is_empty() && sent.unanswered == 0, "{:?}, {} unanswered", sent.refused, sent.unanswered);
    let (status, answer) = shop::order(&grapnel, &cluster, "orders", "late").await;
    assert_eq!((status, answer["code"].as_str()), (401, Some("invalid_signature")), "the old secret is of no use");
    all_arrive(&receiver, &sent.accepted).await;
}

#[tokio::test]
async fn a_secret_that_changes_in_place_is_used_at_once() {
    let receiver = Receiver::start().await;
    let cluster = Cluster::new().await;
    let grapnel = cluster.operator().start().await;
    shop::open(&cluster, &receiver.url).await;
    shop::ready(&cluster).await;
    let before = cluster.get("WebhookEndpoint", "orders").await;
    cluster.apply(&shop::secret("another-secret-altogether")).await;
    let accepted =
        async |id: &str, secret: &str| shop::order_signed(&grapnel, &cluster, "orders", id, secret).await.0 == 200;
    grapnel
        .eventually("the new secret", async || accepted("new", "another-secret-altogether").await.then_some(()))
        .await;
    assert!(!accepted("old", shop::ORDERS).await, "both come from one reading of the Secret");
    let after = cluster.get("WebhookEndpoint", "orders").await;
    assert_eq!(before["metadata"]["generation"], after["metadata"]["generation"]);
}

#[tokio::test]
async fn an_endpoint_deleted_under_load_ends_cleanly_and_its_neighbour_feels_nothing() {
    let receiver = Receiver::start().await;
    let cluster = Cluster::new().await;
    let grapnel = cluster.operator().start().await;
    shop::open(&cluster, &receiver.url).await;
    cluster.apply(&shop::endpoint("doomed")).await;
    cluster.apply(&shop::subscription("last", "doomed", &receiver.url)).await;
    shop::ready(&cluster).await;
    cluster.until_ready("WebhookEndpoint", "doomed").await;
    cluster.until_ready("WebhookSubscription", "last").await;
    let doomed = Load::start(&grapnel, &path(&cluster, "doomed"), shop::ORDERS, "doomed");
    let neighbour = Load::start(&grapnel, &path(&cluster, "orders"), shop::ORDERS, "neighbour");
    doomed.more(50).await;
    cluster.delete("WebhookEndpoint", "doomed").await;
    cluster.until_condition("WebhookSubscription", "last", "Ready", "False", "EndpointNotFound").await;
    neighbour.more(50).await;
    let (doomed, neighbour) = (doomed.end().await, neighbour.end().await);
    assert!(neighbour.refused.is_empty() && neighbour.unanswered == 0, "{:?}", neighbour.refused);
    assert_eq!(doomed.unanswered, 0);
    let others: Vec<_> = doomed.refused.iter().filter(|(status, _)| *status != 404).collect();
    assert!(others.is_empty() && !doomed.refused.is_empty(), "after its end it is not found: {others:?}");
    let (status, answer) = shop::order(&grapnel, &cluster, "doomed", "x").await;
    assert_eq!((status, answer["code"].as_str()), (404, Some("not_found")));

    // What was accepted before is delivered; the neighbour's too.
    all_arrive(&receiver, &doomed.accepted.union(&neighbour.accepted).cloned().collect()).await;
    let series = format!(r#"namespace="{}",endpoint="doomed""#, cluster.namespace);
    grapnel
        .eventually("the end of its series", async || {
            (!grapnel.admin("/metrics").await.1.contains(&series)).then_some(())
        })
        .await;
}

#[tokio::test]
async fn a_subscription_deleted_under_load_receives_nothing_more_and_made_again_begins_anew() {
    let receiver = Receiver::start().await;
    let cluster = Cluster::new().await;
    let grapnel = cluster.operator().start().await;
    shop::open(&cluster, &receiver.url).await;
    shop::ready(&cluster).await;
    let load = Load::start(&grapnel, &path(&cluster, "orders"), shop::ORDERS, "load");
    load.more(50).await;
    cluster.delete("WebhookSubscription", "fulfilment").await;
    let series = format!(r#"namespace="{}",subscription="fulfilment""#, cluster.namespace);
    grapnel
        .eventually("the end of its series", async || {
            let (_, metrics) = grapnel.admin("/metrics").await;
            // What it has abandoned is shown after its end.
            let mut lines = metrics.lines().filter(|line| !line.starts_with("webhook_deliveries_abandoned_total"));
            (!lines.any(|line| line.contains(&series))).then_some(())
        })
        .await;
    load.more(20).await;
    let sent = load.end().await;
    assert!(sent.refused.is_empty() && sent.unanswered == 0, "the endpoint takes in as before: {:?}", sent.refused);

    cluster.apply(&shop::subscription("fulfilment", "orders", &receiver.url)).await;
    cluster.until_ready("WebhookSubscription", "fulfilment").await;
    receiver.rest();
    assert_eq!(shop::order(&grapnel, &cluster, "orders", "anew").await.0, 200);
    assert_eq!(receiver.next().await.header("webhook-id"), "anew", "a new object starts from now");
    let object = cluster
        .until("WebhookSubscription", "fulfilment", "its count", |object| {
            object["status"]["delivered"].as_u64() > Some(0)
        })
        .await;
    assert_eq!(object["status"]["delivered"], 1, "and counts from nothing");
}

#[tokio::test]
async fn a_path_that_changes_hands_under_load_is_never_without_an_owner() {
    let cluster = Cluster::new().await;
    let grapnel = cluster.operator().start().await;
    cluster.apply(&shop::secret(shop::ORDERS)).await;
    let shared = |name: &str| shop::endpoint(name).replace("spec:\n", "spec:\n  path: shared\n");
    cluster.apply(&shared("a-older")).await;
    cluster.until_ready("WebhookEndpoint", "a-older").await;
    cluster.apply(&shared("b-newer")).await;
    cluster.until_condition("WebhookEndpoint", "b-newer", "Ready", "False", "PathConflict").await;
    let load = Load::start(&grapnel, &path(&cluster, "shared"), shop::ORDERS, "load");
    load.more(30).await;
    cluster.delete("WebhookEndpoint", "a-older").await;
    cluster.until_ready("WebhookEndpoint", "b-newer").await;
    load.more(30).await;
    let sent = load.end().await;
    assert!(sent.refused.is_empty() && sent.unanswered == 0, "{:?}", sent.refused);
}
