//! The console's pages over plain HTTP, with content of strangers that tries to leave its place.

use std::{sync::Arc, time::Duration};

use futures_util::{FutureExt, future::BoxFuture};
use grapnel::admin::{
    Access, Authority,
    authz::{Ask, Denied},
    limits::{CONSOLE_LIST, CONSOLE_PAYLOAD_BYTES, CONSOLE_TAILS},
};
use grapnel::catalog::index::{Age, Applied, Change};
use grapnel_api::{ObjectKey, WebhookReplay, WebhookSubscription};
use grapnel_delivery::breaker::OpenCircuit;
use grapnel_journal::{Claim, Failure, Journal, Settlement, SkipReason, Start};
use grapnel_test_support::PATIENCE;
use reqwest::{RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::{Server, arrival, billing, now, orders, start, start_with_objects, with_deliveries};

const OVERVIEW: &str = "/";
const ENDPOINT: &str = "/console/endpoints/shop/orders";
const SUBSCRIPTION: &str = "/console/subscriptions/shop/billing";
const FORM: &str = "application/x-www-form-urlencoded";

/// What must be in no page as markup.
const HOSTILE: &str = "\"'><script>alert(1)</script><img src=x onerror=alert(2)><style>*{}</style>&lt;\u{202e}\u{2066}";

impl Server {
    /// A page, which has this status.
    async fn page(&self, path: &str, status: StatusCode) -> String {
        read(self.get(path).await, status).await
    }

    fn form(&self, path: &str, fields: &[(&str, &str)]) -> RequestBuilder {
        let body = url_encoded(fields);
        self.client.post(format!("http://{}{path}", self.address)).header("content-type", FORM).body(body)
    }
}

fn url_encoded(fields: &[(&str, &str)]) -> String {
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish()
}

/// A page with this status, which is confined and has nothing active of its own.
async fn read(response: Response, status: StatusCode) -> String {
    let headers = response.headers().clone();
    let found = response.status();
    let text = response.text().await.unwrap();
    assert_eq!(found, status, "{text}");
    assert_eq!(headers["content-type"], "text/html; charset=utf-8");
    assert_eq!(
        headers["content-security-policy"],
        "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; form-action 'self'; \
         base-uri 'none'; frame-ancestors 'none'"
    );
    assert_eq!(
        (&headers["x-content-type-options"], &headers["cache-control"]),
        (&"nosniff".parse().unwrap(), &"no-store".parse().unwrap())
    );
    assert_eq!(text.matches("<script").count(), text.matches("<script src=\"/console/assets/").count(), "{text}");
    for active in ["<style", "<img", " style=", "javascript:", "<iframe"] {
        assert!(!text.contains(active), "{active} is in {text}");
    }
    // Attributes of events occur only as text, in which quotes and angle brackets are escaped.
    for tag in text.split('<').skip(1).map(|rest| rest.split('>').next().unwrap()) {
        let outside: String = tag.split('"').step_by(2).collect();
        assert!(!outside.contains(" on"), "{tag}");
    }
    // In attributes they are ids and types as they are.
    let between: String = text.split('<').filter_map(|rest| rest.split_once('>')).map(|(_, after)| after).collect();
    for mark in ['\u{202e}', '\u{2066}', '\0'] {
        assert!(!between.contains(mark), "{mark:?} is in {text}");
    }
    text
}

/// The value of a hidden field.
fn hidden<'a>(page: &'a str, name: &str) -> &'a str {
    let rest = page.split_once(&format!("name=\"{name}\" value=\"")).unwrap_or_else(|| panic!("no {name} in {page}")).1;
    rest.split_once('"').unwrap().0
}

