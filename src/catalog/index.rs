//! The objects as they are now, compiled when they or what they refer to change.
//!
//! Changes are noted by [`Index::apply`]; [`Index::publish`] compiles what they touched and gives a snapshot. A burst
//! of changes costs one snapshot, and a change of one object compiles only what depends on it.

mod entry;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
    time::Instant,
};

use jiff::Timestamp;

use super::{
    admission::Admission,
    compile::{self, Delivered, Options, Problem, Problems, References, Served, Sources},
    observed::{EndpointFacts, SubscriptionFacts},
    snapshot::{Endpoint, Snapshot, Subscription},
    status::{Facts, Kind, ObjectView},
};
use crate::{
    api::{Condition, ConditionType, ObjectKey, Reason, WebhookEndpoint, WebhookSubscription},
    rules::secret::Secret,
    telemetry::metrics::Metrics,
};
use entry::Entry;

/// Data of a Secret.
pub type SecretData = BTreeMap<String, Secret>;
/// Data of a ConfigMap.
pub type ConfigMapData = BTreeMap<String, String>;

/// Something that changed.
#[derive(Debug)]
pub enum Change {
    /// An endpoint is there or has changed.
    Endpoint(Box<Applied<WebhookEndpoint>>),
    /// A subscription is there or has changed.
    Subscription(Box<Applied<WebhookSubscription>>),
    /// An object is there that cannot be read; its last good version goes on.
    Unreadable(Unreadable),
    /// An object is gone.
    Gone(Kind, ObjectKey),
    /// A Secret is there or has changed; `None` when it is gone.
    Secret(ObjectKey, Option<SecretData>),
    /// A ConfigMap is there or has changed; `None` when it is gone.
    ConfigMap(ObjectKey, Option<ConfigMapData>),
    /// A namespace with its labels; `None` when it is gone.
    Namespace(Arc<str>, Option<BTreeMap<String, String>>),
    /// Whether everything has been read completely.
    Synced(bool),
}

impl Change {
    /// The namespace of what has changed.
    pub fn namespace(&self) -> Option<&str> {
        Some(match self {
            Self::Endpoint(applied) => &applied.key.namespace,
            Self::Subscription(applied) => &applied.key.namespace,
            Self::Unreadable(unreadable) => &unreadable.key.namespace,
            Self::Gone(_, key) | Self::Secret(key, _) | Self::ConfigMap(key, _) => &key.namespace,
            // A label of any namespace may let a subscription in.
            Self::Namespace(..) | Self::Synced(_) => return None,
        })
    }
}

/// A value that objects refer to.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reference {
    /// Of a Secret.
    Secret(ObjectKey),
    /// Of a ConfigMap.
    ConfigMap(ObjectKey),
}
impl Reference {
    /// Its name.
    pub fn key(&self) -> &ObjectKey {
        match self {
            Self::Secret(k) | Self::ConfigMap(k) => k,
        }
    }
}
impl std::fmt::Display for Reference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Secret(k) => write!(f, "Secret {k}"),
            Self::ConfigMap(k) => write!(f, "ConfigMap {k}"),
        }
    }
}

/// An object that cannot be read.
#[derive(Debug)]
pub struct Unreadable {
    /// Its kind.
    pub kind: Kind,
    /// Its name.
    pub key: ObjectKey,
    /// `file:line`, where it was a file.
    pub source: Option<String>,
    /// `metadata.uid`, where there is one.
    pub uid: Option<Arc<str>>,
    /// `metadata.generation`, where there is one.
    pub generation: Option<i64>,
    /// Why it cannot be read.
    pub problems: Vec<Problem>,
}
/// An object with where and when it came.
#[derive(Debug, Clone, PartialEq)]
pub struct Applied<T> {
    /// Its name.
    pub key: ObjectKey,
    /// The object.
    pub object: T,
    /// `file:line`, where it was a file.
    pub source: Option<String>,
    /// Of two objects the one with the lesser age is older.
    pub age: Age,
    /// `metadata.uid`, where there is one.
    pub uid: Option<Arc<str>>,
}

