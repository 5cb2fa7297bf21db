//! `WebhookReplay` on a real API server: refusals, conditions, restarts, and the deletion after its end.

use std::time::Duration;

use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::{
    fixture::{Cluster, PATIENCE, condition},
    program::{Grapnel, receiver::Receiver},
    shop,
};

fn replay(name: &str, more: Value) -> Value {
    let mut spec = json!({ "subscriptionRef": { "name": "fulfilment" }, "select": { "deadLettered": true } });
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({
        "apiVersion": "grapnel.dev/v1beta1", "kind": "WebhookReplay", "metadata": { "name": name }, "spec": spec,
    })
}

async fn apply(cluster: &Cluster, name: &str, more: Value) {
    cluster.try_apply(&replay(name, more)).await.unwrap();
}

async fn complete(cluster: &Cluster, name: &str) -> Value {
    cluster.until("WebhookReplay", name, "complete", |it| condition(it, "Complete").0 == "True").await
}

/// Sends orders that become dead letters at their first attempt.
async fn dead_letters(grapnel: &Grapnel, cluster: &Cluster, receiver: &Receiver, ids: &[&str]) {
    receiver.answer(410);
    for id in ids {
        assert_eq!(shop::order(grapnel, cluster, "orders", id).await.0, 200);
        receiver.next().await;
    }
    let all = ids.len() as u64;
    let are_dead = |object: &Value| object["status"]["deadLettered"] == all;
    cluster.until("WebhookSubscription", "fulfilment", "dead letters", are_dead).await;
}

/// An operator with two dead letters, whose receiver works again.
async fn with_dead_letters() -> (Receiver, Cluster, Grapnel) {
    let receiver = Receiver::start().await;
    let cluster = Cluster::new().await;
    let grapnel = cluster.operator().start().await;
    shop::open(&cluster, &receiver.url).await;
    shop::ready(&cluster).await;
    dead_letters(&grapnel, &cluster, &receiver, &["first", "second"]).await;
    receiver.answer(200);
    (receiver, cluster, grapnel)
}

