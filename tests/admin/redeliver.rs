//! Delivering again, over HTTP and through the command line.

use std::{sync::Arc, time::Duration};

use futures_util::{FutureExt, future::BoxFuture};
use grapnel::admin::{
    Access, Authority,
    authz::{Ask, Denied},
};
use grapnel_delivery::breaker::OpenCircuit;
use grapnel_journal::{Claim, Failure, Journal, Progress, Settlement, Start};
use jiff::Timestamp;
use reqwest::{Response, StatusCode};
use serde_json::{Value, json};

use super::{Server, arrival, billing, contract, now, orders, start, with_deliveries};

const REDELIVER: &str = "/api/v1/namespaces/shop/subscriptions/billing/redeliver";

impl Server {
    async fn post(&self, path: &str, body: &Value) -> Response {
        self.client.post(format!("http://{}{path}", self.address)).json(body).send().await.unwrap()
    }

    async fn order(&self, body: Value) -> Value {
        let response = self.post(REDELIVER, &body).await;
        let (status, text) = (response.status(), response.text().await.unwrap());
        assert_eq!(status, StatusCode::OK, "{body}: {text}");
        let answer = serde_json::from_str(&text).unwrap();
        contract::check("post", REDELIVER, status, &answer);
        answer
    }

    /// So many events, all of them dead.
    async fn dead(&self, count: usize) {
        self.journal.attach(&billing(), &orders(), Start::Now).await.unwrap();
        let second = Duration::from_secs(1);
        let received = |n: usize| now() - second * u32::try_from(count - n).unwrap();
        self.append((0..count).map(|n| arrival(&format!("e{n}"), "t", received(n), None, b"{}")).collect()).await;
        self.kill_claimed(count).await;
    }

    async fn kill_claimed(&self, count: usize) {
        let claimed = self.journal.claim(&billing(), Claim::new(count, now())).await.unwrap();
        assert_eq!(claimed.deliveries.len(), count);
        let took = Duration::ZERO;
        let failure = Failure { time: now(), reason: "status".into(), status: Some(410), took, message: "gone".into() };
        let dead = || Settlement::Dead { failure: failure.clone() };
        let ends = claimed.deliveries.iter().map(|delivery| (delivery.event.sequence, dead())).collect();
        self.journal.settle(&billing(), ends).await.unwrap();
    }

    fn progress(&self) -> Progress {
        self.journal.progress(&billing()).unwrap()
    }
}

#[tokio::test]
async fn events_are_queued_or_hastened() {
    let server = start(Access::LoopbackOnly).await;
    with_deliveries(&server).await;
    let found = server.order(json!({ "deadLettered": true, "dryRun": true })).await;
    assert_eq!(
        found,
        json!({ "dryRun": true, "queued": 1, "hastened": 0, "skipped": 0, "gone": 0, "suspended": false, "circuit": "closed" })
    );
    assert_eq!(server.progress().dead, 1);
    let done = server.order(json!({ "deadLettered": true })).await;
    assert_eq!(
        done,
        json!({ "dryRun": false, "queued": 1, "hastened": 0, "skipped": 0, "gone": 0, "suspended": false, "circuit": "closed" })
    );
    let done = server.order(json!({ "eventIds": ["e0", "e1", "e3", "e4", "nobody"] })).await;
    let expected = json!({ "dryRun": false, "queued": 1, "hastened": 1, "skipped": 2, "gone": 1, "goneIds": ["nobody"], "suspended": false, "circuit": "closed" });
    assert_eq!(done, expected);
    let done = server.order(json!({ "since": "1h", "until": "2026-01-31T13:00:00Z" })).await;
    let expected = json!({
        "dryRun": false, "queued": 0, "hastened": 0, "skipped": 5, "gone": 0,
        "since": "2026-01-31T11:00:00Z", "until": "2026-01-31T13:00:00Z", "suspended": false, "circuit": "closed",
    });
    assert_eq!(done, expected);
    let claimed = server.journal.claim(&billing(), Claim::new(10, now())).await.unwrap();
    let claimed: Vec<_> = claimed.deliveries.iter().map(|d| (&*d.event.id, d.attempt)).collect();
    assert_eq!(claimed, [("e0", 1), ("e1", 2), ("e2", 1), ("e4", 1)]);
    server.end().await;
}

