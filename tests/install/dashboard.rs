//! The dashboard and the rules of the chart, evaluated by a real Prometheus that scrapes the operator while all kinds of things happen
//! to it.

use std::{collections::BTreeSet, fs, time::Duration};

use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::{
    chart::{render, the},
    fixture::Cluster,
    program::{Grapnel, hmac_hex, receiver::Receiver},
    prometheus::Prometheus,
};

/// How long it may take until everything has data.
const PATIENCE: Duration = Duration::from_secs(90);

/// Panels that are empty where nothing is wrong: nothing of this can be provoked here.
const EMPTY: &[&str] = &["Failed watches"];

/// Alerts that are active after what [`OBJECTS`] and [`round`] do.
const ACTIVE: &[&str] = &[
    "GrapnelBacklog",
    "GrapnelCircuitOpen",
    "GrapnelDeadLetters",
    "GrapnelDeliveriesAbandoned",
    "GrapnelDeliveriesFailing",
    "GrapnelDeliveriesStuck",
    "GrapnelSendersRefused",
    "GrapnelStorageExhausted",
];

/// An alert that the machine may cause, by a slow disk.
const POSSIBLE: &[&str] = &["GrapnelJournalSlow"];

/// Endpoints and subscriptions of which some do well and others do not.
const OBJECTS: &str = r#"
apiVersion: v1
kind: Secret
metadata: { name: orders }
stringData: { secret: first }
---
apiVersion: grapnel.dev/v1beta1
kind: WebhookEndpoint
metadata: { name: orders }
spec:
  verification:
    hmac: { header: X-Signature, algorithm: SHA256, encoding: Hex }
    secretRefs: [{ name: orders, key: secret }]
  event: { id: { pointer: /id }, type: { pointer: /type } }
---
apiVersion: grapnel.dev/v1beta1
kind: WebhookEndpoint
metadata: { name: misled }
spec:
  verification:
    hmac: { header: X-Signature, algorithm: SHA256, encoding: Hex }
    secretRefs: [{ name: orders, key: secret }]
---
apiVersion: grapnel.dev/v1beta1
kind: WebhookEndpoint
metadata: { name: small }
spec:
  verification: { none: {} }
  storage: { maxBytes: 64Ki }
---
apiVersion: grapnel.dev/v1beta1
kind: WebhookSubscription
metadata: { name: parked }
spec:
  endpointRef: { name: small }
  suspend: true
  target: { url: "WORKING" }
---
apiVersion: grapnel.dev/v1beta1
kind: WebhookEndpoint
metadata: { name: graves }
spec: { verification: { none: {} } }
---
apiVersion: grapnel.dev/v1beta1
kind: WebhookSubscription
metadata: { name: working }
spec:
  endpointRef: { name: orders }
  filter: payload.number % 2 == 0
  target: { url: "WORKING" }
---
apiVersion: grapnel.dev/v1beta1
kind: WebhookSubscription
metadata: { name: failing }
spec:
  endpointRef: { name: orders }
  retry: { initialDelay: 1s, maxDelay: 1s }
  circuitBreaker: { failures: 1, cooldown: 10m }
  target: { url: "FAILING" }
---
apiVersion: grapnel.dev/v1beta1
kind: WebhookSubscription
metadata: { name: dying }
spec:
  endpointRef: { name: orders }
  retry: { maxAttempts: 1 }
  circuitBreaker: { failures: 1000 }
  deadLetter: { endpointRef: { name: graves } }
  target: { url: "FAILING" }
---
apiVersion: grapnel.dev/v1beta1
kind: WebhookSubscription
metadata: { name: leaving }
spec:
  endpointRef: { name: orders }
  suspend: true
  target: { url: "WORKING" }
"#;

/// Sends a few events: good ones, one twice, one with a wrong signature, one to an endpoint whose share is exhausted.
async fn round(grapnel: &Grapnel, namespace: &str, number: u32) {
    let body = json!({ "id": format!("order-{number}"), "type": "order.created", "number": number }).to_string();
    let signature = hmac_hex("first", body.as_bytes());
    for signature in [signature.as_str(), signature.as_str(), "00"] {
        grapnel.post(&format!("/{namespace}/orders"), &[("x-signature", signature)], body.clone()).await;
    }
    grapnel.post(&format!("/{namespace}/misled"), &[("x-signature", "00")], body.clone()).await;
    let large = json!({ "type": "large", "text": "x".repeat(20_000) }).to_string();
    grapnel.post(&format!("/{namespace}/small"), &[], large).await;
}

/// Changes an object, which is then compiled.
async fn change(shop: &Cluster, number: u32) {
    let change = json!({ "spec": { "maxInFlight": 1 + number % 16 } });
    shop.api("WebhookSubscription").patch("working", &PatchParams::default(), &Patch::Merge(change)).await.unwrap();
}