#[tokio::test]
async fn dead_letters_are_delivered_again_and_the_object_is_deleted_after_its_end() {
    let (receiver, cluster, grapnel) = with_dead_letters().await;
    apply(&cluster, "dry", json!({ "dryRun": true })).await;
    let dry = complete(&cluster, "dry").await;
    assert_eq!((&dry["status"]["matched"], &dry["status"]["queued"]), (&2.into(), &0.into()));
    assert!(receiver.rest().is_empty(), "a dry run delivers nothing");
    apply(&cluster, "again", json!({ "rate": { "requests": 100 } })).await;
    let again = complete(&cluster, "again").await;
    let status = &again["status"];
    for (field, count) in [("matched", 2), ("queued", 2), ("delivered", 2), ("failed", 0), ("alreadyQueued", 0)] {
        assert_eq!(status[field], count, "{field}: {status}");
    }
    assert!(status["completionTime"].is_string() && condition(&again, "Reconciling").0.is_empty(), "{status}");
    assert_eq!(status["observedGeneration"], again["metadata"]["generation"]);
    let mut ids = [receiver.next().await, receiver.next().await].map(|it| it.header("webhook-id").to_owned());
    ids.sort_unstable();
    assert_eq!(ids, ["first", "second"]);
    let table = String::from_utf8(cluster.kubectl(&["get", "whr"]).await.stdout).unwrap();
    assert!(table.contains("fulfilment") && table.contains("Completed"), "{table}");

    // It is deleted when its time has come, and not before.
    let ttl = Patch::Merge(json!({ "spec": { "ttlSecondsAfterFinished": 0 } }));
    cluster.api("WebhookReplay").patch("again", &PatchParams::default(), &ttl).await.unwrap();
    let gone = async {
        while cluster.api("WebhookReplay").get_opt("again").await.unwrap().is_some() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    assert!(timeout(PATIENCE, gone).await.is_ok(), "{}", grapnel.log());
    assert!(cluster.api("WebhookReplay").get_opt("dry").await.unwrap().is_some());
}

/// Why an object is not used: the API server refuses it, or, if it knows no CEL rules, the operator does.
async fn refusal(cluster: &Cluster, name: &str, more: Value) -> String {
    match cluster.try_apply(&replay(name, more)).await {
        Err(error) => error.to_string(),
        Ok(_) => cluster.until_condition("WebhookReplay", name, "Accepted", "False", "InvalidSpec").await,
    }
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_in_words() {
    let receiver = Receiver::start().await;
    let cluster = Cluster::new().await;
    let _grapnel = cluster.operator().start().await;
    shop::open(&cluster, &receiver.url).await;
    shop::ready(&cluster).await;
    let one = "must have exactly one of deadLettered, ids, and since and until";
    for (name, select, expected) in [
        ("nothing", json!({}), one),
        ("two", json!({ "deadLettered": true, "ids": ["a"] }), one),
        ("false", json!({ "deadLettered": false }), "must be true or absent"),
        ("no-ids", json!({ "ids": [] }), "should have at least 1 items"),
        ("no-time", json!({ "since": "2026-01-31T12:00:00Z", "until": "2026-01-31T12:00:00Z" }), "must be after since"),
    ] {
        let message = refusal(&cluster, name, json!({ "select": select })).await;
        assert!(message.contains(expected), "{message}");
    }
    // One that makes sense, and finds nothing.
    apply(&cluster, "earlier", json!({ "select": { "until": "2026-01-31T12:00:00Z" } })).await;
    let status = complete(&cluster, "earlier").await["status"].clone();
    assert_eq!(status["matched"], 0, "{status}");
}

#[tokio::test]
async fn progress_survives_a_restart_and_two_replays_deliver_once() {
    let receiver = Receiver::start().await;
    let cluster = Cluster::new().await;
    let operator = cluster.operator();
    let grapnel = operator.start().await;
    shop::open(&cluster, &receiver.url).await;
    shop::ready(&cluster).await;
    dead_letters(&grapnel, &cluster, &receiver, &["first", "second", "third"]).await;
    // They are queued, and not delivered.
    let park = |suspend: bool| Patch::Merge(json!({ "spec": { "suspend": suspend } }));
    cluster.api("WebhookSubscription").patch("fulfilment", &PatchParams::default(), &park(true)).await.unwrap();
    cluster.until_condition("WebhookSubscription", "fulfilment", "Delivering", "False", "Suspended").await;
    receiver.answer(200);
    apply(&cluster, "one", json!({})).await;
    apply(&cluster, "two", json!({ "select": { "ids": ["first", "second", "third", "never"] } })).await;
    let reason = "SubscriptionSuspended";
    for name in ["one", "two"] {
        cluster.until_condition("WebhookReplay", name, "Complete", "False", reason).await;
        cluster.until("WebhookReplay", name, "queued", |it| it["status"]["queued"] == 3).await;
    }
    let message = refusal(&cluster, "one", json!({ "filter": "true" })).await;
    assert!(message.contains("only suspend and ttlSecondsAfterFinished can be changed"), "{message}");
    apply(&cluster, "one", json!({ "ttlSecondsAfterFinished": 3600 })).await;
    grapnel.send_signal("TERM");
    grapnel.ended().await;
    let grapnel = operator.start().await;
    cluster.api("WebhookSubscription").patch("fulfilment", &PatchParams::default(), &park(false)).await.unwrap();
    for name in ["one", "two"] {
        let status = complete(&cluster, name).await["status"].clone();
        assert_eq!((&status["delivered"], &status["queued"]), (&3.into(), &3.into()), "{name}: {status}");
    }
    let two = cluster.get("WebhookReplay", "two").await;
    assert_eq!(two["status"]["gone"], 1);
    for _ in 0..3 {
        receiver.next().await;
    }
    assert!(receiver.rest().is_empty(), "each of them once: {}", grapnel.log());
}

#[tokio::test]
async fn a_replay_fails_with_its_subscription_and_waits_for_one_that_is_missing() {
    let receiver = Receiver::start().await;
    let cluster = Cluster::new().await;
    let grapnel = cluster.operator().start().await;
    apply(&cluster, "early", json!({})).await;
    cluster.until_condition("WebhookReplay", "early", "Failed", "True", "SubscriptionNotFound").await;
    let wrong = json!({ "filter": "payload." });
    apply(&cluster, "wrong", wrong).await;
    cluster.until_condition("WebhookReplay", "wrong", "Failed", "True", "InvalidExpression").await;
    shop::open(&cluster, &receiver.url).await;
    shop::ready(&cluster).await;
    let early = complete(&cluster, "early").await;
    assert!(condition(&early, "Failed").0.is_empty() && condition(&early, "Stalled").0.is_empty(), "{early}");

    dead_letters(&grapnel, &cluster, &receiver, &["first", "second"]).await;
    apply(&cluster, "slow", json!({ "rate": { "requests": 1, "per": "1h" } })).await;
    cluster.until("WebhookReplay", "slow", "started", |it| it["status"]["startTime"].is_string()).await;
    cluster.delete("WebhookSubscription", "fulfilment").await;
    cluster.until_condition("WebhookReplay", "slow", "Failed", "True", "SubscriptionDeleted").await;
    let slow = cluster.get("WebhookReplay", "slow").await;
    assert_eq!(condition(&slow, "Stalled").0, "True");
    assert!(slow["status"]["completionTime"].is_string());
}

/// `kubectl create` and `kubectl apply` without `--server-side` make objects in this way. The API server then counts what it
/// fills in as written by the client.
#[tokio::test]
async fn objects_may_be_created_without_server_side_apply() {
    let (_receiver, cluster, grapnel) = with_dead_letters().await;
    let params =
        kube::api::PostParams { field_manager: Some("kubectl-client-side-apply".into()), ..Default::default() };
    let object = serde_json::from_value(replay("posted", json!({ "rate": { "requests": 100 } }))).unwrap();
    cluster.api("WebhookReplay").create(&params, &object).await.unwrap();
    let posted = complete(&cluster, "posted").await;
    for kind in ["Reconciling", "Contested", "Stalled"] {
        assert_eq!(condition(&posted, kind).0, "", "{kind}: {posted}");
    }
    assert_eq!(posted["status"]["delivered"], 2, "{posted}");
    assert!(!grapnel.log().contains("another writer"), "{}", grapnel.log());
}