/// Order of age: creation time, then a number in order of appearance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Age(pub Option<Timestamp>, pub u64);

/// What [`Index::publish`] gives.
#[derive(Debug, Clone, Default)]
pub struct Published {
    /// For the data plane.
    pub snapshot: Arc<Snapshot>,
    /// For whoever asks how the objects are.
    pub objects: Arc<Vec<ObjectView>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Referent {
    Endpoint(ObjectKey),
    Secret(ObjectKey),
    ConfigMap(ObjectKey),
}

type EndpointEntry = Entry<WebhookEndpoint, Endpoint, EndpointFacts>;
type SubscriptionEntry = Entry<WebhookSubscription, Subscription, SubscriptionFacts>;

/// Namespace and path.
type Place = (Arc<str>, String);

/// The objects as they are now.
pub struct Index {
    options: Options,
    metrics: Metrics,
    endpoints: BTreeMap<ObjectKey, EndpointEntry>,
    subscriptions: BTreeMap<ObjectKey, SubscriptionEntry>,
    values: Values,
    /// Who has to be compiled again when something changes.
    dependents: HashMap<Referent, HashSet<(Kind, ObjectKey)>>,
    /// Who wants which path: oldest first.
    claims: HashMap<Place, BTreeSet<(Age, ObjectKey)>>,
    dirty: BTreeSet<(Kind, ObjectKey)>,
    given: HashSet<Reference>,
    changed: bool,
    synced: bool,
}

#[derive(Debug, Default)]
struct Values {
    secrets: HashMap<ObjectKey, SecretData>,
    config_maps: HashMap<ObjectKey, ConfigMapData>,
}

impl Sources for Values {
    fn secret(&self, key: &ObjectKey) -> Option<&SecretData> {
        self.secrets.get(key)
    }

    fn config_map(&self, key: &ObjectKey) -> Option<&ConfigMapData> {
        self.config_maps.get(key)
    }
}

impl Index {
    /// An index of nothing.
    pub fn new(options: Options, metrics: Metrics) -> Self {
        Self {
            options,
            metrics,
            endpoints: BTreeMap::new(),
            subscriptions: BTreeMap::new(),
            values: Values::default(),
            dependents: HashMap::new(),
            claims: HashMap::new(),
            dirty: BTreeSet::new(),
            given: HashSet::new(),
            changed: false,
            synced: false,
        }
    }

    /// Referenced values are fetched by whoever drives the index.
    pub fn fetching(self) -> Self {
        self
    }
    /// References whose values have not been asked for yet.
    pub fn wanted(&mut self) -> Vec<Reference> {
        let all: Vec<Reference> = self
            .dependents
            .keys()
            .filter_map(|r| match r {
                Referent::Secret(k) => Some(Reference::Secret(k.clone())),
                Referent::ConfigMap(k) => Some(Reference::ConfigMap(k.clone())),
                _ => None,
            })
            .collect();
        all.into_iter().filter(|r| self.given.insert(r.clone())).collect()
    }
    /// Whether any object refers to it.
    pub fn refers_to(&self, r: &Reference) -> bool {
        self.dependents.contains_key(&match r {
            Reference::Secret(k) => Referent::Secret(k.clone()),
            Reference::ConfigMap(k) => Referent::ConfigMap(k.clone()),
        })
    }
    /// Notes a change. Cheap; nothing is compiled.
    pub fn apply(&mut self, change: Change) {
        match change {
            Change::Endpoint(applied) => self.apply_endpoint(*applied),
            Change::Subscription(applied) => self.apply_subscription(*applied),
            Change::Unreadable(Unreadable { kind: Kind::Endpoint, key, source, problems, .. }) => {
                self.changed |= self.endpoints.entry(key).or_default().reject(source, problems);
            }
            Change::Unreadable(Unreadable { key, source, problems, .. }) => {
                self.changed |= self.subscriptions.entry(key).or_default().reject(source, problems);
            }
            Change::Namespace(..) => {}
            Change::Gone(Kind::Endpoint, key) => {
                if self.endpoints.contains_key(&key) {
                    self.forget(Kind::Endpoint, &key);
                    self.endpoints.remove(&key);
                    self.touch(&Referent::Endpoint(key));
                    self.changed = true;
                }
            }
            Change::Gone(Kind::Subscription, key) => {
                if self.subscriptions.contains_key(&key) {
                    self.forget(Kind::Subscription, &key);
                    self.subscriptions.remove(&key);
                    self.changed = true;
                }
            }
            Change::Secret(key, data) => {
                match data {
                    Some(data) => self.values.secrets.insert(key.clone(), data),
                    None => self.values.secrets.remove(&key),
                };
                self.touch(&Referent::Secret(key));
            }
            Change::ConfigMap(key, data) => {
                match data {
                    Some(data) => self.values.config_maps.insert(key.clone(), data),
                    None => self.values.config_maps.remove(&key),
                };
                self.touch(&Referent::ConfigMap(key));
            }
            Change::Synced(synced) => {
                self.changed |= self.synced != synced;
                self.synced = synced;
            }
        }
    }

