//! Receivers that ask who calls, and URLs that are secrets, as a user writes them.

use grapnel_test_support::{
    certificates::{Authority, PROTOCOLS, Pair},
    receiver::{Received, Receiver},
};
use http::Response;
use serde_json::json;

use crate::home::Home;

const ENDPOINT: &str = r#"
apiVersion: grapnel.dev/v1beta1
kind: WebhookEndpoint
metadata: {name: in}
spec:
  verification: {none: {}}
  event: {id: {pointer: /id}}
"#;

/// A value of a YAML mapping, over several lines.
fn block(text: &str) -> String {
    let mut block = String::from("|\n");
    for line in text.lines() {
        block.push_str("    ");
        block.push_str(line);
        block.push('\n');
    }
    block
}

#[tokio::test]
async fn a_token_a_private_authority_and_a_client_certificate_work_together() {
    let (servers, clients) = (Authority::new(), Authority::new());
    let token = |request: &Received| {
        assert!(request.headers.contains_key("authorization"));
        Response::new(json!({ "access_token": "token-hush", "token_type": "Bearer", "expires_in": 3600 }).to_string())
    };
    let issuer = Receiver::setup().tls(servers.issue("localhost").acceptor(PROTOCOLS)).respond(token).await;
    let answer = |request: &Received| {
        let right = request.headers.get("authorization").is_some_and(|value| value == "Bearer token-hush");
        let status = if right { 204 } else { 401 };
        Response::builder().status(status).body(String::new()).unwrap()
    };
    let receiver = Receiver::setup().tls(servers.issue("inside.example").acceptor_for(&clients)).respond(answer).await;
    let (mine, stranger) = (clients.issue("grapnel"), servers.issue("grapnel"));
    let home = Home::new();
    let secrets = |pair: &Pair| {
        format!(
            "apiVersion: v1\nkind: Secret\nmetadata: {{name: me}}\nstringData:\n  tls.crt: {}  tls.key: {}---\n\
             apiVersion: v1\nkind: Secret\nmetadata: {{name: client}}\nstringData: {{id: me, secret: client-hush}}\n---\n\
             apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: trust}}\ndata:\n  ca.crt: {}",
            block(&pair.chain),
            block(&pair.key),
            block(&servers.pem)
        )
    };
    // The certificate is of the wrong authority at first: that is seen, mended in the Secret, and the event arrives.
    home.write("secrets.yaml", &secrets(&stranger));
    home.write("in.yaml", ENDPOINT);
    home.write(
        "out.yaml",
        &format!(
            r#"
apiVersion: grapnel.dev/v1beta1
kind: WebhookSubscription
metadata: {{name: out}}
spec:
  endpointRef: {{name: in}}
  retry: {{initialDelay: 100ms, multiplier: 1, jitter: None, maxAttempts: 100}}
  circuitBreaker: {{failures: 1000}}
  target:
    url: {}
    auth:
      oauth2ClientCredentials:
        tokenUrl: {}
        clientIdRef: {{name: client, key: id}}
        clientSecretRef: {{name: client, key: secret}}
        tls: {{caRef: {{configMapRef: {{name: trust, key: ca.crt}}}}}}
    tls:
      caRef: {{configMapRef: {{name: trust, key: ca.crt}}}}
      clientCertRef: {{name: me}}
      serverName: inside.example
"#,
            receiver.url_of("127.0.0.1", "/hook"),
            issuer.url_of("localhost", "/hook"),
        ),
    );
    let grapnel = home.start();
    let (status, _) = grapnel.post("/default/in", &[], r#"{"id":"evt_1","type":"paid"}"#).await;
    assert_eq!(status, 200);
    let failure = grapnel
        .eventually("a failed attempt", async || {
            let status = grapnel.status("WebhookSubscription", "out").await;
            status["lastFailure"].is_object().then(|| status["lastFailure"].clone())
        })
        .await;
    assert!(["tls", "io"].contains(&failure["reason"].as_str().unwrap()), "{failure}");
    home.write("secrets.yaml", &secrets(&mine));
    let received = receiver.next().await;
    assert_eq!((received.tls.server_name.as_deref(), received.tls.certificates), (Some("inside.example"), 1));
    assert_eq!(received.header("webhook-id"), "evt_1");
    assert_eq!(received.header("authorization"), "Bearer token-hush");
    grapnel
        .eventually("the count of the delivery", async || {
            (grapnel.status("WebhookSubscription", "out").await["delivered"] == 1).then_some(())
        })
        .await;
    issuer.next().await;
    assert!(issuer.rest().is_empty(), "one token was enough");
    let objects = grapnel.api("/api/v1/objects").await.to_string();
    for shown in [&objects, &grapnel.log()] {
        assert!(!shown.contains("hush"), "{shown}");
    }
}

#[tokio::test]
async fn a_url_from_a_secret_is_shown_nowhere() {
    let receiver = Receiver::start().await;
    let home = Home::new();
    let secret = |url: &str| {
        format!(
            "apiVersion: v1\nkind: Secret\nmetadata: {{name: chat}}\nstringData:\n  url: {url}\n  token: token-hush\n"
        )
    };
    home.write("in.yaml", ENDPOINT);
    home.write("chat.yaml", &secret("http://127.0.0.1:1/services/hush?key=hush"));
    home.write(
        "out.yaml",
        r#"
apiVersion: grapnel.dev/v1beta1
kind: WebhookSubscription
metadata: {name: out}
spec:
  endpointRef: {name: in}
  retry: {initialDelay: 100ms, multiplier: 1, jitter: None, maxAttempts: 100}
  circuitBreaker: {failures: 1000}
  target:
    urlFrom: {secretKeyRef: {name: chat, key: url}}
    auth: {bearer: {secretKeyRef: {name: chat, key: token}}}
"#,
    );
    let grapnel = home.start();
    let (status, _) = grapnel.post("/default/in", &[], r#"{"id":"evt_1","type":"paid"}"#).await;
    assert_eq!(status, 200);
    let failed = async |reason: &str| {
        let status = grapnel.status("WebhookSubscription", "out").await;
        (status["lastFailure"]["reason"] == reason).then_some(())
    };
    grapnel.eventually("a refused connection", async || failed("connect").await).await;
    let unusable = async |url: &str, reason: &str| {
        home.write("chat.yaml", &secret(url));
        grapnel
            .eventually(reason, async || {
                let ready = grapnel.condition("WebhookSubscription", "out", "Ready").await;
                (ready.1 == reason).then_some(())
            })
            .await;
    };
    unusable("http://10.7.3.1/hush", "TargetForbidden").await;
    unusable("hush", "InvalidSecret").await;
    receiver.answer(500);
    home.write("chat.yaml", &secret(&format!("{}/services/hush", receiver.url)));
    grapnel.eventually("an answer", async || failed("status").await).await;
    receiver.answer(200);
    let arrived = loop {
        let arrived = receiver.next().await;
        if arrived.status() == Some(200) {
            break arrived;
        }
    };
    assert_eq!(arrived.path, "/services/hush");
    assert_eq!(arrived.header("authorization"), "Bearer token-hush");
    let objects = grapnel.api("/api/v1/objects").await.to_string();
    let deliveries = grapnel.admin("/api/v1/namespaces/default/subscriptions/out/deliveries").await.1;
    let metrics = grapnel.admin("/metrics").await.1;
    for shown in [&objects, &deliveries, &metrics, &grapnel.log()] {
        for secret in ["hush", "10.7.3.1", &receiver.url] {
            assert!(!shown.contains(secret), "{secret} is in {shown}");
        }
    }
}
