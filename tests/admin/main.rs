//! The admin server over HTTP and through the command line, with a real journal and a real catalog.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // How a test fails.

mod cluster;
mod console;
mod contract;
mod crowd;
mod history;
mod redeliver;
mod replicas;
mod status;
mod watching;

use std::{net::SocketAddr, path::Path, process::Stdio, sync::Arc, time::Duration};

use bytes::Bytes;
use grapnel::{
    admin::{self, Access, Admin, AdminError, AdminOptions, Health, Rates},
    catalog::{
        ObjectIndex, Options, Snapshot, SubscriptionFacts,
        index::{Age, Applied, Change},
    },
    telemetry::metrics::Metrics,
};
use grapnel_api::{Incarnation, ObjectKey, WebhookEndpoint, WebhookReplay, WebhookSubscription};
use grapnel_delivery::breaker::OpenCircuit;
use grapnel_event::{
    identity::Identity,
    schema::{SchemaSet, Unmatched},
};
use grapnel_journal::{
    Arrival, Claim, Exchange, Failure, Journal, Settlement, SkipReason, Start,
    embedded::{EmbeddedJournal, EmbeddedOptions},
};
use grapnel_payload::payload::Payload;
use grapnel_signature::{Scheme, Verifier};
use grapnel_values::clock::{Clock, ManualClock};
use http::HeaderMap;
use jiff::Timestamp;
use reqwest::{Client, Response, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

const NOW: &str = "2026-01-31T12:00:00Z";

struct Server {
    address: SocketAddr,
    client: Client,
    journal: Arc<EmbeddedJournal>,
    health: Health,
    snapshot: watch::Receiver<Arc<Snapshot>>,
    shutdown: CancellationToken,
    task: JoinHandle<Result<(), AdminError>>,
    // Kept so that receivers go on.
    _senders: Box<dyn std::any::Any + Send>,
    _directory: TempDir,
}

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

fn client() -> Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder().no_proxy().build().unwrap()
}

async fn start(access: Access) -> Server {
    start_with(AdminOptions { access, guarded_metrics: false }).await
}

async fn start_with(options: AdminOptions) -> Server {
    start_before(options, |journal| journal).await
}

/// With more objects.
async fn start_with_objects(access: Access, more: Vec<Change>) -> Server {
    start_of(AdminOptions { access, guarded_metrics: false }, more, |journal| journal).await
}

/// With something in front of the journal.
async fn start_before(options: AdminOptions, front: impl FnOnce(Arc<dyn Journal>) -> Arc<dyn Journal>) -> Server {
    start_of(options, Vec::new(), front).await
}

