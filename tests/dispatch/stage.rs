//! A journal, a dispatcher and receivers.

use std::{
    future::Future,
    num::NonZeroUsize,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{Router, body::Body, response::Response};
use bytes::Bytes;
use grapnel::{
    catalog::{Snapshot, Subscription, SubscriptionFacts, Target, observed::AbandonedDeliveries},
    dispatch::{Client, ClientOptions, Consumers, DispatchError, Dispatcher},
    telemetry::{metrics::Metrics, spans::Spans},
};
use grapnel_api::{Format, Incarnation, ObjectKey, Ordering as EventOrder, StartFrom};
use grapnel_delivery::{
    breaker::BreakerPolicy,
    egress::{EgressPolicy, Reach},
    retry::{Jitter, RetryPolicy},
};
use grapnel_event::{
    identity::{Identity, Reading},
    schema::{SchemaSet, Unmatched},
};
use grapnel_journal::{
    Arrival, DeliveryQuery, DeliveryRecord, DeliveryState, Journal, Progress, Start,
    embedded::{EmbeddedJournal, EmbeddedOptions},
};
use grapnel_payload::{headers::HeaderGlobs, payload::Payload};
use grapnel_signature::{Scheme, Verifier};
use grapnel_values::{
    clock::{Clock, ManualClock},
    glob::GlobSet,
};
use http::{HeaderMap, StatusCode, request::Parts};
use jiff::Timestamp;
use tempfile::TempDir;
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;
use url::Url;

/// Longest that any test waits for anything; only a test that fails waits as long.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until something is so.
pub(crate) async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let waited = tokio::time::timeout(PATIENCE, async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    });
    assert!(waited.await.is_ok(), "never happened: {what}");
}

/// A request as a receiver saw it.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) parts: Parts,
    pub(crate) body: Bytes,
}

impl Received {
    pub(crate) fn headers(&self) -> &HeaderMap {
        &self.parts.headers
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.parts
            .headers
            .get(name)
            .unwrap_or_else(|| panic!("no header {name} in {:?}", self.parts.headers))
            .to_str()
            .unwrap()
    }
}

