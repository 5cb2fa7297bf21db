//! Manifests.

use std::{fmt::Write, fs, net::SocketAddr, path::Path};

/// Subscriptions of the endpoint `bench`.
pub(crate) struct Subscriptions {
    pub(crate) count: usize,
    pub(crate) receiver: SocketAddr,
    pub(crate) in_flight: usize,
    pub(crate) suspended: bool,
}

/// The endpoint `bench` with its subscriptions, which sign their deliveries.
pub(crate) fn bench(subscriptions: &Subscriptions) -> String {
    let Subscriptions { count, receiver, in_flight, suspended } = subscriptions;
    let mut text = secret();
    text += &endpoint("bench", false);
    for number in 0..*count {
        text +=
            &subscription(&format!("bench-{number}"), "bench", &format!("http://{receiver}/"), *in_flight, *suspended);
    }
    text
}

/// The Secret that endpoints and subscriptions refer to.
pub(crate) fn secret() -> String {
    format!(
        r#"
---
apiVersion: v1
kind: Secret
metadata: {{ name: bench }}
stringData: {{ secret: {}, signing: whsec_YmVuY2gtc2lnbmluZy1rZXktb2YtMzItYnl0ZXMtISE= }}
"#,
        crate::SECRET
    )
}

/// An endpoint.
pub(crate) fn endpoint(name: &str, suspended: bool) -> String {
    format!(
        r#"
---
apiVersion: grapnel.dev/v1beta1
kind: WebhookEndpoint
metadata: {{ name: {name} }}
spec:
  verification:
    hmac: {{ header: X-Webhook-Signature, algorithm: SHA256, encoding: Hex }}
    secretRefs: [{{ name: bench, key: secret }}]
  event:
    id: {{ header: X-Event-Id }}
    type: {{ value: bench }}
  suspend: {suspended}
"#
    )
}

/// A subscription that signs.
pub(crate) fn subscription(name: &str, endpoint: &str, url: &str, in_flight: usize, suspended: bool) -> String {
    let mut text = String::new();
    let _ = write!(
        text,
        r#"
---
apiVersion: grapnel.dev/v1beta1
kind: WebhookSubscription
metadata: {{ name: {name} }}
spec:
  endpointRef: {{ name: {endpoint} }}
  target: {{ url: "{url}" }}
  signing:
    scheme: StandardWebhooks
    secretRefs: [{{ name: bench, key: signing }}]
  maxInFlight: {in_flight}
  suspend: {suspended}
"#
    );
    text
}

/// Writes a file as an editor does, so that nobody reads half of it.
pub(crate) fn write(path: &Path, text: &str) {
    let fresh = path.with_extension("new");
    fs::write(&fresh, text).unwrap();
    fs::rename(fresh, path).unwrap();
}
