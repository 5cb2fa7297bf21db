//! `eval`: what an endpoint and its subscriptions make of an event, offline.

use std::{
    io::Write,
    path::Path,
    process::{Output, Stdio},
};

use serde_json::{Value, json};

use crate::{
    home::Home,
    program::{command, hmac_hex, run},
};

const MANIFEST: &str = r#"
apiVersion: grapnel.dev/v1beta1
kind: WebhookEndpoint
metadata: { name: in, namespace: shop }
spec:
  verification: { provider: { name: GitHub }, secretRefs: [{ name: s, key: k }] }
  schemas:
  - types: ["push"]
    schema:
      required: [ref]
      properties: { ref: { type: string } }
---
apiVersion: v1
kind: Secret
metadata: { name: s, namespace: shop }
stringData: { k: a-long-random-string }
---
apiVersion: grapnel.dev/v1beta1
kind: WebhookSubscription
metadata: { name: chat, namespace: shop }
spec:
  endpointRef: { name: in }
  eventTypes: ["push"]
  filter: payload.ref == 'refs/heads/main'
  transform: "{'text': headers['x-who'] + ' pushed ' + payload.ref}"
  target: { url: https://receiver.example }
---
apiVersion: grapnel.dev/v1beta1
kind: WebhookSubscription
metadata: { name: raw, namespace: shop }
spec:
  endpointRef: { name: in }
  target: { url: https://receiver.example }
"#;

/// Runs `eval` for the event on standard input.
fn eval(event: &str, arguments: &[&str]) -> Output {
    let home = Home::new();
    home.write("all.yaml", MANIFEST);
    let mut child = command()
        .arg("eval")
        .arg("-f")
        .arg(home.manifests())
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that does not read it has ended already.
    let _ = child.stdin.take().unwrap().write_all(event.as_bytes());
    child.wait_with_output().unwrap()
}

fn text(event: &str, arguments: &[&str]) -> (Option<i32>, String) {
    let output = eval(event, arguments);
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

fn json(event: &str, arguments: &[&str]) -> Value {
    let output = eval(event, &[arguments, &["-o", "json"]].concat());
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)))
}

const PUSH: &[&str] =
    &["--event", "-", "-H", "X-GitHub-Event: push", "-H", "X-GitHub-Delivery: d-1", "-H", "X-Who: ana"];

