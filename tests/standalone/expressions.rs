//! The examples of docs/expressions.md, as they are written there, with real events.

use std::{collections::BTreeMap, fs};

use serde_json::{Value, json};

use crate::{
    home::Home,
    program::{Grapnel, command, hmac_hex, receiver::Receiver},
};

/// Manifests of the page, with every target at the receiver, below the host's name.
fn examples(receiver: &str) -> Home {
    let home = Home::new();
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/expressions.md")).unwrap();
    for (number, block) in page.split("```yaml\n").skip(1).enumerate() {
        let block = block.split("```").next().unwrap();
        home.write(&format!("{number}.yaml"), &block.replace("url: https://", &format!("url: {receiver}/")));
    }
    home
}

async fn github(grapnel: &Grapnel, payload: &Value) {
    let body = payload.to_string();
    let signature = format!("sha256={}", hmac_hex("It's a Secret to Everybody", body.as_bytes()));
    let headers = [("x-hub-signature-256", signature.as_str()), ("x-github-event", "push")];
    assert_eq!(grapnel.post("/default/github", &headers, body).await.0, 200);
}

async fn stripe(grapnel: &Grapnel, payload: &Value) {
    let (body, now) = (payload.to_string(), jiff::Timestamp::now().as_second());
    let signature = hmac_hex("whsec_example", format!("{now}.{body}").as_bytes());
    let headers = [("stripe-signature", format!("t={now},v1={signature}"))];
    let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
    assert_eq!(grapnel.post("/default/stripe", &headers, body).await.0, 200);
}

async fn alert(grapnel: &Grapnel, payload: &Value) -> (u16, Value) {
    grapnel.post("/default/alerts", &[("authorization", "Bearer a-long-random-token")], payload.to_string()).await
}

fn payment(id: &str, amount: u64, currency: &str, email: Option<&str>) -> Value {
    json!({ "id": id, "type": "payment_intent.succeeded",
        "data": { "object": { "amount": amount, "currency": currency, "receipt_email": email } } })
}

/// Everything that has arrived when each subscription has delivered so many and has nothing left, by path.
async fn arrived(grapnel: &Grapnel, receiver: &Receiver) -> BTreeMap<String, Vec<Value>> {
    let wanted = [("deploy-shop", 1), ("docs", 1), ("large-payments", 1), ("slack", 2), ("teams", 3), ("pagerduty", 2)];
    for (name, count) in wanted {
        let settled = async || {
            let status = grapnel.status("WebhookSubscription", name).await;
            (status["delivered"] == count && status["pending"] == 0 && status["inFlight"] == 0).then_some(())
        };
        grapnel.eventually(name, settled).await;
    }
    let mut arrived: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for request in receiver.rest() {
        arrived.entry(request.path.clone()).or_default().push(serde_json::from_slice(&request.body).unwrap());
    }
    arrived
}

