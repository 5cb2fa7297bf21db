//! Clients that abuse HTTP/1.1.

use std::time::Duration;

use grapnel::catalog::Endpoint;
use grapnel_event::schema::{SchemaSet, Unmatched};
use grapnel_values::glob::Glob;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{
    client::{Post, Wire},
    fixture::{Plan, Served, endpoint},
};

fn event(id: &str) -> Post {
    Post::signed("/shop/orders", format!(r#"{{"id":"{id}"}}"#))
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let served = Served::one().await;
    let mut wire = Wire::open(served.address).await;
    let all: Vec<u8> = (0..200).flat_map(|number| event(&format!("e{number}")).bytes()).collect();
    wire.send(&all).await;
    for number in 0..200 {
        assert_eq!(wire.answer().await.accepted(), format!("e{number}"));
    }
    assert_eq!(served.stored("orders").await.len(), 200);
}

/// Whoever sends requests and reads no answers is not read for long, and is left in time.
#[tokio::test]
async fn pipelining_without_reading_ends() {
    let mut plan = Plan::of([endpoint("orders")]);
    plan.options.head_timeout = Duration::from_millis(300);
    plan.options.idle_timeout = Duration::from_millis(600);
    let served = plan.serve().await;
    let mut wire = Wire::open(served.address).await;
    let burst = Post::to("/shop/nothing", "{}").bytes().repeat(1000);
    // Ends with an error, or this test does not.
    while wire.stream.write_all(&burst).await.is_ok() {}
    event("after").send(served.address).await.accepted();
}

/// Every shape in which two parties could differ about where a request ends. A second request stands where one of them
/// would see it; it must not be served, or not on this connection.
#[tokio::test]
async fn nothing_is_smuggled() {
    let served = Served::one().await;
    let honest = event("honest");
    let body = String::from_utf8(honest.body.clone()).unwrap();
    let (length, signature) = (body.len(), &honest.headers.last().unwrap().1);
    let chunked = format!("{length:x}\r\n{body}\r\n0\r\n\r\n");
    let head = |more: &str| {
        format!("POST /shop/orders HTTP/1.1\r\nHost: x\r\nX-Hub-Signature-256: {signature}\r\n{more}\r\n\r\n")
    };
    let long = "x".repeat(40_000);
    let shapes = [
        // Both lengths, in both orders (RFC 9112 section 6.3).
        head(&format!("Content-Length: {}\r\nTransfer-Encoding: chunked", chunked.len())) + &chunked,
        head(&format!("Transfer-Encoding: chunked\r\nContent-Length: {length}")) + &chunked,
        head("Transfer-Encoding: chunked\r\nContent-Length: 0") + &chunked,
        head("Content-Length: 0\r\nTransfer-Encoding: chunked") + &chunked,
        // Codings that are not, or not only, `chunked`.
        head("Transfer-Encoding: gzip, chunked") + &chunked,
        head("Transfer-Encoding: chunked, chunked") + &chunked,
        head("Transfer-Encoding: chunked, identity") + &chunked,
        head("Transfer-Encoding: identity, chunked") + &chunked,
        head("Transfer-Encoding: identity\r\nTransfer-Encoding: chunked") + &chunked,
        head("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity") + &chunked,
        head("Transfer-Encoding: xchunked") + &chunked,
        head("Transfer-Encoding: \"chunked\"") + &chunked,
        head("Transfer-Encoding: ,chunked,") + &chunked,
        head("Transfer-Encoding: \x0bchunked") + &chunked,
        head("Transfer-Encoding:\r\n chunked") + &chunked,
        head("Transfer-Encoding : chunked") + &chunked,
        head(" Transfer-Encoding: chunked") + &chunked,
        head("Transfer_Encoding: chunked") + &chunked,
        head("X: y\nTransfer-Encoding: chunked") + &chunked,
        head("X: y\rTransfer-Encoding: chunked") + &chunked,
        // Lengths that are not plain numbers, or not one.
        head(&format!("Content-Length: +{length}")) + &body,
        head(&format!("Content-Length: 0x{length:x}")) + &body,
        head(&format!("Content-Length: {length}, {length}")) + &body,
        head(&format!("Content-Length: {length}\r\nContent-Length: 0")) + &body,
        head(&format!("Content-Length: {length}.0")) + &body,
        head(&format!("Content-Length: {length} 0")) + &body,
        head("Content-Length: 99999999999999999999999") + &body,
        head("Content-Length:") + &body,
        // Chunks whose end is a matter of opinion (section 7.1).
        head("Transfer-Encoding: chunked") + &format!("{length:x};{long}\r\n{body}\r\n0\r\n\r\n"),
        head("Transfer-Encoding: chunked") + &format!("{length:x}\n{body}\n0\n\n"),
        head("Transfer-Encoding: chunked") + &format!("{length:x};a\nb\r\n{body}\r\n0\r\n\r\n"),
        head("Transfer-Encoding: chunked") + &format!("{length:x}\r{body}\r0\r\r"),
        head("Transfer-Encoding: chunked") + &format!("0x{length:x}\r\n{body}\r\n0\r\n\r\n"),
        head("Transfer-Encoding: chunked") + &format!("+{length:x}\r\n{body}\r\n0\r\n\r\n"),
        head("Transfer-Encoding: chunked") + &format!("-1\r\n{body}\r\n0\r\n\r\n"),
        head("Transfer-Encoding: chunked") + &format!("10000000000000000{length:x}\r\n{body}\r\n0\r\n\r\n"),
        head("Transfer-Encoding: chunked") + &format!("\r\n{body}\r\n0\r\n\r\n"),
        head("Transfer-Encoding: chunked") + &format!("{length:x}\r\n{body}0\r\n\r\n"),
        head("Transfer-Encoding: chunked") + &format!("{length:x}\r\n{body}\r\n0\r\nX: {long}{long}\r\n\r\n"),
        head("Transfer-Encoding: chunked") + &format!("{length:x}\r\n{body}\r\n0\r\n{}\r\n", "X: y\r\n".repeat(2000)),
        // Another protocol, asked for on the way.
        head(&format!(
            "Content-Length: {length}\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA"
        )) + &body,
        head(&format!("Content-Length: {length}\r\nConnection: close")) + &body,
    ];
    for shape in &shapes {
        let mut bytes = shape.clone().into_bytes();
        bytes.extend(event("smuggled").bytes());
        let mut wire = Wire::open(served.address).await;
        wire.send(&bytes).await;
        // So that a server which waits for more learns that there is none.
        wire.stream.shutdown().await.unwrap();
        let mut answers = Vec::new();
        wire.stream.read_to_end(&mut answers).await.unwrap_or_default();
        let answers = String::from_utf8_lossy(&answers);
        let smuggled = answers.contains(r#""id":"smuggled""#);
        // Where nobody can differ about the end it may follow: an upgrade that is not taken up changes nothing, and a
        // recipient may take LF alone for the end of a line (section 2.2).
        let plain = shape.contains("Upgrade: h2c") || shape.contains("y\nTransfer-Encoding");
        assert!(!smuggled || plain, "{shape:?}\n{answers}");
        let successes = answers.matches("HTTP/1.1 200").count();
        assert!(successes <= 1 + usize::from(plain), "{shape:?}\n{answers}");
    }
    event("after").send(served.address).await.accepted();
}

/// A bomb is not even read: what is compressed is refused by its header.
#[tokio::test]
async fn compressed_bodies_are_refused_before_they_are_read() {
    let served = Served::one().await;
    for encoding in
        ["Content-Encoding: gzip", "Content-Encoding: deflate", "Content-Encoding: zstd", "Content-Encoding: x"]
    {
        let (name, value) = encoding.split_once(": ").unwrap();
        let mut wire = Wire::open(served.address).await;
        let post = Post::to("/shop/orders", "").header("Content-Length", "1000000").header(name, value);
        let answer = wire.exchange(&post.head()).await;
        answer.refused(415, "unsupported_media_type");
        assert_eq!(answer.headers["connection"], "close");
    }
    for coding in ["gzip, chunked", "deflate,chunked", "chunked, chunked", "identity, chunked"] {
        let mut wire = Wire::open(served.address).await;
        let answer = wire.exchange(&Post::to("/shop/orders", "").header("Transfer-Encoding", coding).head()).await;
        assert!(answer.status == 415 || answer.status == 400, "{coding}: {}", answer.status);
    }
    assert!(served.stored("orders").await.is_empty());
    let mut chunked = Wire::open(served.address).await;
    let post = event("plain").header("Transfer-Encoding", "Chunked");
    let mut bytes = post.head();
    bytes.extend(format!("{:x}\r\n", post.body.len()).bytes().chain(post.body).chain(b"\r\n0\r\n\r\n".iter().copied()));
    chunked.exchange(&bytes).await.accepted();
}

/// A client that asks before it sends, and then does not send.
#[tokio::test]
async fn who_asks_to_send_must_send() {
    let served = Served::with([Endpoint { timeout: Duration::from_millis(300), ..endpoint("orders") }]).await;
    let mut wire = Wire::open(served.address).await;
    wire.send(&Post::to("/shop/orders", "").header("Content-Length", "5").header("Expect", "100-continue").head())
        .await;
    assert_eq!(wire.answer().await.status, 100);
    wire.answer().await.refused(408, "timeout");
    wire.ended().await;
}

/// Objects are hashed with keys that nobody knows; as many members as fit are only as much work as they are long.
#[tokio::test]
async fn bodies_of_many_members_are_read() {
    let everything = vec![(vec![Glob::parse("*").unwrap()], json!({ "type": "object", "minProperties": 2 }))];
    let schemas = SchemaSet::compile(everything, Unmatched::Accept).unwrap();
    let served = Served::with([Endpoint { schemas, ..endpoint("orders") }]).await;
    // Those that collide where strings are hashed by 31 and addition, in any number of letters.
    let colliding: String = (0u32..1 << 15)
        .map(|bits| (0..15).map(|bit| if bits >> bit & 1 == 0 { "Aa" } else { "BB" }).collect::<String>())
        .take(20_000)
        .map(|key| format!(r#""{key}":0,"#))
        .collect();
    let distinct: String = (0..80_000).map(|number| format!(r#""{number}":0,"#)).collect();
    for (id, members) in [("colliding", colliding), ("distinct", distinct)] {
        let post = Post::signed("/shop/orders", format!(r#"{{{members}"id":"{id}"}}"#));
        assert_eq!(post.send(served.address).await.accepted(), id);
    }
    let fields: String = (0..50_000).map(|number| format!("{number}=&")).collect();
    let form = Post::signed("/shop/orders", fields).header("Content-Type", "application/x-www-form-urlencoded");
    let answer = form.send(served.address).await;
    answer.refused(422, "schema_violation");
    assert_eq!(answer.json()["violations"][0]["message"], "the form has more than 1024 fields");
}