#[tokio::test]
async fn a_long_redelivery_goes_on_where_it_ended() {
    let server = start(Access::LoopbackOnly).await;
    server.dead(1200).await;
    let first = server.order(json!({ "deadLettered": true })).await;
    assert_eq!(first["queued"], 1000);
    // They die again; that is no reason to begin anew.
    server.kill_claimed(1000).await;
    let second = server.order(json!({ "deadLettered": true, "continue": first["continue"] })).await;
    assert_eq!((&second["queued"], second.get("continue")), (&json!(200), None));
    assert_eq!(server.progress(), Progress { pending: 200, dead: 1000, ..Default::default() });

    let mut order = json!({ "since": "2026-01-31T11:50:00Z", "until": "2026-01-31T11:55:00Z", "limit": 70 });
    let mut parts = Vec::new();
    loop {
        let done = server.order(order.clone()).await;
        parts.push(done["queued"].as_u64().unwrap());
        match done.get("continue") {
            Some(next) => order["continue"] = next.clone(),
            None => break,
        }
    }
    assert_eq!(parts, [70, 70, 70, 70, 20]);
    server.end().await;
}

#[tokio::test]
async fn bad_orders_get_clear_answers() {
    let server = start(Access::LoopbackOnly).await;
    with_deliveries(&server).await;
    let many: Vec<String> = (0..1001).map(|n| n.to_string()).collect();
    for (body, word) in [
        (json!({}), "exactly one of"),
        (json!({ "deadLettered": true, "since": "1h" }), "exactly one of"),
        (json!({ "deadLettered": true, "eventIds": ["e1"] }), "exactly one of"),
        (json!({ "eventIds": ["e1"], "until": "1h" }), "exactly one of"),
        (json!({ "deadLettered": false }), "must be true or absent"),
        (json!({ "retrying": true, "since": "1h" }), "exactly one of"),
        (json!({ "retrying": true, "deadLettered": true }), "exactly one of"),
        (json!({ "retrying": false }), "must be true or absent"),
        (json!({ "deadLettered": 1 }), "line 1 column"),
        (json!({ "eventIds": [] }), "from 1 to 1000"),
        (json!({ "eventIds": many }), "from 1 to 1000"),
        (json!({ "since": "yesterday" }), "since must be a time"),
        (json!({ "until": "" }), "until must be a time"),
        (json!({ "since": "1h", "until": "2h" }), "before until"),
        (json!({ "deadLettered": true, "limit": 0 }), "from 1 to 1000"),
        (json!({ "deadLettered": true, "limit": 1001 }), "from 1 to 1000"),
        (json!({ "deadLettered": true, "continue": "x" }), "continue"),
        (json!({ "deadlettered": true }), "deadlettered"),
        (json!("everything"), "line 1"),
    ] {
        let response = server.post(REDELIVER, &body).await;
        assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{body}");
        let answer: Value = response.json().await.unwrap();
        contract::check("post", REDELIVER, StatusCode::BAD_REQUEST, &answer);
        assert!(answer["error"].as_str().unwrap().contains(word), "{body}: {answer}");
        assert_eq!(answer["code"], "invalid_parameter");
    }
    let order = json!({ "deadLettered": true });
    let path = |name: &str| format!("/api/v1/namespaces/shop/subscriptions/{name}/redeliver");
    for (path, status, word) in [
        (path("nothing"), StatusCode::NOT_FOUND, "shop/nothing"),
        (path("orders"), StatusCode::NOT_FOUND, "shop/orders"),
        (path("lost"), StatusCode::CONFLICT, "conditions"),
        (format!("{REDELIVER}?dryRun=true"), StatusCode::BAD_REQUEST, "dryRun"),
    ] {
        let response = server.post(&path, &order).await;
        assert_eq!(response.status(), status, "{path}");
        let answer: Value = response.json().await.unwrap();
        contract::check("post", &path, status, &answer);
        assert!(answer["error"].as_str().unwrap().contains(word), "{path}: {answer}");
    }
    assert_eq!(server.get(REDELIVER).await.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(server.progress().dead, 1, "nothing of it was done");
    server.end().await;
}

/// A page can post plain text, or a form, to this machine without being asked; JSON it cannot.
#[tokio::test]
async fn a_page_in_a_browser_cannot_order() {
    let server = start(Access::LoopbackOnly).await;
    with_deliveries(&server).await;
    let post = || server.client.post(format!("http://{}{REDELIVER}", server.address)).body(r#"{"deadLettered":true}"#);
    for kind in
        [None, Some("text/plain"), Some("application/x-www-form-urlencoded"), Some("text/plain; application/json")]
    {
        let request = kind.map_or_else(post, |kind| post().header("content-type", kind));
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE, "{kind:?}");
    }
    assert_eq!(server.progress().dead, 1);
    let response = post().header("content-type", "Application/JSON; charset=utf-8").send().await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let long = format!("{}{{}}", " ".repeat(1024 * 1024));
    let response = post().header("content-type", "application/json").body(long).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
    server.end().await;
}

/// Whose token is `editor` may update deliveries.
struct Editor;

impl Authority for Editor {
    fn allow<'a>(&'a self, token: &'a str, ask: &'a Ask) -> BoxFuture<'a, Result<Arc<str>, Denied>> {
        let update = r#"update webhooksubscriptions/deliveries "billing" in namespace "shop""#;
        let allowed = token == "editor" && ask.to_string() == update;
        async move { if allowed { Ok("dana".into()) } else { Err(Denied::Forbidden { user: "dana".into() }) } }.boxed()
    }
}