    fn apply_endpoint(&mut self, applied: Applied<WebhookEndpoint>) {
        let key = applied.key.clone();
        self.forget(Kind::Endpoint, &key);
        self.claim(applied.age, &key, compile::path(&key, &applied.object.spec));
        for referent in entry::endpoint_references(&applied) {
            self.dependents.entry(referent).or_default().insert((Kind::Endpoint, key.clone()));
        }
        let known = self.endpoints.contains_key(&key);
        let entry = self.endpoints.entry(key.clone()).or_default();
        if let Some(status) = &applied.object.status {
            entry.facts.resume(super::observed::EndpointReading::of(status));
        }
        entry.accept(applied);
        if !known {
            self.touch(&Referent::Endpoint(key.clone()));
        }
        self.dirty.insert((Kind::Endpoint, key));
    }

    fn apply_subscription(&mut self, applied: Applied<WebhookSubscription>) {
        let key = applied.key.clone();
        self.forget(Kind::Subscription, &key);
        for referent in entry::subscription_references(&applied) {
            self.dependents.entry(referent).or_default().insert((Kind::Subscription, key.clone()));
        }
        let entry = self.subscriptions.entry(key.clone()).or_default();
        if let Some(status) = &applied.object.status {
            entry.facts.resume(super::observed::SubscriptionReading::of(status));
        }
        entry.accept(applied);
        self.dirty.insert((Kind::Subscription, key));
    }

    /// Compiles what changed and what depends on it. `None` when nothing changed since the last time.
    pub fn publish(&mut self) -> Option<Published> {
        for (kind, key) in std::mem::take(&mut self.dirty) {
            self.changed = true;
            let start = Instant::now();
            let good = match kind {
                Kind::Endpoint => self.compile_endpoint(&key),
                Kind::Subscription => self.compile_subscription(&key),
            };
            let outcome = if good { "programmed" } else { "refused" };
            self.metrics.reconciled(kind.as_str(), outcome, start.elapsed());
        }
        std::mem::take(&mut self.changed)
            .then(|| Published { snapshot: Arc::new(self.snapshot()), objects: Arc::new(self.objects()) })
    }

    /// Every problem of every object.
    pub fn problems(&self) -> impl Iterator<Item = (Kind, &ObjectKey, &Problem)> {
        let endpoints = self.endpoints.iter().flat_map(|(key, entry)| {
            entry.current_problems().iter().map(move |problem| (Kind::Endpoint, key, problem))
        });
        let subscriptions = self.subscriptions.iter().flat_map(|(key, entry)| {
            entry.current_problems().iter().map(move |problem| (Kind::Subscription, key, problem))
        });
        endpoints.chain(subscriptions)
    }