#[test]
fn each_step_is_shown_with_its_result() {
    let (code, shown) = text(r#"{"ref":"refs/heads/main"}"#, PUSH);
    assert_eq!(code, Some(0), "{shown}");
    for line in [
        "endpoint:  shop/in",
        "type:      push (from header x-github-event)",
        "id:        d-1 (from header x-github-delivery)",
        "schema:    valid",
        "subscription shop/chat",
        "  filter:    true",
        "      \"text\": \"ana pushed refs/heads/main\"",
        "subscription shop/raw",
        "      \"ref\": \"refs/heads/main\"",
    ] {
        assert!(shown.lines().any(|other| other == line), "{line} is not in\n{shown}");
    }
    let shown = json(r#"{"ref":"refs/heads/other"}"#, PUSH);
    assert_eq!((&shown["accepted"], &shown["events"][0]["type"]), (&json!(true), &json!("push")), "{shown}");
    let subscriptions = &shown["events"][0]["subscriptions"];
    assert_eq!((&subscriptions[0]["filter"], &subscriptions[0]["delivered"]), (&json!(false), &json!(false)));
    assert_eq!(subscriptions[1]["body"], json!({ "ref": "refs/heads/other" }));
}

#[test]
fn one_subscription_can_be_selected() {
    let shown = json(r#"{"ref":"refs/heads/main"}"#, &[PUSH, &["--subscription", "shop/chat"]].concat());
    let subscriptions = shown["events"][0]["subscriptions"].as_array().unwrap();
    assert_eq!((subscriptions.len(), &subscriptions[0]["subscription"]), (1, &json!("shop/chat")));
    let shown = json("{}", &["--event", "-", "-H", "X-GitHub-Event: fork", "--subscription", "chat", "-n", "shop"]);
    let subscription = &shown["events"][0]["subscriptions"][0];
    assert_eq!((&subscription["typeMatches"], &subscription["delivered"]), (&json!(false), &json!(false)), "{shown}");
}

#[test]
fn rejections_and_failing_expressions_exit_with_1() {
    let (code, shown) = text(r#"{"ref":7}"#, PUSH);
    assert_eq!(code, Some(1), "{shown}");
    assert!(shown.contains("rejected:  422 schema_violation") && shown.contains("  /ref: "), "{shown}");
    assert!(shown.contains("type:      push "), "{shown}");
    let (code, shown) = text("{", PUSH);
    let why = "the body is not valid JSON: EOF while parsing an object at line 1 column 1";
    assert!(code == Some(1) && shown.contains("rejected:  422 schema_violation") && shown.contains(why), "{shown}");
    let without_who = &PUSH[..6];
    let (code, shown) = text(r#"{"ref":"refs/heads/main"}"#, without_who);
    assert!(code == Some(1) && shown.contains("  body:      fails: transform, line 1, column "), "{shown}");
}

#[test]
fn a_stored_event_is_evaluated_again() {
    let stored = json!({
        "sequence": 3, "id": "d-1", "type": "push", "receivedTime": "2026-01-31T12:00:00Z",
        "contentType": "application/json", "bytes": 25, "remote": "192.0.2.1",
        "headers": [
            { "name": "x-github-event", "value": "push" },
            { "name": "x-github-delivery", "value": "d-1" },
            { "name": "x-who", "value": "ana" },
        ],
        "payload": { "ref": "refs/heads/main" },
    });
    let shown = json(&stored.to_string(), &["--stored", "-"]);
    assert_eq!(shown["events"][0]["id"], "d-1", "{shown}");
    assert_eq!(shown["events"][0]["subscriptions"][0]["body"], json!({ "text": "ana pushed refs/heads/main" }));
}

#[test]
fn usage_errors_say_what_to_do() {
    for (arguments, expected, code) in [
        (
            &["--event", "-", "--endpoint", "absent"][..],
            "endpoint default/absent does not exist or does not compile",
            1,
        ),
        (&["--event", "-", "--subscription", "absent"], "subscription default/absent does not exist", 1),
        (&["--event", "/does/not/exist"], "cannot read /does/not/exist", 1),
        (&["--stored", "-"], "--stored is not an event as `grapnel events show ENDPOINT ID -o json` prints it", 1),
        (&["--event", "-", "-f", "-"], "only one of -f, --event and --stored can be standard input", 2),
        (&[], "--event", 2),
    ] {
        let output = eval("{}", arguments);
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(code) && error.contains(expected), "{arguments:?}: {error}");
    }
}

#[test]
fn the_examples_can_be_evaluated() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    for (endpoint, payload, header) in
        [("orders", "order-created.json", "X-A: b"), ("github", "github-push.json", "X-GitHub-Event: push")]
    {
        let output = command()
            .args(["eval", "--endpoint", endpoint, "-H", header, "-f"])
            .arg(examples.join("quickstart"))
            .arg("--event")
            .arg(examples.join("payloads").join(payload))
            .output()
            .unwrap();
        assert!(output.status.success(), "{endpoint}: {}", String::from_utf8_lossy(&output.stdout));
    }
}

#[tokio::test]
async fn an_event_of_a_running_operator_is_evaluated() {
    let home = Home::new();
    home.write("all.yaml", MANIFEST);
    let grapnel = home.start();
    let body = r#"{"ref":"refs/heads/main"}"#;
    let signature = format!("sha256={}", hmac_hex("a-long-random-string", body.as_bytes()));
    let headers = [
        ("x-hub-signature-256", &*signature),
        ("x-github-event", "push"),
        ("x-github-delivery", "d-7"),
        ("x-who", "ana"),
    ];
    assert_eq!(grapnel.post("/shop/in", &headers, body).await.0, 200);
    let eval = |id: &str| {
        let manifests = home.manifests();
        let arguments =
            ["eval", "-f", manifests.to_str().unwrap(), "--admin-url", &grapnel.admin, "--from-journal", id];
        run(&[&arguments[..], &["-o", "json"]].concat())
    };
    let output = eval("d-7");
    let seen: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    assert!(seen.to_string().contains("ana pushed refs/heads/main"), "{seen}");
    let absent = eval("d-8");
    assert_eq!(absent.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&absent.stderr).contains("d-8"), "{}", String::from_utf8_lossy(&absent.stderr));
}