#[tokio::test]
async fn it_takes_the_right_to_update_deliveries() {
    let server = start(Access::Cluster(Arc::new(Editor))).await;
    with_deliveries(&server).await;
    let order = |path: &str, token: &'static str| {
        let request = server.client.post(format!("http://{}{path}", server.address)).bearer_auth(token);
        request.json(&json!({ "deadLettered": true })).send()
    };
    let refused = order(REDELIVER, "viewer").await.unwrap();
    assert_eq!(refused.status(), StatusCode::FORBIDDEN);
    let sentence = refused.text().await.unwrap();
    for part in ["update webhooksubscriptions/deliveries", "the chart's ClusterRole grapnel-events-edit"] {
        assert!(sentence.contains(part), "{sentence}");
    }
    let resume = REDELIVER.replace("/redeliver", "/resume");
    let refused = order(&resume, "viewer").await.unwrap();
    assert_eq!(refused.status(), StatusCode::FORBIDDEN);
    assert!(refused.text().await.unwrap().contains("grapnel-events-edit"));
    // Nobody learns what there is who may not.
    let absent = REDELIVER.replace("billing", "absent");
    assert_eq!(order(&absent, "editor").await.unwrap().status(), StatusCode::FORBIDDEN);
    assert_eq!(server.progress().dead, 1);
    assert_eq!(order(REDELIVER, "editor").await.unwrap().status(), StatusCode::OK);
    server.end().await;
}