#[tokio::test]
async fn hostile_content_is_text_on_every_page() {
    let server = start(Access::LoopbackOnly).await;
    server.journal.attach(&billing(), &orders(), Start::Now).await.unwrap();
    let body = format!("{HOSTILE}\0");
    server.append(vec![arrival(HOSTILE, HOSTILE, now(), Some(HOSTILE), body.as_bytes())]).await;
    server.append(vec![arrival("..", "t", now(), None, b"{}")]).await;
    server.journal.claim(&billing(), Claim::new(1, now())).await.unwrap();
    let failure = Failure {
        time: now(),
        reason: "status".into(),
        status: Some(500),
        took: Duration::from_millis(3),
        message: HOSTILE.into(),
    };
    server.journal.settle(&billing(), vec![(1, Settlement::Dead { failure })]).await.unwrap();
    let event = format!("{ENDPOINT}/event?{}", url_encoded(&[("id", HOSTILE)]));
    for (path, word) in [
        (OVERVIEW, "shop/billing"),
        (ENDPOINT, "&lt;script&gt;alert(1)&lt;/script&gt;"),
        (&*event, "&lt;script&gt;alert(1)&lt;/script&gt;"),
        (&format!("{event}&view=raw"), "U+202E"),
        (SUBSCRIPTION, "dead letter"),
        (&format!("{SUBSCRIPTION}?state=deadLettered"), "&lt;img"),
        (&format!("{ENDPOINT}/yaml"), "apiVersion: grapnel.dev/v1beta1"),
        (&format!("{SUBSCRIPTION}/yaml"), "https://billing.example/hook"),
    ] {
        let page = server.page(path, StatusCode::OK).await;
        assert!(page.contains(word), "{word} is not in {path}: {page}");
    }
    // The links on a page lead where they should.
    let list = server.page(ENDPOINT, StatusCode::OK).await;
    for link in list.split("href=\"").skip(1).map(|rest| rest.split_once('"').unwrap().0.replace("&amp;", "&")) {
        if link.starts_with("/console/endpoints") {
            assert_eq!(server.get(&link).await.status(), StatusCode::OK, "{link}");
        }
    }
    assert!(list.contains("event?id=..\""), "a browser would resolve it in a path: {list}");
    let preview = hidden(&server.page(&event, StatusCode::OK).await, "csrf").to_owned();
    let fields = [("csrf", &*preview), ("select", "events"), ("id", HOSTILE)];
    let preview = server.form(&format!("{SUBSCRIPTION}/redeliver"), &fields).send().await.unwrap();
    assert!(read(preview, StatusCode::OK).await.contains("Nothing has been sent yet"));
    // So are errors.
    for path in [
        format!("{ENDPOINT}/event?{}", url_encoded(&[("id", &format!("{HOSTILE}x"))])),
        format!("/console/{}", url_encoded(&[(HOSTILE, "")])),
        format!("/console/endpoints/shop/{}", url_encoded(&[(HOSTILE, "")])),
    ] {
        server.page(&path, StatusCode::NOT_FOUND).await;
    }
    server.page(&format!("{ENDPOINT}?{}", url_encoded(&[("since", HOSTILE)])), StatusCode::BAD_REQUEST).await;
    server.end().await;
}

#[tokio::test]
async fn the_overview_tells_what_needs_attention() {
    let server = start(Access::LoopbackOnly).await;
    with_deliveries(&server).await;
    let page = server.page(OVERVIEW, StatusCode::OK).await;
    for word in ["shop/orders", "SecretNotFound", "EndpointNotFound", "Last hour: 0 accepted", "Journal by namespace"] {
        assert!(page.contains(word), "{word} is not in {page}");
    }
    assert!(page.find("shop/locked").unwrap() < page.find("shop/orders").unwrap(), "what fails is first: {page}");
    let tile = |name: &str, number: u64| page.contains(&format!("<dt>{name}</dt><dd>{number}<"));
    assert!(
        tile("Dead letters", 1) && tile("Endpoints", 2) && tile("Subscriptions", 2) && tile("Failing", 2),
        "{page}"
    );
    let other = server.page("/?namespace=other", StatusCode::OK).await;
    assert!(other.contains("There are no endpoints here") && !other.contains("shop/orders"), "{other}");
    assert!(server.page("/?namespace=&page=2", StatusCode::OK).await.contains("Overview"));
    for wrong in ["/?page=0", "/?page=x", "/?colour=red", "/?namespace=a&namespace=b"] {
        server.page(wrong, StatusCode::BAD_REQUEST).await;
    }
    assert!(other.contains("Namespace <bdi>other</bdi> has no objects"), "{other}");
    let invalid = server.page("/?namespace=A_B", StatusCode::BAD_REQUEST).await;
    assert!(invalid.contains("is not a valid name of a namespace"), "{invalid}");
    server.end().await;
}

