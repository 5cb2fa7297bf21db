//! Connections that are kept for later requests: they are replaced in time, and their silent end costs nothing.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt};
use grapnel::dispatch::{
    Client, ClientOptions, Names, SendError,
    client::{Outgoing, ReceiverResponse},
    limits::CONNECTION_AGE,
};
use grapnel_delivery::egress::{EgressPolicy, Reach};
use h2::Reason;
use http::HeaderMap;
use rustls::RootCertStore;
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsAcceptor;
use url::Url;

use crate::{
    faults::{TIMEOUT, read},
    stage::{Stage, eventually, subscription},
    tls::localhost,
};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

/// What a receiver does with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    Answer,
    /// Closes the connection.
    Close,
    /// Sends a part of an answer and closes the connection.
    Begin,
    /// Sends nothing and keeps the connection open.
    Hang,
    /// Ends the HTTP/2 connection without having processed the request.
    GoAway,
    /// Resets the HTTP/2 stream.
    Reset(Reason),
}

/// What a receiver does wrong, from a request on a kept connection on.
#[derive(Debug, Clone, Copy)]
struct Fault {
    act: Act,
    /// Number of requests that meet it.
    left: usize,
    begun: bool,
}

/// What a receiver has to do, and what it has seen.
#[derive(Default)]
struct Script {
    fault: Mutex<Option<Fault>>,
    requests: AtomicUsize,
    connections: AtomicUsize,
}

impl Script {
    /// Takes the act for the request of this number on its connection.
    fn next(&self, number: usize) -> Act {
        self.requests.fetch_add(1, Ordering::SeqCst);
        match &mut *self.fault.lock().unwrap() {
            Some(fault) if fault.left > 0 && (fault.begun || number > 0) => {
                fault.begun = true;
                fault.left -= 1;
                fault.act
            }
            _ => Act::Answer,
        }
    }

    async fn serve_http1(&self, mut connection: TcpStream) -> io::Result<()> {
        self.connections.fetch_add(1, Ordering::SeqCst);
        for number in 0.. {
            read(&mut connection).await?;
            match self.next(number) {
                Act::Answer => connection.write_all(OK).await?,
                Act::Begin => return connection.write_all(&OK[..12]).await,
                Act::Hang => std::future::pending().await,
                _ => return Ok(()),
            }
        }
        Ok(())
    }

    async fn serve_http2(&self, connection: TcpStream, acceptor: TlsAcceptor) -> io::Result<()> {
        let secured = acceptor.accept(connection).await?;
        self.connections.fetch_add(1, Ordering::SeqCst);
        let mut connection = h2::server::handshake(secured).await.map_err(io::Error::other)?;
        let mut number = 0;
        while let Some(request) = connection.accept().await {
            let (_, mut respond) = request.map_err(io::Error::other)?;
            match self.next(number) {
                Act::Close => return Ok(()),
                Act::GoAway => connection.abrupt_shutdown(Reason::NO_ERROR),
                Act::Reset(reason) => respond.send_reset(reason),
                _ => drop(respond.send_response(http::Response::new(()), true)),
            }
            number += 1;
        }
        Ok(())
    }
}

/// A receiver that follows its script.
struct Scripted {
    script: Arc<Script>,
    url: Url,
    client: Client,
}

impl Scripted {
    async fn new(protocol: &str, options: ClientOptions) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (acceptor, roots) = certified();
        let script = serve(listener, (protocol == "h2").then_some(acceptor));
        let url = url_of(protocol, address);
        Self { script, url, client: Client::with_roots(options, roots).unwrap() }
    }

    async fn post(&self) -> Result<ReceiverResponse, SendError> {
        post(&self.client, &self.url, TIMEOUT * 5).await
    }

    /// Sends requests until one meets the fault on a kept connection: its failure, if it failed, and how many requests
    /// it took.
    async fn meet(&self, act: Act, left: usize) -> (Option<SendError>, usize) {
        *self.script.fault.lock().unwrap() = Some(Fault { act, left, begun: false });
        for _ in 0..1000 {
            let before = self.script.requests.load(Ordering::SeqCst);
            let answer = self.post().await;
            let requests = self.script.requests.load(Ordering::SeqCst) - before;
            if self.script.fault.lock().unwrap().is_some_and(|fault| fault.begun) {
                return (answer.err(), requests);
            }
            assert_eq!((answer.unwrap().status.as_u16(), requests), (200, 1));
        }
        panic!("no connection was kept");
    }
}