#[tokio::test]
async fn the_command_line_orders_and_says_what_came_of_it() {
    let server = start(Access::LoopbackOnly).await;
    with_deliveries(&server).await;
    let (code, stdout, _) = server.grapnel(&["redeliver", "billing", "--dead-lettered", "--dry-run"]).await;
    assert_eq!((code, &*stdout), (0, "1 would be queued, 0 skipped, 0 gone\n"));
    let (code, stdout, stderr) = server.grapnel(&["redeliver", "shop/billing", "--id", "e0", "e1", "e9"]).await;
    assert_eq!((code, &*stdout), (1, "1 queued, 1 hastened, 0 skipped, 1 gone\n"));
    assert_eq!(stderr, "e9 was removed, or never existed\n");
    let (code, stdout, _) = server.grapnel(&["redeliver", "billing", "--since", "1h", "-o", "json"]).await;
    let total: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(
        (code, total),
        (
            0,
            json!({ "dryRun": false, "queued": 1, "hastened": 0, "skipped": 4, "gone": 0, "suspended": false, "circuit": "closed" })
        )
    );
    let (code, stdout, _) = server.grapnel(&["redeliver", "billing", "--retrying"]).await;
    assert_eq!((code, &*stdout), (0, "0 queued, 1 skipped, 0 gone\n"), "it is due already");

    for (args, word) in [
        (&["redeliver", "billing"][..], "--dead-lettered"),
        (&["redeliver", "--dead-lettered"], "SUBSCRIPTION"),
        (&["redeliver", "billing", "--dead-lettered", "--id", "e0"], "cannot be used with"),
        (&["redeliver", "billing", "--id", "e0", "--since", "1h"], "cannot be used with"),
        (&["redeliver", "billing", "--dead-lettered", "--rate", "fast"], "50/s"),
        (&["redeliver", "billing", "--since", "yesterday"], "since must be a time"),
        (&["redeliver", "billing", "--since", "1h", "--until", "2h"], "before until"),
        (&["redeliver", "billing", "--dead-lettered", "--continue", "x"], "continue"),
        (&["redeliver", "billing", "--dead-lettered", "--now", "--dry-run"], "cannot be used with"),
    ] {
        let (code, _, stderr) = server.grapnel(args).await;
        assert!(code == 2 && stderr.contains(word), "{args:?}: {code} {stderr}");
    }
    for (name, word) in [("nothing", "there is no WebhookSubscription"), ("lost", "conditions")] {
        let (code, _, stderr) = server.grapnel(&["redeliver", name, "--dead-lettered"]).await;
        assert!(code == 1 && stderr.contains(word), "{code} {stderr}");
    }
    server.end().await;
}

#[tokio::test]
async fn the_command_line_goes_through_long_ones_by_parts() {
    let server = start(Access::LoopbackOnly).await;
    server.dead(2300).await;
    let ids: Vec<String> = (0..1500).map(|n| format!("e{n}")).collect();
    let mut args = vec!["redeliver", "billing", "--id"];
    args.extend(ids.iter().map(String::as_str));
    let (code, stdout, _) = server.grapnel(&args).await;
    assert_eq!((code, &*stdout), (0, "1500 queued, 0 skipped, 0 gone\n"));
    let begun = tokio::time::Instant::now();
    // Three parts: 400, 400 and nothing, or what is left after the first second's worth.
    let (code, stdout, stderr) = server.grapnel(&["redeliver", "billing", "--dead-lettered", "--rate", "400/s"]).await;
    assert_eq!((code, &*stdout, &*stderr), (0, "800 queued, 0 skipped, 0 gone\n", ""));
    assert!(begun.elapsed() >= Duration::from_secs(1), "the second part waits for the second second");
    assert_eq!(server.progress(), Progress { pending: 2300, ..Default::default() });
    server.end().await;
}