#[tokio::test]
async fn lists_are_paged_and_filtered() {
    let server = start(Access::LoopbackOnly).await;
    server.journal.attach(&billing(), &orders(), Start::Now).await.unwrap();
    let events = (0..CONSOLE_LIST + 5)
        .map(|n| arrival(&format!("e{n:03}"), if n == 3 { "rare" } else { "t" }, now(), None, b"{}"));
    server.append(events.collect()).await;
    let rows = |page: &str| page.matches("event?id=").count();
    for (list, more) in [(ENDPOINT, "Older events"), (SUBSCRIPTION, "Older deliveries")] {
        let first = server.page(list, StatusCode::OK).await;
        assert_eq!(rows(&first), CONSOLE_LIST, "{first}");
        assert!(first.contains("e054") && !first.contains("e004"), "the newest first: {first}");
        let next = first.split_once("rel=\"next\" href=\"").unwrap().1.split_once('"').unwrap().0.replace("&amp;", "&");
        let second = server.page(&next, StatusCode::OK).await;
        assert!(rows(&second) == 5 && second.contains("e004") && !second.contains(more), "{second}");
    }
    let rare = server.page(&format!("{ENDPOINT}?type=r*&since=&id="), StatusCode::OK).await;
    assert!(rows(&rare) == 1 && rare.contains("e003"), "{rare}");
    assert!(rare.contains("tail?type=r*&amp;after=55"), "only what comes later is new: {rare}");
    assert_eq!(rows(&server.page(&format!("{SUBSCRIPTION}?state=pending"), StatusCode::OK).await), CONSOLE_LIST);
    assert_eq!(rows(&server.page(&format!("{SUBSCRIPTION}?state=settled"), StatusCode::OK).await), 0);
    let no_redirect =
        reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let found = no_redirect.get(format!("http://{}{ENDPOINT}?id=e%2F1", server.address)).send().await.unwrap();
    assert_eq!(
        (found.status(), &found.headers()["location"]),
        (StatusCode::SEE_OTHER, &format!("{ENDPOINT}/event?id=e%2F1").parse().unwrap())
    );
    for wrong in ["after=x", "state=gone", "colour=red"] {
        server.page(&format!("{SUBSCRIPTION}?{wrong}"), StatusCode::BAD_REQUEST).await;
    }
    server.end().await;
}

#[tokio::test]
async fn an_event_is_shown_with_its_outcomes_and_its_payload() {
    let server = start(Access::LoopbackOnly).await;
    with_deliveries(&server).await;
    let retrying = server.page(&format!("{ENDPOINT}/event?id=e1"), StatusCode::OK).await;
    for word in ["retrying", "next attempt", ">500<", "42 ms", "out of order", "x-note", "192.0.2.7", "Redeliver…"] {
        assert!(retrying.contains(word), "{word} is not in {retrying}");
    }
    assert!(server.page(&format!("{ENDPOINT}/event?id=e0"), StatusCode::OK).await.contains("delivered"));
    server
        .append(vec![
            arrival("json", "t", now(), None, br#"{"n":12345678901234567890123,"a":[1]}"#),
            arrival("line", "t", now(), Some("text/plain"), "x".repeat(1 << 20).as_bytes()),
            arrival("bytes", "t", now(), Some("image/png"), b"\x89\xff"),
            arrival("empty", "t", now(), None, b""),
        ])
        .await;
    let pretty = server.page(&format!("{ENDPOINT}/event?id=json"), StatusCode::OK).await;
    assert!(
        pretty.contains("{\n  &quot;n&quot;: 12345678901234567890123,\n  &quot;a&quot;: [\n    1\n  ]\n}"),
        "{pretty}"
    );
    let raw = server.page(&format!("{ENDPOINT}/event?id=json&view=raw"), StatusCode::OK).await;
    assert!(raw.contains("{&quot;n&quot;:12345678901234567890123,"), "{raw}");
    let line = server.page(&format!("{ENDPOINT}/event?id=line"), StatusCode::OK).await;
    assert!(
        line.contains("Only the first 64.0 KiB are shown") && line.len() < 2 * CONSOLE_PAYLOAD_BYTES,
        "{}",
        line.len()
    );
    for (id, note) in [("bytes", "The body is not text"), ("empty", "The body is empty")] {
        assert!(server.page(&format!("{ENDPOINT}/event?id={id}"), StatusCode::OK).await.contains(note));
    }
    let whole = server.get(&format!("{ENDPOINT}/payload?id=line")).await;
    let header = |name: &str| whole.headers()[name].to_str().unwrap().to_owned();
    assert_eq!(header("content-type"), "application/octet-stream");
    assert_eq!(header("content-disposition"), "attachment; filename=\"event-7.bin\"");
    assert_eq!(header("x-content-type-options"), "nosniff");
    assert_eq!(whole.bytes().await.unwrap().len(), 1 << 20);
    for (path, status) in [
        (format!("{ENDPOINT}/event"), StatusCode::BAD_REQUEST),
        (format!("{ENDPOINT}/event?id=json&view=other"), StatusCode::BAD_REQUEST),
        (format!("{ENDPOINT}/event?id=none"), StatusCode::NOT_FOUND),
        (format!("{ENDPOINT}/payload?id=none"), StatusCode::NOT_FOUND),
        ("/console/endpoints/shop/nothing".into(), StatusCode::NOT_FOUND),
        ("/console/endpoints/shop/nothing/yaml".into(), StatusCode::NOT_FOUND),
        ("/console/subscriptions/shop/orders".into(), StatusCode::NOT_FOUND),
        ("/console/nothing".into(), StatusCode::NOT_FOUND),
        ("/console/assets/console.0000000000000000.css".into(), StatusCode::NOT_FOUND),
    ] {
        server.page(&path, status).await;
    }
    server.end().await;
}

#[tokio::test]
async fn static_files_are_kept_by_browsers_and_named_by_their_content() {
    let server = start(Access::LoopbackOnly).await;
    let page = server.page(OVERVIEW, StatusCode::OK).await;
    let assets: Vec<&str> = page.split('"').filter(|part| part.starts_with("/console/assets/")).collect();
    assert_eq!(assets.len(), 3, "{assets:?}");
    for asset in assets {
        let response = server.get(asset).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["cache-control"], "public, max-age=31536000, immutable");
        assert_eq!(response.headers()["x-content-type-options"], "nosniff");
    }
    server.end().await;
}

