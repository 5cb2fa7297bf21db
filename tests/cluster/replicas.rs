//! Several replicas: all serve, one writes.

use std::time::Duration;

use serde_json::Value;
use tokio::time::sleep;

use crate::{
    fixture::{Cluster, Operator},
    program::{Grapnel, receiver::Receiver},
    shop,
};

/// Replicas of one installation, each with a journal of its own.
fn replica(cluster: &Cluster, identity: &str) -> Operator {
    cluster.operator().with(["--lease-duration", "4s", "--identity", identity])
}

fn holder(lease: &Value) -> &str {
    lease["spec"]["holderIdentity"].as_str().unwrap_or_default()
}

async fn leads(grapnel: &Grapnel) -> bool {
    grapnel.metric("grapnel_leader").await == 1.0
}

async fn writes(grapnel: &Grapnel) -> f64 {
    let (_, text) = grapnel.admin("/metrics").await;
    let lines = text.lines().filter_map(|line| line.strip_prefix("grapnel_status_writes_total"));
    lines.map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap()).sum()
}

#[tokio::test]
async fn every_replica_serves_one_writes_and_when_it_dies_another_does() {
    let receiver = Receiver::start().await;
    let cluster = Cluster::new().await;
    let (first_operator, second_operator) = (replica(&cluster, "first"), replica(&cluster, "second"));
    let first = first_operator.start().await;
    cluster.until("Lease", "grapnel", "held by the first", |lease| holder(lease) == "first").await;
    let second = second_operator.start().await;
    shop::open(&cluster, &receiver.url).await;
    shop::ready(&cluster).await;
    for (number, replica) in [&first, &second].into_iter().enumerate() {
        replica
            .eventually("serving", async || {
                let (status, _) = shop::order(replica, &cluster, "orders", &format!("first-{number}")).await;
                (status == 200).then_some(())
            })
            .await;
        receiver.next().await;
    }
    cluster.until("WebhookEndpoint", "orders", "a count", |object| object["status"]["received"] == 1).await;
    assert!(leads(&first).await && !leads(&second).await);
    assert_eq!(writes(&second).await, 0.0, "only the holder writes");
    let events = cluster.list("Event").await;
    assert!(!events.is_empty() && events.iter().all(|event| event["reportingInstance"] == "first"), "{events:?}");

    first.kill();
    let lease = cluster.until("Lease", "grapnel", "held by the second", |lease| holder(lease) == "second").await;
    assert_eq!(lease["spec"]["leaseTransitions"], 1);
    cluster.apply(&(shop::endpoint("orders") + "  retention: 24h\n")).await;
    let object = cluster.until_ready("WebhookEndpoint", "orders").await;
    assert_eq!(object["status"]["observedGeneration"], 2);
    assert!(leads(&second).await);

    // One that comes back follows, and one that ends on request hands over at once.
    let first = first_operator.start().await;
    assert!(!leads(&first).await);
    second.send_signal("TERM");
    second.ended().await;
    cluster.until("Lease", "grapnel", "held by the first again", |lease| holder(lease) == "first").await;
    cluster.apply(&(shop::endpoint("orders") + "  retention: 48h\n")).await;
    cluster.until_ready("WebhookEndpoint", "orders").await;
}

#[tokio::test]
async fn a_leader_that_is_stopped_for_longer_than_its_lease_does_not_write_when_it_wakes() {
    let cluster = Cluster::new().await;
    let (first_operator, second_operator) = (replica(&cluster, "first"), replica(&cluster, "second"));
    let first = first_operator.start().await;
    cluster.until("Lease", "grapnel", "held by the first", |lease| holder(lease) == "first").await;
    let second = second_operator.start().await;
    first.send_signal("STOP");
    cluster.until("Lease", "grapnel", "held by the second", |lease| holder(lease) == "second").await;
    cluster.apply(&shop::secret(shop::ORDERS)).await;
    cluster.apply(&shop::endpoint("orders")).await;
    cluster.until_ready("WebhookEndpoint", "orders").await;
    assert_eq!(shop::order(&second, &cluster, "orders", "x").await.0, 200);
    let counted =
        cluster.until("WebhookEndpoint", "orders", "a count", |object| object["status"]["received"] == 1).await;
    first.send_signal("CONT");
    // It serves the same objects and has counted nothing: would it write, the count would go back.
    first
        .eventually("the configuration on the first", async || {
            let (status, answer) = shop::order_signed(&first, &cluster, "orders", "y", "wrong").await;
            (status == 401 && answer["code"] == "invalid_signature").then_some(())
        })
        .await;
    sleep(Duration::from_secs(3)).await;
    let object = cluster.get("WebhookEndpoint", "orders").await;
    assert_eq!(object["metadata"]["resourceVersion"], counted["metadata"]["resourceVersion"]);
    assert_eq!(holder(&cluster.get("Lease", "grapnel").await), "second");
    assert!(!leads(&first).await);
}

#[tokio::test]
async fn losing_the_right_to_the_lease_ends_writing_and_not_serving() {
    let cluster = Cluster::new().await;
    let operator = replica(&cluster, "only");
    let grapnel = operator.start().await;
    cluster.apply(&shop::secret(shop::ORDERS)).await;
    cluster.apply(&shop::endpoint("orders")).await;
    cluster.until_ready("WebhookEndpoint", "orders").await;
    // Somebody else takes it, and keeps it.
    let stolen = serde_json::json!({ "spec": { "holderIdentity": "thief", "leaseDurationSeconds": 3600 } });
    let params = kube::api::PatchParams::default();
    cluster.api("Lease").patch("grapnel", &params, &kube::api::Patch::Merge(stolen)).await.unwrap();
    grapnel.eventually("loss of leadership", async || (!leads(&grapnel).await).then_some(())).await;
    let before = writes(&grapnel).await;
    assert_eq!(shop::order(&grapnel, &cluster, "orders", "x").await.0, 200, "it serves on");
    cluster.apply(&(shop::endpoint("orders") + "  response: { status: 202 }\n")).await;
    grapnel
        .eventually("the change", async || {
            (shop::order(&grapnel, &cluster, "orders", "y").await.0 == 202).then_some(())
        })
        .await;
    sleep(Duration::from_secs(2)).await;
    assert_eq!(writes(&grapnel).await, before);
    assert_eq!(cluster.get("WebhookEndpoint", "orders").await["status"]["observedGeneration"], 1);
    cluster.delete("Lease", "grapnel").await;
    cluster.until_ready("WebhookEndpoint", "orders").await;
}
