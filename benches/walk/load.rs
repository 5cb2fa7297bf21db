//! The load: one body with one signature, an id of its own for every request, over keep-alive connections.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
};

/// What a run measured.
pub(crate) struct Measured {
    /// From the first request to the last answer.
    pub(crate) time: Duration,
    latencies: Vec<Duration>,
}

impl Measured {
    /// Median and 99th percentile.
    pub(crate) fn latency(&self) -> (Duration, Duration) {
        let at = |part: f64| self.latencies[((self.latencies.len() - 1) as f64 * part) as usize];
        (at(0.5), at(0.99))
    }
}

/// A JSON body of the usual size.
pub(crate) fn body() -> Vec<u8> {
    let head = br#"{"type":"bench","data":""#;
    let tail = br#""}"#;
    let mut body = head.to_vec();
    body.resize(crate::BODY_BYTES - tail.len(), b'x');
    body.extend_from_slice(tail);
    body
}

/// Sends `events` requests and waits for their answers, each of which must be 200.
pub(crate) async fn run(
    address: SocketAddr,
    body: &Arc<Vec<u8>>,
    events: usize,
    connections: usize,
    name: &str,
) -> Measured {
    let mut mac = Hmac::<Sha256>::new_from_slice(crate::SECRET.as_bytes()).unwrap();
    mac.update(body);
    let signature = hex::encode(mac.finalize().into_bytes());
    let next = Arc::new(AtomicUsize::new(0));
    let start = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..connections {
        let (next, body, signature, name) = (Arc::clone(&next), Arc::clone(body), signature.clone(), name.to_owned());
        tasks.spawn(async move {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.set_nodelay(true).unwrap();
            let mut latencies = Vec::new();
            let mut request = Vec::with_capacity(body.len() + 512);
            let mut answer = vec![0; 4096];
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= events {
                    return latencies;
                }
                request.clear();
                let head = format!(
                    "POST /default/bench HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\n\
                     content-length: {}\r\nx-webhook-signature: {signature}\r\nx-event-id: {name}-{number}\r\n\r\n",
                    body.len()
                );
                request.extend_from_slice(head.as_bytes());
                request.extend_from_slice(&body);
                let sent = Instant::now();
                stream.write_all(&request).await.unwrap();
                read_answer(&mut stream, &mut answer).await;
                latencies.push(sent.elapsed());
            }
        });
    }
    let mut latencies = Vec::with_capacity(events);
    while let Some(done) = tasks.join_next().await {
        latencies.extend(done.unwrap());
    }
    let time = start.elapsed();
    latencies.sort_unstable();
    assert_eq!(latencies.len(), events);
    Measured { time, latencies }
}

/// Reads one answer, which has a Content-Length.
async fn read_answer(stream: &mut TcpStream, buffer: &mut [u8]) {
    let mut filled = 0;
    loop {
        let read = stream.read(&mut buffer[filled..]).await.unwrap();
        assert!(read > 0, "the server closed the connection");
        filled += read;
        let text = &buffer[..filled];
        let Some(end) = text.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
        assert!(text.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(text));
        let head = std::str::from_utf8(&text[..end]).unwrap().to_ascii_lowercase();
        let length = head.split("content-length:").nth(1).unwrap().split("\r\n").next().unwrap();
        let length: usize = length.trim().parse().unwrap();
        if filled >= end + 4 + length {
            return;
        }
    }
}
