//! `spec.route`: the HTTPRoute of an endpoint, and what Gateways say about it.

use futures_util::StreamExt;
use kube::api::{Patch, PatchParams};
use kube_runtime::WatchStreamExt;
use serde_json::{Value, json};

use crate::{
    fixture::{Cluster, condition, gateway_api},
    program::Grapnel,
};

/// The Service of the tests' operators.
const SERVICE: &str = "grapnel-system/grapnel:80";

/// An endpoint with a route to the Gateway `public` of its namespace.
pub(crate) fn endpoint(name: &str, hostnames: &str) -> String {
    format!("{}  route: {{ parentRefs: [{{ name: public }}], hostnames: [{hostnames}] }}\n", unrouted(name))
}

/// The same without a route.
fn unrouted(name: &str) -> String {
    format!(
        "apiVersion: grapnel.dev/v1beta1
kind: WebhookEndpoint
metadata: {{ name: {name} }}
spec:
  verification: {{ none: {{}} }}
"
    )
}

/// A Gateway with one listener.
fn gateway(port: u16, protocol: &str) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{ name: public }}
spec:
  gatewayClassName: example
  listeners: [{{ name: main, port: {port}, protocol: {protocol} }}]
"
    )
}

async fn start(cluster: &Cluster) -> Grapnel {
    gateway_api::install(&cluster.client).await;
    cluster.operator().with(["--route-service", SERVICE]).start().await
}

/// The routes of the namespace by name, with their hosts.
async fn routes(cluster: &Cluster) -> Vec<(String, Value)> {
    let routes = cluster.list("HTTPRoute").await;
    routes.iter().map(|it| (it["metadata"]["name"].as_str().unwrap().into(), it["spec"]["hostnames"].clone())).collect()
}

#[tokio::test]
async fn an_endpoint_has_its_route_and_reports_what_gateways_say() {
    let cluster = Cluster::new().await;
    let grapnel = start(&cluster).await;
    cluster.apply(&gateway(8443, "HTTPS")).await;
    cluster.apply(&endpoint("orders", "hooks.example.com")).await;
    let message = cluster.until_condition("WebhookEndpoint", "orders", "Routed", "Unknown", "Progressing").await;
    assert!(!message.is_empty());
    let route = cluster.until("HTTPRoute", "orders", "its route", |_| true).await;
    let endpoint_object = cluster.get("WebhookEndpoint", "orders").await;
    let owner = &route["metadata"]["ownerReferences"][0];
    assert_eq!(owner["uid"], endpoint_object["metadata"]["uid"]);
    assert_eq!((&owner["kind"], &owner["controller"]), (&"WebhookEndpoint".into(), &true.into()));
    let rule = &route["spec"]["rules"][0];
    assert_eq!(
        rule["matches"],
        json!([{ "path": { "type": "Exact", "value": format!("/{}/orders", cluster.namespace) } }])
    );
    assert_eq!(
        rule["backendRefs"],
        json!([{ "kind": "Service", "name": "grapnel", "namespace": "grapnel-system", "port": 80, "weight": 1 }])
    );

    cluster.report("orders", ("True", "Accepted"), ("False", "RefNotPermitted")).await;
    let message = cluster.until_condition("WebhookEndpoint", "orders", "Routed", "False", "RouteNotResolved").await;
    assert!(message.contains("said by the test's controller") && message.contains("ReferenceGrant"), "{message}");
    cluster.report("orders", ("False", "NotAllowedByListeners"), ("True", "ResolvedRefs")).await;
    cluster.until_condition("WebhookEndpoint", "orders", "Routed", "False", "RouteNotAccepted").await;
    cluster.report("orders", ("True", "Accepted"), ("True", "ResolvedRefs")).await;
    let routed = cluster.until("WebhookEndpoint", "orders", "Routed", |it| condition(it, "Routed").0 == "True").await;
    let url = format!("https://hooks.example.com:8443/{}/orders", cluster.namespace);
    assert_eq!(routed["status"]["url"], url);
    assert_eq!(condition(&routed, "Ready").0, "True");
    grapnel
        .eventually("an Event", async || {
            let events = cluster.list("Event").await;
            events.iter().any(|event| event["reason"] == "RouteNotAccepted" && event["type"] == "Warning").then_some(())
        })
        .await;

    // A change reaches the route; until Gateways have seen it, nothing is known about it.
    cluster.apply(&endpoint("orders", "in.example.com, out.example.com")).await;
    cluster.until_condition("WebhookEndpoint", "orders", "Routed", "Unknown", "Progressing").await;
    assert_eq!(routes(&cluster).await, [("orders".to_owned(), json!(["in.example.com", "out.example.com"]))]);
    // So does a manual change of a managed field; fields of others are kept.
    let manual =
        json!({ "metadata": { "annotations": { "team": "shop" } }, "spec": { "hostnames": ["wrong.example.com"] } });
    cluster.api("HTTPRoute").patch("orders", &PatchParams::default(), &Patch::Merge(manual)).await.unwrap();
    let repaired = cluster
        .until("HTTPRoute", "orders", "repair", |it| {
            it["spec"]["hostnames"] == json!(["in.example.com", "out.example.com"])
        })
        .await;
    assert_eq!(repaired["metadata"]["annotations"]["team"], "shop");

    // Without spec.route the route goes, and the URL with it.
    cluster.apply(&unrouted("orders")).await;
    grapnel.eventually("the end of the route", async || routes(&cluster).await.is_empty().then_some(())).await;
    let object = cluster
        .until("WebhookEndpoint", "orders", "no URL", |it| {
            it["status"]["url"].is_null() && condition(it, "Routed").0.is_empty()
        })
        .await;
    assert_eq!(condition(&object, "Ready").0, "True");
}

