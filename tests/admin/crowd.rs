//! Clients that stay and say nothing: health probes and Prometheus get in all the same.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use futures_util::{FutureExt, future::BoxFuture};
use grapnel::admin::{
    Access, Authority,
    authz::{Ask, Denied},
    limits::{ADMIN_CONNECTIONS, ADMIN_HEAD_TIMEOUT, ADMIN_WRITE_TIMEOUT},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Semaphore,
    task::JoinSet,
    time::timeout,
};

use super::start;

/// Longer than every time that the server gives a client. The clock stands still while anybody has something to do, so
/// nothing of it passes for real.
const FOR_EVER: Duration = Duration::from_secs(3600);

/// Less than any time after which the server ends a connection for which there is room.
const SOON: Duration = Duration::from_secs(5);

const _: () = assert!(SOON.as_secs() < ADMIN_HEAD_TIMEOUT.as_secs() && SOON.as_secs() < ADMIN_WRITE_TIMEOUT.as_secs());

async fn get(address: SocketAddr, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes()).await.unwrap();
    stream
}

async fn is_answered(stream: &mut TcpStream) {
    let mut answer = [0; 15];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200 OK");
}

/// A connection that is held without a word, in each of the ways to do so.
async fn silent(address: SocketAddr, number: usize) -> TcpStream {
    let bytes: &[u8] = match number % 4 {
        0 => b"",
        1 => b"GET /healthz HTTP/1.1\r\nHost: loc",
        2 => b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
        _ => {
            b"POST /api/v1/namespaces/shop/subscriptions/billing/redeliver HTTP/1.1\r\nHost: localhost\r\n\
              Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
        }
    };
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    stream
}

#[tokio::test]
async fn silent_clients_are_let_go_in_the_end() {
    let server = start(Access::LoopbackOnly).await;
    let mut held = Vec::new();
    for number in 0..ADMIN_CONNECTIONS {
        held.push(silent(server.address, number).await);
    }
    tokio::time::pause();
    for (number, stream) in held.iter_mut().enumerate() {
        let end = timeout(FOR_EVER, stream.read_to_end(&mut Vec::new())).await;
        assert!(end.is_ok(), "connection {number} stays");
    }
    tokio::time::resume();
    server.end().await;
}

/// As many as there is room for, and each that has to go comes back at once.
#[tokio::test]
async fn silent_clients_who_come_back_keep_nobody_out() {
    let server = start(Access::LoopbackOnly).await;
    let address = server.address;
    let mut crowd = JoinSet::new();
    for number in 0..ADMIN_CONNECTIONS {
        let mut stream = silent(address, number).await;
        crowd.spawn(async move {
            loop {
                let _ = stream.read_to_end(&mut Vec::new()).await;
                stream = silent(address, number).await;
            }
        });
    }
    tokio::time::pause();
    for path in ["/healthz", "/readyz", "/metrics", "/healthz", "/readyz", "/metrics"] {
        let mut probe = get(address, path).await;
        timeout(SOON, is_answered(&mut probe)).await.expect("there is a place");
    }
    tokio::time::resume();
    drop(crowd);
    server.end().await;
}

/// Takes its time to say whether somebody may do something.
struct Slow(Semaphore);

impl Authority for Slow {
    fn allow<'a>(&'a self, _: &'a str, _: &'a Ask) -> BoxFuture<'a, Result<Arc<str>, Denied>> {
        async {
            self.0.acquire().await.unwrap().forget();
            Ok("dana".into())
        }
        .boxed()
    }
}

#[tokio::test]
async fn whoever_is_being_answered_stays() {
    let slow = Arc::new(Slow(Semaphore::new(0)));
    let server = start(Access::Cluster(slow.clone())).await;
    let address = server.address;
    let mut busy = TcpStream::connect(address).await.unwrap();
    let request = "GET /api/v1/objects HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer x\r\n\r\n";
    busy.write_all(request.as_bytes()).await.unwrap();
    let mut held = Vec::new();
    // Twice as many as there is room for: all of the first have to go, unless they are being answered.
    for number in 0..2 * ADMIN_CONNECTIONS {
        held.push(silent(address, number).await);
    }
    tokio::time::pause();
    timeout(SOON, is_answered(&mut get(address, "/healthz").await)).await.expect("there is a place");
    slow.0.add_permits(3);
    timeout(SOON, is_answered(&mut busy)).await.expect("its answer comes");
    tokio::time::resume();
    drop(held);
    server.end().await;
}

#[tokio::test]
async fn whoever_reads_no_answer_is_let_go() {
    let server = start(Access::LoopbackOnly).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let asking = async {
        // The server takes requests only as long as it can write answers.
        while stream.write_all(&b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(100)).await.is_ok() {}
    };
    tokio::time::pause();
    tokio::time::timeout(FOR_EVER, asking).await.expect("the connection ends");
    tokio::time::resume();
    server.end().await;
}
