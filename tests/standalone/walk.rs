//! Webhooks through the shipped quickstart.

use axum::{body::Body, http::Response};
use serde_json::{Value, json};

use crate::{
    home::Home,
    program::{hmac_hex, receiver::Receiver},
};

pub(crate) const GITHUB: &str = "quickstart-github-secret";
pub(crate) const ORDERS: &str = "quickstart-orders-secret";
pub(crate) const RECEIVER: &str = "whsec_cXVpY2tzdGFydC1yZWNlaXZlci1zaWduaW5nLWtleSE=";

fn payload(name: &str) -> Vec<u8> {
    std::fs::read(format!("{}/examples/payloads/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

#[tokio::test]
async fn a_github_payload_arrives_and_reaches_a_receiver_that_verifies_it() {
    let receiver = Receiver::start().await;
    let home = Home::quickstart(&receiver.url);
    let grapnel = home.start();
    let body = payload("github-push.json");
    let signature = format!("sha256={}", hmac_hex(GITHUB, &body));
    let headers = [
        ("x-hub-signature-256", signature.as_str()),
        ("x-github-event", "push"),
        ("x-github-delivery", "72d3162e-cc78-11e3-81ab-4c9367dc0958"),
        ("authorization", "Bearer not-to-be-kept"),
    ];
    let (status, answer) = grapnel.post("/default/github", &headers, body.clone()).await;
    assert_eq!(status, 200);
    assert_eq!(answer, json!({ "success": true, "id": "72d3162e-cc78-11e3-81ab-4c9367dc0958" }));

    let arrived = receiver.next().await;
    assert_eq!(arrived.path, "/github");
    assert_eq!(arrived.body, body, "Original sends the bytes as they came");
    assert_eq!(arrived.header("content-type"), "application/json");
    assert_eq!(arrived.header("webhook-id"), "72d3162e-cc78-11e3-81ab-4c9367dc0958");
    assert_eq!(arrived.header("grapnel-attempt"), "1");
    assert_eq!(arrived.header("x-github-event"), "push", "forwardHeaders passes it on");
    assert!(arrived.header("user-agent").starts_with("grapnel/"));
    assert!(arrived.headers.contains_key("traceparent"));
    for secret in ["x-hub-signature-256", "authorization"] {
        assert!(!arrived.headers.contains_key(secret), "{secret} is a credential");
    }
    arrived.assert_signed(RECEIVER);

    let (status, answer) = grapnel.post("/default/github", &headers, body.clone()).await;
    assert_eq!(status, 200);
    assert_eq!(answer["duplicate"], true);
    assert_eq!(answer["id"], "72d3162e-cc78-11e3-81ab-4c9367dc0958");

    let labels = r#"{namespace="default",endpoint="github",type="push"}"#;
    assert_eq!(grapnel.metric(&format!("webhook_processed_total{labels}")).await, 1.0);
    assert_eq!(grapnel.metric(&format!("webhook_processing_time_seconds_count{labels}")).await, 2.0);
    assert_eq!(grapnel.metric(r#"webhook_duplicates_total{namespace="default",endpoint="github"}"#).await, 1.0);
    grapnel
        .eventually("the count of the delivery", async || {
            let status = grapnel.status("WebhookSubscription", "deploys").await;
            (status["delivered"] == 1 && status["pending"] == 0 && status["inFlight"] == 0).then_some(())
        })
        .await;
    let condition = grapnel.condition("WebhookSubscription", "deploys", "Delivering").await;
    assert_eq!((condition.0.as_str(), condition.1.as_str()), ("True", "Succeeding"));
    assert!(receiver.rest().is_empty(), "a duplicate is not delivered");

    let event = grapnel.api("/api/v1/namespaces/default/endpoints/github/events").await["items"][0].clone();
    assert_eq!(event["type"], "push");
    assert!(event["receivedTime"].is_string());
    let shown =
        grapnel.api("/api/v1/namespaces/default/endpoints/github/events/72d3162e-cc78-11e3-81ab-4c9367dc0958").await;
    assert_eq!(shown["payload"], serde_json::from_slice::<Value>(&body).unwrap());
    assert!(!shown.to_string().contains("not-to-be-kept") && !shown.to_string().contains(&signature));
}

/// What the receiver said is shown, without what only those who may read the event may see.
#[tokio::test]
async fn the_answer_of_a_receiver_is_shown() {
    let receiver = Receiver::setup().respond(|request| {
        let body = String::from_utf8(request.body.to_vec()).unwrap();
        Response::new(Body::from(format!("<b>thanks</b> for {body}")))
    });
    let receiver = receiver.await;
    let home = Home::quickstart(&receiver.url);
    let grapnel = home.start();
    let body = r#"{"repository":"a-private-name"}"#;
    let signature = format!("sha256={}", hmac_hex(GITHUB, body.as_bytes()));
    let headers = [
        ("content-type", "application/json"),
        ("x-hub-signature-256", &*signature),
        ("x-github-event", "push"),
        ("x-github-delivery", "one"),
    ];
    assert_eq!(grapnel.post("/default/github", &headers, body).await.0, 200);
    receiver.next().await;
    let list = "/api/v1/namespaces/default/subscriptions/deploys/deliveries";
    let answer = grapnel.eventually("the outcome", async || {
        let deliveries: Value = serde_json::from_str(&grapnel.admin(list).await.1).unwrap();
        Some(deliveries["items"][0].clone()).filter(|item| item["outcome"] == "delivered")
    });
    assert_eq!(answer.await["answer"], "<b>thanks</b> for ***");
    let (_, page) = grapnel.admin("/console/endpoints/default/github/event?id=one").await;
    assert!(page.contains("&lt;b&gt;thanks&lt;/b&gt; for ***"), "{page}");
}

#[tokio::test]
async fn an_order_is_checked_by_its_schema_and_sent_in_an_envelope() {
    let receiver = Receiver::start().await;
    let home = Home::quickstart(&receiver.url);
    let grapnel = home.start();
    let send = async |body: &[u8]| {
        let signature = hmac_hex(ORDERS, body);
        grapnel.post("/default/orders", &[("X-Webhook-Signature", &signature)], body).await
    };

    let body = payload("order-created.json");
    assert_eq!(send(&body).await, (200, json!({ "success": true, "id": "order-1001" })));
    let arrived = receiver.next().await;
    arrived.assert_signed(RECEIVER);
    assert_eq!(arrived.header("x-shop"), "quickstart");
    let envelope: Value = serde_json::from_slice(&arrived.body).unwrap();
    assert_eq!(envelope["id"], "order-1001");
    assert_eq!(envelope["type"], "order.created");
    assert_eq!(envelope["data"], serde_json::from_slice::<Value>(&body).unwrap());
    envelope["timestamp"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();

    let (status, answer) = send(br#"{"id":"order-1002","type":"order.created","total":-1,"currency":"XXX"}"#).await;
    assert_eq!((status, answer["code"].as_str()), (422, Some("schema_violation")));
    let violations = answer["violations"].as_array().unwrap();
    let paths: Vec<_> = violations.iter().map(|violation| violation["path"].as_str().unwrap()).collect();
    assert!(paths.contains(&"/total") && paths.contains(&"/currency"), "{answer}");

    let (status, answer) = send(br#"{"id":"r-1","type":"refund.created"}"#).await;
    assert_eq!((status, answer["code"].as_str()), (422, Some("unknown_event_type")));
    let (status, answer) = send(br#"{"type":"order.created","total":1}"#).await;
    assert_eq!((status, answer["code"].as_str()), (400, Some("malformed_payload")), "event.id is set and absent");

    let (status, answer) = grapnel.post("/default/orders", &[("X-Webhook-Signature", "00")], body.clone()).await;
    assert_eq!((status, answer["code"].as_str()), (401, Some("invalid_signature")));
    let (status, answer) = grapnel.post("/default/orders", &[], body).await;
    assert_eq!((status, answer["code"].as_str()), (401, Some("missing_signature")));

    let failed = r#"webhook_failed_total{namespace="default",endpoint="orders",type="#;
    assert_eq!(grapnel.metric(&format!(r#"{failed}"unknown",error="invalid_signature"}}"#)).await, 1.0);
    assert_eq!(grapnel.metric(&format!(r#"{failed}"other",error="unknown_event_type"}}"#)).await, 1.0);
    let status = grapnel.status("WebhookEndpoint", "orders").await;
    assert_eq!((&status["received"], &status["rejected"]), (&json!(1), &json!(5)), "{status}");
    assert_eq!(status["lastRejection"]["reason"], "missing_signature");
    assert!(receiver.rest().is_empty(), "nothing that was refused is delivered");
    assert!(!grapnel.log().contains(ORDERS), "no secret is logged");
}

#[tokio::test]
async fn three_attempts_a_second_and_two_apart_end_in_the_dead_letter() {
    let receiver = Receiver::start().await;
    receiver.answer(500);
    let home = Home::quickstart(&receiver.url);
    let grapnel = home.start();
    let body = payload("order-created.json");
    let signature = hmac_hex(ORDERS, &body);
    assert_eq!(grapnel.post("/default/orders", &[("X-Webhook-Signature", &signature)], body).await.0, 200);

    let attempts = [receiver.next().await, receiver.next().await, receiver.next().await];
    for (number, attempt) in attempts.iter().enumerate() {
        assert_eq!(attempt.header("webhook-id"), "order-1001", "the id stays the same");
        assert_eq!(attempt.header("grapnel-attempt"), (number + 1).to_string());
        attempt.assert_signed(RECEIVER);
    }
    // Never before they are due; how long after is the machine's business.
    assert!((attempts[1].at - attempts[0].at).as_millis() >= 950);
    assert!((attempts[2].at - attempts[1].at).as_millis() >= 1950);

    let path = "/api/v1/namespaces/default/subscriptions/fulfilment/deliveries?state=deadLettered";
    let dead = grapnel
        .eventually("the dead letter", async || {
            let list = grapnel.api(path).await;
            list["items"].get(0).cloned()
        })
        .await;
    assert_eq!(dead["attempts"], 3, "{dead}");
    let condition = grapnel.condition("WebhookSubscription", "fulfilment", "Delivering").await;
    assert_eq!((condition.0.as_str(), condition.1.as_str()), ("False", "TargetFailing"));
    let ready = grapnel.condition("WebhookSubscription", "fulfilment", "Ready").await;
    assert_eq!(ready.0, "True", "a failing receiver does not unready a subscription");
    assert_eq!(grapnel.metric(r#"webhook_dead_letters{namespace="default",subscription="fulfilment"}"#).await, 1.0);
}
