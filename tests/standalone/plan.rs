//! `plan`: a change of manifests on the events that are stored.

use std::{
    io::{Read, Write},
    net::TcpListener,
    path::Path,
    process::Output,
};

use serde_json::{Value, json};

use crate::{
    home::Home,
    program::{Grapnel, command, receiver::Receiver},
};

fn endpoint(more: &str) -> String {
    format!(
        "apiVersion: grapnel.dev/v1beta1\nkind: WebhookEndpoint\nmetadata: {{ name: in, namespace: shop }}\nspec:\n  \
         verification: {{ none: {{}} }}\n{more}---\n"
    )
}

fn subscription(name: &str, url: &str, more: &str) -> String {
    format!(
        "apiVersion: grapnel.dev/v1beta1\nkind: WebhookSubscription\nmetadata: {{ name: {name}, namespace: shop }}\nspec:\n  \
         endpointRef: {{ name: in }}\n  target: {{ url: '{url}' }}\n{more}---\n"
    )
}

/// A program with two subscriptions and ten delivered events.
async fn with_history(receiver: &Receiver) -> (Home, Grapnel) {
    let home = Home::new();
    let all = [
        endpoint(""),
        subscription("a", &receiver.url, "  filter: payload.n > 3\n"),
        subscription("b", &receiver.url, ""),
    ];
    home.write("all.yaml", &all.concat());
    let grapnel = home.start();
    for n in 1..=10 {
        let headers = [("webhook-id", &*format!("evt-{n}")), ("ce-type", "t")];
        assert_eq!(grapnel.post("/shop/in", &headers, format!(r#"{{"n":{n}}}"#)).await.0, 200);
    }
    for name in ["a", "b"] {
        let count = if name == "a" { 7 } else { 10 };
        let delivered =
            async || (grapnel.status("WebhookSubscription", name).await["delivered"] == count).then_some(());
        grapnel.eventually("all are delivered", delivered).await;
    }
    (home, grapnel)
}

fn plan(grapnel: &Grapnel, files: &Path, arguments: &[&str]) -> Output {
    plan_at(&grapnel.admin, files, arguments)
}

fn plan_at(url: &str, files: &Path, arguments: &[&str]) -> Output {
    command().args(["plan", "--admin-url", url, "-f"]).arg(files).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn report(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", text(&output.stderr)))
}

#[tokio::test]
async fn a_change_is_tried_on_the_stored_events() {
    let receiver = Receiver::start().await;
    let (home, grapnel) = with_history(&receiver).await;
    let same = plan(&grapnel, &home.manifests(), &["--against", "standalone"]);
    assert_eq!((same.status.code(), &*text(&same.stdout)), (Some(0), "no change: the files define what is live\n"));

    let changed = Home::new();
    let schema = "  schemas:\n  - types: ['*']\n    schema: { properties: { 'n': { maximum: 8 } } }\n";
    let transform = "  filter: payload.n > 5\n  transform: \"{'number': payload.n}\"\n";
    // The Secret is not among the files.
    let signed = format!("{transform}  signing: {{ scheme: StandardWebhooks, secretRefs: [{{ name: s, key: k }}] }}\n");
    let c = subscription("c", &receiver.url, "  eventTypes: [other]\n");
    changed.write("all.yaml", &[endpoint(schema), subscription("a", &receiver.url, &signed), c].concat());
    let output = plan(&grapnel, &changed.manifests(), &["-o", "json"]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
    let found = report(&output);
    assert_eq!((&found["changed"], &found["events"]), (&json!(true), &json!(10)));
    assert_eq!(found["endpoints"][0]["refused"]["reasons"], json!({ "schema_violation": 2 }));
    let of = |name: &str| {
        let items = found["subscriptions"].as_array().unwrap();
        items.iter().find(|item| item["name"] == name).unwrap_or_else(|| panic!("{name}: {found:#}")).clone()
    };
    let a = of("a");
    assert_eq!((&a["deliveredBefore"], &a["deliveredAfter"], &a["bodiesChanged"]), (&json!(7), &json!(3), &json!(3)));
    assert_eq!(a["fewer"]["reasons"], json!({ "filter": 2, "refused": 2 }));
    assert_eq!(a["notRehearsed"], json!(["signing"]));
    assert_eq!(a["bodyChange"]["event"]["id"], "evt-8", "the newest first");
    assert_eq!((&of("b")["change"], &of("b")["undelivered"]["unsettled"]), (&json!("deleted"), &json!(0)));
    assert_eq!((&of("c")["change"], &of("c")["deliveredAfter"]), (&json!("added"), &json!(0)));

    let output = plan(&grapnel, &changed.manifests(), &["-o", "markdown", "--no-bodies", "--last", "4", "--partial"]);
    let shown = text(&output.stdout);
    assert!(shown.contains("2 of 4 events would be refused (schema_violation 2)"), "{shown}");
    assert!(
        !shown.contains("diff") && !shown.contains("`shop/b`** deleted") && shown.contains("`shop/b`** unchanged"),
        "{shown}"
    );
    let output = plan(&grapnel, &changed.manifests(), &["--since", "1h"]);
    assert!(text(&output.stdout).contains("+   \"number\": 8"), "{}", text(&output.stdout));
    let delivered = grapnel.status("WebhookSubscription", "a").await["delivered"].clone();
    assert_eq!((delivered, receiver.rest().len()), (json!(7), 17), "nothing was sent");
}

#[tokio::test]
async fn without_a_plan_the_exit_code_is_1() {
    let receiver = Receiver::start().await;
    let (home, grapnel) = with_history(&receiver).await;
    let failed = |output: Output, part: &str| {
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(output.stdout.is_empty() && stderr.contains(part), "{part} is not in {stderr}");
    };
    failed(plan(&grapnel, Path::new("/nowhere"), &[]), "cannot read /nowhere");
    for number in ["--last=0", "--last=-1", "--last=100001"] {
        failed(plan(&grapnel, &home.manifests(), &[number]), "must be a number from 1 to 100000");
    }
    failed(plan(&grapnel, &home.manifests(), &["--last", "-1"]), "must be a number from 1 to 100000");
    failed(plan(&grapnel, &home.manifests(), &["--since", "9000-01-01T00:00:00Z"]), "is in the future");
    failed(plan(&grapnel, &home.manifests(), &["--namespace", "A_B"]), "must be the name of a namespace");
    failed(plan(&grapnel, &home.manifests(), &["--namespace", "hub"]), "other namespaces than --namespace hub: shop");
    failed(plan(&grapnel, &home.manifests(), &["--since", "yesterday"]), "must be a time");
    let wrong = Home::new();
    wrong.write("a.yaml", &subscription("a", &receiver.url, "  filter: payload.n >\n"));
    failed(plan(&grapnel, &wrong.manifests(), &["--partial"]), "a.yaml:7: InvalidExpression");
    failed(plan(&grapnel, &wrong.manifests(), &[]), "EndpointNotFound");
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    failed(plan_at(&format!("http://{nobody}"), &home.manifests(), &[]), "cannot reach the operator");
    for (answer, part) in [
        (r#"{"version":"9.9.9","items":[]}"#, "the operator has 9.9.9"),
        (r#"{"items":[]}"#, "the operator has an unknown one"),
        ("<html>Welcome!</html>", "not as an admin server of Grapnel does"),
        (r#"{"status":"ok"}"#, "not as an admin server of Grapnel does"),
    ] {
        let other = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = other.local_addr().unwrap();
        let served = std::thread::spawn(move || {
            let (mut stream, _) = other.accept().unwrap();
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).unwrap();
            let length = answer.len();
            write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{answer}").unwrap();
        });
        failed(plan_at(&format!("http://{address}"), &home.manifests(), &[]), part);
        served.join().unwrap();
    }
    // The server for webhooks answers in the form of Grapnel.
    failed(plan_at(&grapnel.webhooks, &home.manifests(), &[]), "is not an admin server of Grapnel");
}

#[tokio::test]
async fn a_server_that_never_answers_is_named_in_time() {
    let home = Home::new();
    home.write("all.yaml", &endpoint(""));
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let began = std::time::Instant::now();
    let output = plan_at(&url, &home.manifests(), &[]);
    let stderr = text(&output.stderr);
    assert!(stderr.contains("has not answered within 10 seconds") && stderr.contains("--admin-url"), "{stderr}");
    assert!(output.status.code() == Some(1) && began.elapsed() < std::time::Duration::from_secs(40), "{stderr}");
}

fn replay(name: &str, more: &str) -> String {
    format!(
        "apiVersion: grapnel.dev/v1beta1\nkind: WebhookReplay\nmetadata: {{ name: {name}, namespace: shop }}\nspec:\n  \
         subscriptionRef: {{ name: a }}\n{more}---\n"
    )
}

#[tokio::test]
async fn replays_of_the_files_are_tried_and_those_of_the_operator_are_compared() {
    let receiver = Receiver::start().await;
    let (home, grapnel) = with_history(&receiver).await;
    let live = [
        endpoint(""),
        subscription("a", &receiver.url, "  filter: payload.n > 3\n"),
        subscription("b", &receiver.url, ""),
    ];
    let changed = Home::new();
    let filtered = replay("filtered", "  select: { since: 2026-01-01T00:00:00Z }\n  filter: payload.n > 8\n");
    let dry = replay("dry", "  select: { ids: [evt-1, evt-2, evt-11] }\n  dryRun: true\n");
    changed.write("all.yaml", &[&live[..], &[filtered, dry]].concat().concat());
    let output = plan(&grapnel, &changed.manifests(), &[]);
    let shown = text(&output.stdout);
    assert_eq!(output.status.code(), Some(2), "{shown}{}", text(&output.stderr));
    for line in [
        "+ WebhookReplay shop/filtered: added",
        "2 events match now, and would be delivered again by WebhookSubscription shop/a",
        "+ WebhookReplay shop/dry: added",
        "dry run: 2 events match now; nothing would be delivered",
        "changed; nothing was sent",
    ] {
        assert!(shown.contains(line), "{line} is not in {shown}");
    }
    assert_eq!(receiver.rest().len(), 17, "nothing was sent");

    // One that runs and is removed.
    let slow = replay("slow", "  select: { since: 2026-01-01T00:00:00Z }\n  rate: { requests: 1, per: 1h }\n");
    home.write("all.yaml", &[&live[..], &[slow]].concat().concat());
    let matched = async || (grapnel.status("WebhookReplay", "slow").await["matched"].as_u64() > Some(0)).then_some(());
    grapnel.eventually("the replay runs", matched).await;
    changed.write("all.yaml", &live.concat());
    let output = plan(&grapnel, &changed.manifests(), &[]);
    let shown = text(&output.stdout);
    assert!(shown.contains("- WebhookReplay shop/slow: deleted") && shown.contains("it has not ended"), "{shown}");
    assert_eq!(output.status.code(), Some(2), "{shown}");
}

#[tokio::test]
async fn objects_of_another_class_or_namespace_are_left_alone() {
    let receiver = Receiver::start().await;
    let home = Home::new();
    let other = endpoint("").replace("name: in, namespace: shop", "name: other, namespace: hub");
    let of_a_class = endpoint("  className: web\n").replace("name: in,", "name: web,");
    let all = [endpoint(""), subscription("a", &receiver.url, ""), other, of_a_class.clone()];
    home.write("all.yaml", &all.concat());
    let grapnel = home.start();
    let files = Home::new();
    files.write("all.yaml", &of_a_class);
    let output = plan(&grapnel, &files.manifests(), &["--class", "web"]);
    let shown = text(&output.stdout);
    assert!(shown.contains("+ WebhookEndpoint shop/web: added") && !shown.contains("deleted"), "{shown}");
    assert!(shown.contains("3 live objects have another class than --class web"), "{shown}");
    files
        .write("all.yaml", &[of_a_class, endpoint(""), subscription("a", &receiver.url, "  suspend: true\n")].concat());
    let output = plan(&grapnel, &files.manifests(), &["--namespace", "shop"]);
    let shown = text(&output.stdout);
    assert!(shown.contains("shop/a: suspend") && !shown.contains("hub/other"), "{shown}{}", text(&output.stderr));
    // An endpoint of another namespace is not read.
    let reader = subscription("b", &receiver.url, "").replace("{ name: in }", "{ name: other, namespace: hub }");
    files.write("reader.yaml", &reader);
    let output = plan(&grapnel, &files.manifests(), &["--namespace", "shop"]);
    let shown = text(&output.stdout);
    assert!(
        shown.contains("in another namespace than --namespace: WebhookSubscription shop/b"),
        "{shown}{}",
        text(&output.stderr)
    );
}

/// A subscription in mode Shadow, as a person sees it.
#[tokio::test]
async fn a_shadow_shows_what_it_would_send() {
    let receiver = Receiver::start().await;
    let home = Home::new();
    let shadow = "  mode: Shadow\n  filter: payload.n > 1\n  transform: \"{'number': payload.n}\"\n";
    home.write("all.yaml", &[endpoint(""), subscription("a", &receiver.url, shadow)].concat());
    let grapnel = home.start();
    for n in 1..=3 {
        let headers = [("webhook-id", &*format!("evt-{n}")), ("ce-type", "t")];
        grapnel.post("/shop/in", &headers, format!(r#"{{"n":{n}}}"#)).await;
    }
    let counted = async || {
        let status = grapnel.status("WebhookSubscription", "a").await;
        if status["shadow"] == json!({ "wouldSend": 2, "failed": 0 }) { Ok(()) } else { Err(status) }
    };
    grapnel.eventually("two would be sent", counted).await;
    let (status, reason, _) = grapnel.condition("WebhookSubscription", "a", "Delivering").await;
    assert_eq!((&*status, &*reason), ("False", "Shadow"));
    let run = |arguments: &[&str]| {
        let output = command().args(arguments).args(["-n", "shop", "--admin-url", &grapnel.admin]).output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout)
    };
    let listed = run(&["deliveries", "list", "a"]);
    assert!(listed.contains("skipped (shadow)") && listed.contains("skipped (filter)"), "{listed}");
    let shown = run(&["deliveries", "preview", "a", "evt-3"]);
    assert_eq!(shown, "content-type: application/json\n\n{\n  \"number\": 3\n}\n");
    assert_eq!(run(&["deliveries", "preview", "a", "evt-1"]), "skipped: filter gives false\n");
    assert!(receiver.rest().is_empty());

    // Deliveries begin with the next event.
    home.write("all.yaml", &[endpoint(""), subscription("a", &receiver.url, "")].concat());
    let mut posted = 3;
    let first = grapnel.eventually("a delivery", async || {
        posted += 1;
        let headers = [("webhook-id", &*format!("evt-{posted}")), ("ce-type", "t")];
        grapnel.post("/shop/in", &headers, r#"{"n":4}"#).await;
        receiver.rest().into_iter().next()
    });
    let first = first.await.header("webhook-id").to_owned();
    assert!(!["evt-1", "evt-2", "evt-3"].contains(&&*first), "{first}");
}
