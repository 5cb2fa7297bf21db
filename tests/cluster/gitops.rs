//! What Argo CD and Flux make of real objects, state by state.

#[path = "../gitops/kstatus.rs"]
mod kstatus;
#[path = "../gitops/lua.rs"]
mod lua;

use serde_json::Value;

use self::kstatus::{KStatus, kstatus};
use crate::{
    fixture::{Cluster, condition, pretty},
    program::receiver::Receiver,
    shop,
};

/// Asserts what Argo CD and Flux show for an object.
fn assert_shown(object: &Value, health: &str, flux: KStatus) {
    let script = lua::scripts(object["kind"].as_str().unwrap()).join("health.lua");
    let shown = lua::run(&script, object);
    assert!(!shown["message"].as_str().unwrap().is_empty(), "{shown}");
    assert_eq!((shown["status"].as_str().unwrap(), kstatus(object)), (health, flux), "{shown}\n{}", pretty(object));
}

/// Runs an action of Argo CD on an object and applies the result.
async fn act(cluster: &Cluster, action: &str, object: &Value) {
    let script = lua::scripts(object["kind"].as_str().unwrap()).join(format!("actions/{action}/action.lua"));
    let mut changed = lua::run(&script, object);
    // The API server fills these in; only the change matters.
    changed["metadata"] = serde_json::json!({ "name": object["metadata"]["name"] });
    changed.as_object_mut().unwrap().remove("status");
    cluster.try_apply(&changed).await.unwrap();
}

#[tokio::test]
async fn every_state_is_shown_as_it_is() {
    let receiver = Receiver::start().await;
    let cluster = Cluster::new().await;
    // Before the operator has seen it: no status, which a newer API server's default makes InProgress for Flux.
    cluster.apply(&shop::endpoint("orders")).await;
    let unseen = cluster.get("WebhookEndpoint", "orders").await;
    let shown = lua::run(&lua::scripts("WebhookEndpoint").join("health.lua"), &unseen);
    assert_eq!(shown["status"], "Progressing");

    let grapnel = cluster.operator().start().await;
    cluster.until_condition("WebhookEndpoint", "orders", "Ready", "False", "SecretNotFound").await;
    assert_shown(&cluster.get("WebhookEndpoint", "orders").await, "Degraded", KStatus::Failed);

    shop::open(&cluster, &receiver.url).await;
    shop::ready(&cluster).await;
    assert_shown(&cluster.get("WebhookEndpoint", "orders").await, "Healthy", KStatus::Current);
    assert_shown(&cluster.get("WebhookSubscription", "fulfilment").await, "Healthy", KStatus::Current);

    cluster.apply(&(shop::endpoint("invalid") + "  allowedSources: ['1.2.3.4:5']\n")).await;
    cluster.until_condition("WebhookEndpoint", "invalid", "Ready", "False", "InvalidSpec").await;
    assert_shown(&cluster.get("WebhookEndpoint", "invalid").await, "Degraded", KStatus::Failed);

    // A receiver that fails, and then dead letters: the subscription itself is well.
    receiver.answer(500);
    assert_eq!(shop::order(&grapnel, &cluster, "orders", "failing").await.0, 200);
    let failing = cluster
        .until("WebhookSubscription", "fulfilment", "a failure", |it| condition(it, "Delivering").1 == "TargetFailing")
        .await;
    assert_shown(&failing, "Healthy", KStatus::Current);
    let dead = cluster
        .until("WebhookSubscription", "fulfilment", "a dead letter", |it| it["status"]["deadLettered"] == 1)
        .await;
    let actions = lua::run(&lua::scripts("WebhookSubscription").join("actions/discovery.lua"), &dead);
    assert_eq!(actions["redeliver"]["disabled"], false);

    for (kind, name) in [("WebhookEndpoint", "orders"), ("WebhookSubscription", "fulfilment")] {
        act(&cluster, "suspend", &cluster.get(kind, name).await).await;
        let is_seen = |it: &Value| it["status"]["observedGeneration"] == it["metadata"]["generation"];
        let suspended =
            cluster.until(kind, name, "its suspension", |it| it["spec"]["suspend"] == true && is_seen(it)).await;
        let script = lua::scripts(kind).join("health.lua");
        assert_eq!(lua::run(&script, &suspended)["status"], "Suspended", "{}", pretty(&suspended));
        if kind == "WebhookEndpoint" {
            let reader = ("WebhookSubscription", "fulfilment");
            cluster.until_condition(reader.0, reader.1, "Ready", "Unknown", "EndpointSuspended").await;
            assert_shown(&cluster.get(reader.0, reader.1).await, "Suspended", KStatus::InProgress);
        }
        act(&cluster, "resume", &suspended).await;
        let resumed = cluster.until(kind, name, "its end", |it| it["spec"]["suspend"] == false && is_seen(it)).await;
        assert_ne!(lua::run(&script, &resumed)["status"], "Suspended");
        cluster.until_ready(kind, name).await;
    }
}
