//! Objects that were stored under another version of the CRDs.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use kube_runtime::{conditions, wait::await_condition};
use serde_json::json;
use tokio::time::timeout;

use crate::{
    fixture::{Cluster, ControlPlane, PATIENCE, connect, install_crds},
    program::receiver::Receiver,
    shop,
};

/// A CRD that lets everything in.
fn permissive(plural: &str, kind: &str) -> CustomResourceDefinition {
    let any = json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true });
    serde_json::from_value(json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": { "name": format!("{plural}.grapnel.dev") },
        "spec": {
            "group": "grapnel.dev",
            "names": { "kind": kind, "plural": plural, "singular": kind.to_lowercase() },
            "scope": "Namespaced",
            "versions": [{
                "name": "v1beta1", "served": true, "storage": true,
                "schema": { "openAPIV3Schema": any },
                "subresources": { "status": {} },
            }],
        },
    }))
    .unwrap()
}

#[tokio::test]
async fn one_object_that_cannot_be_read_is_reported_and_stalls_nothing() {
    let receiver = Receiver::start().await;
    let plane = ControlPlane::start().await;
    let client = connect(&plane.kubeconfig()).await;
    let crds: Api<CustomResourceDefinition> = Api::all(client.clone());
    for (plural, kind) in [("webhookendpoints", "WebhookEndpoint"), ("webhooksubscriptions", "WebhookSubscription")] {
        crds.create(&Default::default(), &permissive(plural, kind)).await.unwrap();
        let name = format!("{plural}.grapnel.dev");
        let established = await_condition(crds.clone(), &name, conditions::is_crd_established());
        timeout(PATIENCE, established).await.expect("the CRD is not established").unwrap();
    }
    let cluster = Cluster::at(&plane.kubeconfig()).await;
    cluster
        .apply(
            "apiVersion: grapnel.dev/v1beta1
kind: WebhookEndpoint
metadata: { name: torn }
spec: { verification: { none: {} }, suspend: maybe }
---
apiVersion: grapnel.dev/v1beta1
kind: WebhookSubscription
metadata: { name: torn }
spec: { target: 7 }
",
        )
        .await;
    // A field of an older version, which nobody knows any more.
    cluster.apply(&(shop::endpoint("older") + "  greeting: hello\n")).await;
    shop::open(&cluster, &receiver.url).await;

    let operator = cluster.operator();
    let grapnel = operator.start().await;
    shop::ready(&cluster).await;
    cluster.until_ready("WebhookEndpoint", "older").await;
    assert_eq!(shop::order(&grapnel, &cluster, "orders", "first").await.0, 200);
    assert_eq!(receiver.next().await.header("webhook-id"), "first");
    for kind in ["WebhookEndpoint", "WebhookSubscription"] {
        let message = cluster.until_condition(kind, "torn", "Ready", "False", "InvalidSpec").await;
        assert!(message.contains("cannot be read") && message.contains("apply it again"), "{message}");
    }
    let (status, answer) = shop::order(&grapnel, &cluster, "torn", "x").await;
    assert_eq!((status, answer["code"].as_str()), (503, Some("not_ready")), "its sender tries again: {answer}");

    // A good one that is torn goes on in its last good version, and mended it is used again.
    let tear = Patch::Merge(json!({ "spec": { "suspend": "maybe" } }));
    cluster.api("WebhookEndpoint").patch("orders", &PatchParams::default(), &tear).await.unwrap();
    cluster.until_condition("WebhookEndpoint", "orders", "Ready", "False", "InvalidSpec").await;
    assert_eq!(shop::order(&grapnel, &cluster, "orders", "second").await.0, 200);
    let mend = Patch::Merge(json!({ "spec": { "suspend": true } }));
    cluster.api("WebhookEndpoint").patch("orders", &PatchParams::default(), &mend).await.unwrap();
    cluster.until_ready("WebhookEndpoint", "orders").await;
    assert_eq!(shop::order(&grapnel, &cluster, "orders", "third").await.1["code"], "suspended");
    cluster.apply("apiVersion: grapnel.dev/v1beta1\nkind: WebhookEndpoint\nmetadata: { name: torn }\nspec: { verification: { none: {} }, suspend: false }\n").await;
    cluster.until_ready("WebhookEndpoint", "torn").await;

    // The CRDs of this version come, as an upgrade brings them: what is stored stays, and is used.
    for plural in ["webhookendpoints", "webhooksubscriptions"] {
        let name = format!("{plural}.grapnel.dev");
        let file = format!("{}/crds/{plural}.yaml", env!("CARGO_MANIFEST_DIR"));
        let mut crd: CustomResourceDefinition = serde_yaml::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
        crd.metadata.resource_version = crds.get(&name).await.unwrap().metadata.resource_version;
        crds.replace(&name, &Default::default(), &crd).await.unwrap();
    }
    install_crds(&client).await;
    cluster.apply(&shop::endpoint("after")).await;
    cluster.until_ready("WebhookEndpoint", "after").await;
    cluster.until_ready("WebhookEndpoint", "older").await;
    grapnel.send_signal("TERM");
    grapnel.ended().await;
    let grapnel = operator.start().await;
    assert_eq!(shop::order(&grapnel, &cluster, "older", "fourth").await.0, 200);
}
