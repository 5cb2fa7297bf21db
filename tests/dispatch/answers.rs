//! What becomes of an event, by what the receiver does.

use std::{convert::Infallible, time::Duration};

use axum::{body::Body, response::Response};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use grapnel::catalog::observed;
use grapnel_delivery::egress::EgressPolicy;
use grapnel_journal::DeliveryState;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use url::Url;

use crate::stage::{Receiver, Stage, eventually, status, subscription};

fn after(stage: &Stage, seconds: u64) -> jiff::Timestamp {
    stage.now() + Duration::from_secs(seconds)
}

#[tokio::test]
async fn a_2xx_delivers() {
    let mut stage = Stage::new().await;
    let mut receiver = Receiver::statuses(&[204]).await;
    let billing = subscription("billing", &receiver.url, &stage.metrics);
    let facts = billing.facts.clone();
    stage.publish([billing]).await;
    stage.append("evt_1", "invoice.paid").await;
    let request = receiver.next().await;
    assert_eq!(request.method, "POST");
    assert_eq!(request.path, "/hook");
    assert_eq!(&request.body[..], br#"{"a":1}"#);
    assert_eq!(request.header("content-type"), "application/json");
    assert_eq!(request.header("webhook-id"), "evt_1");
    assert_eq!(request.header("webhook-timestamp"), stage.now().as_second().to_string());
    assert_eq!(request.header("grapnel-attempt"), "1");
    assert!(request.header("user-agent").starts_with("grapnel/"));
    let progress = stage.until("billing", "delivered", |progress| progress.delivered == 1).await;
    assert_eq!((progress.pending, progress.in_flight, progress.retrying, progress.dead), (0, 0, 0, 0));
    let reading = facts.read();
    assert_eq!(reading.outcome, observed::LastResult::Succeeding);
    let delivered = reading.last_delivery.unwrap();
    assert_eq!((&*delivered.event_id, delivered.status, delivered.time), ("evt_1", 204, stage.now()));
    let metrics = stage.metrics.encode();
    let label = r#"{namespace="shop",subscription="billing",outcome="delivered"} 1"#;
    assert!(metrics.contains(&format!("webhook_delivery_attempts_total{label}")), "{metrics}");
    assert!(metrics.contains(r#"webhook_delivery_lag_seconds_count{namespace="shop",subscription="billing"} 1"#));
    stage.stop().await;
}

#[tokio::test]
async fn failures_are_tried_again_when_due_under_the_same_id() {
    let mut stage = Stage::new().await;
    let mut receiver = Receiver::statuses(&[500, 502, 200]).await;
    stage.publish([subscription("billing", &receiver.url, &stage.metrics)]).await;
    stage.append("evt_1", "t").await;
    for (attempt, delay) in [(1, 1), (2, 2)] {
        let request = receiver.next().await;
        assert_eq!(request.header("webhook-id"), "evt_1");
        assert_eq!(request.header("grapnel-attempt"), attempt.to_string());
        assert_eq!(request.header("webhook-timestamp"), stage.now().as_second().to_string());
        let retrying = stage.delivery("billing", DeliveryState::Retrying).await;
        assert_eq!(retrying.attempts, attempt);
        assert_eq!(retrying.due, Some(after(&stage, delay)), "delay after attempt {attempt}");
        assert_eq!(retrying.failure.unwrap().time, stage.now());
        assert!(receiver.rest().is_empty(), "not before it is due");
        stage.clock.advance(Duration::from_secs(delay));
    }
    assert_eq!(receiver.next().await.header("grapnel-attempt"), "3");
    stage.until("billing", "delivered", |progress| progress.delivered == 1).await;
    stage.stop().await;
}

#[tokio::test]
async fn exhausted_attempts_end_in_the_dead_letter() {
    let mut stage = Stage::new().await;
    let mut receiver =
        Receiver::new(async |_| Response::builder().status(500).body(Body::from("no\x00 room\n")).unwrap()).await;
    let billing = subscription("billing", &receiver.url, &stage.metrics);
    let facts = billing.facts.clone();
    stage.publish([billing]).await;
    stage.append("evt_1", "t").await;
    for delay in [1, 2] {
        receiver.next().await;
        stage.delivery("billing", DeliveryState::Retrying).await;
        stage.clock.advance(Duration::from_secs(delay));
    }
    receiver.next().await;
    let dead = stage.delivery("billing", DeliveryState::DeadLettered).await;
    assert_eq!(dead.attempts, 3);
    let failure = dead.failure.unwrap();
    assert_eq!((&*failure.reason, failure.status), ("status", Some(500)));
    assert_eq!(&*failure.message, "the target responded with 500 Internal Server Error: no room");
    let reading = facts.read();
    assert_eq!(reading.outcome, observed::LastResult::Failing);
    let failed = reading.last_failure.unwrap();
    assert_eq!((failed.next_attempt, failed.gone, failed.message), (None, false, failure.message));
    let label = r#"{namespace="shop",subscription="billing",outcome="status"} 3"#;
    assert!(stage.metrics.encode().contains(&format!("webhook_delivery_attempts_total{label}")));
    stage.stop().await;
}

#[tokio::test]
async fn gone_is_dead_at_once() {
    let mut stage = Stage::new().await;
    let mut receiver = Receiver::statuses(&[410]).await;
    let billing = subscription("billing", &receiver.url, &stage.metrics);
    let facts = billing.facts.clone();
    stage.publish([billing]).await;
    stage.append("evt_1", "t").await;
    receiver.next().await;
    let dead = stage.delivery("billing", DeliveryState::DeadLettered).await;
    assert_eq!((dead.attempts, dead.failure.unwrap().status), (1, Some(410)));
    assert_eq!(facts.read().outcome, observed::LastResult::Gone);
    stage.stop().await;
}

#[tokio::test]
async fn retry_after_is_honoured_as_seconds_and_as_date() {
    for (header, seconds) in [("17", 17), ("Sun, 01 Mar 2026 12:00:33 GMT", 33), ("86400", 60)] {
        let mut stage = Stage::new().await;
        let mut receiver = Receiver::new(move |_| async move {
            Response::builder().status(503).header("retry-after", header).body(Body::empty()).unwrap()
        })
        .await;
        stage.publish([subscription("billing", &receiver.url, &stage.metrics)]).await;
        stage.append("evt_1", "t").await;
        receiver.next().await;
        let retrying = stage.delivery("billing", DeliveryState::Retrying).await;
        assert_eq!(retrying.due, Some(after(&stage, seconds)), "{header}");
        stage.stop().await;
    }
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let mut stage = Stage::new().await;
    let mut elsewhere = Receiver::statuses(&[200]).await;
    let location = elsewhere.url.to_string();
    let receiver = Receiver::new(move |_| {
        let location = location.clone();
        async move { Response::builder().status(307).header("location", location).body(Body::empty()).unwrap() }
    })
    .await;
    stage.publish([subscription("billing", &receiver.url, &stage.metrics)]).await;
    stage.append("evt_1", "t").await;
    let failure = stage.delivery("billing", DeliveryState::Retrying).await.failure.unwrap();
    assert_eq!((&*failure.reason, failure.status), ("status", Some(307)));
    assert!(failure.message.contains("redirects are not followed"), "{}", failure.message);
    assert!(elsewhere.rest().is_empty());
    stage.stop().await;
}

#[tokio::test]
async fn endless_answers_are_read_no_further_than_the_bound() {
    let mut stage = Stage::new().await;
    let receiver = Receiver::new(|number| async move {
        let chunks = stream::repeat(Ok::<_, Infallible>(Bytes::from_static(&[b'x'; 4096])));
        let status = if number == 0 { 500 } else { 200 };
        Response::builder().status(status).body(Body::from_stream(chunks)).unwrap()
    })
    .await;
    stage.publish([subscription("billing", &receiver.url, &stage.metrics)]).await;
    stage.append("evt_1", "t").await;
    let failure = stage.delivery("billing", DeliveryState::Retrying).await.failure.unwrap();
    assert_eq!(failure.status, Some(500));
    assert!(failure.message.ends_with("xxxx") && failure.message.len() <= 1024);
    stage.clock.advance(Duration::from_secs(1));
    stage.until("billing", "delivered", |progress| progress.delivered == 1).await;
    stage.stop().await;
}

#[tokio::test]
async fn a_trickling_answer_runs_into_the_timeout() {
    let mut stage = Stage::new().await;
    let receiver = Receiver::new(async |_| {
        let trickle = stream::repeat(()).then(async |()| {
            tokio::time::sleep(Duration::from_millis(100)).await;
            Ok::<_, Infallible>(Bytes::from_static(b"x"))
        });
        Response::new(Body::from_stream(trickle))
    })
    .await;
    let mut billing = subscription("billing", &receiver.url, &stage.metrics);
    billing.target.timeout = Duration::from_millis(500);
    stage.publish([billing]).await;
    stage.append("evt_1", "t").await;
    let failure = stage.delivery("billing", DeliveryState::Retrying).await.failure.unwrap();
    assert_eq!((&*failure.reason, failure.status), ("timeout", None));
    assert!(failure.message.contains("500ms"), "{}", failure.message);
    stage.stop().await;
}

/// What is said of a receiver that answers nothing that could be understood.
async fn reason_of(stage: &mut Stage, url: &str) -> (String, String) {
    stage.publish([subscription("billing", &Url::parse(url).unwrap(), &stage.metrics)]).await;
    stage.append("evt_1", "t").await;
    let failure = stage.delivery("billing", DeliveryState::Retrying).await.failure.unwrap();
    assert_eq!(failure.status, None);
    (failure.reason.to_string(), failure.message.to_string())
}

#[tokio::test]
async fn a_refused_connection_says_so() {
    let mut stage = Stage::new().await;
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = closed.local_addr().unwrap();
    drop(closed);
    let (reason, message) = reason_of(&mut stage, &format!("http://{address}/?token=secret")).await;
    assert_eq!(reason, "connect");
    assert!(message.contains("refused") && !message.contains("secret"), "{message}");
    stage.stop().await;
}

#[tokio::test]
async fn forbidden_addresses_are_not_called() {
    let mut target = Receiver::statuses(&[200]).await;
    let port = target.url.port().unwrap();
    for host in ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "2130706433"] {
        let mut stage = Stage::with(EgressPolicy::default()).await;
        let (reason, message) = reason_of(&mut stage, &format!("http://{host}:{port}/")).await;
        assert_eq!(reason, "forbidden", "{host}: {message}");
        assert!(message.contains("loopback") || message.contains("localhost is this machine"), "{host}: {message}");
        stage.stop().await;
    }
    assert!(target.rest().is_empty());
}

#[tokio::test]
async fn a_name_without_addresses_says_so() {
    let mut stage = Stage::new().await;
    let (reason, message) = reason_of(&mut stage, "http://nothing.invalid/").await;
    assert_eq!(reason, "dns", "{message}");
    stage.stop().await;
}

/// Answers every connection with these bytes and closes it.
async fn raw(answer: &'static [u8]) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            let mut request = [0; 4096];
            let _ = connection.read(&mut request).await;
            let _ = connection.write_all(answer).await;
        }
    });
    address
}