    fn compile_endpoint(&mut self, key: &ObjectKey) -> bool {
        let Some(entry) = self.endpoints.get_mut(key) else { return true };
        let Some(applied) = &entry.applied else { return false };
        let mut problems = Problems::default();
        problems.extend(broken_rules(Admission::endpoint(), &applied.object));
        let path = compile::path(key, &applied.object.spec);
        if let Some(winner) = self.claims.get(&(Arc::clone(&key.namespace), path)).and_then(BTreeSet::first)
            && winner.1 != *key
        {
            problems.add(
                if applied.object.spec.path.is_some() { "/spec/path" } else { "/metadata/name" },
                Reason::PathConflict,
                format_args!("the older WebhookEndpoint {} has this path; choose another", winner.1.name),
            );
        }
        let served = Served {
            facts: Arc::clone(&entry.facts),
            metrics: self.metrics.endpoint(&key.namespace, &key.name),
            previous: entry.compiled.as_deref(),
        };
        let references = References::new(&self.values, &key.namespace);
        let compiled = compile::endpoint(key, &applied.object.spec, &references, served, &mut problems);
        let problems = problems.into_vec();
        let good = problems.is_empty();
        entry.compiled(compiled, problems);
        good
    }

    fn compile_subscription(&mut self, key: &ObjectKey) -> bool {
        let Some(entry) = self.subscriptions.get_mut(key) else { return true };
        let Some(applied) = &entry.applied else { return false };
        let mut problems = Problems::default();
        problems.extend(broken_rules(Admission::subscription(), &applied.object));
        let delivered = Delivered {
            facts: Arc::clone(&entry.facts),
            metrics: self.metrics.subscription(&key.namespace, &key.name),
            previous: entry.compiled.as_deref(),
        };
        let references = References::new(&self.values, &key.namespace);
        let endpoints = &self.endpoints;
        let compiled = compile::subscription(
            key,
            &applied.object.spec,
            &references,
            &self.options,
            |endpoint| endpoints.contains_key(endpoint),
            delivered,
            &mut problems,
        );
        let problems = problems.into_vec();
        let good = problems.is_empty();
        entry.compiled(compiled, problems);
        good
    }

    fn snapshot(&self) -> Snapshot {
        let endpoints = self
            .endpoints
            .values()
            .filter_map(|entry| entry.compiled.as_ref())
            .filter(|endpoint| self.owns(&endpoint.key, &endpoint.path))
            .map(Arc::clone);
        let subscriptions = self.subscriptions.values().filter_map(|entry| entry.compiled.as_ref()).map(Arc::clone);
        let unready = self.claims.keys().map(|(namespace, path)| (&**namespace, path.as_str()));
        let snapshot = Snapshot::new(endpoints, subscriptions)
            .with_unready(unready)
            .with_known(self.subscriptions.keys().cloned());
        if self.synced { snapshot } else { snapshot.incomplete() }
    }