#[tokio::test]
async fn a_route_of_somebody_else_is_left_alone_until_it_is_gone() {
    let cluster = Cluster::new().await;
    gateway_api::install(&cluster.client).await;
    cluster
        .apply("apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: { name: orders }\nspec: { hostnames: [theirs.example.com] }\n")
        .await;
    let before = cluster.get("HTTPRoute", "orders").await;
    let _grapnel = start(&cluster).await;
    cluster.apply(&endpoint("orders", "ours.example.com")).await;
    cluster.until_condition("WebhookEndpoint", "orders", "Routed", "False", "RouteConflict").await;
    assert_eq!(cluster.get("HTTPRoute", "orders").await, before);
    // Neither is it deleted with spec.route.
    cluster.apply(&unrouted("orders")).await;
    cluster.until("WebhookEndpoint", "orders", "no condition", |it| condition(it, "Routed").0.is_empty()).await;
    assert_eq!(cluster.get("HTTPRoute", "orders").await, before);
    cluster.delete("HTTPRoute", "orders").await;
    cluster.apply(&endpoint("orders", "ours.example.com")).await;
    cluster.until("HTTPRoute", "orders", "its own", |it| it["spec"]["hostnames"] == json!(["ours.example.com"])).await;
}

#[tokio::test]
async fn an_endpoint_that_is_created_again_gets_a_route_of_its_own() {
    let cluster = Cluster::new().await;
    let _grapnel = start(&cluster).await;
    cluster.apply(&endpoint("orders", "a.example.com")).await;
    let first = cluster.until("HTTPRoute", "orders", "its route", |_| true).await;
    // There is no garbage collector here, as in a cluster where it is slow.
    cluster.delete("WebhookEndpoint", "orders").await;
    cluster.apply(&endpoint("orders", "a.example.com")).await;
    let uid = &first["metadata"]["uid"];
    let second = cluster.until("HTTPRoute", "orders", "another route", |it| it["metadata"]["uid"] != *uid).await;
    let owner = cluster.get("WebhookEndpoint", "orders").await["metadata"]["uid"].clone();
    assert_eq!(second["metadata"]["ownerReferences"][0]["uid"], owner);
}

