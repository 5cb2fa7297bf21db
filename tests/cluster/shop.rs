//! The objects that most tests use: an endpoint for orders and a subscription that reads it.

use serde_json::{Value, json};

use crate::{
    fixture::Cluster,
    program::{Grapnel, hmac_hex},
};

/// What senders of orders sign with.
pub(crate) const ORDERS: &str = "orders-secret-number-one";
/// What deliveries are signed with.
pub(crate) const SIGNING: &str = "whsec_cXVpY2tzdGFydC1yZWNlaXZlci1zaWduaW5nLWtleSE=";

/// The Secret of both.
pub(crate) fn secret(orders: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{ name: shop }}\nstringData: {{ orders: {orders}, signing: {SIGNING} }}\n"
    )
}

/// An endpoint that takes signed orders.
pub(crate) fn endpoint(name: &str) -> String {
    format!(
        "apiVersion: grapnel.dev/v1beta1
kind: WebhookEndpoint
metadata: {{ name: {name} }}
spec:
  verification:
    hmac: {{ header: X-Signature, algorithm: SHA256, encoding: Hex }}
    secretRefs: [{{ name: shop, key: orders }}]
  event: {{ id: {{ pointer: /id }} }}
"
    )
}

/// A subscription to an endpoint, signed, and tried three times a second apart.
pub(crate) fn subscription(name: &str, endpoint: &str, url: &str) -> String {
    format!(
        "apiVersion: grapnel.dev/v1beta1
kind: WebhookSubscription
metadata: {{ name: {name} }}
spec:
  endpointRef: {{ name: {endpoint} }}
  target: {{ url: '{url}/{name}' }}
  signing: {{ scheme: StandardWebhooks, secretRefs: [{{ name: shop, key: signing }}] }}
  retry: {{ maxAttempts: 3, initialDelay: 1s, multiplier: 1, jitter: None }}
"
    )
}

/// All of it: `orders`, read by `fulfilment`.
pub(crate) async fn open(cluster: &Cluster, receiver: &str) {
    cluster.apply(&secret(ORDERS)).await;
    cluster.apply(&endpoint("orders")).await;
    cluster.apply(&subscription("fulfilment", "orders", receiver)).await;
}

/// Waits until all of it is ready.
pub(crate) async fn ready(cluster: &Cluster) {
    cluster.until_ready("WebhookEndpoint", "orders").await;
    cluster.until_ready("WebhookSubscription", "fulfilment").await;
}

/// Sends an order to an endpoint of this namespace; status and answer.
pub(crate) async fn order(grapnel: &Grapnel, cluster: &Cluster, endpoint: &str, id: &str) -> (u16, Value) {
    order_signed(grapnel, cluster, endpoint, id, ORDERS).await
}

/// Sends an order that is signed with a secret.
pub(crate) async fn order_signed(
    grapnel: &Grapnel,
    cluster: &Cluster,
    endpoint: &str,
    id: &str,
    secret: &str,
) -> (u16, Value) {
    let body = json!({ "id": id, "type": "order.created" }).to_string();
    let signature = hmac_hex(secret, body.as_bytes());
    let path = format!("/{}/{endpoint}", cluster.namespace);
    grapnel.post(&path, &[("x-signature", &signature)], body).await
}