#[tokio::test]
async fn redelivery_takes_a_dry_run_and_a_form_of_this_console() {
    let server = start(Access::LoopbackOnly).await;
    with_deliveries(&server).await;
    let order = format!("{SUBSCRIPTION}/redeliver");
    let dead = async || server.journal.progress(&billing()).unwrap().dead;
    let page = server.page(SUBSCRIPTION, StatusCode::OK).await;
    let csrf = hidden(&page, "csrf").to_owned();
    assert!(csrf.len() == 64 && page.contains("Redeliver all dead letters"), "{page}");

    let all = [("select", "deadLettered"), ("confirmed", "yes")];
    let forged = "0".repeat(64);
    for token in ["", "x", &forged] {
        let response = server.form(&order, &[&[("csrf", token)], &all[..]].concat()).send().await.unwrap();
        assert!(read(response, StatusCode::FORBIDDEN).await.contains("nothing was done"));
    }
    let fields = [&[("csrf", &*csrf)], &all[..]].concat();
    for origin in ["http://attacker.example", "null", "http://127.0.0.1:1"] {
        let response = server.form(&order, &fields).header("origin", origin).send().await.unwrap();
        assert!(read(response, StatusCode::FORBIDDEN).await.contains("another site"));
    }
    let text = server.client.post(format!("http://{}{order}", server.address)).header("content-type", "text/plain");
    let response = text.body(url_encoded(&fields)).send().await.unwrap();
    read(response, StatusCode::UNSUPPORTED_MEDIA_TYPE).await;
    let response = server.form(&order, &[("csrf", &*csrf), ("select", "events")]).send().await.unwrap();
    assert!(read(response, StatusCode::BAD_REQUEST).await.contains("No event is selected"));
    let long = "x".repeat(2 << 20);
    let response = server.form(&order, &[("csrf", &*csrf), ("id", &long)]).send().await.unwrap();
    read(response, StatusCode::PAYLOAD_TOO_LARGE).await;
    assert_eq!(dead().await, 1);

    let origin = format!("http://{}", server.address);
    let send = async |fields: &[(&str, &str)]| {
        let fields = [&[("csrf", &*csrf)], fields].concat();
        read(server.form(&order, &fields).header("origin", &origin).send().await.unwrap(), StatusCode::OK).await
    };
    let preview = send(&[("select", "deadLettered")]).await;
    assert!(preview.contains("1 event, with attempts") && preview.contains("Nothing has been sent yet"), "{preview}");
    assert_eq!(dead().await, 1, "a dry run changes nothing");
    assert_eq!((hidden(&preview, "confirmed"), hidden(&preview, "csrf")), ("yes", &*csrf));
    // The client follows to the page that tells what was done.
    let done = send(&all).await;
    assert!(done.contains("1 event queued for redelivery.") && done.contains("role=\"status\""), "{done}");
    assert_eq!(dead().await, 0);
    // What a stranger's link claims is not shown.
    let claims = "queued=777&hastened=0&skipped=0&gone=0&probed=0&at=1769860800000";
    for forged in [claims.to_owned(), format!("{claims}&seal={}", "0".repeat(64)), "queued=x".into()] {
        let page = server.page(&format!("{SUBSCRIPTION}?{forged}"), StatusCode::OK).await;
        assert!(!page.contains("777 event") && !page.contains("role=\"status\""), "{page}");
    }
    let preview = send(&[("select", "events"), ("id", "e0"), ("id", "e2"), ("id", "gone")]).await;
    assert!(
        preview.contains("1 event, with attempts") && preview.contains("1 event removed after retention"),
        "{preview}"
    );
    server.page("/console/subscriptions/shop/nothing", StatusCode::NOT_FOUND).await;
    assert!(server.page(&order, StatusCode::OK).await.contains("Redeliver selected"), "its address leads back");
    let absent = order.replace("billing", "nothing");
    read(server.form(&absent, &fields).send().await.unwrap(), StatusCode::NOT_FOUND).await;
    server.end().await;
}