async fn start_of(
    options: AdminOptions,
    more: Vec<Change>,
    front: impl FnOnce(Arc<dyn Journal>) -> Arc<dyn Journal>,
) -> Server {
    let directory = tempfile::tempdir().unwrap();
    let journal = Arc::new(open_journal(directory.path()));
    let metrics = Metrics::new();
    let mut index = ObjectIndex::new(Options::default(), metrics.clone());
    for change in changes().into_iter().chain(more) {
        index.apply(change);
    }
    let published = index.publish().unwrap();
    let (snapshots, snapshot) = watch::channel(published.snapshot);
    let (views, objects) = watch::channel(published.objects);
    let health = Health::new();
    let admin = Admin {
        snapshot: snapshot.clone(),
        objects,
        journal: front(journal.clone()),
        metrics,
        clock: Arc::new(ManualClock::new(now())) as Arc<dyn Clock>,
        rates: Rates::new(),
        health: health.clone(),
        options,
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    let task = tokio::spawn(admin::serve(admin, listener, shutdown.clone()));
    Server {
        address,
        client: client(),
        journal,
        health,
        snapshot,
        shutdown,
        task,
        _senders: Box::new((snapshots, views, index)),
        _directory: directory,
    }
}

fn open_journal(directory: &Path) -> EmbeddedJournal {
    let directory = directory.join("journal");
    EmbeddedJournal::open(EmbeddedOptions { directory, max_bytes: 0, namespace_share: None, strict: false }).unwrap()
}

fn changes() -> Vec<Change> {
    let endpoint = |name: &str, verification: Value| {
        let object: WebhookEndpoint = serde_json::from_value(json!({
            "apiVersion": "grapnel.dev/v1beta1",
            "kind": "WebhookEndpoint",
            "metadata": { "namespace": "shop", "name": name, "generation": 3 },
            "spec": { "verification": verification },
        }))
        .unwrap();
        let key = ObjectKey::new("shop", name);
        Change::Endpoint(Box::new(Applied {
            key,
            object,
            source: Some("shop.yaml:1".into()),
            age: Age(None, 1),
            uid: None,
        }))
    };
    let subscription = |name: &str, endpoint: &str| {
        let object: WebhookSubscription = serde_json::from_value(json!({
            "apiVersion": "grapnel.dev/v1beta1",
            "kind": "WebhookSubscription",
            "metadata": { "namespace": "shop", "name": name, "generation": 1 },
            "spec": { "endpointRef": { "name": endpoint }, "target": { "url": "https://billing.example/hook" } },
        }))
        .unwrap();
        let key = ObjectKey::new("shop", name);
        Change::Subscription(Box::new(Applied { key, object, source: None, age: Age(None, 2), uid: None }))
    };
    let replay = |name: &str, subscription: &str| {
        let object: WebhookReplay = serde_json::from_value(json!({
            "apiVersion": "grapnel.dev/v1beta1",
            "kind": "WebhookReplay",
            "metadata": { "namespace": "shop", "name": name, "generation": 1 },
            "spec": { "subscriptionRef": { "name": subscription }, "select": { "deadLettered": true } },
        }))
        .unwrap();
        let key = ObjectKey::new("shop", name);
        Change::Replay(Box::new(Applied { key, object, source: None, age: Age(None, 3), uid: None }))
    };
    vec![
        endpoint("orders", json!({ "none": {} })),
        endpoint(
            "locked",
            json!({ "provider": { "name": "GitHub" }, "secretRefs": [{ "name": "missing", "key": "secret" }] }),
        ),
        subscription("billing", "orders"),
        subscription("lost", "nowhere"),
        replay("again", "billing"),
        Change::Synced(true),
    ]
}

fn orders() -> Incarnation {
    Incarnation::of_file(ObjectKey::new("shop", "orders"))
}

fn billing() -> Incarnation {
    Incarnation::of_file(ObjectKey::new("shop", "billing"))
}

fn arrival(id: &str, kind: &str, received: Timestamp, content_type: Option<&str>, body: &[u8]) -> Arrival {
    let verifier = Verifier::new(Scheme::None, Vec::new()).unwrap();
    let verified = verifier.verify(&HeaderMap::new(), Bytes::copy_from_slice(body), received).unwrap();
    let identity = Identity::new(id, kind);
    let schemas = SchemaSet::compile(Vec::new(), Unmatched::Accept).unwrap();
    Arrival {
        endpoint: orders(),
        validated: schemas.validate(verified, &Payload::Opaque, identity).unwrap(),
        received,
        content_type: content_type.map(Into::into),
        remote: Some("192.0.2.7".parse().unwrap()),
        headers: vec![("x-note".into(), Bytes::from_static(b"hello")), ("x-bytes".into(), Bytes::from_static(b"\xff"))],
        window: None,
        max_bytes: None,
    }
}

impl Server {
    async fn get(&self, path: &str) -> Response {
        self.client.get(format!("http://{}{path}", self.address)).send().await.unwrap()
    }

    async fn json(&self, path: &str, status: StatusCode) -> Value {
        let response = self.get(path).await;
        let (found, text) = (response.status(), response.text().await.unwrap());
        assert_eq!(found, status, "{path}: {text}");
        let body = serde_json::from_str(&text).unwrap();
        contract::check("get", path, status, &body);
        body
    }

    /// Facts of the subscription `billing`.
    fn facts(&self) -> Arc<SubscriptionFacts> {
        Arc::clone(&self.snapshot.borrow().subscription(&billing().key).unwrap().facts)
    }

    async fn append(&self, arrivals: Vec<Arrival>) {
        self.journal.append(arrivals).await.unwrap();
    }

    async fn end(self) {
        self.shutdown.cancel();
        self.task.await.unwrap().unwrap();
        self.journal.close().await.unwrap();
    }

    async fn grapnel(&self, args: &[&str]) -> (i32, String, String) {
        let output = grapnel(self.address, args).output().await.unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }
}

fn grapnel(address: SocketAddr, args: &[&str]) -> tokio::process::Command {
    let mut command = tokio::process::Command::new(grapnel_test_support::program::path());
    command.args(args).env("GRAPNEL_ADMIN_URL", format!("http://{address}")).env("GRAPNEL_NAMESPACE", "shop");
    command.env_remove("GRAPNEL_TOKEN_FILE").env_remove("GRAPNEL_OUTPUT").kill_on_drop(true);
    command
}

fn ids(page: &Value) -> Vec<&str> {
    page["items"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap()).collect()
}

const EVENTS: &str = "/api/v1/namespaces/shop/endpoints/orders/events";
const ENDPOINT: &str = "/api/v1/namespaces/shop/endpoints/orders";
const DELIVERIES: &str = "/api/v1/namespaces/shop/subscriptions/billing/deliveries";

#[tokio::test]
async fn readiness_is_that_of_the_parts() {
    let server = start(Access::LoopbackOnly).await;
    assert_eq!(server.get("/readyz").await.status(), StatusCode::OK);
    let part = server.health.part("journal");
    part.not_ready("recovering");
    let response = server.get("/readyz").await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(response.text().await.unwrap(), "journal: recovering\n");
    let response = server.get("/healthz").await;
    assert_eq!((response.status(), response.text().await.unwrap().as_str()), (StatusCode::OK, "ok\n"));
    part.ready();
    assert_eq!(server.get("/readyz").await.status(), StatusCode::OK);
    part.failed("the committer is gone");
    assert_eq!(server.get("/healthz").await.status(), StatusCode::SERVICE_UNAVAILABLE);
    server.end().await;
}

#[tokio::test]
async fn metrics_carry_what_the_journal_counts() {
    let server = start(Access::LoopbackOnly).await;
    server.journal.attach(&billing(), &orders(), Start::Now).await.unwrap();
    server.append((0..4).map(|n| arrival(&format!("e{n}"), "t", now(), None, b"{}")).collect()).await;
    let claimed = server.journal.claim(&billing(), Claim::new(3, now())).await.unwrap();
    assert_eq!(claimed.deliveries.len(), 3);
    let failure =
        Failure { time: now(), reason: "status".into(), status: Some(500), took: Duration::ZERO, message: "no".into() };
    let settlements = vec![
        (1, Settlement::Retry { due: now() + Duration::from_secs(60), failure: failure.clone() }),
        (2, Settlement::Dead { failure }),
    ];
    server.journal.settle(&billing(), settlements).await.unwrap();
    let response = server.get("/metrics").await;
    assert_eq!(response.headers()["content-type"], "application/openmetrics-text; version=1.0.0; charset=utf-8");
    let text = response.text().await.unwrap();
    for line in [
        r#"webhook_deliveries_pending{namespace="shop",subscription="billing"} 3"#,
        r#"webhook_deliveries_retrying{namespace="shop",subscription="billing"} 1"#,
        r#"webhook_dead_letters{namespace="shop",subscription="billing"} 1"#,
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    let bytes = server.journal.usage().bytes;
    assert!(bytes > 0 && text.contains(&format!("grapnel_journal_bytes {bytes}\n")), "{bytes}\n{text}");
    for line in [
        format!(r#"grapnel_journal_namespace_bytes{{namespace="shop"}} {bytes}"#),
        "grapnel_journal_max_bytes 0".into(),
        "grapnel_journal_retrying 1".into(),
        "grapnel_journal_damaged_records_total 0".into(),
        r#"webhook_storage_exhausted{namespace="shop",endpoint="orders"} 0"#.into(),
    ] {
        assert!(text.contains(&line), "{line} is not in\n{text}");
    }
    assert!(text.ends_with("# EOF\n"));
    server.end().await;
}

#[tokio::test]
async fn objects_are_shown_with_their_status() {
    let server = start(Access::LoopbackOnly).await;
    server.journal.attach(&billing(), &orders(), Start::Now).await.unwrap();
    server.append(vec![arrival("e1", "t", now(), None, b"{}")]).await;
    let page = server.json("/api/v1/objects", StatusCode::OK).await;
    let items = page["items"].as_array().unwrap();
    assert_eq!(items.len(), 5);
    let item = |kind: &str, name: &str| items.iter().find(|item| item["kind"] == kind && item["name"] == name).unwrap();
    let orders = item("WebhookEndpoint", "orders");
    assert_eq!((&orders["namespace"], &orders["generation"]), (&json!("shop"), &json!(3)));
    assert_eq!((&orders["source"], &orders["path"]), (&json!("shop.yaml:1"), &json!("/shop/orders")));
    let condition = |item: &Value, kind: &str| {
        let conditions = item["status"]["conditions"].as_array().unwrap().clone();
        conditions.into_iter().find(|condition| condition["type"] == kind).unwrap()
    };
    assert_eq!(condition(orders, "Ready")["status"], "True");
    assert_eq!(condition(item("WebhookEndpoint", "locked"), "Ready")["reason"], "SecretNotFound");
    let billing = item("WebhookSubscription", "billing");
    assert_eq!((&billing["endpoint"], &billing["status"]["pending"]), (&json!("orders"), &json!(1)));
    assert_eq!(condition(item("WebhookSubscription", "lost"), "Ready")["reason"], "EndpointNotFound");
    server.end().await;
}

#[tokio::test]
async fn events_are_listed_by_pages_types_and_time() {
    let server = start(Access::LoopbackOnly).await;
    let hour = Duration::from_secs(3600);
    let mut arrivals: Vec<_> =
        (0..40).map(|n| arrival(&format!("old{n}"), "a", now() - 2 * hour, Some("application/json"), b"{}")).collect();
    arrivals
        .extend((0..40).map(|n| arrival(&format!("new{n}"), if n % 2 == 0 { "a" } else { "b" }, now(), None, b"[1]")));
    server.append(arrivals).await;

    let page = server.json(&format!("{EVENTS}?limit=1"), StatusCode::OK).await;
    assert_eq!(
        page,
        json!({
            "items": [{
                "id": "old0", "type": "a", "receivedTime": "2026-01-31T10:00:00Z", "sequence": 1,
                "contentType": "application/json", "bytes": 2, "remote": "192.0.2.7",
            }],
            "continue": "1",
        })
    );
    let (mut seen, mut path) = (Vec::new(), format!("{EVENTS}?limit=33"));
    for _ in 0..3 {
        let page = server.json(&path, StatusCode::OK).await;
        seen.extend(ids(&page).into_iter().map(str::to_owned));
        match page["continue"].as_str() {
            Some(next) => path = format!("{EVENTS}?limit=33&after={next}"),
            None => break,
        }
    }
    let all: Vec<_> = (0..40).map(|n| format!("old{n}")).chain((0..40).map(|n| format!("new{n}"))).collect();
    assert_eq!(seen, all);
    let page = server.json(&format!("{EVENTS}?limit=80"), StatusCode::OK).await;
    assert!(page.get("continue").is_none(), "the last page says that it is the last");

    let page = server.json(&format!("{EVENTS}?type=b&since=90m"), StatusCode::OK).await;
    assert_eq!(ids(&page), (0..40).filter(|n| n % 2 == 1).map(|n| format!("new{n}")).collect::<Vec<_>>());
    let page = server.json(&format!("{EVENTS}?since=2026-01-31T12:00:00Z&limit=1000"), StatusCode::OK).await;
    assert_eq!(page["items"].as_array().unwrap().len(), 40);
    let page = server.json("/api/v1/namespaces/shop/endpoints/locked/events", StatusCode::OK).await;
    assert_eq!(page, json!({ "items": [] }), "an endpoint that does not compile exists");
    server.end().await;
}

#[tokio::test]
async fn an_event_is_shown_whole() {
    let server = start(Access::LoopbackOnly).await;
    server
        .append(vec![
            arrival("a/b c", "t", now(), None, br#"{"big": 12345678901234567890123}"#),
            arrival("text", "t", now(), Some("text/plain"), b"hello"),
            arrival("bytes", "t", now(), Some("image/png"), b"\x89\xff"),
        ])
        .await;
    let response = server.get(&format!("{EVENTS}/a%2Fb%20c")).await;
    assert_eq!(response.headers()["cache-control"], "no-store");
    let text = response.text().await.unwrap();
    assert!(text.contains(r#""payload":{"big": 12345678901234567890123}"#), "every digit is kept: {text}");
    let event: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(event["id"], "a/b c");
    assert_eq!(
        event["headers"],
        json!([{ "name": "x-note", "value": "hello" }, { "name": "x-bytes", "valueBase64": "/w==" }])
    );
    assert_eq!(server.json(&format!("{EVENTS}/text"), StatusCode::OK).await["payloadText"], "hello");
    assert_eq!(server.json(&format!("{EVENTS}/bytes"), StatusCode::OK).await["payloadBase64"], "if8=");
    let error = server.json(&format!("{EVENTS}/none"), StatusCode::NOT_FOUND).await;
    assert_eq!(error["code"], "not_found");
    server.end().await;
}

async fn with_deliveries(server: &Server) {
    server.journal.attach(&billing(), &orders(), Start::Now).await.unwrap();
    server.append((0..5).map(|n| arrival(&format!("e{n}"), "t", now(), None, b"{}")).collect()).await;
    server.journal.claim(&billing(), Claim::new(4, now())).await.unwrap();
    let took = Duration::from_millis(42);
    let failure = |status| Failure {
        time: now(),
        reason: "status".into(),
        status: Some(status),
        took,
        message: "out of order".into(),
    };
    let settlements = vec![
        (1, Settlement::Delivered(Exchange { time: now(), status: Some(204), took })),
        (2, Settlement::Retry { due: now() + Duration::from_secs(60), failure: failure(500) }),
        (3, Settlement::Dead { failure: failure(410) }),
    ];
    server.journal.settle(&billing(), settlements).await.unwrap();
}

#[tokio::test]
async fn deliveries_are_listed_by_state() {
    let server = start(Access::LoopbackOnly).await;
    with_deliveries(&server).await;
    let page = server.json(DELIVERIES, StatusCode::OK).await;
    let states: Vec<_> = page["items"].as_array().unwrap().iter().map(|item| item["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["settled", "retrying", "deadLettered", "inFlight", "pending"]);
    let page = server.json(&format!("{DELIVERIES}?state=retrying"), StatusCode::OK).await;
    assert_eq!(
        page["items"],
        json!([{
            "eventId": "e1", "type": "t", "receivedTime": NOW, "sequence": 2, "state": "retrying", "attempts": 1,
            "outcome": "retrying", "lastAttemptTime": NOW, "lastStatusCode": 500, "durationMs": 42,
            "nextAttemptTime": "2026-01-31T12:01:00Z",
            "lastFailure": {
                "time": NOW, "reason": "status", "statusCode": 500, "durationMs": 42, "message": "out of order",
            },
        }])
    );
    let page = server.json(&format!("{DELIVERIES}?limit=1"), StatusCode::OK).await;
    assert_eq!(
        page["items"],
        json!([{
            "eventId": "e0", "type": "t", "receivedTime": NOW, "sequence": 1, "state": "settled", "attempts": 1,
            "outcome": "delivered", "lastAttemptTime": NOW, "lastStatusCode": 204, "durationMs": 42,
        }])
    );
    let page = server.json(&format!("{DELIVERIES}?limit=2&after=1"), StatusCode::OK).await;
    assert_eq!((page["items"][0]["sequence"].as_u64(), page["continue"].as_str()), (Some(2), Some("3")));
    let skipped = Settlement::Skipped { reason: SkipReason::Filter, time: now() };
    server.journal.settle(&billing(), vec![(4, skipped)]).await.unwrap();
    let page = server.json(&format!("{DELIVERIES}?after=3&limit=1"), StatusCode::OK).await;
    assert_eq!(
        page["items"],
        json!([{
            "eventId": "e3", "type": "t", "receivedTime": NOW, "sequence": 4, "state": "settled", "attempts": 0,
            "outcome": "skipped", "skipReason": "filter",
        }])
    );
    let lost = server.json("/api/v1/namespaces/shop/subscriptions/lost/deliveries", StatusCode::OK).await;
    assert_eq!(lost, json!({ "items": [] }), "what has never compiled has no deliveries");
    let next_probe = now() + Duration::from_secs(30);
    server.facts().circuit(Some(OpenCircuit { since: now(), failures: 5, next_probe }));
    let page = server.json(&format!("{DELIVERIES}?limit=1"), StatusCode::OK).await;
    let open = json!({ "suspended": false, "circuit": "open", "nextProbeTime": "2026-01-31T12:00:30Z" });
    assert!(open.as_object().unwrap().iter().all(|(field, value)| page[field] == *value), "{page}");
    server.end().await;
}

#[tokio::test]
async fn bad_requests_get_clear_answers() {
    let server = start(Access::LoopbackOnly).await;
    for (path, status, code, word) in [
        (format!("{EVENTS}?colour=red"), 400, "invalid_parameter", "colour"),
        (format!("{EVENTS}?limit=0"), 400, "invalid_parameter", "1000"),
        (format!("{EVENTS}?limit=1&limit=2"), 400, "invalid_parameter", "more than once"),
        (format!("{EVENTS}?since=yesterday"), 400, "invalid_parameter", "90m"),
        (format!("{EVENTS}?after=x"), 400, "invalid_parameter", "sequence"),
        (format!("{EVENTS}/x?limit=1"), 400, "invalid_parameter", "limit"),
        (format!("{DELIVERIES}?state=gone"), 400, "invalid_parameter", "deadLettered"),
        (format!("{DELIVERIES}?order=newest"), 400, "invalid_parameter", "desc"),
        (format!("{EVENTS}?type={}", "x".repeat(2000)), 400, "invalid_parameter", "type is not valid"),
        ("/api/v1/objects?kind=x".into(), 400, "invalid_parameter", "namespace"),
        ("/api/v1/namespaces/shop/endpoints/billing/events".into(), 404, "not_found", "shop/billing"),
        ("/api/v1/namespaces/other/endpoints/orders/events".into(), 404, "not_found", "other/orders"),
        ("/api/v1/namespaces/shop/subscriptions/orders/deliveries".into(), 404, "not_found", "shop/orders"),
        ("/nowhere".into(), 404, "not_found", "/api/v1"),
    ] {
        let error = server.json(&path, StatusCode::from_u16(status).unwrap()).await;
        assert_eq!(error["code"], code, "{path}");
        let sentence = error["error"].as_str().unwrap();
        assert!(sentence.contains(word), "{path}: {sentence}");
        assert_eq!(error.as_object().unwrap().len(), 2);
    }
    let response = server.client.post(format!("http://{}{EVENTS}", server.address)).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert!(response.headers()["allow"].to_str().unwrap().contains("GET"));
    assert_eq!(response.json::<Value>().await.unwrap()["code"], "method_not_allowed");
    server.end().await;
}

#[tokio::test]
async fn a_page_in_a_browser_cannot_reach_the_loopback_api() {
    let server = start(Access::LoopbackOnly).await;
    let ask = |host: &'static str, path: &'static str| {
        let request = server.client.get(format!("http://{}{path}", server.address)).header("host", host);
        async move { request.send().await.unwrap() }
    };
    let response = ask("attacker.example", "/api/v1/objects").await;
    assert_eq!(response.status(), StatusCode::FORBIDDEN);
    assert_eq!(response.json::<Value>().await.unwrap()["code"], "forbidden");
    assert_eq!(ask("localhost:9090", "/api/v1/objects").await.status(), StatusCode::OK);
    for open in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(ask("grapnel.svc", open).await.status(), StatusCode::OK, "{open}");
    }
    server.end().await;
}

#[tokio::test]
async fn a_token_lets_in_and_can_be_changed() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("token");
    std::fs::write(&file, "first\n").unwrap();
    let server = start(Access::TokenFile(file.clone())).await;
    let ask = |token: Option<&'static str>| {
        let request =
            server.client.get(format!("http://{}/api/v1/objects", server.address)).header("host", "elsewhere");
        let request = match token {
            Some(token) => request.bearer_auth(token),
            None => request,
        };
        async move { request.send().await.unwrap() }
    };
    let refused = ask(None).await;
    assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(refused.headers()["www-authenticate"], "Bearer");
    assert_eq!(refused.json::<Value>().await.unwrap()["code"], "unauthorized");
    assert_eq!(ask(Some("other")).await.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(ask(Some("first")).await.status(), StatusCode::OK);
    for open in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(server.get(open).await.status(), StatusCode::OK, "{open}");
    }

    let shown = file.to_str().unwrap();
    let (code, _, stderr) = server.grapnel(&["events", "list", "orders"]).await;
    assert_eq!(code, 1);
    assert!(stderr.contains("--token-file"), "{stderr}");
    assert_eq!(server.grapnel(&["events", "list", "orders", "--token-file", shown]).await.0, 0);

    std::fs::write(&file, "second\n").unwrap();
    assert_eq!(ask(Some("first")).await.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(ask(Some("second")).await.status(), StatusCode::OK);
    std::fs::remove_file(&file).unwrap();
    assert_eq!(ask(Some("second")).await.status(), StatusCode::SERVICE_UNAVAILABLE);
    server.end().await;
}

#[tokio::test]
async fn a_missing_token_file_is_reported_at_the_start() {
    let server = start(Access::TokenFile(Path::new("/nowhere/token").into())).await;
    let error = server.task.await.unwrap().unwrap_err();
    assert!(matches!(error, AdminError::TokenFile { .. }));
    assert!(error.to_string().contains("/nowhere/token"), "{error}");
    server.journal.close().await.unwrap();
}

#[tokio::test]
async fn an_idle_connection_does_not_hold_up_the_end() {
    let server = start(Access::LoopbackOnly).await;
    let mut idle = TcpStream::connect(server.address).await.unwrap();
    idle.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut answer = [0; 15];
    idle.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200 OK");
    server.end().await;
    idle.read_to_end(&mut Vec::new()).await.expect("the server closes it in good order");
}

#[tokio::test]
async fn the_command_line_shows_events_and_deliveries() {
    let server = start(Access::LoopbackOnly).await;
    with_deliveries(&server).await;
    server.append(vec![arrival("paid/1", "invoice.paid", now(), None, br#"{"amount":{"value":7}}"#)]).await;

    let (code, stdout, stderr) = server.grapnel(&["events", "list", "orders", "--limit", "2"]).await;
    assert_eq!(code, 0);
    let lines: Vec<_> = stdout.lines().collect();
    assert!(lines[0].starts_with("AGE") && lines.len() == 3, "{stdout}");
    assert!(lines[1].contains(" e4 ") && lines[2].contains(" paid/1 "), "the newest last: {stdout}");
    assert_eq!(stderr, "older rows are not shown: continue with --before 5, or raise --limit\n");
    let (_, stdout, _) = server.grapnel(&["events", "list", "orders", "--before", "5", "-o", "wide"]).await;
    let lines: Vec<_> = stdout.lines().collect();
    assert!(lines.len() == 5 && lines[4].contains(" e3 ") && lines[4].contains(" 192.0.2.7"), "{stdout}");
    let (_, stdout, stderr) = server.grapnel(&["events", "list", "orders", "--after", "1", "--limit", "1"]).await;
    assert!(stdout.contains(" e1 ") && stderr.contains("continue with --after 2"), "{stdout}{stderr}");
    for output in ["json", "yaml"] {
        let list = ["events", "list", "shop/orders", "--type", "invoice.*", "-o", output];
        let (_, stdout, _) = server.grapnel(&list).await;
        let page: Value = serde_yaml::from_str(&stdout).unwrap();
        assert_eq!(ids(&page), ["paid/1"]);
    }

    let (code, stdout, _) = server.grapnel(&["events", "show", "orders", "paid/1"]).await;
    assert_eq!(code, 0);
    assert!(stdout.contains("x-note: hello"), "{stdout}");
    assert!(stdout.ends_with("{\n  \"amount\": {\n    \"value\": 7\n  }\n}\n"), "{stdout}");

    let (code, stdout, _) = server.grapnel(&["deliveries", "list", "billing", "--state", "deadLettered"]).await;
    assert_eq!(code, 0);
    let lines: Vec<_> = stdout.lines().collect();
    assert!(lines.len() == 2 && lines[1].contains("e2") && lines[1].ends_with("status: out of order"), "{stdout}");
    assert!(
        lines[0].starts_with("OUTCOME") && lines[1].starts_with("deadLettered ") && lines[1].contains(" 410 "),
        "{stdout}"
    );

    let (_, dead, _) = server.grapnel(&["deliveries", "list", "billing", "--state", "dead"]).await;
    assert_eq!(dead, stdout);
    let next_probe = Timestamp::now() + Duration::from_secs(3600);
    server.facts().circuit(Some(OpenCircuit { since: now(), failures: 5, next_probe }));
    let (_, stdout, _) = server.grapnel(&["deliveries", "list", "billing"]).await;
    let paused = format!("paused (circuit open until {next_probe:.0})");
    assert_eq!(stdout.matches(&paused).count(), 3, "one retries, two are pending: {stdout}");

    let (code, _, stderr) = server.grapnel(&["events", "list", "nothing"]).await;
    assert_eq!(code, 1);
    assert!(stderr.contains("there is no WebhookEndpoint shop/nothing"), "{stderr}");
    let (code, _, stderr) = server.grapnel(&["events", "list", "orders", "--since", "yesterday"]).await;
    assert_eq!(code, 2);
    assert!(stderr.contains("yesterday"), "{stderr}");
    server.end().await;
}

#[tokio::test]
async fn the_command_line_follows_events() {
    let server = start(Access::LoopbackOnly).await;
    server.append((1..=9).map(|n| arrival(&format!("old{n}"), "t", now(), None, b"{}")).collect()).await;
    server.append(vec![arrival("other", "u", now(), None, b"{}")]).await;
    let follow = |args: &[&str]| {
        let args = [&["events", "tail", "orders", "--interval", "20ms", "-o", "json"], args].concat();
        let mut tail = grapnel(server.address, &args).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(tail.stdout.take().unwrap()).lines();
        (tail, lines)
    };
    let id = |line: String| serde_json::from_str::<Value>(&line).unwrap()["id"].as_str().unwrap().to_owned();

    let (mut all, mut lines) = follow(&["--type", "t", "--since", "2026-01-31T00:00:00Z"]);
    for n in 1..=9 {
        assert_eq!(id(lines.next_line().await.unwrap().unwrap()), format!("old{n}"));
    }
    server.append(vec![arrival("unwanted", "u", now(), None, b"{}"), arrival("new", "t", now(), None, b"{}")]).await;
    assert_eq!(id(lines.next_line().await.unwrap().unwrap()), "new");
    all.kill().await.unwrap();

    // It begins somewhere in a growing log: with what it sees first nothing may be missing.
    let (mut fresh, mut lines) = follow(&[]);
    let mut next = 0;
    let mut line = Box::pin(lines.next_line());
    let first = loop {
        server.append(vec![arrival(&format!("{next}"), "t", now(), None, b"{}")]).await;
        next += 1;
        tokio::select! {
            biased;
            line = &mut line => break id(line.unwrap().unwrap()).parse::<u32>().expect("nothing old is shown"),
            () = tokio::time::sleep(Duration::from_millis(5)) => {}
        }
    };
    drop(line);
    for expected in first + 1..next {
        assert_eq!(id(lines.next_line().await.unwrap().unwrap()), expected.to_string());
    }
    fresh.kill().await.unwrap();
    server.end().await;
}
