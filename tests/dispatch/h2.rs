//! Receivers that break HTTP/2 (RFC 9113), frame by frame.

use std::{convert::Infallible, io, time::Duration};

use axum::body::Body;
use bytes::Bytes;
use futures_util::{
    future::{BoxFuture, FutureExt},
    stream,
};
use grapnel::dispatch::{
    Client, ClientOptions,
    client::{Outgoing, ReceiverResponse},
};
use grapnel_delivery::egress::{EgressPolicy, Reach};
use grapnel_journal::limits::FAILURE_MESSAGE_BYTES;
use grapnel_test_support::certificates::{Pair, trusting};
use http::HeaderMap;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::server::TlsStream;
use url::Url;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// `:status: 200` by its number in HPACK's table (RFC 7541, appendix A).
const OK: &[u8] = &[0x88];

fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let [.., high, middle, low] = payload.len().to_be_bytes();
    [&[high, middle, low, kind, flags, 0, 0, 0, stream], payload].concat()
}

type Fault = fn(TlsStream<TcpStream>) -> BoxFuture<'static, io::Result<()>>;

/// Says hello, waits for the request, sends the first frames and then the others again and again.
async fn frames(mut connection: TlsStream<TcpStream>, first: &[Vec<u8>], others: &[u8]) -> io::Result<()> {
    connection.write_all(&frame(SETTINGS, 0, 0, &[])).await?;
    let (mut read, mut buffer) = (Vec::new(), [0; 4096]);
    // The client's preface is followed by frames; the request is that of HEADERS.
    while !has_request(&read) {
        match connection.read(&mut buffer).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => read.extend_from_slice(&buffer[..count]),
        }
    }
    connection.write_all(&first.concat()).await?;
    connection.flush().await?;
    // What the client says meanwhile is read, or it would wait.
    let (mut reading, mut writing) = tokio::io::split(connection);
    let drain = async {
        let mut buffer = vec![0; 64 * 1024];
        while reading.read(&mut buffer).await? > 0 {}
        Ok(())
    };
    let flood = async {
        let others = others.repeat(if others.is_empty() { 0 } else { 4096 / others.len() + 1 });
        while !others.is_empty() {
            writing.write_all(&others).await?;
        }
        std::future::pending().await
    };
    tokio::select! {
        ended = drain => ended,
        ended = flood => ended,
    }
}

fn has_request(read: &[u8]) -> bool {
    let mut rest = read.get(24..).unwrap_or_default();
    while let [high, middle, low, kind, ..] = rest {
        if *kind == HEADERS {
            return true;
        }
        let length = usize::from_be_bytes([0, 0, 0, 0, 0, *high, *middle, *low]);
        rest = rest.get(9 + length..).unwrap_or_default();
    }
    false
}

async fn post(fault: Fault, timeout: Duration) -> Result<ReceiverResponse, grapnel::dispatch::SendError> {
    let pair = Pair::self_signed("localhost");
    let acceptor = pair.acceptor(&[b"h2"]);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = tokio::spawn(async move {
        let (connection, _) = listener.accept().await.unwrap();
        let secured = acceptor.accept(connection).await.unwrap();
        let _ = fault(secured).await;
        // One request is one connection.
        drop(listener);
        std::future::pending::<()>().await;
    });
    let roots = trusting(&pair.certificate());
    let client = Client::with_roots(ClientOptions::new(EgressPolicy::default().allowing_loopback()), roots).unwrap();
    let url = Url::parse(&format!("https://localhost:{port}/hook")).unwrap();
    let body = Bytes::from(vec![b'x'; 256 * 1024]);
    let answer = client
        .post(Outgoing {
            url,
            reach: Reach::Url,
            headers: HeaderMap::new(),
            body,
            timeout,
            secret_url: false,
            tls: None,
            oauth: None,
        })
        .await;
    server.abort();
    answer
}

#[tokio::test]
async fn frames_that_end_in_no_answer_are_failures_with_a_reason() {
    let cases: [(&str, Fault, &str); 9] = [
        ("nothing more", |it| async move { frames(it, &[], b"").await }.boxed(), "timeout"),
        (
            "no room for the body",
            |it| {
                // INITIAL_WINDOW_SIZE is 0, and never raised.
                async move { frames(it, &[frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0])], b"").await }.boxed()
            },
            "timeout",
        ),
        (
            "pings without end",
            |it| async move { frames(it, &[], &frame(PING, 0, 0, &[0; 8])).await }.boxed(),
            "timeout",
        ),
        (
            "settings without end",
            |it| async move { frames(it, &[], &frame(SETTINGS, 0, 0, &[])).await }.boxed(),
            "timeout",
        ),
        (
            "refuses the stream",
            |it| async move { frames(it, &[frame(RST_STREAM, 0, 1, &[0, 0, 0, 7])], b"").await }.boxed(),
            "io",
        ),
        (
            "goes away",
            |it| async move { frames(it, &[frame(GOAWAY, 0, 0, &[0, 0, 0, 0, 0, 0, 0, 11])], b"").await }.boxed(),
            "io",
        ),
        (
            "headers without end",
            |it| {
                async move {
                    let more = [&[0x40, 1, b'x', 100][..], &[b'y'; 100]].concat();
                    frames(it, &[frame(HEADERS, 0, 1, OK)], &frame(CONTINUATION, 0, 1, &more)).await
                }
                .boxed()
            },
            "io",
        ),
        (
            "a body without headers",
            |it| async move { frames(it, &[frame(DATA, END_STREAM, 1, b"hello")], b"").await }.boxed(),
            "io",
        ),
        (
            "a body that breaks off",
            |it| {
                async move {
                    let head = frame(HEADERS, END_HEADERS, 1, OK);
                    let half = frame(DATA, 0, 1, b"half");
                    frames(it, &[head, half, frame(RST_STREAM, 0, 1, &[0, 0, 0, 2])], b"").await
                }
                .boxed()
            },
            "io",
        ),
    ];
    for (name, fault, reason) in cases {
        let timeout = Duration::from_millis(if reason == "timeout" { 400 } else { 30_000 });
        let failed = post(fault, timeout).await.expect_err(name);
        assert_eq!(failed.reason(), reason, "{name}: {failed}");
    }
}

#[tokio::test]
async fn an_answer_is_an_answer_however_long_its_body_goes_on() {
    let endless: Fault = |it| {
        async move {
            let service = hyper::service::service_fn(|_| async {
                let chunks = stream::repeat(Ok::<_, Infallible>(Bytes::from_static(&[b'x'; 4096])));
                Ok::<_, Infallible>(http::Response::builder().status(500).body(Body::from_stream(chunks)).unwrap())
            });
            let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            server.serve_connection(TokioIo::new(it), service).await.map_err(io::Error::other)
        }
        .boxed()
    };
    let answer = post(endless, Duration::from_secs(30)).await.unwrap();
    assert_eq!(answer.status, 500);
    assert!(answer.body_start.len() <= FAILURE_MESSAGE_BYTES);
    // An answer before the whole body was taken is one as well.
    let early: Fault =
        |it| async move { frames(it, &[frame(HEADERS, END_HEADERS | END_STREAM, 1, OK)], b"").await }.boxed();
    assert_eq!(post(early, Duration::from_secs(30)).await.unwrap().status, 200);
}
