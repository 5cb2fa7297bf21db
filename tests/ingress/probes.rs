//! Requests by which senders try a URL before they use it.

use grapnel::catalog::Endpoint;
use http::Method;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{
    client::Post,
    fixture::{Served, endpoint},
};

fn probed(methods: &[Method]) -> Endpoint {
    Endpoint { probes: methods.into(), ..endpoint("orders") }
}

#[tokio::test]
async fn probes_are_answered_and_not_stored() {
    let served = Served::with([probed(&[Method::GET, Method::HEAD, Method::POST])]).await;
    let get = Post::to("/shop/orders", "").method("GET").send(served.address).await;
    assert_eq!((get.status, get.text()), (200, r#"{"success":true}"#));
    let post = Post::to("/shop/orders", "webhook_id=17").send(served.address).await;
    assert_eq!((post.status, post.text()), (200, r#"{"success":true}"#));
    assert!(served.stored("orders").await.is_empty());
    let facts = served.facts("orders");
    assert_eq!((facts.received, facts.rejected), (0, 0));
    let head = Post::to("/shop/orders", "").method("HEAD").header("Connection", "close");
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    stream.write_all(&head.head()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\n"), "{answer}");
    Post::signed("/shop/orders", r#"{"id":"1"}"#).send(served.address).await.accepted();
}

#[tokio::test]
async fn only_the_methods_that_the_endpoint_lists() {
    let served = Served::with([probed(&[Method::HEAD])]).await;
    let get = Post::to("/shop/orders", "").method("GET").send(served.address).await;
    get.refused(405, "method_not_allowed");
    assert_eq!(get.headers["allow"], "HEAD, POST");
    Post::to("/shop/orders", "{}").send(served.address).await.refused(401, "missing_signature");
}

#[tokio::test]
async fn a_request_with_a_signature_is_no_probe() {
    let served = Served::with([probed(&[Method::GET, Method::POST])]).await;
    let forged = |method| {
        let post = Post::to("/shop/orders", "{}").method(method);
        post.header("X-Hub-Signature-256", format!("sha256={}", "0".repeat(64)))
    };
    forged("POST").send(served.address).await.refused(401, "invalid_signature");
    forged("GET").send(served.address).await.refused(405, "method_not_allowed");
    let empty = Post::to("/shop/orders", "{}").header("X-Hub-Signature-256", "").send(served.address).await;
    empty.refused(401, "invalid_signature");
}

/// A signed event whose timestamp was lost on the way must not look accepted to its sender.
#[tokio::test]
async fn a_signature_without_its_timestamp_is_no_probe() {
    let slack = grapnel_signature::provider("Slack").unwrap();
    let served =
        Served::with([Endpoint { probes: [Method::POST].into(), ..super::presets::preset(slack, "orders") }]).await;
    let unsigned = Post::to("/shop/orders", "{}").send(served.address).await;
    assert_eq!(unsigned.status, 200);
    let torn = Post::to("/shop/orders", "{}").header("X-Slack-Signature", format!("v0={}", "0".repeat(64)));
    torn.send(served.address).await.refused(401, "missing_signature");
}

#[tokio::test]
async fn a_suspended_endpoint_answers_no_probe() {
    let served = Served::with([Endpoint { suspended: true, ..probed(&[Method::GET]) }]).await;
    Post::to("/shop/orders", "").method("GET").send(served.address).await.refused(503, "suspended");
}