#[tokio::test]
async fn without_the_flag_a_route_is_said_to_be_disabled() {
    let cluster = Cluster::new().await;
    gateway_api::install(&cluster.client).await;
    let _grapnel = cluster.operator().start().await;
    cluster.apply(&endpoint("orders", "hooks.example.com")).await;
    let message = cluster.until_condition("WebhookEndpoint", "orders", "Routed", "False", "RouteDisabled").await;
    assert!(message.contains("--route-service"), "{message}");
    cluster.until_ready("WebhookEndpoint", "orders").await;
    assert!(routes(&cluster).await.is_empty());
}

async fn writes(grapnel: &Grapnel) -> f64 {
    grapnel.metric(r#"grapnel_route_writes_total{outcome="ok"}"#).await
}

#[tokio::test]
async fn two_operators_with_different_services_do_not_fight_over_a_route() {
    let cluster = Cluster::new().await;
    gateway_api::install(&cluster.client).await;
    let operator = |name: &'static str, service: &'static str| {
        cluster.operator().with(["--lease-name", name, "--identity", name, "--route-service", service])
    };
    let first = operator("first", "one/grapnel:80").start().await;
    let second = operator("second", "two/grapnel:80").start().await;
    cluster.apply(&endpoint("orders", "hooks.example.com")).await;
    let warned = |grapnel: &Grapnel| grapnel.log().matches("undoes the updates").count();
    first.eventually("the warning", async || (warned(&first) == 1 && warned(&second) == 1).then_some(())).await;
    let before = writes(&first).await + writes(&second).await;
    // The proof of an absence takes time.
    tokio::time::sleep(std::time::Duration::from_secs(20)).await;
    let after = writes(&first).await + writes(&second).await;
    assert!(after - before <= 8.0, "{before}, then {after} writes of one route");
    assert_eq!((warned(&first), warned(&second)), (1, 1));
}

#[tokio::test]
async fn a_restart_takes_nothing_back_and_a_lost_path_takes_the_route() {
    let cluster = Cluster::new().await;
    gateway_api::install(&cluster.client).await;
    cluster.apply(&gateway(443, "HTTPS")).await;
    // The same identity holds the Lease at once after the restart.
    let operator = cluster.operator().with(["--route-service", SERVICE, "--identity", "one"]);
    let grapnel = operator.start().await;
    cluster.apply(&unrouted("older")).await;
    cluster.until_ready("WebhookEndpoint", "older").await;
    // Ages differ by seconds.
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    cluster.apply(&endpoint("orders", "hooks.example.com")).await;
    cluster.until("HTTPRoute", "orders", "its route", |_| true).await;
    cluster.report("orders", ("True", "Accepted"), ("True", "ResolvedRefs")).await;
    let routed = cluster.until("WebhookEndpoint", "orders", "Routed", |it| condition(it, "Routed").0 == "True").await;
    drop(grapnel);
    let mut changes = std::pin::pin!(
        kube_runtime::watcher(cluster.api("WebhookEndpoint"), kube_runtime::watcher::Config::default())
            .touched_objects()
    );
    let grapnel = operator.start().await;
    let moved = format!("{}  path: orders\n", unrouted("older"));
    let mut seen = 0;
    let watched = async {
        while let Some(change) = changes.next().await {
            let object = serde_json::to_value(change.unwrap()).unwrap();
            if object["metadata"]["name"] != "orders" {
                continue;
            }
            seen += 1;
            if condition(&object, "Ready").1 == "PathConflict" {
                return object;
            }
            assert_eq!(condition(&object, "Routed").0, "True", "{object}");
            assert_eq!(object["status"]["url"], routed["status"]["url"]);
        }
        panic!("the watch has ended");
    };
    let change = async {
        tokio::time::sleep(std::time::Duration::from_secs(4)).await;
        cluster.apply(&moved).await;
    };
    let (lost, ()) = tokio::join!(watched, change);
    assert!(seen >= 2);
    assert!(lost["status"]["url"].is_null() && condition(&lost, "Routed").0.is_empty(), "{lost}");
    let gone = async || routes(&cluster).await.is_empty().then_some(());
    grapnel.eventually("the end of the route", gone).await;
}