#[tokio::test]
async fn a_page_of_what_does_not_exist_says_what_to_do() {
    let server = start(Access::LoopbackOnly).await;
    with_deliveries(&server).await;
    for (path, words) in [
        ("/console/endpoints/shop/gone", ["There is no WebhookEndpoint <bdi>shop/gone</bdi>", "deleted endpoint"]),
        (
            "/console/subscriptions/shop/gone",
            ["There is no WebhookSubscription <bdi>shop/gone</bdi>", "page of the endpoint"],
        ),
        ("/console/subscriptions/shop/gone/yaml", ["There is no WebhookSubscription", "page of the endpoint"]),
        ("/console/replays/shop/gone", ["There is no WebhookReplay <bdi>shop/gone</bdi>", "ttlSecondsAfterFinished"]),
    ] {
        let page = server.page(path, StatusCode::NOT_FOUND).await;
        assert!(words.iter().all(|word| page.contains(word)), "{words:?}: {page}");
        assert!(page.contains("href=\"/?namespace=shop\"") && page.contains("deleted or renamed"), "{page}");
    }
    for page in ["event", "payload"] {
        let page = server.page(&format!("{ENDPOINT}/{page}?id=gone"), StatusCode::NOT_FOUND).await;
        assert!(page.contains("has no event <bdi>gone</bdi>") && page.contains("retention"), "{page}");
        assert!(page.contains(&format!("href=\"{ENDPOINT}\"")), "{page}");
    }
    server.end().await;
}

#[tokio::test]
async fn an_event_that_waits_for_the_circuit_says_so_and_the_receiver_is_probed_on_request() {
    let server = start(Access::LoopbackOnly).await;
    with_deliveries(&server).await;
    let resume = format!("{SUBSCRIPTION}/resume");
    let closed = server.page(SUBSCRIPTION, StatusCode::OK).await;
    assert!(!closed.contains("Probe the receiver") && !closed.contains("waits for the circuit"), "{closed}");
    let circuit = OpenCircuit { since: now(), failures: 5, next_probe: now() + Duration::from_secs(90) };
    server.facts().circuit(Some(circuit));
    let open = server.page(SUBSCRIPTION, StatusCode::OK).await;
    // One is due before the probe, and one is pending.
    assert_eq!(open.matches("waits for the circuit (probe ").count(), 2, "{open}");
    assert!(open.contains("in 90s") && open.contains("Probe the receiver now"), "{open}");
    let event = server.page(&format!("{ENDPOINT}/event?id=e1"), StatusCode::OK).await;
    assert!(event.contains("waits for the circuit"), "{event}");

    let facts = server.facts();
    let is_requested = || facts.probe_requested().now_or_never().is_some();
    assert!(!is_requested());
    let forged = server.form(&resume, &[("csrf", &"0".repeat(64))]).send().await.unwrap();
    read(forged, StatusCode::FORBIDDEN).await;
    let other = server.form(&resume, &[("csrf", hidden(&open, "csrf"))]).header("origin", "http://attacker.example");
    read(other.send().await.unwrap(), StatusCode::FORBIDDEN).await;
    assert!(!is_requested(), "nothing was done");
    let done = server.form(&resume, &[("csrf", hidden(&open, "csrf"))]).send().await.unwrap();
    let done = read(done, StatusCode::OK).await;
    assert!(done.contains("The receiver is probed") && done.contains("1 due now"), "{done}");
    assert!(is_requested());
    assert!(server.page(&resume, StatusCode::OK).await.contains("Deliveries"), "its address leads back");
    server.end().await;
}

fn changed<T: serde::de::DeserializeOwned>(kind: &str, name: &str, spec: Value) -> Box<Applied<T>> {
    let metadata = json!({ "namespace": "shop", "name": name, "generation": 1 });
    let object = json!({ "apiVersion": "grapnel.dev/v1beta1", "kind": kind, "metadata": metadata, "spec": spec });
    let (key, object) = (ObjectKey::new("shop", name), serde_json::from_value(object).unwrap());
    Box::new(Applied { key, object, source: None, age: Age(None, 9), uid: None })
}

fn replay(name: &str, spec: Value) -> Change {
    Change::Replay(changed::<WebhookReplay>("WebhookReplay", name, spec))
}

