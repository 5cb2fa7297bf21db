//! Receivers that break HTTP in every way they can: each delivery fails within its bounds, with a reason, under the eyes of
//! another receiver that is served meanwhile, and succeeds when the receiver is mended.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::future::{BoxFuture, FutureExt};
use grapnel_journal::{DeliveryState, limits::FAILURE_MESSAGE_BYTES};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use url::Url;

use crate::stage::{Receiver, Stage, event_id, subscription};

/// Time for a delivery to a receiver that says nothing.
pub(crate) const TIMEOUT: Duration = Duration::from_millis(400);

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
pub(crate) async fn read(connection: &mut TcpStream) -> io::Result<()> {
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
pub(crate) async fn answer(mut connection: TcpStream, bytes: &[u8]) -> io::Result<()> {
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
        let failure = retrying.failure.as_ref().unwrap();
        assert_eq!((&*failure.reason, failure.status), (*reason, *status), "{name}: {}", failure.message);
        assert!(failure.message.contains(part), "{name}: {}", failure.message);
        assert!(failure.message.len() <= FAILURE_MESSAGE_BYTES, "{name}");
        assert_eq!((event_id(&retrying), retrying.attempts), ("evt_1", 1), "{name}");
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
        ("closed at once", |connection| close(connection).boxed(), ("io", None, "the exchange with the target failed")),
        (
            "reset at once",
            |connection| async move { connection.set_zero_linger() }.boxed(),
            ("io", None, "the exchange with the target failed"),
        ),
        (
            "closed after the request",
            |connection| answer(connection, b"").boxed(),
            ("io", None, "the exchange with the target failed"),
        ),
        (
            "reset after the request",
            |connection| reset_after(connection, b"").boxed(),
            ("io", None, "the exchange with the target failed"),
        ),
        (
            "closed in the head",
            |connection| answer(connection, b"HTTP/1.1 200 OK\r\ncontent-le").boxed(),
            ("io", None, "the exchange with the target failed"),
        ),
        (
            "reset in the head",
            |connection| reset_after(connection, b"HTTP/1.1 200 OK\r\ncontent-le").boxed(),
            ("io", None, "the exchange with the target failed"),
        ),
        (
            "closed in the body",
            |connection| answer(connection, b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf").boxed(),
            ("io", None, "the exchange with the target failed"),
        ),
        (
            "reset in the body",
            |connection| reset_after(connection, b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf").boxed(),
            ("io", None, "the exchange with the target failed"),
        ),
        (
            "closed in a chunk",
            |connection| answer(connection, b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nff\r\nhalf").boxed(),
            ("io", None, "the exchange with the target failed"),
        ),
        (
            "closed before the last chunk",
            |connection| {
                answer(connection, b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n").boxed()
            },
            ("io", None, "the exchange with the target failed"),
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
            ("timeout", None, "no complete response"),
        ),
        (
            "one byte of the head at a time",
            |connection| {
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
                async move { trickle(connection, answer, TIMEOUT / 8).await }.boxed()
            },
            ("timeout", None, "no complete response"),
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
            ("timeout", None, "no complete response"),
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
            ("timeout", None, "no complete response"),
        ),
        (
            "interim answers without end",
            |connection| endless(connection, b"", b"HTTP/1.1 102 Processing\r\n\r\n").boxed(),
            ("timeout", None, "no complete response"),
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
            ("io", None, "the exchange with the target failed"),
        ),
        (
            "one header",
            |connection| endless(connection, b"HTTP/1.1 200 OK\r\nx-long: ", b"more").boxed(),
            ("io", None, "the exchange with the target failed"),
        ),
        (
            "a status line",
            |connection| endless(connection, b"HTTP/1.1 200 ", b"OK").boxed(),
            ("io", None, "the exchange with the target failed"),
        ),
        (
            "a chunk's extension",
            |connection| {
                endless(connection, b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1;x=", b"more").boxed()
            },
            ("io", None, "the exchange with the target failed"),
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
        (
            "text",
            |connection| answer(connection, b"220 mail.example ESMTP\r\n").boxed(),
            ("io", None, "the exchange with the target failed"),
        ),
        (
            "TLS",
            |connection| answer(connection, b"\x15\x03\x03\x00\x02\x02\x46").boxed(),
            ("io", None, "the exchange with the target failed"),
        ),
        (
            "HTTP/2 without being asked",
            |connection| answer(connection, b"\x00\x00\x00\x04\x00\x00\x00\x00\x00").boxed(),
            ("io", None, "the exchange with the target failed"),
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
            ("io", None, "the exchange with the target failed"),
        ),
        (
            "a bad chunk",
            |connection| answer(connection, b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n").boxed(),
            ("io", None, "the exchange with the target failed"),
        ),
        (
            "a header with a NUL",
            |connection| answer(connection, b"HTTP/1.1 200 OK\r\nx: a\0b\r\ncontent-length: 0\r\n\r\n").boxed(),
            ("io", None, "the exchange with the target failed"),
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
    const PART: &str = "redirects are not followed; set the target to the final URL";
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