#[tokio::test]
async fn broken_responses_have_different_reasons() {
    for (scheme, answer, reason) in [
        ("http", &b""[..], "io"),
        ("http", b"SSH-2.0-OpenSSH_9.9\r\n", "io"),
        ("http", b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf", "io"),
        ("https", b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n", "tls"),
    ] {
        let mut stage = Stage::new().await;
        let address = raw(answer).await;
        let (found, message) = reason_of(&mut stage, &format!("{scheme}://{address}/")).await;
        assert_eq!(found, reason, "{answer:?}: {message}");
        stage.stop().await;
    }
}

#[tokio::test]
async fn a_dead_receiver_delays_nobody_else() {
    let mut stage = Stage::new().await;
    let mut hanging = Receiver::new(async |_| std::future::pending::<Response>().await).await;
    let healthy = Receiver::new(async |_| status(200)).await;
    let stuck = subscription("stuck", &hanging.url, &stage.metrics);
    let most = stuck.max_in_flight.get();
    stage.publish([stuck, subscription("billing", &healthy.url, &stage.metrics)]).await;
    for number in 0..200 {
        stage.append(&format!("evt_{number}"), "t").await;
    }
    stage.until("billing", "everything delivered", |progress| progress.delivered == 200).await;
    for _ in 0..most {
        hanging.next().await;
    }
    assert!(hanging.rest().is_empty(), "no more than may be under way");
    assert_eq!(stage.progress("stuck").delivered, 0);
    eventually("the rest waits", async || stage.progress("stuck").pending > 0).await;
    // Not stopped: the hanging deliveries would hold up the end for as long as they may.
}