#[tokio::test]
async fn a_replay_has_a_page_and_a_dry_run_looks_like_one() {
    let spec = json!({
        "subscriptionRef": { "name": "billing" }, "select": { "ids": [HOSTILE, "e1"] }, "filter": "payload.total > 5",
        "rate": { "requests": 100, "per": "2s" }, "suspend": true, "ttlSecondsAfterFinished": 60,
    });
    let counting = json!({
        "subscriptionRef": { "name": "billing" }, "select": { "since": "2026-01-31T00:00:00Z" }, "dryRun": true,
    });
    let stray = json!({ "subscriptionRef": { "name": "nowhere" }, "select": { "deadLettered": true } });
    let more = vec![replay("some", spec), replay("counting", counting), replay("stray", stray)];
    let server = start_with_objects(Access::LoopbackOnly, more).await;
    let page = server.page("/console/replays/shop/some", StatusCode::OK).await;
    for word in [
        "href=\"/console/subscriptions/shop/billing\"",
        "2 events: ",
        "payload.total &gt; 5",
        "100 events per ",
        "2s",
        "60 s after its end",
        "Filter errors",
        "Waited already",
        "Accepted",
        "Conditions and YAML",
    ] {
        assert!(page.contains(word), "{word} is not in {page}");
    }
    assert!(!page.contains("dry run") && !page.contains("Dry run: it counts"), "{page}");
    let dry = server.page("/console/replays/shop/counting", StatusCode::OK).await;
    assert!(dry.contains("Dry run: it counts") && dry.contains("dry run</span>"), "{dry}");
    assert!(!dry.contains("Queued") && dry.contains("since <time"), "{dry}");
    let failed = server.page("/console/replays/shop/stray", StatusCode::OK).await;
    assert!(failed.contains("SubscriptionNotFound") && failed.contains("does not exist in namespace shop"), "{failed}");
    let yaml = server.page("/console/replays/shop/some/yaml", StatusCode::OK).await;
    assert!(yaml.contains("kind: WebhookReplay") && yaml.contains("ttlSecondsAfterFinished: 60"), "{yaml}");

    let overview = server.page(OVERVIEW, StatusCode::OK).await;
    let link = |name: &str| format!("href=\"/console/replays/shop/{name}\"");
    assert!(["again", "some", "counting", "stray"].iter().all(|name| overview.contains(&link(name))), "{overview}");
    assert_eq!(overview.matches("dry run</span>").count(), 1, "{overview}");
    let subscription = server.page(SUBSCRIPTION, StatusCode::OK).await;
    assert!(["again", "some", "counting"].iter().all(|name| subscription.contains(&link(name))), "{subscription}");
    assert!(!subscription.contains(&link("stray")), "{subscription}");
    server.page("/console/replays/shop/some?x=y", StatusCode::BAD_REQUEST).await;
    server.end().await;
}