/// A receiver on the loopback.
pub(crate) struct Receiver {
    pub(crate) url: Url,
    requests: mpsc::UnboundedReceiver<Received>,
    server: JoinHandle<()>,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Receiver {
    /// Answers the n-th request (from 0) as told.
    pub(crate) async fn new<F>(answer: impl Fn(usize) -> F + Clone + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Response> + Send,
    {
        let (seen, requests) = mpsc::unbounded_channel();
        let count = Arc::new(AtomicUsize::new(0));
        let router = Router::new().fallback(move |request: axum::extract::Request| {
            let (seen, count, answer) = (seen.clone(), Arc::clone(&count), answer.clone());
            async move {
                let (parts, body) = request.into_parts();
                let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
                let number = count.fetch_add(1, Ordering::SeqCst);
                // The test may have seen enough.
                let _ = seen.send(Received { parts, body });
                answer(number).await
            }
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = Url::parse(&format!("http://{}/hook", listener.local_addr().unwrap())).unwrap();
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, requests, server }
    }

    /// Answers with these statuses, the last one for ever.
    pub(crate) async fn statuses(statuses: &'static [u16]) -> Self {
        Self::new(move |number| async move { status(statuses[number.min(statuses.len() - 1)]) }).await
    }

    pub(crate) async fn next(&mut self) -> Received {
        tokio::time::timeout(PATIENCE, self.requests.recv()).await.expect("no request came").unwrap()
    }

    /// Everything that has come and was not looked at.
    pub(crate) fn rest(&mut self) -> Vec<Received> {
        std::iter::from_fn(|| self.requests.try_recv().ok()).collect()
    }
}

pub(crate) fn status(status: u16) -> Response {
    Response::builder().status(StatusCode::from_u16(status).unwrap()).body(Body::empty()).unwrap()
}

/// The endpoint that all subscriptions read by default, from a file.
pub(crate) fn endpoint() -> Incarnation {
    file("stripe")
}

/// An object from a file.
pub(crate) fn file(name: &str) -> Incarnation {
    Incarnation::of_file(key(name))
}

/// Opens the journal in a directory; `max_bytes` is 0 for any number.
pub(crate) fn open_journal(directory: &Path, max_bytes: u64) -> EmbeddedJournal {
    let directory = directory.join("journal");
    EmbeddedJournal::open(EmbeddedOptions { directory, max_bytes, namespace_share: Some(0), strict: false }).unwrap()
}

pub(crate) fn key(name: &str) -> ObjectKey {
    ObjectKey::new("shop", name)
}

/// A subscription that tries three times, 1 s and 2 s apart.
pub(crate) fn subscription(name: &str, url: &Url, metrics: &Metrics) -> Subscription {
    let key = key(name);
    Subscription {
        uid: Arc::from(""),
        endpoint: endpoint(),
        reading: Reading::default(),
        event_types: GlobSet::default(),
        target: Target {
            url: url.clone(),
            secret_url: false,
            reach: Reach::Url,
            headers: HeaderMap::new(),
            oauth: None,
            tls: None,
            timeout: Duration::from_secs(30),
        },
        filter: None,
        transform: None,
        format: Format::Original,
        forward_headers: HeaderGlobs::default(),
        signer: None,
        retry: RetryPolicy {
            max_attempts: 3,
            initial: Duration::from_secs(1),
            multiplier: 2.0,
            max_delay: Duration::from_secs(60),
            jitter: Jitter::None,
            stop_on: vec![410],
        },
        breaker: BreakerPolicy::default(),
        ordering: EventOrder::Unordered,
        max_in_flight: NonZeroUsize::new(16).unwrap(),
        rate_limit: None,
        dead_letter_retention: Duration::from_secs(3600),
        dead_letter_endpoint: None,
        start_from: StartFrom::Now,
        suspended: false,
        facts: Arc::new(SubscriptionFacts::default()),
        metrics: metrics.subscription(&key.namespace, &key.name),
        key,
    }
}

/// The id of a delivery's event.
pub(crate) fn event_id(delivery: &DeliveryRecord) -> &str {
    &delivery.event.kept().expect("a readable event").id
}

/// An event to append.
pub(crate) fn arrival(id: &str, kind: &str, body: &[u8], now: Timestamp) -> Arrival {
    let verified = Verifier::new(Scheme::None, Vec::new())
        .unwrap()
        .verify(&HeaderMap::new(), Bytes::copy_from_slice(body), now)
        .unwrap();
    let validated = SchemaSet::compile(Vec::new(), Unmatched::Accept)
        .unwrap()
        .validate(verified, &Payload::Opaque, Identity::new(id, kind))
        .unwrap();
    Arrival {
        endpoint: endpoint(),
        validated,
        received: now,
        content_type: Some("application/json".into()),
        remote: None,
        headers: Vec::new(),
        window: Some(Duration::from_secs(3600)),
        max_bytes: None,
    }
}

/// The moment at which every test begins.
pub(crate) fn start() -> Timestamp {
    "2026-03-01T12:00:00Z".parse().unwrap()
}

/// Shows what another one does, and counts how often it is looked at.
struct Watched {
    clock: Arc<ManualClock>,
    looks: Arc<AtomicUsize>,
    leap: Arc<Mutex<Option<Leap>>>,
}

/// The clock is set forward when it is looked at for the nth time.
struct Leap {
    look: usize,
    by: Duration,
}

impl Clock for Watched {
    fn now(&self) -> Timestamp {
        let look = self.looks.fetch_add(1, Ordering::SeqCst) + 1;
        if let Some(leap) = self.leap.lock().unwrap().take_if(|leap| leap.look <= look) {
            self.clock.advance(leap.by);
        }
        self.clock.now()
    }
}

/// What is logged from its start on, in the thread that starts it.
pub(crate) struct Log {
    text: Arc<Mutex<Vec<u8>>>,
    _subscriber: tracing::subscriber::DefaultGuard,
}

impl Log {
    pub(crate) fn start() -> Self {
        let text = Arc::<Mutex<Vec<u8>>>::default();
        let writer = Arc::clone(&text);
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::DEBUG)
            .with_ansi(false)
            .with_writer(move || LogWriter(Arc::clone(&writer)))
            .finish();
        Self { text, _subscriber: tracing::subscriber::set_default(subscriber) }
    }

    /// The lines that hold this.
    pub(crate) fn lines(&self, part: &str) -> Vec<String> {
        let text = self.text.lock().unwrap();
        String::from_utf8_lossy(&text).lines().filter(|line| line.contains(part)).map(str::to_owned).collect()
    }
}

struct LogWriter(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for LogWriter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

pub(crate) struct Stage {
    pub(crate) journal: Arc<EmbeddedJournal>,
    pub(crate) clock: Arc<ManualClock>,
    looks: Arc<AtomicUsize>,
    leap: Arc<Mutex<Option<Leap>>>,
    pub(crate) metrics: Metrics,
    consumers: Consumers,
    /// What deleted subscriptions have left behind.
    pub(crate) abandoned: mpsc::Receiver<AbandonedDeliveries>,
    snapshot: watch::Sender<Arc<Snapshot>>,
    shutdown: CancellationToken,
    running: JoinHandle<Result<(), DispatchError>>,
    directory: Arc<TempDir>,
}

impl Stage {
    /// A dispatcher that may call the loopback, with nothing to do.
    pub(crate) async fn new() -> Self {
        Self::with(EgressPolicy::default().allowing(vec!["127.0.0.0/8".parse().unwrap()])).await
    }

    pub(crate) async fn with(egress: EgressPolicy) -> Self {
        Self::with_options(ClientOptions::new(egress), 0).await
    }

    /// With a journal of so many bytes, 0 for any number.
    pub(crate) async fn with_options(client: ClientOptions, max_bytes: u64) -> Self {
        let directory = Arc::new(tempfile::tempdir().unwrap());
        Self::in_directory(directory, client, max_bytes, Arc::new(ManualClock::new(start()))).await
    }

    async fn in_directory(
        directory: Arc<TempDir>,
        client: ClientOptions,
        max_bytes: u64,
        clock: Arc<ManualClock>,
    ) -> Self {
        let journal = Arc::new(open_journal(directory.path(), max_bytes));
        let metrics = Metrics::new();
        let (snapshot, live) = watch::channel(Arc::new(Snapshot::default()));
        let client = Client::new(client).unwrap();
        let shutdown = CancellationToken::new();
        let looks = Arc::new(AtomicUsize::new(0));
        let leap = Arc::default();
        let watched = Arc::new(Watched { clock: clock.clone(), looks: looks.clone(), leap: Arc::clone(&leap) });
        let dispatcher =
            Dispatcher { snapshot: live, journal: journal.clone(), clock: watched, client, spans: Spans::default() };
        let running = tokio::spawn(dispatcher.run(shutdown.clone()));
        let (reports, abandoned) = mpsc::channel(16);
        let consumers = Consumers::new(journal.clone(), metrics.clone()).reporting(reports);
        Self { journal, clock, looks, leap, metrics, consumers, abandoned, snapshot, shutdown, running, directory }
    }

    /// Makes these subscriptions live.
    pub(crate) async fn publish(&mut self, subscriptions: impl IntoIterator<Item = Subscription>) {
        self.publish_snapshot(Snapshot::new([], subscriptions.into_iter().map(Arc::new))).await;
    }

    pub(crate) async fn publish_snapshot(&mut self, snapshot: Snapshot) {
        self.consumers.align(&snapshot).await.unwrap();
        self.snapshot.send_replace(Arc::new(snapshot));
    }

    pub(crate) async fn append(&self, id: &str, kind: &str) {
        self.append_all([arrival(id, kind, br#"{"a":1}"#, self.now())]).await;
    }

    pub(crate) async fn append_all(&self, arrivals: impl IntoIterator<Item = Arrival>) {
        self.journal.append(arrivals.into_iter().collect()).await.unwrap();
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(crate) fn progress(&self, name: &str) -> Progress {
        self.journal.progress(&file(name)).unwrap()
    }

    pub(crate) async fn until(&self, name: &str, what: &str, holds: impl Fn(Progress) -> bool) -> Progress {
        eventually(what, async || holds(self.progress(name))).await;
        self.progress(name)
    }

    /// So much time passes right before the nth look at the clock from now on.
    pub(crate) fn pass_at_look(&self, nth: usize, by: Duration) {
        let look = self.looks.load(Ordering::SeqCst) + nth;
        *self.leap.lock().unwrap() = Some(Leap { look, by });
    }

    /// Waits until a worker that waits for its time has looked at the clock again and decided what to do.
    pub(crate) async fn worker_has_looked(&self) {
        let before = self.looks.load(Ordering::SeqCst);
        eventually("the worker has looked", async || self.looks.load(Ordering::SeqCst) >= before + 6).await;
    }

    /// Every delivery in a state.
    pub(crate) async fn deliveries(&self, name: &str, state: DeliveryState) -> Vec<DeliveryRecord> {
        let query = DeliveryQuery { state: Some(state), limit: 1000, ..Default::default() };
        let page = self.journal.deliveries(&file(name), query).await.unwrap();
        assert_eq!(page.next, None, "one step finds them all");
        page.deliveries
    }

    /// The only delivery in a state, when there is one.
    pub(crate) async fn delivery(&self, name: &str, state: DeliveryState) -> DeliveryRecord {
        eventually("a delivery in that state", async || !self.deliveries(name, state).await.is_empty()).await;
        let mut deliveries = self.deliveries(name, state).await;
        assert_eq!(deliveries.len(), 1);
        deliveries.remove(0)
    }

    /// Stops dispatching and hands back what is left.
    pub(crate) async fn stop(self) -> (Arc<EmbeddedJournal>, Arc<TempDir>, Arc<ManualClock>) {
        self.shutdown.cancel();
        self.running.await.unwrap().unwrap();
        (self.journal, self.directory, self.clock)
    }

    /// The same directory, opened anew.
    pub(crate) async fn reopen(self) -> Self {
        let (journal, directory, clock) = self.stop().await;
        journal.close().await.unwrap();
        drop(journal);
        let egress = EgressPolicy::default().allowing(vec!["127.0.0.0/8".parse().unwrap()]);
        Self::in_directory(directory, ClientOptions::new(egress), 0, clock).await
    }

    /// Attaches a consumer that has no subscription.
    pub(crate) async fn attach(&self, name: &str) {
        self.journal.attach(&file(name), &endpoint(), Start::Now).await.unwrap();
    }
}
