//! The Gateway API comes to a cluster in which the operator already runs.

use serde_json::json;

use crate::{
    fixture::{Cluster, ControlPlane, gateway_api},
    routes,
};

#[tokio::test]
async fn the_gateway_api_may_be_installed_later() {
    let plane = ControlPlane::start().await;
    let cluster = Cluster::at(&plane.kubeconfig()).await;
    let _grapnel = cluster.operator().with(["--route-service", "grapnel-system/grapnel:80"]).start().await;
    cluster.apply(&routes::endpoint("orders", "hooks.example.com")).await;
    let message = cluster.until_condition("WebhookEndpoint", "orders", "Routed", "False", "RouteUnavailable").await;
    assert!(message.contains("install the Gateway API"), "{message}");
    cluster.until_ready("WebhookEndpoint", "orders").await;

    gateway_api::install(&cluster.client).await;
    let route = cluster.until("HTTPRoute", "orders", "its route", |_| true).await;
    assert_eq!(route["spec"]["hostnames"], json!(["hooks.example.com"]));
    // A Gateway that does not exist says nothing about its protocol.
    cluster.report("orders", ("True", "Accepted"), ("True", "ResolvedRefs")).await;
    let url = format!("https://hooks.example.com/{}/orders", cluster.namespace);
    cluster.until("WebhookEndpoint", "orders", "its URL", |it| it["status"]["url"] == url).await;
}