#[tokio::test]
async fn a_shadow_shows_what_it_would_send() {
    let shadow = json!({
        "endpointRef": { "name": "orders" }, "target": { "url": "https://billing.example/hook" }, "mode": "Shadow",
        "transform": "{'number': payload.n}",
    });
    let billing_next = changed::<WebhookSubscription>("WebhookSubscription", "billing", shadow);
    let server = start_with_objects(Access::LoopbackOnly, vec![Change::Subscription(billing_next)]).await;
    server.journal.attach(&billing(), &orders(), Start::Now).await.unwrap();
    let body = |n: usize| format!(r#"{{"n":{n}}}"#);
    server.append((0..5).map(|n| arrival(&format!("e{n}"), "t", now(), None, body(n).as_bytes())).collect()).await;
    server.journal.claim(&billing(), Claim::new(5, now())).await.unwrap();
    let skipped = |sequence| (sequence, Settlement::Skipped { reason: SkipReason::Shadow, time: now() });
    server.journal.settle(&billing(), (1..=5).map(skipped).collect()).await.unwrap();
    server.facts().shadowed();
    let page = server.page(SUBSCRIPTION, StatusCode::OK).await;
    assert!(page.contains("1 event would have been sent; 0 failed"), "{page}");
    for n in [4, 3, 2] {
        assert!(page.contains(&format!("&quot;number&quot;: {n}")), "{n} is not in {page}");
    }
    assert!(!page.contains("&quot;number&quot;: 1"), "the newest only: {page}");
    server.end().await;
    let server = start(Access::LoopbackOnly).await;
    let page = server.page(SUBSCRIPTION, StatusCode::OK).await;
    assert!(!page.contains("What would be sent") && !page.contains("Mode Shadow"), "{page}");
    server.end().await;
}

#[tokio::test]
async fn links_keep_the_namespace_of_a_person_who_may_see_one_only() {
    const LIST: &[&str] = &[
        EVENTS,
        DELIVERIES,
        r#"list webhookendpoints in namespace "shop""#,
        r#"list webhooksubscriptions in namespace "shop""#,
        r#"list webhookreplays in namespace "shop""#,
        r#"get webhookreplays "again" in namespace "shop""#,
    ];
    let server = in_a_cluster(LIST).await;
    let home = r#"<a href="/?namespace=shop">Grapnel</a>"#;
    for path in
        ["/?namespace=shop", ENDPOINT, &format!("{ENDPOINT}/event?id=e1"), SUBSCRIPTION, "/console/replays/shop/again"]
    {
        let page = as_dana(&server, path, StatusCode::OK).await;
        assert!(page.contains(home) && !page.contains("href=\"/\""), "{path}: {page}");
    }
    // So do errors.
    let refused = as_dana(&server, &format!("{ENDPOINT}/yaml"), StatusCode::FORBIDDEN).await;
    assert!(refused.contains(home), "{refused}");
    let invalid = as_dana(&server, &format!("{ENDPOINT}?colour=red"), StatusCode::BAD_REQUEST).await;
    assert!(invalid.contains(home), "{invalid}");
    server.end().await;
    let server = start(Access::LoopbackOnly).await;
    let page = server.page(ENDPOINT, StatusCode::OK).await;
    assert!(page.contains(r#"<a href="/">Grapnel</a>"#) && page.contains("href=\"/?namespace=shop\""), "{page}");
    server.end().await;
}

#[tokio::test]
async fn only_this_machine_by_its_own_name_sees_the_console() {
    let server = start(Access::LoopbackOnly).await;
    for path in [OVERVIEW, ENDPOINT, SUBSCRIPTION, &format!("{ENDPOINT}/tail"), &format!("{ENDPOINT}/payload?id=e")] {
        let request = server.client.get(format!("http://{}{path}", server.address)).header("host", "attacker.example");
        let page = read(request.send().await.unwrap(), StatusCode::FORBIDDEN).await;
        assert!(page.contains("localhost"), "{page}");
    }
    server.end().await;
}

#[tokio::test]
async fn with_a_token_file_the_page_says_how_to_get_in() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "secret").unwrap();
    let server = start(Access::TokenFile(file.path().into())).await;
    let page = server.page(OVERVIEW, StatusCode::UNAUTHORIZED).await;
    assert!(page.contains("grapnel console --admin-url URL --token-file FILE"), "{page}");
    let request =
        |token: &str| server.client.get(format!("http://{}{ENDPOINT}", server.address)).bearer_auth(token).send();
    read(request("wrong").await.unwrap(), StatusCode::UNAUTHORIZED).await;
    assert!(read(request("secret").await.unwrap(), StatusCode::OK).await.contains("a holder of the admin token"));
    server.end().await;
}

/// The token `dana` may do what the list says.
struct Roles(&'static [&'static str]);

impl Authority for Roles {
    fn allow<'a>(&'a self, token: &'a str, ask: &'a Ask) -> BoxFuture<'a, Result<Arc<str>, Denied>> {
        let answer = match token {
            "dana" if self.0.contains(&&*ask.to_string()) => Ok("dana".into()),
            "dana" => Err(Denied::Forbidden { user: "dana".into() }),
            _ => Err(Denied::NotAuthenticated),
        };
        async move { answer }.boxed()
    }
}

const EVENTS: &str = r#"get webhookendpoints/events "orders" in namespace "shop""#;
const DELIVERIES: &str = r#"get webhooksubscriptions/deliveries "billing" in namespace "shop""#;
const UPDATE: &str = r#"update webhooksubscriptions/deliveries "billing" in namespace "shop""#;

async fn in_a_cluster(allowed: &'static [&'static str]) -> Server {
    let server = start(Access::Cluster(Arc::new(Roles(allowed)))).await;
    with_deliveries(&server).await;
    server
}

async fn as_dana(server: &Server, path: &str, status: StatusCode) -> String {
    let request =
        server.client.get(format!("http://{}{path}", server.address)).header("host", "pod").bearer_auth("dana");
    read(request.send().await.unwrap(), status).await
}

