//! The configuration of the data plane: immutable, cheap to look up, replaced as a whole.

use std::{collections::HashSet, fmt, num::NonZeroUsize, sync::Arc, time::Duration};

use bytes::Bytes;
use grapnel_api::{DeliveryMode, Format, GatewayRoute, Incarnation, ObjectKey, Ordering, StartFrom};
use grapnel_delivery::{breaker::BreakerPolicy, rate_limit::RateLimiter, retry::RetryPolicy};
use grapnel_event::{
    identity::{Reading, Sources},
    schema::SchemaSet,
};
use grapnel_expression::Expression;
use grapnel_payload::headers::HeaderGlobs;
use grapnel_signature::{Handshake, Signer, Verifier};
use grapnel_values::{glob::GlobSet, secret::Secret};
use http::{HeaderValue, Method, StatusCode};
use ipnet::IpNet;

use super::{
    id_sources::IdSources,
    observed::{EndpointFacts, SubscriptionFacts},
    replay::Replay,
    target::DeliveryTarget,
};
use crate::{
    fast_map::FastMap,
    telemetry::metrics::{EndpointMetrics, SubscriptionMetrics},
};

/// All endpoints and subscriptions in use at one moment.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// By [`Snapshot::place`].
    routes: FastMap<Arc<str>, Route>,
    endpoints: FastMap<ObjectKey, Arc<Endpoint>>,
    subscriptions: FastMap<ObjectKey, Arc<Subscription>>,
    /// Subscription objects that exist and are not among `subscriptions`, or are there with another uid (empty for one
    /// from a file).
    uncompiled: FastMap<ObjectKey, Arc<str>>,
    /// Namespaces with an endpoint that has never been readable, so that its path is not known.
    unread: HashSet<Arc<str>>,
    replays: Vec<Arc<Replay>>,
    /// True once every source has been read completely at least once.
    synced: bool,
}

/// The entry at a path.
#[derive(Debug, Clone)]
pub enum Route {
    /// An endpoint that is served.
    Ready(Arc<Endpoint>),
    /// An endpoint that exists but cannot be served yet: its spec does not compile or its Secrets are missing.
    NotReady,
}

impl Snapshot {
    /// A snapshot of compiled objects. The caller has resolved endpoints with the same path.
    pub fn new(
        endpoints: impl IntoIterator<Item = Arc<Endpoint>>,
        subscriptions: impl IntoIterator<Item = Arc<Subscription>>,
    ) -> Self {
        let mut snapshot = Self { synced: true, ..Self::default() };
        let endpoints: Vec<_> = endpoints.into_iter().collect();
        snapshot.endpoints.reserve(endpoints.len());
        snapshot.routes.reserve(endpoints.len());
        for endpoint in endpoints {
            snapshot.routes.insert(Arc::clone(&endpoint.place), Route::Ready(Arc::clone(&endpoint)));
            snapshot.endpoints.insert(endpoint.key.clone(), endpoint);
        }
        let subscriptions: Vec<_> = subscriptions.into_iter().collect();
        snapshot.subscriptions.reserve(subscriptions.len());
        for subscription in subscriptions {
            snapshot.subscriptions.insert(subscription.key.clone(), subscription);
        }
        snapshot
    }

    /// Where requests find an endpoint: `namespace/path`, without the operator's prefix and without leading and trailing
    /// slashes.
    pub fn place(namespace: &str, path: &str) -> Arc<str> {
        format!("{namespace}/{path}").into()
    }