#[tokio::test]
async fn resuming_makes_every_retry_due_and_asks_for_a_probe() {
    const RESUME: &str = "/api/v1/namespaces/shop/subscriptions/billing/resume";
    let server = start(Access::LoopbackOnly).await;
    with_deliveries(&server).await;
    let due = async || {
        let claim = Claim { longest_delay: Duration::MAX, ..Claim::new(10, now()) };
        let claimed = server.journal.claim(&billing(), claim).await.unwrap();
        claimed.deliveries.iter().map(|d| (d.event.id.to_string(), d.attempt)).collect::<Vec<_>>()
    };
    assert_eq!(due().await, [("e4".into(), 1)]);
    let plain = server.client.post(format!("http://{}{RESUME}", server.address)).body("{}").send().await.unwrap();
    assert_eq!(plain.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE, "nor may a page in a browser");
    let done: Value = server.post(RESUME, &json!({})).await.json().await.unwrap();
    contract::check("post", RESUME, StatusCode::OK, &done);
    let wrong = server.post(RESUME, &json!({ "continue": "x" })).await;
    assert_eq!(wrong.status(), StatusCode::BAD_REQUEST);
    let expected = json!({
        "dryRun": false, "queued": 0, "hastened": 1, "skipped": 0, "gone": 0,
        "due": 1, "suspended": false, "circuit": "closed",
    });
    assert_eq!(done, expected);
    let empty = server.client.post(format!("http://{}{RESUME}", server.address));
    let empty = empty.header("content-type", "application/json").send().await.unwrap();
    assert_eq!(empty.status(), StatusCode::OK, "the first request needs no body");
    let facts = server.facts();
    let probe = facts.probe_requested();
    tokio::time::timeout(Duration::from_secs(5), probe).await.expect("a probe was requested");
    // One that is due already waits for the probe too.
    let sentence = "1 is due now; the circuit was open: the receiver is probed with one event\n";
    facts.circuit(Some(OpenCircuit { since: now(), failures: 5, next_probe: now() }));
    let (code, stdout, _) = server.grapnel(&["resume", "billing"]).await;
    assert_eq!((code, &*stdout), (0, sentence));
    facts.circuit(None);
    let (code, stdout, _) = server.grapnel(&["resume", "billing", "-o", "json"]).await;
    let found: Value = serde_json::from_str(&stdout).unwrap();
    let expected = json!({ "hastened": 0, "due": 1, "suspended": false, "circuit": "closed" });
    assert_eq!((code, found), (0, expected));
    assert_eq!(due().await, [("e1".into(), 2)]);

    let (code, stdout, _) = server.grapnel(&["resume", "billing"]).await;
    assert_eq!((code, &*stdout), (0, "nothing waits for a retry\n"));
    for (name, word) in [("nothing", "there is no WebhookSubscription"), ("lost", "conditions")] {
        let (code, _, stderr) = server.grapnel(&["resume", name]).await;
        assert!(code == 1 && stderr.contains(word), "{code} {stderr}");
    }
    server.end().await;
}

#[tokio::test]
async fn redelivery_says_that_the_circuit_is_open_and_probes_on_request() {
    let server = start(Access::LoopbackOnly).await;
    with_deliveries(&server).await;
    let facts = server.facts();
    let next_probe = Timestamp::now() + Duration::from_secs(3600);
    facts.circuit(Some(OpenCircuit { since: now(), failures: 5, next_probe }));
    let redeliver = ["redeliver", "billing", "--dead-lettered"];
    let (code, stdout, stderr) = server.grapnel(&redeliver).await;
    assert_eq!((code, &*stdout), (0, "1 queued, 0 skipped, 0 gone\n"));
    assert!(stderr.starts_with("the circuit is open: nothing is sent before the next probe in "), "{stderr}");
    assert!(stderr.contains("--now"), "{stderr}");
    assert!(facts.probe_requested().now_or_never().is_none(), "no probe was requested");
    let (_, stdout, stderr) = server.grapnel(&["redeliver", "billing", "--id", "e0", "--now"]).await;
    assert_eq!(&*stdout, "1 queued, 0 skipped, 0 gone\n");
    assert_eq!(stderr, "the circuit was open: the receiver is probed with one event\n");
    assert!(facts.probe_requested().now_or_never().is_some(), "a probe was requested");
    let dry = server.order(json!({ "deadLettered": true, "dryRun": true, "probe": true })).await;
    assert_eq!(dry["circuit"], "open");
    assert!(facts.probe_requested().now_or_never().is_none(), "a dry run changes nothing");
    let (_, stdout, stderr) = server.grapnel(&redeliver).await;
    assert_eq!((&*stdout, &*stderr), ("0 queued, 0 skipped, 0 gone\n", ""), "nothing waits");
    server.end().await;
}
