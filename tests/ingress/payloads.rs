//! Bodies of every wrong kind, correctly signed.

use std::time::Duration;

use grapnel::catalog::Endpoint;
use grapnel_event::{
    identity::{BodyFormat, Reading},
    schema::{SchemaSet, Unmatched},
};
use grapnel_values::glob::Glob;
use serde_json::json;

use super::{
    client::{Post, Wire},
    fixture::{Served, endpoint, open_door},
};

const LIMIT: usize = 1024;

fn small() -> Endpoint {
    Endpoint { body_bytes: LIMIT, ..endpoint("orders") }
}

/// Bodies that a strict parser refuses, and what is wrong with them.
fn unusual() -> Vec<(Vec<u8>, &'static str)> {
    let mut deep = b"[".repeat(100_000);
    deep.extend(b"]".repeat(100_000));
    vec![
        (Vec::new(), "empty"),
        (b"{\"id\": 1".to_vec(), "line 1"),
        (b"{\"name\": \"\xff\xfe\"}".to_vec(), "line 1"),
        (br#"{"name": "\ud800"}"#.to_vec(), "line 1"),
        (br#"{"amount": 1e999}"#.to_vec(), "beyond a double"),
        (b"{}{}".to_vec(), "trailing characters"),
        (b"\x00\x01\x02".to_vec(), "line 1"),
        (b"[".repeat(100_000), "line 1"),
        (deep, "nested too deeply"),
    ]
}

#[tokio::test]
async fn a_verified_body_is_not_refused_for_its_bytes() {
    let served = Served::one().await;
    for (body, _) in unusual() {
        let post = Post::signed("/shop/orders", body.clone()).header("Content-Type", "application/json");
        post.send(served.address).await.accepted();
        assert_eq!(served.stored("orders").await.last().unwrap().body, body);
    }
    let bom = Post::signed("/shop/orders", b"\xef\xbb\xbf{\"id\":\"bom\",\"type\":\"t\"}".to_vec());
    assert_eq!(bom.send(served.address).await.accepted(), "bom");
    let half = Post::signed("/shop/orders", br#"{"id":"half","type":"t","name":"\ud800","amount":1e999}"#.to_vec());
    assert_eq!(half.send(served.address).await.accepted(), "half", "as much as can be read");
    assert_eq!(served.facts("orders").rejected, 0);
}

#[tokio::test]
async fn a_schema_asks_for_more_than_bytes() {
    let any = SchemaSet::compile(vec![(vec![Glob::parse("*").unwrap()], json!(true))], Unmatched::Accept).unwrap();
    let served = Served::with([Endpoint { schemas: any, ..endpoint("orders") }]).await;
    for (body, reason) in unusual() {
        let post = Post::signed("/shop/orders", body).header("Content-Type", "application/json");
        let answer = post.send(served.address).await;
        answer.refused(422, "schema_violation");
        let message = answer.json()["violations"][0]["message"].as_str().unwrap().to_owned();
        assert!(message.contains(reason), "{message}");
    }
    assert!(served.stored("orders").await.is_empty());
    let bom = Post::signed("/shop/orders", b"\xef\xbb\xbf{\"id\":\"bom\"}".to_vec());
    assert_eq!(bom.send(served.address).await.accepted(), "bom", "a byte order mark may be ignored");
}

#[tokio::test]
async fn a_content_type_that_is_not_text_says_nothing() {
    let served = Served::one().await;
    let post = Post::signed("/shop/orders", r#"{"id":"1"}"#).header("Content-Type", "téxt");
    assert_eq!(post.send(served.address).await.accepted(), "1");
}

#[tokio::test]
async fn a_declared_format_is_read_whatever_the_content_type() {
    let reading = |format, field: Option<&str>| Reading { format, field: field.map(Into::into) };
    let of = |name: &str, reading| Endpoint { reading, ..endpoint(name) };
    let served = Served::with([
        of("json", reading(BodyFormat::Json, None)),
        of("form", reading(BodyFormat::Form, None)),
        of("opaque", reading(BodyFormat::Opaque, None)),
        of("field", reading(BodyFormat::Auto, Some("payload"))),
    ])
    .await;
    let form = "application/x-www-form-urlencoded";
    for (endpoint, content_type, body, kind) in [
        ("json", "text/plain", r#"{"type":"a"}"#, "a"),
        ("json", "application/octet-stream", r#"{"type":"b"}"#, "b"),
        ("json", form, r#"{"type":"c"}"#, "c"),
        ("form", "text/plain", "type=d", "d"),
        ("opaque", "application/json", r#"{"type":"e"}"#, "unknown"),
        ("field", form, "payload=%7B%22type%22%3A%22f%22%7D", "f"),
        ("field", form, "type=g", "g"),
        ("field", form, "type=h&payload=%7B", "h"),
    ] {
        let path = format!("/shop/{endpoint}");
        Post::signed(&path, body).header("Content-Type", content_type).send(served.address).await.accepted();
        let stored = served.stored(endpoint).await;
        let stored = stored.last().unwrap();
        assert_eq!((&*stored.kind, &*stored.body), (kind, body.as_bytes()), "{endpoint} {content_type}");
        assert_eq!(stored.content_type.as_deref(), Some(content_type));
    }
}

#[tokio::test]
async fn of_equal_keys_the_last_counts() {
    let served = Served::one().await;
    let answer = Post::signed("/shop/orders", r#"{"id":"first","type":"a","id":"last"}"#).send(served.address).await;
    assert_eq!(answer.accepted(), "last");
}

#[tokio::test]
async fn other_content_types_are_accepted_as_they_are() {
    let served = Served::one().await;
    let form = Post::signed("/shop/orders", "id=f1&type=form.sent")
        .header("Content-Type", "application/x-www-form-urlencoded");
    assert_eq!(form.send(served.address).await.accepted(), "f1");
    let opaque = Post::signed("/shop/orders", b"\xff\x00<xml".to_vec()).header("Content-Type", "application/xml");
    opaque.send(served.address).await.accepted();
    let stored = served.stored("orders").await;
    assert_eq!((&*stored[0].kind, &*stored[1].kind), ("form.sent", "unknown"));
    assert_eq!(stored[1].body.as_ref(), b"\xff\x00<xml");
    assert_eq!(stored[1].content_type.as_deref(), Some("application/xml"));
}

#[tokio::test]
async fn the_largest_body_is_accepted_in_any_framing() {
    let served = Served::with([small()]).await;
    for (number, chunk) in [usize::MAX, 1, 7, LIMIT].into_iter().enumerate() {
        let id = format!("e{number}");
        let empty = format!(r#"{{"id":"{id}","fill":""}}"#).len();
        let body = format!(r#"{{"id":"{id}","fill":"{}"}}"#, "x".repeat(LIMIT - empty));
        let post = Post::signed("/shop/orders", body);
        let bytes = if chunk == usize::MAX { post.bytes() } else { post.chunked(chunk) };
        assert_eq!(Wire::open(served.address).await.exchange(&bytes).await.accepted(), id);
    }
    assert!(served.stored("orders").await.iter().all(|event| event.body.len() == LIMIT));
}

#[tokio::test]
async fn a_body_that_says_that_it_is_too_large_is_not_waited_for() {
    let served = Served::with([small()]).await;
    for length in ["1025", "10000000000"] {
        let mut wire = Wire::open(served.address).await;
        let answer = wire.exchange(&Post::to("/shop/orders", "").header("Content-Length", length).head()).await;
        let sentence = answer.refused(413, "body_too_large");
        assert!(sentence.contains("1024"), "{sentence}");
        assert_eq!(answer.headers["connection"], "close");
    }
}

#[tokio::test]
async fn a_body_that_turns_out_too_large_is_cut_off() {
    let served = Served::with([small()]).await;
    let post = Post::signed("/shop/orders", vec![b'x'; LIMIT + 1]);
    for chunk in [1, LIMIT, LIMIT + 1] {
        Wire::open(served.address).await.exchange(&post.chunked(chunk)).await.refused(413, "body_too_large");
    }
    assert!(served.stored("orders").await.is_empty());
}

/// The client sends everything before it reads, as many do: the answer must survive that.
#[tokio::test]
async fn the_answer_reaches_a_client_that_is_still_sending() {
    let served = Served::with([small()]).await;
    let huge = Post::signed("/shop/orders", vec![b'x'; 8 * 1024 * 1024]);
    for bytes in [huge.bytes(), huge.chunked(64 * 1024)] {
        Wire::open(served.address).await.exchange(&bytes).await.refused(413, "body_too_large");
    }
}

#[tokio::test]
async fn a_compressed_body_is_not_taken() {
    let served = Served::one().await;
    for encoding in ["gzip", "br", "identity, gzip", "GZIP"] {
        let answer = Post::signed("/shop/orders", "{}").header("Content-Encoding", encoding).send(served.address).await;
        answer.refused(415, "unsupported_media_type");
    }
    Post::signed("/shop/orders", "{}").header("Content-Encoding", "identity").send(served.address).await.accepted();
}

#[tokio::test]
async fn large_bodies_have_bounded_room_and_small_ones_are_not_concerned() {
    let mut plan = super::fixture::Plan::of([endpoint("orders")]);
    plan.options.body_memory = 100 * 1024;
    let served = plan.serve().await;
    let large = |id: &str, size: usize| {
        Post::signed("/shop/orders", format!(r#"{{"id":"{id}","fill":"{}"}}"#, "x".repeat(size)))
    };
    let answer = large("too-much", 300 * 1024).send(served.address).await;
    answer.refused(503, "unavailable");
    assert!(answer.retry_after() >= 1);
    large("fits", 150 * 1024).send(served.address).await.accepted();
    large("fits-again", 150 * 1024).send(served.address).await.accepted();
}

#[tokio::test]
async fn a_body_judged_on_another_thread_is_judged_the_same() {
    let served = Served::one().await;
    let fill = "x".repeat(600 * 1024);
    let body = format!(r#"{{"id":"large","type":"t","fill":"{fill}"}}"#);
    assert_eq!(Post::signed("/shop/orders", body.clone()).send(served.address).await.accepted(), "large");
    Post::to("/shop/orders", body.clone()).send(served.address).await.refused(401, "missing_signature");
    let cut = &body[..body.len() - 1];
    let cut = Post::signed("/shop/orders", cut).send(served.address).await;
    assert_eq!(cut.headers["grapnel-id-from"], "generated", "nothing of it can be read");
    assert_eq!(served.stored("orders").await[0].body.as_ref(), body.as_bytes());
}

#[tokio::test]
async fn a_slow_body_is_given_up_when_its_time_is_over() {
    let slow = Endpoint { timeout: Duration::from_millis(300), ..endpoint("orders") };
    let served = Served::with([slow]).await;
    let post = Post::signed("/shop/orders", r#"{"id":"slow"}"#);
    let mut wire = Wire::open(served.address).await;
    let bytes = post.bytes();
    let (most, rest) = bytes.split_at(bytes.len() - 5);
    wire.send(most).await;
    let answer = wire.answer().await;
    answer.refused(408, "timeout");
    assert_eq!(answer.headers["connection"], "close");
    // Too late: the request is over, and so is the connection.
    wire.send(rest).await;
    wire.ended().await;
    assert!(served.stored("orders").await.is_empty());
    post.send(served.address).await.accepted();
}

#[tokio::test]
async fn a_body_of_one_byte_a_time_is_given_up_as_well() {
    let slow = Endpoint { timeout: Duration::from_millis(500), ..endpoint("orders") };
    let served = Served::with([slow]).await;
    let mut wire = Wire::open(served.address).await;
    wire.send(&Post::signed("/shop/orders", "").header("Content-Length", "1000").head()).await;
    let (mut read, mut write) = tokio::io::split(wire.stream);
    let drip = tokio::spawn(async move {
        let mut ticks = tokio::time::interval(Duration::from_millis(20));
        // Ends when the server has had enough.
        while tokio::io::AsyncWriteExt::write_all(&mut write, b" ").await.is_ok() {
            ticks.tick().await;
        }
    });
    let mut answer = Vec::new();
    let mut buffer = [0; 1024];
    while !String::from_utf8_lossy(&answer).contains(r#""code":"timeout""#) {
        let length = tokio::io::AsyncReadExt::read(&mut read, &mut buffer).await.unwrap();
        assert_ne!(length, 0, "{}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&buffer[..length]);
    }
    assert!(answer.starts_with(b"HTTP/1.1 408 "));
    drip.await.unwrap();
}

#[tokio::test]
async fn broken_chunks_are_malformed() {
    let served = Served::with([Endpoint { verifier: open_door(), ..endpoint("orders") }]).await;
    let mut bytes = Post::to("/shop/orders", "").header("Transfer-Encoding", "chunked").head();
    bytes.extend_from_slice(b"zz\r\n{}\r\n0\r\n\r\n");
    Wire::open(served.address).await.exchange(&bytes).await.refused(400, "malformed_payload");
    assert!(served.stored("orders").await.is_empty());
}

fn schemas(unmatched: Unmatched) -> SchemaSet {
    let schema = json!({ "type": "object", "additionalProperties": { "type": "integer" } });
    let tagged = json!({
        "properties": { "id": { "type": "string" }, "type": { "type": "string" } },
        "additionalProperties": { "type": "integer" },
    });
    SchemaSet::compile(
        vec![(vec![Glob::parse("plain").unwrap()], schema), (vec![Glob::parse("invoice.*").unwrap()], tagged)],
        unmatched,
    )
    .unwrap()
}

#[tokio::test]
async fn violations_are_listed_by_path_up_to_ten() {
    let served = Served::with([Endpoint { schemas: schemas(Unmatched::Accept), ..endpoint("orders") }]).await;
    let post = |body: serde_json::Value| Post::signed("/shop/orders", body.to_string());
    post(json!({ "id": "1", "type": "invoice.paid", "amount": 5 })).send(served.address).await.accepted();

    let answer = post(json!({ "id": "2", "type": "invoice.paid", "amount": "s3cret" })).send(served.address).await;
    answer.refused(422, "schema_violation");
    let json = answer.json();
    assert_eq!(json["violations"][0]["path"], "/amount", "{json}");
    assert!(json["violations"][0]["message"].as_str().unwrap().contains("integer"), "{json}");
    assert!(!answer.text().contains("s3cret"), "no value of the payload: {json}");

    let mut many = json!({ "id": "3", "type": "invoice.paid" });
    for number in 0..12 {
        many[format!("f{number}")] = json!("no");
    }
    let json = post(many).send(served.address).await.json();
    assert_eq!(json["violations"].as_array().unwrap().len(), 10, "{json}");

    post(json!({ "id": "4", "type": "other" })).send(served.address).await.accepted();
    let metrics = served.metrics.encode();
    let line =
        r#"webhook_failed_total{namespace="shop",endpoint="orders",type="invoice.paid",error="schema_violation"} 2"#;
    assert!(metrics.contains(line), "{metrics}");
}

#[tokio::test]
async fn unknown_types_can_be_refused() {
    let served = Served::with([Endpoint { schemas: schemas(Unmatched::Reject), ..endpoint("orders") }]).await;
    let answer = Post::signed("/shop/orders", r#"{"id":"1","type":"other"}"#).send(served.address).await;
    answer.refused(422, "unknown_event_type");
    assert!(answer.json().get("violations").is_none());
    assert!(served.stored("orders").await.is_empty());
}

#[test]
fn a_large_body_that_finds_no_thread_is_answered_in_time() {
    // The only thread that may block is taken, as by lookups of names that hang.
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(2).max_blocking_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let served = Served::with([Endpoint { timeout: Duration::from_millis(300), ..endpoint("orders") }]).await;
        let (release, released) = std::sync::mpsc::channel::<()>();
        tokio::task::spawn_blocking(move || released.recv());
        let large = async |id: &str| {
            let body = format!(r#"{{"id":"{id}","fill":"{}"}}"#, "x".repeat(300 * 1024));
            Post::signed("/shop/orders", body).send(served.address).await
        };
        let sentence = large("late").await.refused(408, "timeout");
        assert!(sentence.contains("verified and validated in time"), "{sentence}");
        Post::signed("/shop/orders", r#"{"id":"small"}"#).send(served.address).await.accepted();
        release.send(()).unwrap();
        assert_eq!(large("after").await.accepted(), "after");
    });
}
