//! The receiver of deliveries: a hand-written HTTP/1.1 loop, so that it takes as little of the machine as possible.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::payload::Payloads;

/// Counts requests and answers 200.
pub(crate) struct Receiver {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    arrivals: Arc<Arrivals>,
}

/// What has arrived.
pub(crate) struct Arrivals {
    start: Instant,
    count: AtomicUsize,
    /// Microseconds from `start` to the first and to the last arrival.
    first: AtomicU64,
    last: AtomicU64,
    /// Of events whose numbers are looked at: when each was sent and when it arrived, in the same unit; 0 is not yet.
    times: Vec<(AtomicU64, AtomicU64)>,
}

impl Arrivals {
    fn now(&self) -> u64 {
        self.start.elapsed().as_micros() as u64
    }

    /// Notes that the event with this number is being sent.
    pub(crate) fn sent(&self, number: usize) {
        if let Some((sent, _)) = self.times.get(number) {
            sent.store(self.now(), Relaxed);
        }
    }

    fn arrived(&self, head: &[u8]) {
        let now = self.now();
        if self.count.fetch_add(1, Relaxed) == 0 {
            self.first.store(now, Relaxed);
        }
        self.last.store(now, Relaxed);
        if !self.times.is_empty()
            && let Some(number) = number(head)
            && let Some((_, arrived)) = self.times.get(number)
        {
            // A repeated delivery does not count.
            let _ = arrived.compare_exchange(0, now, Relaxed, Relaxed);
        }
    }

    /// Sorted times from sending to arrival.
    pub(crate) fn latencies(&self) -> Vec<Duration> {
        let both = self.times.iter().map(|(sent, arrived)| (sent.load(Relaxed), arrived.load(Relaxed)));
        let known = both.filter(|(sent, arrived)| *sent > 0 && *arrived > 0);
        let mut latencies: Vec<_> =
            known.map(|(sent, arrived)| Duration::from_micros(arrived.saturating_sub(sent))).collect();
        latencies.sort_unstable();
        latencies
    }
}

impl Receiver {
    /// Starts one that looks at the times of the first `numbers` events.
    pub(crate) async fn start(numbers: usize) -> Self {
        let arrivals = Arc::new(Arrivals {
            start: Instant::now(),
            count: AtomicUsize::new(0),
            first: AtomicU64::new(0),
            last: AtomicU64::new(0),
            times: std::iter::repeat_with(Default::default).take(numbers).collect(),
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::clone(&arrivals);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream, Arc::clone(&shared)));
            }
        });
        Self { address, arrivals }
    }

    pub(crate) fn arrivals(&self) -> &Arc<Arrivals> {
        &self.arrivals
    }

    /// Requests so far.
    pub(crate) fn count(&self) -> usize {
        self.arrivals.count.load(Relaxed)
    }

    /// Waits for so many requests, and returns the time from the first to the last.
    pub(crate) async fn wait(&self, events: usize) -> Duration {
        let all = timeout(crate::PATIENCE, async {
            while self.count() < events {
                sleep(Duration::from_millis(2)).await;
            }
        });
        all.await.expect("deliveries did not end in time");
        Duration::from_micros(self.arrivals.last.load(Relaxed) - self.arrivals.first.load(Relaxed))
    }

    /// Posts bodies with a plain client, so many at once.
    pub(crate) async fn plain_loop(&self, payloads: &Arc<Payloads>, events: usize, in_flight: usize) -> Duration {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let url = format!("http://{}/", self.address);
        let next = Arc::new(AtomicUsize::new(0));
        let start = Instant::now();
        let mut tasks = JoinSet::new();
        for _ in 0..in_flight {
            let (client, url, payloads, next) = (client.clone(), url.clone(), Arc::clone(payloads), Arc::clone(&next));
            tasks.spawn(async move {
                loop {
                    let number = next.fetch_add(1, Relaxed);
                    if number >= events {
                        return;
                    }
                    let body = payloads.body(number).to_vec();
                    let request = client.post(&url).header("content-type", "application/json").body(body);
                    let answer = request.send().await.unwrap();
                    assert_eq!(answer.status(), 200);
                    answer.bytes().await.unwrap();
                }
            });
        }
        tasks.join_all().await;
        start.elapsed()
    }
}

/// One connection.
async fn answer(mut stream: TcpStream, arrivals: Arc<Arrivals>) {
    let _ = stream.set_nodelay(true);
    let mut buffer = vec![0; 16 * 1024];
    let mut filled = 0;
    loop {
        let Ok(read @ 1..) = stream.read(&mut buffer[filled..]).await else { return };
        filled += read;
        while let Some(end) = buffer[..filled].windows(4).position(|window| window == b"\r\n\r\n") {
            let length = value(&buffer[..end], b"content-length: ");
            let length: usize = std::str::from_utf8(length.unwrap_or(b"0")).unwrap().parse().unwrap();
            let whole = end + 4 + length;
            if filled < whole {
                break;
            }
            arrivals.arrived(&buffer[..end]);
            buffer.copy_within(whole..filled, 0);
            filled -= whole;
            if stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.is_err() {
                return;
            }
        }
    }
}

/// The number at the end of the event's id.
fn number(head: &[u8]) -> Option<usize> {
    let id = std::str::from_utf8(value(head, b"webhook-id: ")?).ok()?;
    id.rsplit('-').next()?.parse().ok()
}

/// The value of a header, whose name hyper writes in lower case.
fn value<'a>(head: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let at = head.windows(name.len()).position(|window| window == name)? + name.len();
    head[at..].split(|byte| *byte == b'\r').next()
}
