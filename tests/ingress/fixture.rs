//! A server with endpoints made by hand, over a real journal in a directory of its own.

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use grapnel::{
    catalog::{Deduplicate, Endpoint, EndpointFacts, IdSources, Reply, Snapshot, observed::EndpointReading},
    ingress::{self, Callers, Ingress, IngressError, IngressOptions, RemoteKeys, Visits},
    telemetry::{metrics::Metrics, spans::Spans},
};
use grapnel_api::{Incarnation, ObjectKey};
use grapnel_event::{
    identity::{JsonPointer, Reading, Source, Sources, id_defaults, kind_defaults},
    schema::{SchemaSet, Unmatched},
};
use grapnel_journal::{
    EventQuery, Journal, StoredEvent,
    embedded::{EmbeddedJournal, EmbeddedOptions},
};
use grapnel_signature::{Handshake, Scheme, Verifier, provider};
use grapnel_values::{
    clock::{Clock, SystemClock},
    secret::Secret,
};
use http::StatusCode;
use tempfile::TempDir;
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};
use tokio_util::sync::CancellationToken;

/// The secret of every endpoint that is not given another.
pub(crate) const SECRET: &str = "It's a Secret to Everybody";

/// A verifier of a known provider.
pub(crate) fn verifier(name: &str, secrets: &[&str]) -> Verifier {
    let scheme = provider(name).unwrap().scheme();
    Verifier::new(scheme, secrets.iter().map(|secret| Secret::from(*secret)).collect()).unwrap()
}

/// A verifier that believes everybody.
pub(crate) fn open_door() -> Verifier {
    Verifier::new(Scheme::None, Vec::new()).unwrap()
}

/// An endpoint of the namespace `shop`, verified as GitHub signs, with the generic sources of type and id.
pub(crate) fn endpoint(name: &str) -> Endpoint {
    let key = ObjectKey::new("shop", name);
    Endpoint {
        uid: Arc::from(""),
        place: Snapshot::place("shop", name),
        suspended: false,
        verifier: verifier("GitHub", &[SECRET]),
        provider: Some("GitHub"),
        sender: None,
        handshake: Handshake::None,
        verify_token: None,
        kind_sources: Sources { explicit: None, defaults: kind_defaults(None), hidden: vec![] },
        id_sources: IdSources::new(Sources { defaults: implied_or_in_body(), ..Sources::default() }),
        reading: Reading::default(),
        probes: Box::default(),
        schemas: SchemaSet::compile(Vec::new(), Unmatched::Accept).unwrap(),
        deduplication: Some(Deduplicate { window: Duration::from_secs(3600) }),
        rate_limit: None,
        body_bytes: 1024 * 1024,
        timeout: Duration::from_secs(10),
        allowed_sources: Box::default(),
        reply: Reply { status: StatusCode::OK, body: None },
        retention: Duration::from_secs(3600),
        max_bytes: None,
        route: None,
        facts: Arc::new(EndpointFacts::default()),
        // Replaced by `Served`, so that all series are of one registry.
        metrics: Metrics::new().endpoint(&key.namespace, &key.name),
        key,
    }
}

/// The default sources of the id, and the body's `/id` after them.
fn implied_or_in_body() -> Arc<[Source]> {
    let pointer = JsonPointer::parse("/id").unwrap();
    id_defaults(None).iter().cloned().chain([Source::Pointer(pointer)]).collect()
}

/// Opens a journal in a directory.
fn open_journal(directory: &Path) -> EmbeddedJournal {
    let directory = directory.join("journal");
    EmbeddedJournal::open(EmbeddedOptions { directory, max_bytes: 0, namespace_share: None, strict: false }).unwrap()
}

/// Puts something in front of the journal.
pub(crate) type Wrap = Box<dyn FnOnce(Arc<dyn Journal>) -> Arc<dyn Journal>>;

/// How a server is to be started.
pub(crate) struct Plan {
    pub(crate) endpoints: Vec<Endpoint>,
    pub(crate) options: IngressOptions,
    pub(crate) callers: Option<Arc<dyn Callers>>,
    pub(crate) keys: Option<Arc<dyn RemoteKeys>>,
    pub(crate) visits: Option<Arc<dyn Visits>>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) tls: Option<Arc<rustls::ServerConfig>>,
    pub(crate) wrap: Wrap,
}

impl Plan {
    pub(crate) fn of(endpoints: impl IntoIterator<Item = Endpoint>) -> Self {
        Self {
            endpoints: endpoints.into_iter().collect(),
            options: IngressOptions::default(),
            callers: None,
            keys: None,
            visits: None,
            clock: Arc::new(SystemClock),
            tls: None,
            wrap: Box::new(|journal| journal),
        }
    }

    pub(crate) async fn serve(self) -> Served {
        let directory = tempfile::tempdir().unwrap();
        let journal: Arc<dyn Journal> = Arc::new(open_journal(directory.path()));
        let metrics = Metrics::new();
        let endpoints = self.endpoints.into_iter().map(|mut endpoint| {
            endpoint.metrics = metrics.endpoint(&endpoint.key.namespace, &endpoint.key.name);
            Arc::new(endpoint)
        });
        let (snapshot, receiver) = watch::channel(Arc::new(Snapshot::new(endpoints.collect::<Vec<_>>(), [])));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let ingress = Ingress {
            snapshot: receiver,
            journal: (self.wrap)(Arc::clone(&journal)),
            callers: self.callers,
            keys: self.keys,
            visits: self.visits,
            clock: self.clock,
            metrics: metrics.clone(),
            spans: Spans::default(),
            options: self.options,
        };
        let server = tokio::spawn(ingress::serve(ingress, listener, self.tls, shutdown.clone()));
        Served { address, journal, metrics, snapshot, shutdown, server, _directory: directory }
    }
}

/// A running server.
pub(crate) struct Served {
    pub(crate) address: SocketAddr,
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) metrics: Metrics,
    pub(crate) snapshot: watch::Sender<Arc<Snapshot>>,
    pub(crate) shutdown: CancellationToken,
    pub(crate) server: JoinHandle<Result<(), IngressError>>,
    _directory: TempDir,
}

impl Served {
    pub(crate) async fn with(endpoints: impl IntoIterator<Item = Endpoint>) -> Self {
        Plan::of(endpoints).serve().await
    }

    /// With one endpoint, at `/shop/orders`.
    pub(crate) async fn one() -> Self {
        Self::with([endpoint("orders")]).await
    }

    /// Everything that an endpoint has stored.
    pub(crate) async fn stored(&self, name: &str) -> Vec<StoredEvent> {
        let endpoint = Incarnation::of_file(ObjectKey::new("shop", name));
        let query = EventQuery { limit: 1000, ..EventQuery::default() };
        let mut stored = Vec::new();
        for entry in self.journal.events(&endpoint, query).await.unwrap().events {
            let event = entry.kept().expect("a readable event");
            stored.push(self.journal.event(&endpoint, &event.id).await.unwrap().unwrap());
        }
        stored
    }

    /// The facts of an endpoint.
    pub(crate) fn facts(&self, name: &str) -> EndpointReading {
        self.snapshot.borrow().endpoint(&ObjectKey::new("shop", name)).unwrap().facts.read()
    }
}