    fn objects(&self) -> Vec<ObjectView> {
        let endpoints = self.endpoints.iter().map(|(key, entry)| {
            let mut conditions = entry.conditions();
            let object = entry.applied.as_ref().map(|applied| &applied.object);
            if let Some(object) = object {
                conditions.push(match object.spec.verification.none {
                    Some(_) => Condition::fails(
                        ConditionType::Verified,
                        Reason::Unauthenticated,
                        "verification is none: anyone who can reach the URL is believed",
                    ),
                    None => {
                        Condition::holds(ConditionType::Verified, Reason::Authenticated, "every request is verified")
                    }
                });
            }
            let path = object.map(|object| compile::path(key, &object.spec));
            ObjectView {
                kind: Kind::Endpoint,
                key: key.clone(),
                uid: entry.applied.as_ref().and_then(|a| a.uid.clone()),
                generation: object.and_then(|object| object.metadata.generation),
                source: entry.source(),
                endpoint_ref: None,
                url: path.as_ref().and_then(|path| self.options.url(&key.namespace, path)),
                path: path.map(|path| self.options.path(&key.namespace, &path)),
                conditions,
                facts: Facts::Endpoint(Arc::clone(&entry.facts)),
            }
        });
        let subscriptions = self.subscriptions.iter().map(|(key, entry)| {
            let mut conditions = entry.conditions();
            let object = entry.applied.as_ref().map(|applied| &applied.object);
            if object.is_some_and(|object| object.spec.suspend.unwrap_or(false)) {
                conditions.push(Condition::fails(
                    ConditionType::Delivering,
                    Reason::Suspended,
                    "parked by spec.suspend: nothing is sent, nothing is lost",
                ));
            }
            ObjectView {
                kind: Kind::Subscription,
                key: key.clone(),
                uid: entry.applied.as_ref().and_then(|a| a.uid.clone()),
                generation: object.and_then(|object| object.metadata.generation),
                source: entry.source(),
                endpoint_ref: object
                    .map(|object| ObjectKey::new(Arc::clone(&key.namespace), object.spec.endpoint_ref.name.as_str())),
                path: None,
                url: None,
                conditions,
                facts: Facts::Subscription(Arc::clone(&entry.facts)),
            }
        });
        endpoints.chain(subscriptions).collect()
    }

    /// Whether the path is this endpoint's: nobody wants it, or it is the oldest that does.
    fn owns(&self, key: &ObjectKey, path: &str) -> bool {
        let claims = self.claims.get(&(Arc::clone(&key.namespace), path.to_owned()));
        claims.and_then(BTreeSet::first).is_none_or(|(_, owner)| owner == key)
    }

    fn claim(&mut self, age: Age, key: &ObjectKey, path: String) {
        let claims = self.claims.entry((Arc::clone(&key.namespace), path)).or_default();
        self.dirty.extend(claims.iter().map(|(_, other)| (Kind::Endpoint, other.clone())));
        claims.insert((age, key.clone()));
    }

    /// Takes back what an object claims and refers to, before it changes or goes.
    fn forget(&mut self, kind: Kind, key: &ObjectKey) {
        let dependent = (kind, key.clone());
        let referents: Vec<Referent> = match kind {
            Kind::Endpoint => {
                let Some(applied) = self.endpoints.get(key).and_then(|entry| entry.applied.as_ref()) else { return };
                let place = (Arc::clone(&key.namespace), compile::path(key, &applied.object.spec));
                if let Some(claims) = self.claims.get_mut(&place) {
                    claims.remove(&(applied.age, key.clone()));
                    self.dirty.extend(claims.iter().map(|(_, other)| (Kind::Endpoint, other.clone())));
                    if claims.is_empty() {
                        self.claims.remove(&place);
                    }
                }
                entry::endpoint_references(applied).collect()
            }
            Kind::Subscription => {
                let Some(applied) = self.subscriptions.get(key).and_then(|entry| entry.applied.as_ref()) else {
                    return;
                };
                entry::subscription_references(applied).collect()
            }
        };
        for referent in referents {
            if let Some(dependents) = self.dependents.get_mut(&referent) {
                dependents.remove(&dependent);
                if dependents.is_empty() {
                    self.dependents.remove(&referent);
                }
            }
        }
    }

    /// Marks everything that depends on `referent`.
    fn touch(&mut self, referent: &Referent) {
        if let Some(dependents) = self.dependents.get(referent) {
            self.dirty.extend(dependents.iter().cloned());
        }
    }
}

/// Violations of the CEL rules that an API server without CEL has let in.
fn broken_rules<T: serde::Serialize>(admission: &Admission, object: &T) -> Vec<Problem> {
    serde_json::to_value(object).map_or_else(|_| Vec::new(), |object| admission.rules(&object))
}