#[tokio::test]
async fn the_examples_do_what_the_page_says() {
    let receiver = Receiver::start().await;
    let home = examples(&receiver.url);
    let grapnel = home.start();
    let push = |repository: &str, path: &str, message: &str| {
        json!({ "ref": "refs/heads/main", "deleted": false, "pusher": { "name": "mona" },
            "repository": { "full_name": repository, "name": repository.split('/').nth(1) },
            "commits": [{ "message": message, "added": [], "modified": [path], "removed": [] }] })
    };
    github(&grapnel, &push("acme/shop", "src/main.rs", "Use <b> & co\n\nAt length.")).await;
    github(&grapnel, &push("acme/other", "docs/a.md", "Say more")).await;
    stripe(&grapnel, &payment("evt_1", 99_999, "eur", Some("a@example.com"))).await;
    stripe(&grapnel, &payment("evt_2", 100_050, "usd", None)).await;
    stripe(&grapnel, &payment("evt_3", 100_000, "jpy", None)).await;
    let raised = |status: &str, severity: &str| {
        json!({ "status": status, "startsAt": "2026-03-01T12:00:00Z", "annotations": { "summary": "Disk full" },
            "labels": { "alertname": "Disk", "instance": "db-1", "severity": severity } })
    };
    for (status, severity) in [("firing", "critical"), ("resolved", "critical")] {
        let (code, answer) = alert(&grapnel, &raised(status, severity)).await;
        assert_eq!(code, 200, "{answer}");
        assert_eq!(answer["id"], format!("Disk/db-1/2026-03-01T12:00:00Z/{status}"));
    }
    let (_, again) = alert(&grapnel, &raised("firing", "critical")).await;
    assert_eq!(again["duplicate"], true);
    let mut quiet = raised("firing", "info");
    quiet["labels"]["instance"] = json!("db-2");
    assert_eq!(alert(&grapnel, &quiet).await.0, 200);
    let (code, answer) = alert(&grapnel, &json!({ "status": "firing" })).await;
    assert_eq!((code, answer["code"].as_str()), (400, Some("malformed_payload")), "{answer}");
    assert!(answer["error"].as_str().unwrap().contains("event.id: its expression fails: line 1"), "{answer}");

    let mut arrived = arrived(&grapnel, &receiver).await;
    let mut at = |path: &str| arrived.remove(path).unwrap_or_default();
    let shop = at("/deploy.example.com/shop");
    assert_eq!(shop.iter().map(|push| &push["repository"]["name"]).collect::<Vec<_>>(), ["shop"]);
    let docs = at("/deploy.example.com/docs");
    assert_eq!(docs.iter().map(|push| &push["repository"]["name"]).collect::<Vec<_>>(), ["other"]);
    let large = at("/risk.example.com/payments");
    assert_eq!(large.iter().map(|payment| &payment["id"]).collect::<Vec<_>>(), ["evt_2"]);
    let slack = at("/hooks.slack.com/services/T000/B000/XXXX");
    assert_eq!(slack.len(), 2);
    assert!(slack.contains(&json!({
        "text": "mona pushed 1 commit(s) to acme/shop",
        "blocks": [{ "type": "section", "text": { "type": "mrkdwn", "text": "• Use &lt;b&gt; &amp; co" } }],
    })));
    let teams = at("/prod-00.westeurope.logic.azure.com/workflows/0000/triggers/manual/paths/invoke");
    assert_eq!(teams.len(), 3);
    let facts: Vec<_> = teams
        .iter()
        .map(|card| {
            let content = &card["attachments"][0]["content"];
            assert_eq!(content["body"][0]["text"], "payment_intent.succeeded");
            let fact = |number: usize| content["body"][1]["facts"][number]["value"].as_str();
            (fact(0).unwrap(), fact(1))
        })
        .collect();
    assert!(facts.contains(&("999.99 EUR", Some("a@example.com"))), "{facts:?}");
    let pages = at("/events.pagerduty.com/v2/enqueue");
    let mut actions: Vec<_> = pages.iter().map(|page| page["event_action"].as_str().unwrap()).collect();
    actions.sort_unstable();
    assert_eq!(actions, ["resolve", "trigger"]);
    for page in &pages {
        assert_eq!((&page["dedup_key"], &page["payload"]["severity"]), (&json!("Disk/db-1"), &json!("critical")));
        page["payload"]["timestamp"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    }
    assert!(arrived.is_empty(), "{arrived:?}");
}

#[test]
fn check_names_the_line_of_an_expression() {
    let home = examples("http://127.0.0.1:1");
    home.write("1.yaml", &home.read("1.yaml").replace("payload.data.object.amount", "paylod.data.object.amount"));
    let output = command().args(["check", "--allow-loopback", "-f"]).arg(home.manifests()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let line = 1 + home.read("1.yaml").lines().position(|line| line.contains("filter:")).unwrap();
    assert!(text.contains(&format!("1.yaml:{line}:")), "{text}");
    assert!(text.contains("spec.filter: line 1, column 1: unknown variable `paylod`"), "{text}");
}

#[tokio::test]
async fn what_goes_wrong_is_seen_and_mended() {
    let receiver = Receiver::start().await;
    let home = examples(&receiver.url);
    let stripe_manifest =
        home.read("1.yaml").replace("filter: payload.data.object.amount", "filter: payload.data.amount");
    home.write("1.yaml", &stripe_manifest);
    let grapnel = home.start();
    stripe(&grapnel, &payment("evt_1", 200_000, "eur", None)).await;
    let failure = grapnel
        .eventually("the failure", async || {
            let status = grapnel.status("WebhookSubscription", "large-payments").await;
            status.get("lastFailure").cloned()
        })
        .await;
    assert_eq!(failure["reason"], "filter_failed");
    assert_eq!(failure["message"], "filter, line 1, column 14: no such key `amount`; use has(…) to test for it");
    assert_eq!(failure["eventId"], "evt_1");
    let (status, reason, message) = grapnel.condition("WebhookSubscription", "large-payments", "Delivering").await;
    assert_eq!((&*status, &*reason), ("False", "ExpressionFailing"));
    assert!(message.contains("correct spec.filter, line 1, column 14: no such key"), "{message}");
    assert!(!grapnel.log().contains("200000"), "no value of the event is logged");

    home.write("1.yaml", &stripe_manifest.replace("payload.data.amount", "payload.data.object.amont >"));
    let accepted = async || {
        let condition = grapnel.condition("WebhookSubscription", "large-payments", "Accepted").await;
        (condition.0 == "False").then_some(condition)
    };
    let (_, reason, message) = grapnel.eventually("the problem", accepted).await;
    assert_eq!(reason, "InvalidExpression");
    assert!(message.contains("spec.filter: line 1, column 29: expected a value"), "{message}");

    home.write("1.yaml", &stripe_manifest.replace("payload.data.amount", "payload.data.object.amount"));
    let delivered = async || {
        let status = grapnel.status("WebhookSubscription", "large-payments").await;
        (status["delivered"] == 1).then_some(())
    };
    grapnel.eventually("the delivery", delivered).await;
}