#[tokio::test]
async fn a_page_shows_what_its_reader_may_see() {
    let server = in_a_cluster(&[EVENTS]).await;
    let event = format!("{ENDPOINT}/event?id=e1");
    let page = as_dana(&server, &event, StatusCode::OK).await;
    assert!(page.contains("as <bdi>dana</bdi>") && page.contains("that you may not see"), "{page}");
    assert!(!page.contains("shop/billing") && !page.contains("out of order"), "{page}");
    assert!(!as_dana(&server, ENDPOINT, StatusCode::OK).await.contains("Last rejections"));
    for path in [SUBSCRIPTION, &format!("{SUBSCRIPTION}/yaml"), &format!("{ENDPOINT}/yaml"), OVERVIEW] {
        as_dana(&server, path, StatusCode::FORBIDDEN).await;
    }
    let overview = as_dana(&server, OVERVIEW, StatusCode::FORBIDDEN).await;
    assert!(overview.contains("name=\"namespace\"") && overview.contains("grapnel-view"), "{overview}");
    let absent = as_dana(&server, &ENDPOINT.replace("orders", "absent"), StatusCode::FORBIDDEN).await;
    assert!(absent.contains("may not get"), "it is not told what exists: {absent}");
    let nobody = server.page(ENDPOINT, StatusCode::UNAUTHORIZED).await;
    assert!(nobody.contains("grapnel console --kubeconfig"), "{nobody}");
    server.end().await;

    let server = in_a_cluster(&[EVENTS, DELIVERIES]).await;
    let page = as_dana(&server, &event, StatusCode::OK).await;
    assert!(page.contains("out of order") && !page.contains("Redeliver"), "{page}");
    let page = as_dana(&server, SUBSCRIPTION, StatusCode::OK).await;
    assert!(page.contains("e1") && !page.contains("Redeliver") && !page.contains("Backlog"), "{page}");
    let order = format!("{SUBSCRIPTION}/redeliver");
    let refused = server.form(&order, &[("select", "deadLettered")]).bearer_auth("dana").send().await.unwrap();
    assert!(read(refused, StatusCode::FORBIDDEN).await.contains("may not update"));
    server.end().await;

    let server = in_a_cluster(&[EVENTS, DELIVERIES, UPDATE]).await;
    let page = as_dana(&server, SUBSCRIPTION, StatusCode::OK).await;
    let fields = [("csrf", hidden(&page, "csrf")), ("select", "deadLettered")];
    let preview = server.form(&order, &fields).bearer_auth("dana").send().await.unwrap();
    assert!(read(preview, StatusCode::OK).await.contains("1 event, with attempts"));
    server.end().await;
}

/// The next lines of a live view.
async fn lines(response: &mut Response) -> String {
    let chunk = timeout(PATIENCE, response.chunk()).await.expect("nothing comes").unwrap();
    chunk.map(|chunk| String::from_utf8(chunk.to_vec()).unwrap()).unwrap_or_default()
}

#[tokio::test]
async fn new_events_are_told_as_they_come() {
    let server = start(Access::LoopbackOnly).await;
    server.append(vec![arrival("old", "t", now(), None, b"{}"), arrival("first", "t", now(), None, b"{}")]).await;
    let tail = format!("{ENDPOINT}/tail");
    let mut live = server.get(&format!("{tail}?after=1")).await;
    assert_eq!(live.headers()["content-type"], "text/event-stream");
    let seen = lines(&mut live).await;
    assert!(seen.starts_with("id: 2\ndata: {") && seen.contains("\"id\":\"first\"") && !seen.contains("old"), "{seen}");
    server.append(vec![arrival("other", "u", now(), None, b"{}"), arrival("second", "t", now(), None, b"{}")]).await;
    let seen = lines(&mut live).await;
    assert!(seen.contains("\"id\":\"other\"") && seen.contains("\"id\":\"second\""), "{seen}");
    let request = server.client.get(format!("http://{}{tail}?after=1&type=u", server.address));
    let mut again = request.header("last-event-id", "2").send().await.unwrap();
    let seen = lines(&mut again).await;
    assert!(seen.starts_with("id: 3\n") && !seen.contains("second"), "it continues where it ended: {seen}");

    let mut more = Vec::new();
    while more.len() < CONSOLE_TAILS - 2 {
        more.push(server.get(&tail).await);
        assert_eq!(more.last().unwrap().status(), StatusCode::OK);
    }
    assert_eq!(server.get(&tail).await.status(), StatusCode::SERVICE_UNAVAILABLE);
    more.pop();
    grapnel_test_support::eventually("a place for another view", async || {
        server.get(&tail).await.status() == StatusCode::OK
    })
    .await;
    assert_eq!(server.get(&format!("{tail}?after=x")).await.status(), StatusCode::BAD_REQUEST);
    assert_eq!(server.get(&tail.replace("orders", "nothing")).await.status(), StatusCode::NOT_FOUND);
    // The end of the server does not wait for them.
    server.end().await;
    assert_eq!(lines(&mut live).await, "");
}