fn url_of(protocol: &str, address: SocketAddr) -> Url {
    let (scheme, host) = if protocol == "h2" { ("https", "localhost") } else { ("http", "receiver.example") };
    Url::parse(&format!("{scheme}://{host}:{}/hook", address.port())).unwrap()
}

/// Serves a script: HTTP/2 over TLS, or HTTP/1 without.
fn serve(listener: TcpListener, acceptor: Option<TlsAcceptor>) -> Arc<Script> {
    let script = Arc::<Script>::default();
    tokio::spawn({
        let script = script.clone();
        async move {
            while let Ok((connection, _)) = listener.accept().await {
                let (script, acceptor) = (script.clone(), acceptor.clone());
                tokio::spawn(async move {
                    match acceptor {
                        Some(acceptor) => script.serve_http2(connection, acceptor).await,
                        None => script.serve_http1(connection).await,
                    }
                });
            }
        }
    });
    script
}

/// TLS as localhost with HTTP/2, and the certificate to trust.
fn certified() -> (TlsAcceptor, RootCertStore) {
    let (acceptor, certificate) = localhost(&[b"h2"]);
    let mut roots = RootCertStore::empty();
    roots.add(certificate).unwrap();
    (acceptor, roots)
}

async fn post(client: &Client, url: &Url, timeout: Duration) -> Result<ReceiverResponse, SendError> {
    let request = Outgoing {
        url: url.clone(),
        reach: Reach::Url,
        headers: HeaderMap::new(),
        body: Bytes::from_static(b"{}"),
        timeout,
        secret_url: false,
        tls: None,
        oauth: None,
    };
    client.post(request).await
}

/// All names resolve to this address.
#[derive(Clone)]
struct Moving(Arc<Mutex<IpAddr>>);

impl Names for Moving {
    fn lookup<'a>(&'a self, _: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        let found = *self.0.lock().unwrap();
        async move { Ok(vec![found]) }.boxed()
    }
}

fn options(names: &Moving) -> ClientOptions {
    let egress = EgressPolicy::default().allowing_loopback();
    ClientOptions { names: Arc::new(names.clone()), ..ClientOptions::new(egress) }
}

fn loopback(last: u8) -> IpAddr {
    IpAddr::from([127, 0, 0, last])
}

fn here() -> ClientOptions {
    options(&Moving(Arc::new(Mutex::new(loopback(1)))))
}

#[tokio::test]
async fn a_request_is_sent_again_if_its_kept_connection_ends_before_an_answer() {
    for (protocol, act) in
        [("http/1.1", Act::Close), ("h2", Act::Close), ("h2", Act::GoAway), ("h2", Act::Reset(Reason::REFUSED_STREAM))]
    {
        let receiver = Scripted::new(protocol, here()).await;
        for round in 0..20 {
            let (failure, requests) = receiver.meet(act, 1).await;
            assert!(failure.is_none(), "{protocol} {act:?} {round}: {failure:?}");
            assert_eq!(requests, 2, "{protocol} {act:?} {round}");
        }
    }
}

#[tokio::test]
async fn an_answer_that_has_begun_or_a_receiver_that_is_slow_is_a_failure() {
    for (protocol, act, reason) in [
        ("http/1.1", Act::Begin, "io"),
        ("http/1.1", Act::Hang, "timeout"),
        ("h2", Act::Reset(Reason::INTERNAL_ERROR), "io"),
    ] {
        let receiver = Scripted::new(protocol, here()).await;
        let (failure, requests) = receiver.meet(act, 1).await;
        assert_eq!((failure.unwrap().reason(), requests), (reason, 1), "{protocol} {act:?}");
    }
}

#[tokio::test]
async fn a_request_is_sent_again_once_at_most() {
    for protocol in ["http/1.1", "h2"] {
        let receiver = Scripted::new(protocol, here()).await;
        let (failure, requests) = receiver.meet(Act::Close, 2).await;
        assert_eq!((failure.unwrap().reason(), requests), ("io", 2), "{protocol}");
    }
}