/// The queries of the dashboard by panel, with the variables as a user sees them at first.
fn queries(namespace: &str) -> Vec<(String, String)> {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/grapnel/files/dashboard.json");
    let dashboard: Value = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    let names: Vec<_> = variables.iter().map(|it| it["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["datasource", "job", "namespace", "endpoint", "subscription"]);
    let panels = dashboard["panels"].as_array().unwrap();
    let mut found = Vec::new();
    for panel in panels.iter().filter(|panel| panel["type"] != "row") {
        let title = panel["title"].as_str().unwrap();
        for target in panel["targets"].as_array().unwrap() {
            let expression = target["expr"]
                .as_str()
                .unwrap()
                .replace("$__rate_interval", "10s")
                .replace("$__range", "1m")
                .replace("$namespace", namespace);
            let expression =
                ["$job", "$endpoint", "$subscription"].iter().fold(expression, |it, name| it.replace(name, ".*"));
            assert!(!expression.contains('$'), "{title}: an unknown variable in {expression}");
            found.push((title.to_owned(), expression));
        }
    }
    found
}

/// Label values that the dashboard's variables offer.
async fn variables(prometheus: &Prometheus) -> Vec<(String, bool)> {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/grapnel/files/dashboard.json");
    let dashboard: Value = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
    let mut found = Vec::new();
    for variable in dashboard["templating"]["list"].as_array().unwrap().iter().filter(|it| it["type"] == "query") {
        let query = variable["query"]["query"].as_str().unwrap();
        let inside = query.strip_prefix("label_values(").unwrap().strip_suffix(')').unwrap();
        let (selector, label) = inside.rsplit_once(", ").unwrap();
        let selector = selector.replace("$job", ".*").replace("$namespace", ".*");
        let values = prometheus.api(&format!("label/{label}/values"), &[("match[]", &selector)]).await;
        found.push((variable["name"].as_str().unwrap().to_owned(), values.as_array().is_some_and(|it| !it.is_empty())));
    }
    found
}

/// The rules as they are evaluated: the names of active alerts, and of recorded series without a value.
async fn rules(prometheus: &Prometheus) -> (BTreeSet<String>, BTreeSet<String>) {
    let data = prometheus.api("rules", &[]).await;
    let rules = data["groups"].as_array().into_iter().flatten().flat_map(|group| group["rules"].as_array().unwrap());
    let (mut active, mut silent) = (BTreeSet::new(), BTreeSet::new());
    for rule in rules {
        let name = rule["name"].as_str().unwrap().to_owned();
        assert!(rule["health"] == "ok" || rule["health"] == "unknown", "{rule}");
        match rule["type"].as_str().unwrap() {
            "alerting" if rule["state"] != "inactive" => drop(active.insert(name)),
            "recording" if !prometheus.has_data(&name).await => drop(silent.insert(name)),
            _ => {}
        }
    }
    (active, silent)
}

/// What is still missing.
async fn missing(prometheus: &Prometheus, namespace: &str) -> Vec<String> {
    let mut missing = Vec::new();
    for (panel, expression) in queries(namespace) {
        if !EMPTY.contains(&panel.as_str()) && !prometheus.has_data(&expression).await {
            missing.push(format!("{panel}: {expression}"));
        }
    }
    let (active, silent) = rules(prometheus).await;
    missing.extend(silent.into_iter().map(|record| format!("the recorded series {record}")));
    missing.extend(ACTIVE.iter().filter(|alert| !active.contains(**alert)).map(|alert| format!("the alert {alert}")));
    // A moment of a busy machine may raise an alert for a moment.
    let known = |alert: &str| ACTIVE.contains(&alert) || POSSIBLE.contains(&alert);
    missing.extend(active.iter().filter(|it| !known(it)).map(|alert| format!("a reason for the alert {alert}")));
    let variables = variables(prometheus).await.into_iter().filter(|(_, found)| !found);
    missing.extend(variables.map(|(name, _)| format!("values of the variable {name}")));
    missing
}

#[tokio::test]
async fn every_panel_and_rule_has_data_when_things_happen() {
    let (working, failing) = (Receiver::start().await, Receiver::start().await);
    failing.answer(500);
    let shop = Cluster::new().await;
    let grapnel = shop.operator().with(["--journal-max-bytes", "64Mi"]).start().await;
    shop.apply(&OBJECTS.replace("WORKING", &working.url).replace("FAILING", &failing.url)).await;
    for name in ["orders", "misled", "small", "graves"] {
        shop.until_ready("WebhookEndpoint", name).await;
    }
    for name in ["working", "failing", "dying"] {
        shop.until_ready("WebhookSubscription", name).await;
    }

    for name in ["parked", "leaving"] {
        let seen = |it: &Value| it["status"]["observedGeneration"] == it["metadata"]["generation"];
        shop.until("WebhookSubscription", name, "seen by the operator", seen).await;
    }

    // The rules and the name of the job are those of a release; only a backlog of one event suffices here.
    let objects = render(&["--set", "prometheusRule.enabled=true,prometheusRule.backlog=1"]);
    let groups = json!({ "groups": the(&objects, "PrometheusRule")["spec"]["groups"] });
    let admin = objects.iter().find(|it| it["kind"] == "Service" && it["metadata"]["name"] == "grapnel-admin").unwrap();
    let job = admin["metadata"]["labels"]["grapnel.dev/job"].as_str().unwrap();
    let prometheus = Prometheus::start(&grapnel.admin, job, "grapnel-system", &groups);

    round(&grapnel, &shop.namespace, 0).await;
    shop.until("WebhookSubscription", "leaving", "an event to abandon", |it| it["status"]["pending"] == 1).await;
    shop.delete("WebhookSubscription", "leaving").await;
    let begun = Instant::now();
    let mut number = 1;
    loop {
        round(&grapnel, &shop.namespace, number).await;
        number += 1;
        // Looked at now and then: most of the time is the traffic's.
        if number % 10 == 0 {
            change(&shop, number).await;
            let missing = missing(&prometheus, &shop.namespace).await;
            if missing.is_empty() {
                break;
            }
            assert!(begun.elapsed() < PATIENCE, "after {number} rounds there is still no\n{}", missing.join("\n"));
        }
        sleep(Duration::from_millis(100)).await;
    }
}
