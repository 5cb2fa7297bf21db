//! One manifest and a journal, at one address for all of the processes.

pub(crate) use grapnel_test_support::home::Home;

/// The secret of every endpoint.
pub(crate) const SECRET: &str = "a-secret-of-these-tests";

/// Where the only manifest is.
pub(crate) const MANIFEST: &str = "objects.yaml";

/// A home with one manifest, at one address.
pub(crate) fn home(manifest: &str) -> Home {
    let home = Home::new().at_one_address();
    home.write(MANIFEST, manifest);
    home
}

/// An endpoint `orders` with an HMAC, whose events name themselves, and a subscription `out`.
pub(crate) fn orders(target: &str, endpoint: &str, subscription: &str) -> String {
    format!(
        r#"
apiVersion: grapnel.dev/v1beta1
kind: WebhookEndpoint
metadata: {{ name: orders }}
spec:
  verification:
    hmac: {{ header: X-Webhook-Signature, algorithm: SHA256, encoding: Hex }}
    secretRefs: [{{ name: orders, key: secret }}]
  event: {{ id: {{ pointer: /id }}, type: {{ value: order.created }} }}
{endpoint}
---
apiVersion: grapnel.dev/v1beta1
kind: WebhookSubscription
metadata: {{ name: out }}
spec:
  endpointRef: {{ name: orders }}
  target: {{ url: "{target}/out" }}
{subscription}
---
apiVersion: v1
kind: Secret
metadata: {{ name: orders }}
stringData: {{ secret: {SECRET} }}
"#
    )
}
