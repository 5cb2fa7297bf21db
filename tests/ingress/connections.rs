//! Connections: slow, broken, hostile, many.

use std::time::Duration;

use tokio::task::JoinSet;

use super::{
    client::{Post, Wire},
    fixture::{Plan, Served, endpoint},
};

fn event(id: &str) -> Post {
    Post::signed("/shop/orders", format!(r#"{{"id":"{id}"}}"#))
}

async fn still_works(served: &Served) {
    assert_eq!(event("after").send(served.address).await.accepted(), "after");
    assert_eq!(served.stored("orders").await.len(), 1, "and nothing else was stored");
}

#[tokio::test]
async fn heads_are_bounded() {
    let served = Served::one().await;
    let mut few = event("few");
    while few.headers.len() < 99 {
        few = few.header("X", "y");
    }
    few.send(served.address).await.accepted();
    let mut many = event("many");
    for number in 0..10_000 {
        many = many.header(&format!("X-{number}"), "y");
    }
    assert_eq!(Wire::open(served.address).await.exchange(&many.bytes()).await.status, 431);
    let mut one_more = few.clone();
    one_more.headers.extend([("X".into(), "y".into()), ("X".into(), "y".into())]);
    assert_eq!(Wire::open(served.address).await.exchange(&one_more.bytes()).await.status, 431);
    let large = event("large").header("X", "y".repeat(1024 * 1024));
    assert_eq!(Wire::open(served.address).await.exchange(&large.bytes()).await.status, 431);
    let long = Post::signed(&format!("/shop/{}", "x".repeat(1024 * 1024)), "{}");
    let answer = Wire::open(served.address).await.exchange(&long.bytes()).await;
    assert!(answer.status == 414 || answer.status == 431, "{}", answer.status);
    assert_eq!(served.stored("orders").await.len(), 1);
}

async fn impatient() -> Served {
    let mut plan = Plan::of([endpoint("orders")]);
    plan.options.head_timeout = Duration::from_millis(200);
    plan.options.idle_timeout = Duration::from_millis(400);
    plan.serve().await
}

#[tokio::test]
async fn slow_heads_end_the_connection() {
    let served = impatient().await;
    for beginning in [
        "",
        "P",
        "PRI * HTTP/2.0\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "POST /shop/orders HTTP/1.1\r\nHost: x\r\nX-",
    ] {
        let mut wire = Wire::open(served.address).await;
        wire.send(beginning.as_bytes()).await;
        // HTTP/2 greets with its settings; all that counts is that the end comes.
        let mut rest = Vec::new();
        let _ = tokio::io::AsyncReadExt::read_to_end(&mut wire.stream, &mut rest).await;
    }
    // A byte at a time is no better.
    let mut wire = Wire::open(served.address).await;
    let mut ticks = tokio::time::interval(Duration::from_millis(20));
    wire.send(b"POST /shop/orders HTTP/1.1\r\nX: ").await;
    while tokio::io::AsyncWriteExt::write_all(&mut wire.stream, b"y").await.is_ok() {
        ticks.tick().await;
    }
    still_works(&served).await;
}

#[tokio::test]
async fn idle_connections_end() {
    let served = impatient().await;
    let mut wire = Wire::open(served.address).await;
    wire.exchange(&event("1").bytes()).await.accepted();
    wire.ended().await;
}

#[tokio::test]
async fn a_client_that_leaves_midway_leaves_nothing() {
    let served = Served::one().await;
    let bytes = event("left").bytes();
    for end in [1, 10, 30, bytes.len() - 20, bytes.len() - 1] {
        let mut wire = Wire::open(served.address).await;
        wire.send(&bytes[..end]).await;
        tokio::io::AsyncWriteExt::shutdown(&mut wire.stream).await.unwrap();
        // Whatever is said, it is no success.
        if let Some(answer) = wire.try_answer(true).await {
            assert!(answer.status >= 400, "{}", answer.status);
        }
    }
    still_works(&served).await;
}

#[tokio::test]
async fn a_client_that_only_stops_sending_is_answered() {
    let served = Served::one().await;
    let mut wire = Wire::open(served.address).await;
    wire.send(&event("1").bytes()).await;
    tokio::io::AsyncWriteExt::shutdown(&mut wire.stream).await.unwrap();
    wire.answer().await.accepted();
    wire.ended().await;
}

#[tokio::test]
async fn what_is_not_http_is_turned_away() {
    let served = Served::one().await;
    for bytes in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 a TLS hello on a plain port \r\n\r\n"[..],
        b"GET\r\n\r\n",
        b"POST /shop/orders HTTP/9.9\r\n\r\n",
        b"POST /shop/orders HTTP/1.1\r\nHost: x\r\nbad header\r\n\r\n",
        b"POST /shop/orders HTTP/1.1\r\nHost: x\r\nX: a\0b\r\n\r\n",
        b"POST /shop/orders HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /shop/orders HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        b"POST /shop/orders HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n{}",
        b"POST /shop/orders HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    ] {
        let mut wire = Wire::open(served.address).await;
        wire.send(bytes).await;
        if let Some(answer) = wire.try_answer(true).await {
            assert!((400..500).contains(&answer.status), "{} {}", answer.status, String::from_utf8_lossy(bytes));
        }
        wire.ended().await;
    }
    still_works(&served).await;
}

/// RFC 9112 section 6.3: Transfer-Encoding overrides Content-Length, and nothing that follows may be taken for a
/// request that the framing does not say is one.
#[tokio::test]
async fn two_framings_smuggle_nothing() {
    let served = Served::one().await;
    let smuggled = event("smuggled").bytes();
    let honest = event("honest");
    let mut bytes = honest
        .clone()
        .header("Content-Length", (honest.body.len() + smuggled.len()).to_string())
        .header("Transfer-Encoding", "chunked")
        .head();
    bytes.extend_from_slice(format!("{:x}\r\n", honest.body.len()).as_bytes());
    bytes.extend_from_slice(&honest.body);
    bytes.extend_from_slice(b"\r\n0\r\n\r\n");
    let mut wire = Wire::open(served.address).await;
    let answer = wire.exchange(&bytes).await;
    if answer.status == 200 {
        assert_eq!(answer.accepted(), "honest");
    } else {
        assert_eq!(answer.status, 400);
    }

    // The other way round: the length ends before what the chunks would hide.
    let body = format!("0\r\n\r\n{}", String::from_utf8(smuggled).unwrap());
    let hiding = Post::signed("/shop/orders", body);
    let mut wire = Wire::open(served.address).await;
    wire.send(&hiding.bytes()).await;
    wire.answer().await.accepted();
    assert!(served.stored("orders").await.iter().all(|event| &*event.id != "smuggled"));
}

#[tokio::test]
async fn a_client_may_ask_before_it_sends() {
    let served = Served::one().await;
    let post = event("asked").header("Expect", "100-continue");
    let length = post.body.len();
    let mut wire = Wire::open(served.address).await;
    wire.send(&post.clone().header("Content-Length", length.to_string()).head()).await;
    assert_eq!(wire.answer().await.status, 100);
    wire.exchange(&post.body).await.accepted();

    let mut wire = Wire::open(served.address).await;
    let too_large = post.header("Content-Length", "99999999").head();
    wire.exchange(&too_large).await.refused(413, "body_too_large");
}

fn h2c() -> reqwest::Client {
    // The client wants a TLS provider even where it speaks none.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().http2_prior_knowledge().no_proxy().build().unwrap()
}

#[tokio::test]
async fn http2_is_spoken_without_negotiation() {
    let served = Served::one().await;
    let (client, url) = (h2c(), format!("http://{}/shop/orders", served.address));
    let send = |post: Post| {
        let mut request = client.post(&url).body(post.body);
        for (name, value) in post.headers.into_iter().filter(|(name, _)| name != "Host") {
            request = request.header(name, value);
        }
        request.send()
    };
    let mut sending = JoinSet::new();
    for number in 0..200 {
        sending.spawn(send(event(&format!("e{number}"))));
    }
    for answer in sending.join_all().await {
        let answer = answer.unwrap();
        assert_eq!((answer.version(), answer.status().as_u16()), (http::Version::HTTP_2, 200));
        assert!(answer.text().await.unwrap().starts_with(r#"{"success":true,"id":"e"#));
    }
    assert_eq!(served.stored("orders").await.len(), 200);

    let unsigned = client.post(&url).body("{}").send().await.unwrap();
    assert_eq!(unsigned.status().as_u16(), 401);
    let large = send(Post::signed("/shop/orders", vec![b'x'; 2 * 1024 * 1024])).await;
    if let Ok(answer) = large {
        assert_eq!(answer.status().as_u16(), 413);
    }
    let get = client.get(&url).send().await.unwrap();
    assert_eq!((get.status().as_u16(), get.headers()["allow"].to_str().unwrap()), (405, "POST"));
    let mut many = client.post(&url).body("{}");
    for number in 0..10_000 {
        many = many.header(format!("x-{number}"), "y");
    }
    if let Ok(answer) = many.send().await {
        assert_eq!(answer.status().as_u16(), 431);
    }
    let last = send(event("last")).await.unwrap();
    assert_eq!(last.text().await.unwrap(), r#"{"success":true,"id":"last"}"#);
}
