//! What is accepted, stored and answered.

use std::{collections::BTreeSet, net::IpAddr};

use bytes::Bytes;
use grapnel::catalog::{Endpoint, IdSources, Reply};
use grapnel_api::{Incarnation, ObjectKey};
use grapnel_event::identity::{Source, Sources, id_defaults};
use grapnel_signature::Handshake;
use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderName, HeaderValue, StatusCode};
use sha2::Sha256;
use tokio::task::JoinSet;

use super::{
    client::{Post, Wire},
    fixture::{Served, endpoint, open_door, verifier},
};

#[tokio::test]
async fn an_event_is_stored_as_it_came_and_counted() {
    let served = Served::one().await;
    let body = "{\"id\" : \"evt_1\",\n \"type\":\"order.paid\",\"é\":1}";
    let answer = Post::signed("/shop/orders", body)
        .header("Content-Type", "application/json; charset=utf-8")
        .header("X-Request-Id", "r-1")
        .header("X-Twice", "a")
        .header("X-Twice", "b")
        .send(served.address)
        .await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.text(), r#"{"success":true,"id":"evt_1"}"#);
    assert_eq!(answer.headers["content-type"], "application/json");

    let event =
        served.journal.event(&Incarnation::of_file(ObjectKey::new("shop", "orders")), "evt_1").await.unwrap().unwrap();
    assert_eq!((event.sequence, &*event.kind), (1, "order.paid"));
    assert_eq!(event.body.as_ref(), body.as_bytes());
    assert_eq!(event.content_type.as_deref(), Some("application/json; charset=utf-8"));
    assert_eq!(event.remote, Some(IpAddr::from([127, 0, 0, 1])));
    let values = |name: &str| -> Vec<&[u8]> {
        event.headers.iter().filter(|(stored, _)| &**stored == name).map(|(_, value)| value.as_ref()).collect()
    };
    assert_eq!(values("x-request-id"), [b"r-1"]);
    assert_eq!(values("x-twice"), [b"a", b"b"]);

    let facts = served.facts("orders");
    assert_eq!((facts.received, facts.rejected, facts.duplicates), (1, 0, 0));
    assert_eq!(facts.last_received, Some(event.received));
    let metrics = served.metrics.encode();
    for line in [
        r#"webhook_received_total{namespace="shop",endpoint="orders",type="order.paid"} 1"#,
        r#"webhook_processed_total{namespace="shop",endpoint="orders",type="order.paid"} 1"#,
        r#"webhook_processing_time_seconds_count{namespace="shop",endpoint="orders",type="order.paid"} 1"#,
        "grapnel_journal_append_seconds_count 1",
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
}

#[tokio::test]
async fn credentials_and_headers_of_the_connection_are_not_stored() {
    let served = Served::one().await;
    let post = Post::signed("/shop/orders", "{}")
        .header("Authorization", "Bearer s3cret")
        .header("Proxy-Authorization", "Basic s3cret")
        .header("Cookie", "session=s3cret")
        .header("Connection", "keep-alive, X-Hop")
        .header("X-Hop", "1")
        .header("Keep-Alive", "timeout=5")
        .header("TE", "trailers")
        // Only Grapnel says that something is a dead letter.
        .header("Grapnel-Dead-Letter-Trail", "shop/orders")
        .header("X-Kept", "1");
    post.send(served.address).await.accepted();
    let stored = served.stored("orders").await;
    let names: BTreeSet<&str> = stored[0].headers.iter().map(|(name, _)| &**name).collect();
    assert_eq!(names, BTreeSet::from(["x-kept"]));
}

#[tokio::test]
async fn stored_headers_are_bounded() {
    let served = Served::one().await;
    let mut post = Post::signed("/shop/orders", r#"{"id":"many"}"#);
    for number in 0..90 {
        post = post.header(&format!("X-Number-{number}"), "v");
    }
    post.send(served.address).await.accepted();
    let large = Post::signed("/shop/orders", r#"{"id":"large"}"#)
        .header("X-Large", "v".repeat(17 * 1024))
        .header("X-Small", "v");
    large.send(served.address).await.accepted();
    let stored = served.stored("orders").await;
    assert_eq!(stored[0].headers.len(), 64);
    let names: Vec<&str> = stored[1].headers.iter().map(|(name, _)| &**name).collect();
    assert!(names.contains(&"x-small") && !names.contains(&"x-large"), "{names:?}");
}

#[tokio::test]
async fn a_duplicate_is_answered_the_same_and_not_stored_again() {
    let served = Served::one().await;
    let post = Post::signed("/shop/orders", r#"{"id":"evt_1","type":"t"}"#);
    post.send(served.address).await.accepted();
    let again = post.send(served.address).await;
    let json = again.json();
    assert_eq!((again.status, &json["success"], &json["id"]), (200, &true.into(), &"evt_1".into()));
    assert_eq!(json["duplicate"], true);
    assert!(json["message"].as_str().unwrap().contains("grapnel redeliver"), "{json}");
    // The id decides, not the bytes.
    let changed = Post::signed("/shop/orders", r#"{"id":"evt_1","type":"t","more":1}"#).send(served.address).await;
    assert_eq!(changed.json()["duplicate"], true);
    assert_eq!(served.stored("orders").await.len(), 1);
    let facts = served.facts("orders");
    assert_eq!((facts.received, facts.duplicates), (1, 2));
    let metrics = served.metrics.encode();
    assert!(metrics.contains(r#"webhook_duplicates_total{namespace="shop",endpoint="orders"} 2"#), "{metrics}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_equal_events_at_once_one_is_the_first() {
    let served = Served::one().await;
    let post = Post::signed("/shop/orders", r#"{"id":"evt_1"}"#);
    let mut sending = JoinSet::new();
    for _ in 0..32 {
        let (post, address) = (post.clone(), served.address);
        sending.spawn(async move { post.send(address).await });
    }
    let answers = sending.join_all().await;
    let (firsts, duplicates): (Vec<_>, Vec<_>) =
        answers.iter().partition(|answer| answer.json().get("duplicate").is_none());
    assert_eq!((firsts.len(), duplicates.len()), (1, 31));
    assert!(answers.iter().all(|answer| answer.status == 200 && answer.json()["id"] == "evt_1"));
    assert_eq!(served.stored("orders").await.len(), 1);
}

#[tokio::test]
async fn without_deduplication_every_request_is_an_event() {
    let served = Served::with([Endpoint { deduplication: None, ..endpoint("orders") }]).await;
    for _ in 0..3 {
        Post::signed("/shop/orders", r#"{"id":"evt_1"}"#).send(served.address).await.accepted();
    }
    assert_eq!(served.stored("orders").await.len(), 3);
}

/// Three updates of one order have one `/id`, and a payment service posts the same bytes at each change.
#[tokio::test]
async fn an_event_whose_id_nobody_declared_is_a_duplicate_of_nothing() {
    let undeclared = IdSources::new(Sources { defaults: id_defaults(None), ..Sources::default() });
    let served = Served::with([Endpoint { id_sources: undeclared, ..endpoint("orders") }]).await;
    let mut ids = Vec::new();
    for body in [r#"{"id":7,"state":"paid"}"#, r#"{"id":7,"state":"shipped"}"#, r#"{"id":false}"#, "id=tr_1", "id=tr_1"]
    {
        let answer = Post::signed("/shop/orders", body).send(served.address).await;
        ids.push(answer.accepted());
        assert_eq!(answer.headers["grapnel-id-from"], "generated");
    }
    ids.sort();
    ids.dedup();
    assert_eq!((ids.len(), served.stored("orders").await.len()), (5, 5));
    let named = Post::signed("/shop/orders", "{}").header("webhook-id", "w").send(served.address).await;
    assert_eq!((named.accepted().as_str(), &*named.headers["grapnel-id-from"]), ("w", "header webhook-id"));
}

#[tokio::test]
async fn by_body_equal_bytes_are_a_duplicate() {
    let by_body = IdSources::new(Sources { explicit: Some(Source::Digest), ..Sources::default() });
    let served = Served::with([Endpoint { id_sources: by_body, ..endpoint("orders") }]).await;
    let post = Post::signed("/shop/orders", r#"{"amount":1}"#).header("webhook-id", "another each time");
    let first = post.send(served.address).await;
    let id = first.accepted();
    assert_eq!(first.headers["grapnel-id-from"], "the digest of the body");
    assert_eq!(post.send(served.address).await.json()["duplicate"], true);
    assert_ne!(Post::signed("/shop/orders", r#"{"amount":2}"#).send(served.address).await.accepted(), id);
}

#[tokio::test]
async fn a_source_that_the_endpoint_names_must_be_there() {
    let mut named = endpoint("orders");
    let explicit = Some(Source::Header(HeaderName::from_static("x-event")));
    named.id_sources = IdSources::new(Sources { explicit, ..Sources::default() });
    let served = Served::with([named]).await;
    let post = Post::signed("/shop/orders", r#"{"id":"body"}"#);
    let sentence = post.send(served.address).await.refused(400, "malformed_payload");
    assert!(sentence.contains("x-event"), "{sentence}");
    assert_eq!(post.clone().header("X-Event", "h-1").send(served.address).await.accepted(), "h-1");
    assert_eq!(post.header("X-Event", "a\"b\\").send(served.address).await.json()["id"], "a\"b\\");
}

#[tokio::test]
async fn the_reply_is_the_endpoints_for_duplicates_too() {
    let reply = |path: &str, status: u16, body: Option<(&'static str, &'static str)>| {
        let body = body.map(|(body, kind)| (Bytes::from_static(body.as_bytes()), HeaderValue::from_static(kind)));
        Endpoint { reply: Reply { status: StatusCode::from_u16(status).unwrap(), body }, ..endpoint(path) }
    };
    let served = Served::with([
        reply("created", 201, Some(("<ok/>", "application/xml"))),
        reply("accepted", 202, None),
        reply("nothing", 204, None),
    ])
    .await;
    for duplicate in [false, true] {
        let answer = Post::signed("/shop/created", r#"{"id":"1"}"#).send(served.address).await;
        assert_eq!((answer.status, answer.text()), (201, "<ok/>"));
        assert_eq!(answer.headers["content-type"], "application/xml");
        let answer = Post::signed("/shop/accepted", r#"{"id":"1"}"#).send(served.address).await;
        assert_eq!((answer.status, answer.json().get("duplicate").is_some()), (202, duplicate));
        let answer = Post::signed("/shop/nothing", r#"{"id":"1"}"#).send(served.address).await;
        assert_eq!((answer.status, answer.text()), (204, ""));
        assert!(!answer.headers.contains_key("content-type") && !answer.headers.contains_key("content-length"));
    }
    // Only what is safe is answered so.
    Post::to("/shop/nothing", "{}").send(served.address).await.refused(401, "missing_signature");
}

#[tokio::test]
async fn the_challenge_is_answered_only_when_it_is_signed() {
    let slack = Endpoint {
        verifier: verifier("Slack", &["slack secret"]),
        handshake: Handshake::SlackUrlVerification,
        ..endpoint("orders")
    };
    let served = Served::with([slack]).await;
    let time = jiff::Timestamp::now().as_second();
    let post = |body: &str| {
        let mut mac = Hmac::<Sha256>::new_from_slice(b"slack secret").unwrap();
        mac.update(format!("v0:{time}:{body}").as_bytes());
        Post::to("/shop/orders", body)
            .header("Content-Type", "application/json")
            .header("X-Slack-Request-Timestamp", time.to_string())
            .header("X-Slack-Signature", format!("v0={}", hex::encode(mac.finalize().into_bytes())))
    };
    let challenge = r#"{"token":"t","challenge":"3eZbrw1a","type":"url_verification"}"#;
    let answer = post(challenge).send(served.address).await;
    assert_eq!((answer.status, answer.text()), (200, "3eZbrw1a"));
    assert!(answer.headers["content-type"].starts_with("text/plain"));
    assert!(served.stored("orders").await.is_empty());
    Post::to("/shop/orders", challenge).send(served.address).await.refused(401, "missing_signature");
    post(r#"{"id":"Ev1","type":"event_callback"}"#).send(served.address).await.accepted();
}

#[tokio::test]
async fn endpoints_do_not_share_ids() {
    let served = Served::with([endpoint("a"), Endpoint { verifier: open_door(), ..endpoint("b") }]).await;
    Post::signed("/shop/a", r#"{"id":"1"}"#).send(served.address).await.accepted();
    Post::to("/shop/b", r#"{"id":"1"}"#).send(served.address).await.accepted();
    assert_eq!((served.stored("a").await.len(), served.stored("b").await.len()), (1, 1));
}

#[tokio::test]
async fn requests_in_one_write_are_answered_in_order() {
    let served = Served::one().await;
    let mut bytes = Vec::new();
    for number in 0..20 {
        bytes.extend(Post::signed("/shop/orders", format!(r#"{{"id":"{number}"}}"#)).bytes());
    }
    let mut wire = Wire::open(served.address).await;
    wire.send(&bytes).await;
    for number in 0..20 {
        assert_eq!(wire.answer().await.accepted(), number.to_string());
    }
    let ids: Vec<_> = served.stored("orders").await.into_iter().map(|event| event.id).collect();
    assert_eq!(ids, (0..20).map(|number| number.to_string().into_boxed_str()).collect::<Vec<_>>());
}
