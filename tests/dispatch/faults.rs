//! Receivers that break HTTP in every way they can: each delivery fails within its bounds, with a reason, under the eyes of
//! another receiver that is served meanwhile, and succeeds when the receiver is mended.

use std::{
    future::Future,
    io,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::future::{BoxFuture, FutureExt};
use grapnel::{
    dispatch::{ClientOptions, Names},
    journal::{DeliveryState, Journal, Selection, Step},
    rules::{egress::EgressPolicy, limits},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
};
use url::Url;

use crate::stage::{Receiver, Stage, subscription};

/// Time for a delivery to a receiver that says nothing.
const TIMEOUT: Duration = Duration::from_millis(400);

/// What a receiver does with a connection.
type Fault = fn(TcpStream) -> BoxFuture<'static, io::Result<()>>;

/// A receiver with a fault, until it is mended.
struct Faulty {
    address: SocketAddr,
    mended: Arc<AtomicBool>,
    /// Connections that met the fault.
    met: Arc<AtomicUsize>,
}

impl Faulty {
    async fn new(at: &str, fault: Fault) -> Self {
        let listener = TcpListener::bind((at, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (mended, met) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        tokio::spawn({
            let (mended, met) = (mended.clone(), met.clone());
            async move {
                while let Ok((connection, _)) = listener.accept().await {
                    if mended.load(Ordering::SeqCst) {
                        tokio::spawn(answer(
                            connection,
                            b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
                        ));
                    } else {
                        met.fetch_add(1, Ordering::SeqCst);
                        tokio::spawn(fault(connection));
                    }
                }
            }
        });
        Self { address, mended, met }
    }
}

/// Reads a request to its end; the connection's end is an error.
async fn read(connection: &mut TcpStream) -> io::Result<()> {
    let (mut read, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        if let Some(end) = read.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&read[..end]).to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).unwrap_or(0);
            if read.len() >= end + 4 + length {
                return Ok(());
            }
        }
        match connection.read(&mut buffer).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => read.extend_from_slice(&buffer[..count]),
        }
    }
}

/// Reads a request and answers with these bytes; then the connection ends.
async fn answer(mut connection: TcpStream, bytes: &[u8]) -> io::Result<()> {
    read(&mut connection).await?;
    connection.write_all(bytes).await?;
    connection.shutdown().await
}

/// Reads a request, answers with the first bytes, then with the others again and again.
async fn endless(mut connection: TcpStream, first: &[u8], others: &[u8]) -> io::Result<()> {
    read(&mut connection).await?;
    connection.write_all(first).await?;
    let others = others.repeat(1024 / others.len() + 1);
    loop {
        connection.write_all(&others).await?;
    }
}

/// Reads a request, answers with these bytes, then resets the connection.
async fn reset_after(mut connection: TcpStream, bytes: &[u8]) -> io::Result<()> {
    read(&mut connection).await?;
    connection.write_all(bytes).await?;
    connection.set_zero_linger()
}

/// Ends the connection.
async fn close(connection: TcpStream) -> io::Result<()> {
    drop(connection);
    Ok(())
}

/// Holds the connection, and does nothing with it.
async fn hold(connection: TcpStream) -> io::Result<()> {
    std::future::pending::<()>().await;
    close(connection).await
}

/// Reads a request and answers byte by byte, each so long after the other.
async fn trickle(mut connection: TcpStream, bytes: &[u8], pause: Duration) -> io::Result<()> {
    read(&mut connection).await?;
    connection.set_nodelay(true)?;
    for byte in bytes {
        connection.write_all(&[*byte]).await?;
        tokio::time::sleep(pause).await;
    }
    Ok(())
}

/// What is expected of a fault: reason, status, and part of the message.
type Said = (&'static str, Option<u16>, &'static str);