    /// Adds paths whose endpoints exist but cannot be served; paths in use are kept.
    pub fn with_unready<'a>(mut self, paths: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        for (namespace, path) in paths {
            self.routes.entry(Self::place(namespace, path)).or_insert(Route::NotReady);
        }
        self
    }

    /// Adds subscription objects that exist but do not compile: their consumers are kept.
    pub fn with_uncompiled(mut self, subscriptions: impl IntoIterator<Item = Incarnation>) -> Self {
        self.uncompiled.extend(subscriptions.into_iter().map(|Incarnation { key, uid }| (key, uid)));
        self
    }

    /// The snapshot without subscriptions that cannot be delivered yet. Their objects are known nevertheless.
    #[must_use]
    pub fn without(&self, subscriptions: &HashSet<ObjectKey>) -> Self {
        let mut rest = self.clone();
        for key in subscriptions {
            if let Some(subscription) = rest.subscriptions.remove(key) {
                rest.uncompiled.entry(key.clone()).or_insert_with(|| Arc::clone(&subscription.uid));
            }
        }
        rest
    }

    /// Adds namespaces with an endpoint that has never been readable.
    pub fn with_unread(mut self, namespaces: impl IntoIterator<Item = Arc<str>>) -> Self {
        self.unread.extend(namespaces);
        self
    }

    /// Adds compiled replays.
    pub fn with_replays(mut self, replays: impl IntoIterator<Item = Arc<Replay>>) -> Self {
        self.replays.extend(replays);
        self
    }

    /// Marks that some source has not been read completely yet, so that absent objects may still appear.
    pub fn incomplete(mut self) -> Self {
        self.synced = false;
        self
    }

    /// Whether every source has been read completely at least once.
    pub fn synced(&self) -> bool {
        self.synced
    }

    /// The entry at `namespace/path`.
    pub fn route(&self, path: &str) -> Option<&Route> {
        self.routes.get(path)
    }

    /// Whether `namespace/path` may belong to an endpoint that is not known yet: some source has not been read
    /// completely, or the namespace has an endpoint that cannot be read.
    pub fn may_have(&self, path: &str) -> bool {
        !self.synced || path.split('/').next().is_some_and(|namespace| self.unread.contains(namespace))
    }

    /// A served endpoint by name.
    pub fn endpoint(&self, key: &ObjectKey) -> Option<&Arc<Endpoint>> {
        self.endpoints.get(key)
    }

    /// A compiled subscription by name.
    pub fn subscription(&self, key: &ObjectKey) -> Option<&Arc<Subscription>> {
        self.subscriptions.get(key)
    }

    /// Every served endpoint.
    pub fn endpoints(&self) -> impl Iterator<Item = &Arc<Endpoint>> {
        self.endpoints.values()
    }

    /// Every subscription that compiles.
    pub fn subscriptions(&self) -> impl Iterator<Item = &Arc<Subscription>> {
        self.subscriptions.values()
    }

    /// Every replay that compiles.
    pub fn replays(&self) -> &[Arc<Replay>] {
        &self.replays
    }

    /// The subscription object of this name, compiled or not.
    pub fn known(&self, key: &ObjectKey) -> Option<Incarnation> {
        self.uid_of(key).map(|uid| Incarnation::new(key.clone(), Arc::clone(uid)))
    }

    fn uid_of(&self, subscription: &ObjectKey) -> Option<&Arc<str>> {
        let compiled = || self.subscriptions.get(subscription).map(|compiled| &compiled.uid);
        self.uncompiled.get(subscription).or_else(compiled)
    }

    /// Whether this incarnation of a subscription object exists, compiled or not.
    ///
    /// An incarnation without a uid exists while any object of its name does: it comes from a file, or from a journal
    /// that an earlier version wrote without uids, and is replaced when the object of its name is attached.
    pub fn knows(&self, subscription: &Incarnation) -> bool {
        self.uid_of(&subscription.key).is_some_and(|uid| subscription.uid.is_empty() || *uid == subscription.uid)
    }
}

/// A compiled `WebhookEndpoint`.
pub struct Endpoint {
    /// Its name.
    pub key: ObjectKey,
    /// `metadata.uid`; empty for an object from a file.
    pub uid: Arc<str>,
    /// Where requests find it: see [`Snapshot::place`].
    pub place: Arc<str>,
    /// Whether requests are rejected with 503.
    pub suspended: bool,
    /// Verifies requests.
    pub verifier: Verifier,
    /// Name of the provider's preset, if it has one.
    pub provider: Option<&'static str>,
    /// The options with which `grapnel send` signs as its sender; `None` if no secret of the endpoint can.
    pub sender: Option<Box<str>>,
    /// The provider's handshake.
    pub handshake: Handshake,
    /// The token that the sender must show in its handshake, if it has one.
    pub verify_token: Option<Secret>,
    /// The sources of the event's type.
    pub kind_sources: Sources,
    /// The sources of the event's id.
    pub id_sources: IdSources,
    /// How bodies are read.
    pub reading: Reading,
    /// Methods whose requests without a signature are probes.
    pub probes: Box<[Method]>,
    /// Schemas by type.
    pub schemas: SchemaSet,
    /// Deduplication; `None` if it is disabled.
    pub deduplication: Option<Deduplicate>,
    /// Rate limit of requests; its state is kept across recompilation as long as the limit itself is unchanged.
    pub rate_limit: Option<Arc<RateLimiter>>,
    /// Maximum size of a body in bytes.
    pub body_bytes: usize,
    /// Timeout of a request.
    pub timeout: Duration,
    /// Networks of allowed senders; empty allows all.
    pub allowed_sources: Box<[IpNet]>,
    /// The response to an accepted event.
    pub reply: Reply,
    /// Retention of settled events.
    pub retention: Duration,
    /// Maximum bytes of its events in the journal; `None` means the share of its namespace.
    pub max_bytes: Option<u64>,
    /// The HTTPRoute that the operator manages for it.
    pub route: Option<Arc<GatewayRoute>>,
    /// Facts for the object's status.
    pub facts: Arc<EndpointFacts>,
    /// The endpoint's metric series.
    pub metrics: Arc<EndpointMetrics>,
}

