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

use axum::response::Response;
use bytes::Bytes;
use grapnel::{
    catalog::{DeliveryTarget, Snapshot, Subscription, SubscriptionFacts, observed::AbandonedDeliveries},
    dispatch::{Client, ClientOptions, Consumers, DispatchError, Dispatcher},
    telemetry::{metrics::Metrics, spans::Spans},
};
use grapnel_api::{DeliveryMode, Format, Incarnation, ObjectKey, Ordering as EventOrder, StartFrom};
use grapnel_delivery::{
    breaker::BreakerPolicy,
    egress::{EgressPolicy, Reach},
    retry::{RetryJitter, RetryPolicy},
};
use grapnel_event::identity::Reading;
use grapnel_journal::{
    Arrival, DeliveryQuery, DeliveryRecord, DeliveryState, Journal, Progress, Start,
    embedded::{EmbeddedJournal, EmbeddedOptions},
    testing::validated,
};
use grapnel_payload::headers::HeaderGlobs;
use grapnel_test_support::receiver;
pub(crate) use grapnel_test_support::{
    eventually,
    receiver::{Received, status},
};
use grapnel_values::{
    clock::{Clock, ManualClock},
    glob::GlobSet,
};
use http::HeaderMap;
use jiff::Timestamp;
use tempfile::TempDir;
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;
use url::Url;

/// A receiver, and the URL to which the subscriptions of these tests deliver.
pub(crate) struct Receiver {
    pub(crate) url: Url,
    receiver: receiver::Receiver,
}

impl Receiver {
    /// Answers the n-th request (from 0) as told.
    pub(crate) async fn new<F>(answer: impl Fn(usize) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Response> + Send + 'static,
    {
        Self::of(receiver::Receiver::scripted(answer).await)
    }

    /// Answers with these statuses, and from then on with the last one.
    pub(crate) async fn statuses(statuses: &'static [u16]) -> Self {
        Self::of(receiver::Receiver::statuses(statuses).await)
    }

    fn of(receiver: receiver::Receiver) -> Self {
        let url = Url::parse(&format!("{}/hook", receiver.url)).unwrap();
        Self { url, receiver }
    }

    pub(crate) async fn next(&mut self) -> Received {
        self.receiver.next().await
    }

    /// Everything that has come and was not looked at.
    pub(crate) fn rest(&mut self) -> Vec<Received> {
        self.receiver.rest()
    }
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
        target: DeliveryTarget {
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
            jitter: RetryJitter::None,
            stop_on: vec![410],
        },
        breaker: BreakerPolicy::default(),
        ordering: EventOrder::Unordered,
        max_in_flight: NonZeroUsize::new(16).unwrap(),
        rate_limit: None,
        dead_letter_retention: Duration::from_secs(3600),
        dead_letter_endpoint: None,
        start_from: StartFrom::Now,
        mode: DeliveryMode::Deliver,
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
    Arrival {
        endpoint: endpoint(),
        validated: validated(id, kind, Bytes::copy_from_slice(body)),
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
        eventually(what, async || Some(self.progress(name)).filter(|now| holds(*now)).ok_or(self.progress(name))).await
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