/// An event fails once at each fault as expected, while another receiver has it delivered; when the receiver is mended it is
/// delivered.
async fn fails_and_recovers(cases: &[(&str, Fault, Said)]) {
    let mut well = Receiver::statuses(&[200]).await;
    let mut stage = Stage::new().await;
    let mut faulty = Vec::new();
    let mut subscriptions = vec![subscription("well", &well.url, &stage.metrics)];
    for (number, (_, fault, (reason, ..))) in cases.iter().enumerate() {
        let receiver = Faulty::new("127.0.0.1", *fault).await;
        let url = Url::parse(&format!("http://{}/hook", receiver.address)).unwrap();
        let mut meets = subscription(&format!("meets-{number}"), &url, &stage.metrics);
        if *reason == "timeout" {
            meets.target.timeout = TIMEOUT;
        }
        meets.retry.max_attempts = 100;
        subscriptions.push(meets);
        faulty.push(receiver);
    }
    stage.publish(subscriptions).await;
    stage.append("evt_1", "t").await;
    assert_eq!(well.next().await.header("webhook-id"), "evt_1");
    for (number, (name, _, (reason, status, part))) in cases.iter().enumerate() {
        let retrying = stage.delivery(&format!("meets-{number}"), DeliveryState::Retrying).await;
        let failure = retrying.failure.unwrap();
        assert_eq!((&*failure.reason, failure.status), (*reason, *status), "{name}: {}", failure.message);
        assert!(failure.message.contains(part), "{name}: {}", failure.message);
        assert!(failure.message.len() <= limits::FAILURE_MESSAGE_BYTES, "{name}");
        assert_eq!((&*retrying.event.id, retrying.attempts), ("evt_1", 1), "{name}");
        assert_eq!(faulty[number].met.load(Ordering::SeqCst), 1, "{name}: one attempt is one connection");
        faulty[number].mended.store(true, Ordering::SeqCst);
    }
    for number in 0..cases.len() {
        stage
            .until(&format!("meets-{number}"), "delivered", |progress| {
                // Once is enough, unless the machine is so slow that the timeout passes again.
                if progress.retrying > 0 && progress.in_flight == 0 {
                    stage.clock.advance(Duration::from_secs(1));
                }
                progress.delivered == 1
            })
            .await;
    }
    stage.stop().await;
}