impl Endpoint {
    /// URL path below the namespace, without leading and trailing slashes.
    pub fn path(&self) -> &str {
        self.place.get(self.key.namespace.len() + 1..).unwrap_or_default()
    }

    /// The object that it was compiled from.
    pub fn incarnation(&self) -> Incarnation {
        Incarnation::new(self.key.clone(), Arc::clone(&self.uid))
    }
}

/// Deduplication by event id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deduplicate {
    /// Time after an accepted event in which an event with the same id is a duplicate.
    pub window: Duration,
}

/// The response to an accepted event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// 200, 201, 202 or 204.
    pub status: StatusCode,
    /// Body and its content type; `None` sends the JSON response.
    pub body: Option<(Bytes, HeaderValue)>,
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint").field("key", &self.key).field("place", &self.place).finish_non_exhaustive()
    }
}

/// A compiled `WebhookSubscription`.
pub struct Subscription {
    /// Its name.
    pub key: ObjectKey,
    /// `metadata.uid`; empty for an object from a file.
    pub uid: Arc<str>,
    /// Its endpoint object, compiled or not.
    pub endpoint: Incarnation,
    /// How the bodies of its endpoint are read.
    pub reading: Reading,
    /// Types to deliver; empty delivers all.
    pub event_types: GlobSet,
    /// The filter; `None` delivers all events.
    pub filter: Option<Arc<Expression>>,
    /// The transformation; `None` delivers events unchanged.
    pub transform: Option<Arc<Expression>>,
    /// The receiver.
    pub target: DeliveryTarget,
    /// Format of the body.
    pub format: Format,
    /// Received headers to forward.
    pub forward_headers: HeaderGlobs,
    /// Signs deliveries.
    pub signer: Option<Signer>,
    /// When to retry.
    pub retry: RetryPolicy,
    /// When deliveries to the receiver pause.
    pub breaker: BreakerPolicy,
    /// Whether events are delivered strictly in order.
    pub ordering: Ordering,
    /// Maximum deliveries in flight; 1 if they are ordered.
    pub max_in_flight: NonZeroUsize,
    /// Rate limit of deliveries.
    pub rate_limit: Option<Arc<RateLimiter>>,
    /// Retention of dead letters.
    pub dead_letter_retention: Duration,
    /// The endpoint for dead letters.
    pub dead_letter_endpoint: Option<DeadLetterEndpoint>,
    /// Where a new consumer starts.
    pub start_from: StartFrom,
    /// Whether events are sent.
    pub mode: DeliveryMode,
    /// Whether it is parked: nothing is sent.
    pub suspended: bool,
    /// Facts for the object's status.
    pub facts: Arc<SubscriptionFacts>,
    /// The subscription's metric series.
    pub metrics: Arc<SubscriptionMetrics>,
}

/// The endpoint that receives an event for each dead letter of a subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetterEndpoint {
    /// The object, compiled or not.
    pub endpoint: Incarnation,
    /// Maximum bytes of its events in the journal; `None` means the share of its namespace.
    pub max_bytes: Option<u64>,
}

impl Subscription {
    /// The object that it was compiled from.
    pub fn incarnation(&self) -> Incarnation {
        Incarnation::new(self.key.clone(), Arc::clone(&self.uid))
    }

    /// Whether nothing is sent, because `mode` is Shadow.
    pub fn is_shadow(&self) -> bool {
        self.mode == DeliveryMode::Shadow
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription").field("key", &self.key).field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}
