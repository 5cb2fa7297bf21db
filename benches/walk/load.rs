//! The load: signed requests, each with an event id of its own, over connections that are kept.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
    time::{MissedTickBehavior, interval_at},
};

use crate::{payload::Payloads, report::quantile};

/// What a run measured.
pub(crate) struct Measured {
    /// From the first request to the last answer.
    pub(crate) time: Duration,
    /// When each request was answered, in order, from the start.
    ends: Vec<Duration>,
    /// Sorted.
    latencies: Vec<Duration>,
}

impl Measured {
    /// A run of which only the time is known.
    pub(crate) fn plain(events: usize, time: Duration) -> Self {
        Self { time, ends: vec![time; events], latencies: Vec::new() }
    }

    /// A run with the end and the latency of each request.
    pub(crate) fn of(time: Duration, samples: Vec<(Duration, Duration)>) -> Self {
        let (mut ends, mut latencies): (Vec<_>, Vec<_>) = samples.into_iter().unzip();
        ends.sort_unstable();
        latencies.sort_unstable();
        Self { time, ends, latencies }
    }

    /// Runs that took turns with others, as one.
    pub(crate) fn in_turns(runs: Vec<Self>) -> Self {
        let (mut time, mut ends, mut latencies) = (Duration::ZERO, Vec::new(), Vec::new());
        for run in runs {
            ends.extend(run.ends.iter().map(|end| time + *end));
            latencies.extend(run.latencies);
            time += run.time;
        }
        latencies.sort_unstable();
        Self { time, ends, latencies }
    }

    /// Answered requests.
    pub(crate) fn count(&self) -> usize {
        self.ends.len()
    }

    /// Requests a second.
    pub(crate) fn rate(&self) -> f64 {
        self.ends.len() as f64 / self.time.as_secs_f64()
    }

    /// Median and 99th percentile.
    pub(crate) fn latency(&self) -> (Option<Duration>, Option<Duration>) {
        (quantile(&self.latencies, 0.5), quantile(&self.latencies, 0.99))
    }

    /// The rates of the first and of the last tenth.
    pub(crate) fn tenths(&self) -> (f64, f64) {
        let tenth = self.ends.len() / 10;
        let last = self.ends[self.ends.len() - 1] - self.ends[self.ends.len() - 1 - tenth];
        (tenth as f64 / self.ends[tenth - 1].as_secs_f64(), tenth as f64 / last.as_secs_f64())
    }
}

/// When a closed loop ends.
#[derive(Clone, Copy)]
pub(crate) enum Until {
    Events(usize),
    Time(Duration),
}

/// Sends requests over so many connections, on each the next one when the last one is answered. Each answer must be 200.
pub(crate) async fn closed_loop(
    address: SocketAddr,
    payloads: &Arc<Payloads>,
    connections: usize,
    until: Until,
    name: &str,
) -> Measured {
    let next = Arc::new(AtomicUsize::new(0));
    let start = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..connections {
        let (next, payloads, name) = (Arc::clone(&next), Arc::clone(payloads), name.to_owned());
        tasks.spawn(async move {
            let mut connection = Connection::open(address).await;
            let mut samples = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let over = match until {
                    Until::Events(events) => number >= events,
                    Until::Time(time) => start.elapsed() >= time,
                };
                if over {
                    return samples;
                }
                let sent = Instant::now();
                let status = connection.post(&payloads, &name, number).await;
                assert_eq!(status, 200, "{name}-{number}");
                samples.push((start.elapsed(), sent.elapsed()));
            }
        });
    }
    let samples = tasks.join_all().await.concat();
    Measured::of(start.elapsed(), samples)
}

/// Sends so many requests a second, and calls `sent` with the number of each just before. A request that is late because
/// the one before it on its connection has not been answered is sent at once.
pub(crate) async fn fixed_rate(
    address: SocketAddr,
    payloads: &Arc<Payloads>,
    connections: usize,
    (rate, time): (usize, Duration),
    name: &str,
    sent: impl Fn(usize) + Clone + Send + 'static,
) -> Measured {
    let start = Instant::now();
    let mut tasks = JoinSet::new();
    for connection in 0..connections {
        let (payloads, name, sent) = (Arc::clone(payloads), name.to_owned(), sent.clone());
        let pause = Duration::from_secs_f64(connections as f64 / rate as f64);
        let first = tokio::time::Instant::from_std(start) + pause.mul_f64(connection as f64 / connections as f64);
        tasks.spawn(async move {
            let mut ticks = interval_at(first, pause);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
            let mut number = connection;
            let mut connection = Connection::open(address).await;
            let mut samples = Vec::new();
            while start.elapsed() < time {
                ticks.tick().await;
                sent(number);
                let began = Instant::now();
                assert_eq!(connection.post(&payloads, &name, number).await, 200);
                samples.push((start.elapsed(), began.elapsed()));
                number += connections;
            }
            samples
        });
    }
    let samples = tasks.join_all().await.concat();
    Measured::of(start.elapsed(), samples)
}

/// A kept connection.
pub(crate) struct Connection {
    stream: TcpStream,
    request: Vec<u8>,
    answer: Vec<u8>,
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, request: Vec::new(), answer: vec![0; 4096] }
    }

    /// Posts a payload and returns the status of the answer.
    pub(crate) async fn post(&mut self, payloads: &Payloads, name: &str, number: usize) -> u16 {
        payloads.request(&mut self.request, name, number);
        self.stream.write_all(&self.request).await.unwrap();
        self.status().await
    }

    /// Sends a request as it is and returns the status of the answer.
    pub(crate) async fn send(&mut self, request: &[u8]) -> u16 {
        self.stream.write_all(request).await.unwrap();
        self.status().await
    }

    /// Reads one answer, which has a Content-Length, to its end.
    async fn status(&mut self) -> u16 {
        let mut filled = 0;
        loop {
            let read = self.stream.read(&mut self.answer[filled..]).await.unwrap();
            assert!(read > 0, "the server closed the connection");
            filled += read;
            let text = &self.answer[..filled];
            let Some(end) = text.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
            let head = std::str::from_utf8(&text[..end]).unwrap();
            let length = head.split("content-length: ").nth(1).unwrap().split("\r\n").next().unwrap();
            if filled >= end + 4 + length.parse::<usize>().unwrap() {
                return head[9..12].parse().unwrap();
            }
        }
    }
}
