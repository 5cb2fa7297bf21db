//! API versions and conventions, as a user and other controllers of a cluster meet them.

use std::fs;

use http::Request;
use kube::{
    Api,
    api::{ApiResource, DynamicObject, Patch, PatchParams},
};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::{
    fixture::{Cluster, PATIENCE, condition, documents, kind},
    program::receiver::Receiver,
    shop,
};

/// A kind in the deprecated version.
fn deprecated(name: &str) -> ApiResource {
    ApiResource { version: "v1alpha1".into(), api_version: "grapnel.dev/v1alpha1".into(), ..kind(name) }
}

#[tokio::test]
async fn objects_of_the_deprecated_version_are_served() {
    let receiver = Receiver::start().await;
    let cluster = Cluster::new().await;
    let _grapnel = cluster.operator().start().await;
    shop::open(&cluster, &receiver.url).await;
    for name in ["WebhookEndpoint", "WebhookSubscription"] {
        for mut object in cluster.list(name).await {
            cluster.delete(name, object["metadata"]["name"].as_str().unwrap()).await;
            object["apiVersion"] = "grapnel.dev/v1alpha1".into();
            object["metadata"] = json!({ "name": object["metadata"]["name"] });
            let api: Api<DynamicObject> =
                Api::namespaced_with(cluster.client.clone(), &cluster.namespace, &deprecated(name));
            api.create(&Default::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
        }
    }
    shop::ready(&cluster).await;
    let read = cluster.get("WebhookSubscription", "fulfilment").await;
    assert_eq!(read["apiVersion"], "grapnel.dev/v1beta1");
    assert_eq!(read["metadata"]["generation"], 1, "statuses and defaults change no generation");
    assert_eq!(read["spec"]["circuitBreaker"], json!({ "failures": 10, "cooldown": "30s", "maxCooldown": "10m" }));
}

#[tokio::test]
async fn an_object_waits_for_an_operator() {
    let cluster = Cluster::new().await;
    let manifest = "apiVersion: grapnel.dev/v1beta1\nkind: WebhookEndpoint\nmetadata: { name: open }\n\
                    spec: { verification: { none: {} }, retention: null, limits: null }\n";
    cluster.apply(manifest).await;
    let unseen = cluster.get("WebhookEndpoint", "open").await;
    assert_eq!(unseen["status"], json!({ "observedGeneration": -1 }), "kstatus: in progress");
    // A null is a field that is absent, and has its default.
    assert_eq!(unseen["spec"]["retention"], "168h");
    assert_eq!(unseen["spec"]["limits"], json!({ "timeout": "10s" }));
    let _grapnel = cluster.operator().start().await;
    let seen = cluster.until_ready("WebhookEndpoint", "open").await;
    assert_eq!(seen["status"]["observedGeneration"], seen["metadata"]["generation"], "kstatus: current");
}

#[tokio::test]
async fn lists_merge_by_their_keys() {
    let receiver = Receiver::start().await;
    let cluster = Cluster::new().await;
    // Kubernetes 1.20 cannot use a schema with x-kubernetes-int-or-string for server-side apply: every list is atomic there.
    let version = cluster.client.apiserver_version().await.unwrap();
    if version.minor.trim_end_matches('+').parse::<u32>().is_ok_and(|minor| minor < 21) {
        eprintln!(
            "skipped: Kubernetes 1.{} merges no list of a custom resource; set KUBEBUILDER_ASSETS",
            version.minor
        );
        return;
    }
    let _grapnel = cluster.operator().start().await;
    shop::open(&cluster, &receiver.url).await;
    shop::ready(&cluster).await;
    let by = |manager: &str| PatchParams::apply(manager);
    let object = |more: Value| {
        let mut object = json!({
            "apiVersion": "grapnel.dev/v1beta1", "kind": "WebhookSubscription", "metadata": { "name": "fulfilment" },
        });
        object.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        object
    };

    // Another controller has a condition of its own, which no write of the operator removes.
    let api = cluster.api("WebhookSubscription");
    let checked = json!({
        "type": "example.com/Checked", "status": "True", "reason": "Seen", "message": "seen",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    });
    let patch = Patch::Apply(object(json!({ "status": { "conditions": [checked] } })));
    api.patch_status("fulfilment", &by("checker"), &patch).await.unwrap();
    let spec = |name: &str| json!({ "spec": { "target": { "headers": [{ "name": name, "value": "v" }] } } });
    for (manager, header) in [("team", "x-team"), ("platform", "x-platform")] {
        api.patch("fulfilment", &by(manager), &Patch::Apply(object(spec(header)))).await.unwrap();
    }
    let merged = cluster.until_ready("WebhookSubscription", "fulfilment").await;
    assert_eq!(condition(&merged, "example.com/Checked").0, "True", "{merged}");
    let mut names: Vec<_> = merged["spec"]["target"]["headers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|header| header["name"].as_str().unwrap().to_owned())
        .collect();
    names.sort_unstable();
    assert_eq!(names, ["x-platform", "x-team"]);
}

/// The published OpenAPI document is what `kubectl explain`, client-side validation and server-side apply of API servers of
/// every age are made of.
#[tokio::test]
async fn every_field_is_explained() {
    let cluster = Cluster::new().await;
    let deadline = Instant::now() + PATIENCE;
    loop {
        let request = Request::get("/openapi/v2").body(Vec::new()).unwrap();
        let document: Value = cluster.client.request(request).await.unwrap();
        let spec =
            |kind: &str| document["definitions"][format!("dev.grapnel.v1beta1.{kind}")]["properties"]["spec"].clone();
        let (endpoint, subscription) = (spec("WebhookEndpoint"), spec("WebhookSubscription"));
        if endpoint.is_null() || subscription.is_null() {
            assert!(Instant::now() < deadline, "the API server does not publish the CRDs");
            sleep(std::time::Duration::from_millis(200)).await;
            continue;
        }
        let retry = &subscription["properties"]["retry"]["properties"];
        assert!(retry["maxDelay"]["description"].as_str().unwrap().contains("Longest delay"), "{retry}");
        let refs = &endpoint["properties"]["verification"]["properties"]["secretRefs"];
        assert_eq!(refs["x-kubernetes-list-map-keys"], json!(["name", "key"]));
        let status = &document["definitions"]["dev.grapnel.v1beta1.WebhookEndpoint"]["properties"]["status"];
        assert_eq!(status["properties"]["conditions"]["x-kubernetes-list-map-keys"], json!(["type"]));
        return;
    }
}

#[tokio::test]
async fn columns_show_the_target_of_every_kind() {
    let cluster = Cluster::new().await;
    let targets = [
        ("by-url", "url: https://receiver.example/x", "https://receiver.example/x"),
        ("by-service", "service: { name: receiver, port: 80 }", "receiver"),
        ("by-secret", "urlFrom: { secretKeyRef: { name: slack, key: url } }", "slack"),
    ];
    for (name, target, _) in targets {
        let manifest = format!(
            "apiVersion: grapnel.dev/v1beta1\nkind: WebhookSubscription\nmetadata: {{ name: {name} }}\n\
             spec: {{ endpointRef: {{ name: in, namespace: {} }}, target: {{ {target} }}, suspend: true }}\n",
            cluster.namespace
        );
        cluster.apply(&manifest).await;
    }
    let output = cluster.kubectl(&["get", "webhooksubscriptions", "--output", "wide"]).await;
    let text = String::from_utf8(output.stdout).unwrap();
    let header = text.lines().next().unwrap();
    for column in ["TARGET", "RETRYING", "SUSPENDED", "MESSAGE", "ENDPOINT NAMESPACE"] {
        assert!(header.contains(column), "{header}");
    }
    for (name, _, shown) in targets {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap();
        let cells: Vec<_> = line.split_whitespace().collect();
        assert!(cells.contains(&shown) && cells.contains(&"true") && cells.contains(&&*cluster.namespace), "{line}");
    }
}

#[tokio::test]
async fn examples_and_samples_are_let_in() {
    let cluster = Cluster::new().await;
    let root = concat!(env!("CARGO_MANIFEST_DIR"));
    let mut seen = 0;
    for file in
        ["examples/quickstart/github.yaml", "examples/quickstart/orders.yaml", "manifests/samples/webhooks.yaml"]
    {
        for mut object in documents::<Value>(&fs::read_to_string(format!("{root}/{file}")).unwrap()) {
            if object["apiVersion"] != "grapnel.dev/v1beta1" {
                continue;
            }
            object["metadata"]["namespace"] = cluster.namespace.clone().into();
            cluster.try_apply(&object).await.unwrap_or_else(|error| panic!("{file}: {error}: {object}"));
            seen += 1;
        }
    }
    assert!(seen >= 6, "only {seen} objects were found");
}
