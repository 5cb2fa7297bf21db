//! From `kubectl apply` to the counters.

use crate::fixture::{Cluster, condition};

pub(crate) const ENDPOINT: &str = r#"
apiVersion: grapnel.dev/v1alpha1
kind: WebhookEndpoint
metadata: { name: orders }
spec:
  verification:
    hmac: { header: X-Signature, algorithm: SHA256, encoding: Hex }
    secretRefs: [{ name: orders, key: secret }]
"#;

#[tokio::test]
async fn objects_are_stored_and_have_a_status_of_their_own() {
    let cluster = Cluster::new().await;
    cluster.apply(ENDPOINT).await;
    let object = cluster.get("WebhookEndpoint", "orders").await;
    assert_eq!(object["metadata"]["generation"], 1);
    assert_eq!(condition(&object, "Ready").0, "");
}
