//! The receiver of deliveries: counts distinct events, answers 200.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{Router, body::Bytes, extract::State, http::StatusCode, routing::post};
use parking_lot::Mutex;
use tokio::{sync::Notify, task::JoinSet};

#[derive(Default)]
struct Counts {
    arrived: AtomicUsize,
    expected: AtomicUsize,
    first: Mutex<Option<Instant>>,
    all: Notify,
}

/// A receiver on this machine.
pub(crate) struct Receiver {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    counts: Arc<Counts>,
}

impl Receiver {
    /// Starts one.
    pub(crate) async fn start() -> Self {
        let counts = Arc::new(Counts::default());
        let app = Router::new().route("/", post(arrived)).with_state(Arc::clone(&counts));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { address, counts }
    }

    /// Forgets what has arrived; [`Self::wait`] waits for so many.
    pub(crate) fn expect(&self, events: usize) {
        *self.counts.first.lock() = None;
        self.counts.arrived.store(0, Ordering::SeqCst);
        self.counts.expected.store(events, Ordering::SeqCst);
    }

    /// Time from the first arrival to the last.
    pub(crate) async fn wait(&self, patience: Duration) -> Duration {
        tokio::time::timeout(patience, self.counts.all.notified()).await.expect("deliveries did not end in time");
        self.counts.first.lock().unwrap().elapsed()
    }

    /// Posts the body as often with a plain client, so many at once.
    pub(crate) async fn plain_loop(&self, body: &Arc<Vec<u8>>, events: usize, in_flight: usize) -> Duration {
        self.expect(events);
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let url = format!("http://{}/", self.address);
        let next = Arc::new(AtomicUsize::new(0));
        let body = Bytes::from(body.as_ref().clone());
        let start = Instant::now();
        let mut tasks = JoinSet::new();
        for _ in 0..in_flight {
            let (client, url, body, next) = (client.clone(), url.clone(), body.clone(), Arc::clone(&next));
            tasks.spawn(async move {
                while next.fetch_add(1, Ordering::Relaxed) < events {
                    let request = client.post(&url).header("content-type", "application/json").body(body.clone());
                    let answer = request.send().await.unwrap();
                    assert_eq!(answer.status(), 200);
                    answer.bytes().await.unwrap();
                }
            });
        }
        while let Some(done) = tasks.join_next().await {
            done.unwrap();
        }
        // The last arrival has left its permit; the next wait must not take it for its own.
        self.counts.all.notified().await;
        start.elapsed()
    }
}

async fn arrived(State(counts): State<Arc<Counts>>, _body: Bytes) -> StatusCode {
    let before = counts.arrived.fetch_add(1, Ordering::SeqCst);
    if before == 0 {
        *counts.first.lock() = Some(Instant::now());
    }
    if before + 1 == counts.expected.load(Ordering::SeqCst) {
        counts.all.notify_one();
    }
    StatusCode::OK
}
