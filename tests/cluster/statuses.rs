//! How statuses are written: seldom, by one field manager, and never in the way of whoever applies the spec.

use std::{pin::pin, time::Duration};

use futures_util::StreamExt;
use kube::api::{Patch, PatchParams};
use kube_runtime::{
    WatchStreamExt,
    watcher::{self, Event},
};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use crate::{
    fixture::{Cluster, condition},
    program::receiver::Receiver,
    shop,
};

fn version(object: &Value) -> &str {
    object["metadata"]["resourceVersion"].as_str().unwrap()
}

/// The fields of an object that a manager owns, as the API server tells them.
fn owned(object: &Value, manager: &str) -> Vec<Value> {
    let entries = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    entries.into_iter().filter(|entry| entry["manager"] == manager).collect()
}

#[tokio::test]
async fn nothing_is_written_when_nothing_changes() {
    let receiver = Receiver::start().await;
    let cluster = Cluster::new().await;
    let grapnel = cluster.operator().start().await;
    shop::open(&cluster, &receiver.url).await;
    shop::ready(&cluster).await;
    assert_eq!(shop::order(&grapnel, &cluster, "orders", "first").await.0, 200);
    let endpoint =
        cluster.until("WebhookEndpoint", "orders", "its count", |object| object["status"]["received"] == 1).await;
    let subscription = cluster
        .until("WebhookSubscription", "fulfilment", "its count", |object| object["status"]["delivered"] == 1)
        .await;
    // A write is counted when it is answered, a little after it is seen.
    sleep(Duration::from_secs(1)).await;
    let writes = grapnel.metric(r#"grapnel_status_writes_total{outcome="ok"}"#).await;
    // The proof of an absence takes time: five times the interval at which statuses are looked at.
    sleep(Duration::from_secs(5)).await;
    assert_eq!(version(&cluster.get("WebhookEndpoint", "orders").await), version(&endpoint));
    assert_eq!(version(&cluster.get("WebhookSubscription", "fulfilment").await), version(&subscription));
    assert_eq!(grapnel.metric(r#"grapnel_status_writes_total{outcome="ok"}"#).await, writes);

    // Something that is not the spec may change: that is no reason either.
    let label = Patch::Merge(json!({ "metadata": { "labels": { "team": "shop" } } }));
    let labelled = cluster.api("WebhookEndpoint").patch("orders", &PatchParams::default(), &label).await.unwrap();
    sleep(Duration::from_secs(3)).await;
    assert_eq!(
        cluster.get("WebhookEndpoint", "orders").await["metadata"]["resourceVersion"].as_str(),
        labelled.metadata.resource_version.as_deref()
    );
}

#[tokio::test]
async fn transitions_have_their_time_and_repetitions_do_not_move_it() {
    let cluster = Cluster::new().await;
    let _grapnel = cluster.operator().start().await;
    cluster.apply(&shop::secret(shop::ORDERS)).await;
    cluster.apply(&shop::endpoint("orders")).await;
    let time = |object: &Value, wanted: &str| {
        let conditions = object["status"]["conditions"].as_array().unwrap();
        let found = conditions.iter().find(|condition| condition["type"] == wanted).unwrap();
        assert_eq!(found["observedGeneration"], object["metadata"]["generation"], "{found}");
        found["lastTransitionTime"].clone()
    };
    let first = cluster.until_ready("WebhookEndpoint", "orders").await;
    // Times have seconds; the next change must be in another one.
    sleep(Duration::from_millis(1100)).await;
    cluster.apply(&(shop::endpoint("orders") + "  retention: 24h\n")).await;
    let second = cluster.until_ready("WebhookEndpoint", "orders").await;
    assert_eq!(second["status"]["observedGeneration"], 2);
    for wanted in ["Accepted", "SecretsResolved", "Ready"] {
        assert_eq!(time(&first, wanted), time(&second, wanted), "{wanted} is as it was");
    }
    cluster.apply(&(shop::endpoint("orders") + "  allowedSources: ['1.2.3.4:5']\n")).await;
    cluster.until_condition("WebhookEndpoint", "orders", "Ready", "False", "InvalidSpec").await;
    let third = cluster.get("WebhookEndpoint", "orders").await;
    assert_ne!(time(&third, "Ready"), time(&second, "Ready"));
    assert_eq!(time(&third, "SecretsResolved"), time(&second, "SecretsResolved"));
}

#[tokio::test]
async fn the_status_is_the_operators_and_the_spec_is_not() {
    let receiver = Receiver::start().await;
    let cluster = Cluster::new().await;
    let grapnel = cluster.operator().start().await;
    shop::open(&cluster, &receiver.url).await;
    shop::ready(&cluster).await;
    let stranger = json!({
        "apiVersion": "grapnel.dev/v1beta1",
        "kind": "WebhookEndpoint",
        "metadata": { "name": "orders", "annotations": { "example.org/owner": "shop" } },
    });
    // Without force: any overlap would be a conflict.
    let params = PatchParams::apply("gitops");
    cluster.api("WebhookEndpoint").patch("orders", &params, &Patch::Apply(&stranger)).await.unwrap();
    assert_eq!(shop::order(&grapnel, &cluster, "orders", "first").await.0, 200);
    let object =
        cluster.until("WebhookEndpoint", "orders", "its count", |object| object["status"]["received"] == 1).await;
    let mine = owned(&object, "grapnel");
    assert_eq!(mine.len(), 1, "one entry, however often it is written: {mine:?}");
    assert_eq!(mine[0]["operation"], "Apply");
    let fields: Vec<_> = mine[0]["fieldsV1"].as_object().unwrap().keys().collect();
    assert_eq!(fields, ["f:status"], "{mine:?}");
    for manager in ["kubectl", "gitops"] {
        for entry in owned(&object, manager) {
            assert!(entry["fieldsV1"].get("f:status").is_none(), "{manager} owns no status: {entry}");
        }
    }

    // Whoever applies a spec read from the server, status and all, changes nothing of the status for good.
    let mut copied = cluster.get("WebhookEndpoint", "orders").await;
    copied["metadata"] = json!({ "name": "orders" });
    copied["status"] = json!({ "received": 1000, "conditions": [] });
    cluster.try_apply(&copied).await.unwrap();
    let object = cluster.get("WebhookEndpoint", "orders").await;
    assert_eq!(object["status"]["received"], 1);
    assert_eq!(condition(&object, "Ready").0, "True");
}

#[tokio::test]
async fn a_burst_of_webhooks_is_a_handful_of_writes() {
    let receiver = Receiver::start().await;
    let cluster = Cluster::new().await;
    let grapnel = cluster.operator().start().await;
    shop::open(&cluster, &receiver.url).await;
    shop::ready(&cluster).await;
    let mut versions = 0;
    let mut changes =
        pin!(watcher::watcher(cluster.api("WebhookEndpoint"), watcher::Config::default()).default_backoff());
    let load = crate::fixture::Load::start(&grapnel, &format!("/{}/orders", cluster.namespace), shop::ORDERS, "burst");
    load.more(500).await;
    let sent = load.end().await;
    let total = sent.accepted.len();
    let counted = timeout(crate::fixture::PATIENCE, async {
        while let Some(change) = changes.next().await {
            let Ok(Event::Apply(object) | Event::InitApply(object)) = change else { continue };
            versions += 1;
            if object.data["status"]["received"] == total {
                return;
            }
        }
    });
    counted.await.expect("the whole count is never written");
    assert!(versions < total / 10, "{versions} versions for {total} events");
}

#[tokio::test]
async fn kubernetes_events_tell_what_changed() {
    let receiver = Receiver::start().await;
    let cluster = Cluster::new().await;
    let grapnel = cluster.operator().with(["--identity", "replica-1"]).start().await;
    let event_of = async |kind: &str, name: &str, reason: &str| -> Value {
        grapnel
            .eventually(&format!("the Event {reason} of {name}"), async || {
                cluster.list("Event").await.into_iter().find(|event| {
                    event["reason"] == reason
                        && event["regarding"]["kind"] == kind
                        && event["regarding"]["name"] == name
                })
            })
            .await
    };
    cluster.apply(&shop::endpoint("orders")).await;
    let event = event_of("WebhookEndpoint", "orders", "SecretNotFound").await;
    assert_eq!(event["type"], "Warning");
    assert!(event["note"].as_str().unwrap().contains("Secret shop does not exist"), "{event}");
    assert_eq!(event["reportingController"], "grapnel.dev/grapnel");
    assert_eq!(event["reportingInstance"], "replica-1");
    let object = cluster.get("WebhookEndpoint", "orders").await;
    assert_eq!(event["regarding"]["uid"], object["metadata"]["uid"]);

    shop::open(&cluster, &receiver.url).await;
    shop::ready(&cluster).await;
    assert_eq!(event_of("WebhookEndpoint", "orders", "Programmed").await["type"], "Normal");
    assert_eq!(event_of("WebhookSubscription", "fulfilment", "Programmed").await["type"], "Normal");
    receiver.answer(500);
    assert_eq!(shop::order(&grapnel, &cluster, "orders", "failing").await.0, 200);
    assert_eq!(event_of("WebhookSubscription", "fulfilment", "TargetFailing").await["type"], "Warning");
    assert_eq!(event_of("WebhookSubscription", "fulfilment", "DeadLettered").await["type"], "Warning");
    for event in cluster.list("Event").await {
        let text = event.to_string();
        assert!(!text.contains(shop::ORDERS) && !text.contains(shop::SIGNING), "{text}");
    }

    // What repeats is one Event with a count, and what does not change is not told again.
    let warnings = cluster.list("Event").await.into_iter().filter(|event| event["reason"] == "TargetFailing").count();
    assert_eq!(warnings, 1);
}