#[tokio::test]
async fn connections_that_end_too_early() {
    fails_and_recovers(&[
        ("closed at once", |connection| close(connection).boxed(), ("io", None, "broke off")),
        ("reset at once", |connection| async move { connection.set_zero_linger() }.boxed(), ("io", None, "broke off")),
        ("closed after the request", |connection| answer(connection, b"").boxed(), ("io", None, "broke off")),
        ("reset after the request", |connection| reset_after(connection, b"").boxed(), ("io", None, "broke off")),
        (
            "closed in the head",
            |connection| answer(connection, b"HTTP/1.1 200 OK\r\ncontent-le").boxed(),
            ("io", None, "broke off"),
        ),
        (
            "reset in the head",
            |connection| reset_after(connection, b"HTTP/1.1 200 OK\r\ncontent-le").boxed(),
            ("io", None, "broke off"),
        ),
        (
            "closed in the body",
            |connection| answer(connection, b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf").boxed(),
            ("io", None, "broke off"),
        ),
        (
            "reset in the body",
            |connection| reset_after(connection, b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf").boxed(),
            ("io", None, "broke off"),
        ),
        (
            "closed in a chunk",
            |connection| answer(connection, b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nff\r\nhalf").boxed(),
            ("io", None, "broke off"),
        ),
        (
            "closed before the last chunk",
            |connection| {
                answer(connection, b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n").boxed()
            },
            ("io", None, "broke off"),
        ),
    ])
    .await;
}

#[tokio::test]
async fn silence_and_slowness_run_into_the_timeout() {
    fails_and_recovers(&[
        ("takes nothing, says nothing", |connection| hold(connection).boxed(), ("timeout", None, "400ms")),
        (
            "takes the request, says nothing",
            |mut connection| {
                async move {
                    read(&mut connection).await?;
                    hold(connection).await
                }
                .boxed()
            },
            ("timeout", None, "no complete answer"),
        ),
        (
            "one byte of the head at a time",
            |connection| {
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
                async move { trickle(connection, answer, TIMEOUT / 8).await }.boxed()
            },
            ("timeout", None, "no complete answer"),
        ),
        (
            "one byte of the body at a time",
            |connection| {
                async move {
                    let mut answer = b"HTTP/1.1 200 OK\r\ncontent-length: 9999\r\n\r\n".to_vec();
                    answer.resize(answer.len() + 9999, b'x');
                    trickle(connection, &answer, TIMEOUT / 64).await
                }
                .boxed()
            },
            ("timeout", None, "no complete answer"),
        ),
        (
            "the head, and never the body",
            |mut connection| {
                async move {
                    read(&mut connection).await?;
                    connection.write_all(b"HTTP/1.1 500 Oops\r\ncontent-length: 9\r\n\r\n").await?;
                    hold(connection).await
                }
                .boxed()
            },
            ("timeout", None, "no complete answer"),
        ),
        (
            "interim answers without end",
            |connection| endless(connection, b"", b"HTTP/1.1 102 Processing\r\n\r\n").boxed(),
            ("timeout", None, "no complete answer"),
        ),
    ])
    .await;
}

#[tokio::test]
async fn answers_without_end_are_cut_off() {
    fails_and_recovers(&[
        (
            "headers",
            |connection| endless(connection, b"HTTP/1.1 200 OK\r\n", b"x-more: and more\r\n").boxed(),
            ("io", None, "broke off"),
        ),
        (
            "one header",
            |connection| endless(connection, b"HTTP/1.1 200 OK\r\nx-long: ", b"more").boxed(),
            ("io", None, "broke off"),
        ),
        ("a status line", |connection| endless(connection, b"HTTP/1.1 200 ", b"OK").boxed(), ("io", None, "broke off")),
        (
            "a chunk's extension",
            |connection| {
                endless(connection, b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1;x=", b"more").boxed()
            },
            ("io", None, "broke off"),
        ),
        (
            "a body",
            |connection| endless(connection, b"HTTP/1.1 500 Oops\r\n\r\n", b"more").boxed(),
            ("status", Some(500), "500 Internal Server Error: more"),
        ),
        (
            "chunks",
            |connection| {
                endless(connection, b"HTTP/1.1 503 No\r\ntransfer-encoding: chunked\r\n\r\n", b"4\r\nmore\r\n").boxed()
            },
            ("status", Some(503), "503 Service Unavailable: more"),
        ),
    ])
    .await;
}

#[tokio::test]
async fn what_is_not_http_is_no_answer() {
    fails_and_recovers(&[
        ("text", |connection| answer(connection, b"220 mail.example ESMTP\r\n").boxed(), ("io", None, "broke off")),
        ("TLS", |connection| answer(connection, b"\x15\x03\x03\x00\x02\x02\x46").boxed(), ("io", None, "broke off")),
        (
            "HTTP/2 without being asked",
            |connection| answer(connection, b"\x00\x00\x00\x04\x00\x00\x00\x00\x00").boxed(),
            ("io", None, "broke off"),
        ),
        (
            "a status of two digits",
            |connection| answer(connection, b"HTTP/1.1 20 OK\r\n\r\n").boxed(),
            ("io", None, ""),
        ),
        (
            "two lengths",
            |connection| {
                answer(connection, b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab").boxed()
            },
            ("io", None, "broke off"),
        ),
        (
            "a bad chunk",
            |connection| answer(connection, b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n").boxed(),
            ("io", None, "broke off"),
        ),
        (
            "a header with a NUL",
            |connection| answer(connection, b"HTTP/1.1 200 OK\r\nx: a\0b\r\ncontent-length: 0\r\n\r\n").boxed(),
            ("io", None, "broke off"),
        ),
        (
            "another protocol, please",
            |connection| {
                answer(connection, b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n")
                    .boxed()
            },
            ("status", Some(101), "101"),
        ),
        (
            "a status nobody knows",
            |connection| answer(connection, b"HTTP/1.1 799 Whatever\r\ncontent-length: 0\r\n\r\n").boxed(),
            ("status", Some(799), "799"),
        ),
    ])
    .await;
}

#[tokio::test]
async fn no_redirect_is_followed_not_even_in_a_circle() {
    fn redirects<const STATUS: u16>(mut connection: TcpStream) -> BoxFuture<'static, io::Result<()>> {
        async move {
            let here = connection.local_addr()?;
            read(&mut connection).await?;
            let head =
                format!("HTTP/1.1 {STATUS} Over there\r\nlocation: http://{here}/hook\r\ncontent-length: 0\r\n\r\n");
            connection.write_all(head.as_bytes()).await?;
            // If it came back it would be seen.
            read(&mut connection).await?;
            connection.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await
        }
        .boxed()
    }
    const PART: &str = "redirects are not followed, write the final address into the target";
    fails_and_recovers(&[
        ("300", redirects::<300>, ("status", Some(300), PART)),
        ("301", redirects::<301>, ("status", Some(301), PART)),
        ("302", redirects::<302>, ("status", Some(302), PART)),
        ("303", redirects::<303>, ("status", Some(303), PART)),
        ("304", redirects::<304>, ("status", Some(304), PART)),
        ("307", redirects::<307>, ("status", Some(307), PART)),
        ("308", redirects::<308>, ("status", Some(308), PART)),
    ])
    .await;
}

#[tokio::test]
async fn retry_after_of_any_kind_never_shortens_nor_outlasts_the_policy() {
    // The policy says 1 s, and 60 s at most.
    for (status, headers, seconds) in [
        (429, "", 1),
        (429, "retry-after: 17\r\n", 17),
        (429, "retry-after: Sun, 01 Mar 2026 12:00:33 GMT\r\n", 33),
        (429, "retry-after: 0\r\n", 1),
        (429, "retry-after: -5\r\n", 1),
        (429, "retry-after: 1e9\r\n", 1),
        (429, "retry-after: soon\r\n", 1),
        (429, "retry-after: \r\n", 1),
        (429, "retry-after: \u{ff}\r\n", 1),
        (429, "retry-after: Thu, 01 Jan 1970 00:00:00 GMT\r\n", 1),
        (429, "retry-after: Fri, 31 Dec 9999 23:59:59 GMT\r\n", 60),
        (429, "retry-after: 99999999999999999999999999\r\n", 60),
        (429, "retry-after: 17\r\nretry-after: 40\r\n", 17),
        (503, "retry-after: 44\r\n", 44),
        (500, "retry-after: 44\r\n", 1),
        (302, "retry-after: 44\r\n", 1),
    ] {
        let head = format!("HTTP/1.1 {status} No\r\n{headers}content-length: 0\r\n\r\n");
        // Bytes as they stand: what is not ASCII is one byte each.
        let head: Arc<[u8]> = head.chars().map(|character| character as u8).collect();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = Url::parse(&format!("http://{}/hook", listener.local_addr().unwrap())).unwrap();
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                let _ = answer(connection, &head).await;
            }
        });
        let mut stage = Stage::new().await;
        stage.publish([subscription("billing", &url, &stage.metrics)]).await;
        stage.append("evt_1", "t").await;
        let due = stage.delivery("billing", DeliveryState::Retrying).await.due;
        assert_eq!(due, Some(stage.now() + Duration::from_secs(seconds)), "{status} {headers}");
        stage.stop().await;
    }
}

#[tokio::test]
async fn down_for_longer_than_the_retries_is_a_dead_letter_that_is_delivered_on_demand() {
    // Bound and not listening: refuses, and nobody else can take the port.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let url = Url::parse(&format!("http://{}/hook", socket.local_addr().unwrap())).unwrap();
    let mut stage = Stage::new().await;
    let mut down = subscription("down", &url, &stage.metrics);
    down.retry.initial = Duration::from_millis(1);
    stage.publish([down]).await;
    for number in 0..3 {
        stage.append(&format!("evt_{number}"), "t").await;
    }
    stage
        .until("down", "given up", |progress| {
            if progress.retrying > 0 && progress.in_flight == 0 {
                stage.clock.advance(Duration::from_millis(2));
            }
            progress.dead == 3
        })
        .await;
    for letter in stage.deliveries("down", DeliveryState::DeadLettered).await {
        assert_eq!((letter.attempts, &*letter.failure.unwrap().reason), (3, "connect"));
    }
    let listener = socket.listen(16).unwrap();
    let delivered = tokio::spawn(async move {
        let mut ids = Vec::new();
        while ids.len() < 3 {
            let (mut connection, _) = listener.accept().await.unwrap();
            let mut head = vec![0; 4096];
            let count = connection.read(&mut head).await.unwrap();
            let head = String::from_utf8_lossy(&head[..count]).into_owned();
            ids.extend(head.lines().find_map(|line| line.strip_prefix("webhook-id: ").map(str::to_owned)));
            connection.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await.unwrap();
        }
        ids.sort();
        ids
    });
    let step = Step { from: None, limit: 100, dry_run: false, now: stage.now() };
    let queued = stage.journal.redeliver(&crate::stage::key("down"), &Selection::DeadLettered, step).await.unwrap();
    assert_eq!(queued.queued, 3);
    assert_eq!(delivered.await.unwrap(), ["evt_0", "evt_1", "evt_2"]);
    let progress = stage.until("down", "delivered", |progress| progress.delivered == 3).await;
    assert_eq!((progress.dead, progress.retrying, progress.pending), (0, 0, 0));
    stage.stop().await;
}

#[tokio::test]
async fn an_answer_that_nobody_asked_for_is_not_taken_for_that_of_the_next_event() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = Url::parse(&format!("http://{}/hook", listener.local_addr().unwrap())).unwrap();
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            tokio::spawn(async move {
                while read(&mut connection).await.is_ok() {
                    let two =
                        b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\nHTTP/1.1 410 Gone\r\ncontent-length: 0\r\n\r\n";
                    if connection.write_all(two).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    let mut stage = Stage::new().await;
    let mut billing = subscription("billing", &url, &stage.metrics);
    billing.max_in_flight = 1.try_into().unwrap();
    billing.retry.max_attempts = 100;
    billing.retry.initial = Duration::from_millis(1);
    billing.retry.max_delay = Duration::from_millis(1);
    stage.publish([billing]).await;
    for number in 0..50 {
        stage.append(&format!("evt_{number}"), "t").await;
    }
    let progress = stage
        .until("billing", "ended", |progress| {
            stage.clock.advance(Duration::from_millis(1));
            progress.delivered + progress.dead == 50
        })
        .await;
    assert_eq!(progress.dead, 0);
    stage.stop().await;
}

/// A resolver that answers as told.
struct Dns<F>(F);

impl<F, A> Names for Dns<F>
where
    F: Fn() -> A + Send + Sync + 'static,
    A: Future<Output = io::Result<Vec<IpAddr>>> + Send + 'static,
{
    fn lookup<'a>(&'a self, _: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        (self.0)().boxed()
    }
}

fn resolving<F, A>(answer: F) -> ClientOptions
where
    F: Fn() -> A + Send + Sync + 'static,
    A: Future<Output = io::Result<Vec<IpAddr>>> + Send + 'static,
{
    let names = Arc::new(Dns(answer));
    ClientOptions { names, ..ClientOptions::new(EgressPolicy::default().allowing_loopback()) }
}

#[tokio::test]
async fn failing_lookups_are_failures_of_the_delivery_and_end_with_it() {
    let healthy = Arc::new(AtomicBool::new(false));
    for (name, reason) in [("error", "dns"), ("empty", "dns"), ("hangs", "timeout")] {
        healthy.store(false, Ordering::SeqCst);
        let lookup = {
            let healthy = healthy.clone();
            move || {
                let healthy = healthy.load(Ordering::SeqCst);
                async move {
                    match name {
                        _ if healthy => Ok(vec![IpAddr::from([127, 0, 0, 1])]),
                        "error" => Err(io::Error::other("SERVFAIL")),
                        "empty" => Ok(Vec::new()),
                        _ => {
                            // As a resolver does that gives up long after everybody else has.
                            tokio::time::sleep(2 * TIMEOUT).await;
                            Err(io::Error::from(io::ErrorKind::TimedOut))
                        }
                    }
                }
            }
        };
        let mut stage = Stage::with_options(resolving(lookup), 0).await;
        let mut receiver = Receiver::statuses(&[200]).await;
        let mut url = receiver.url.clone();
        url.set_host(Some("receiver.example")).unwrap();
        let mut billing = subscription("billing", &url, &stage.metrics);
        billing.target.timeout = TIMEOUT;
        billing.retry.max_attempts = 100;
        stage.publish([billing]).await;
        stage.append("evt_1", "t").await;
        let failure = stage.delivery("billing", DeliveryState::Retrying).await.failure.unwrap();
        assert_eq!(&*failure.reason, reason, "{name}: {}", failure.message);
        healthy.store(true, Ordering::SeqCst);
        stage
            .until("billing", "delivered", |progress| {
                if progress.in_flight == 0 {
                    stage.clock.advance(Duration::from_secs(60));
                }
                progress.delivered == 1
            })
            .await;
        assert_eq!(receiver.next().await.header("webhook-id"), "evt_1");
        stage.stop().await;
    }
}

/// Answers 200 on the IPv6 loopback, and counts.
async fn only_ipv6() -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).await.unwrap();
    let (address, count) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
    tokio::spawn({
        let count = count.clone();
        async move {
            while let Ok((connection, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                let _ = answer(connection, b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await;
            }
        }
    });
    (address, count)
}

#[tokio::test]
async fn receivers_that_have_only_ipv6_are_reached_by_address_and_by_name() {
    let (address, count) = only_ipv6().await;
    let only = || async { Ok(vec![IpAddr::from(Ipv6Addr::LOCALHOST)]) };
    // Nobody listens at that port of the first address.
    let both = || async { Ok(vec![IpAddr::from([127, 0, 0, 77]), IpAddr::from(Ipv6Addr::LOCALHOST)]) };
    let port = address.port();
    let by_name = format!("http://six.example:{port}/hook");
    let stages = [
        (format!("http://{address}/hook"), Stage::with_options(resolving(only), 0).await),
        (by_name.clone(), Stage::with_options(resolving(only), 0).await),
        (by_name, Stage::with_options(resolving(both), 0).await),
    ];
    for (number, (url, mut stage)) in stages.into_iter().enumerate() {
        let six = subscription("six", &Url::parse(&url).unwrap(), &stage.metrics);
        stage.publish([six]).await;
        stage.append("evt_1", "t").await;
        stage.until("six", "delivered", |progress| progress.delivered == 1).await;
        assert_eq!(count.load(Ordering::SeqCst), number + 1, "{url}");
        stage.stop().await;
    }
}