#[tokio::test]
async fn a_new_connection_that_ends_before_an_answer_is_a_failure() {
    for protocol in ["http/1.1", "h2"] {
        let receiver = Scripted::new(protocol, here()).await;
        *receiver.script.fault.lock().unwrap() = Some(Fault { act: Act::Close, left: 1, begun: true });
        assert_eq!(receiver.post().await.unwrap_err().reason(), "io", "{protocol}");
        assert_eq!(receiver.script.requests.load(Ordering::SeqCst), 1, "{protocol}");
    }
}

/// Idle time after which the receiver closes a connection, and the time between two events.
const IDLE: Duration = Duration::from_millis(30);

#[tokio::test]
async fn a_receiver_that_closes_idle_connections_costs_no_attempt() {
    const EVENTS: u64 = 200;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = Url::parse(&format!("http://{}/hook", listener.local_addr().unwrap())).unwrap();
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            tokio::spawn(async move {
                while let Ok(Ok(())) = tokio::time::timeout(IDLE, read(&mut connection)).await {
                    connection.write_all(OK).await?;
                }
                Ok::<_, io::Error>(())
            });
        }
    });
    let mut stage = Stage::new().await;
    stage.publish([subscription("billing", &url, &stage.metrics)]).await;
    let mut pace = tokio::time::interval(IDLE);
    for number in 0..EVENTS {
        pace.tick().await;
        stage.append(&format!("evt_{number}"), "t").await;
        let ended = |progress: grapnel_journal::Progress| progress.delivered + progress.retrying == number + 1;
        stage.until("billing", "attempted", ended).await;
    }
    assert_eq!(stage.progress("billing").delivered, EVENTS);
    let metrics = stage.metrics.encode();
    let attempts: Vec<_> =
        metrics.lines().filter(|line| line.starts_with("webhook_delivery_attempts_total{")).collect();
    let delivered = r#"{namespace="shop",subscription="billing",outcome="delivered"}"#;
    assert_eq!(attempts, [format!("webhook_delivery_attempts_total{delivered} {EVENTS}")]);
    stage.stop().await;
}

#[tokio::test]
async fn a_name_that_moves_is_followed_although_the_old_address_still_answers() {
    const AGE: Duration = Duration::from_millis(300);
    for (protocol, age) in [("http/1.1", AGE), ("h2", AGE), ("http/1.1", CONNECTION_AGE), ("h2", CONNECTION_AGE)] {
        let (acceptor, roots) = certified();
        let acceptor = (protocol == "h2").then_some(acceptor);
        let (old, new) = two_addresses().await;
        let url = url_of(protocol, old.local_addr().unwrap());
        let (old, new) = (serve(old, acceptor.clone()), serve(new, acceptor));
        let address = Moving(Arc::new(Mutex::new(loopback(1))));
        let client = Client::with_roots(ClientOptions { connection_age: age, ..options(&address) }, roots).unwrap();
        let post = async || assert_eq!(post(&client, &url, TIMEOUT * 5).await.unwrap().status, 200);
        let requests = |script: &Script| script.requests.load(Ordering::SeqCst);
        eventually("a connection is kept", async || {
            post().await;
            requests(&old) > old.connections.load(Ordering::SeqCst)
        })
        .await;
        *address.0.lock().unwrap() = loopback(2);
        let moved = Instant::now();
        while moved.elapsed() <= AGE {
            post().await;
        }
        let before = (requests(&old), requests(&new));
        for _ in 0..20 {
            post().await;
        }
        let after = (requests(&old) - before.0, requests(&new) - before.1);
        let expected = if age == AGE { (0, 20) } else { (20, 0) };
        assert_eq!(after, expected, "{protocol} {age:?}");
    }
}

/// Listeners at one port of two addresses.
async fn two_addresses() -> (TcpListener, TcpListener) {
    for _ in 0..100 {
        let old = TcpListener::bind((loopback(1), 0)).await.unwrap();
        if let Ok(new) = TcpListener::bind((loopback(2), old.local_addr().unwrap().port())).await {
            return (old, new);
        }
    }
    panic!("no port is free at both addresses");
}
