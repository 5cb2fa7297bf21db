//! The index: the current objects, recompiled when they or their references change.
//!
//! [`Index::apply`] records changes; [`Index::publish`] compiles what they affect and returns a snapshot. A burst of
//! changes costs one snapshot, and a change of one object compiles only its dependents.
//!
//! The file source provides the values of all Secrets and ConfigMaps. In a cluster the owner of the index fetches only
//! those that objects refer to: see [`Index::fetching`].

mod entry;
mod path_ownership;
mod references;
mod subscriber_policy;
#[cfg(test)]
mod tests;
mod views;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Instant,
};

use entry::{Entry, Held};
use grapnel_api::{
    Incarnation, ObjectKey, Reason, WebhookEndpoint, WebhookEndpointSpec, WebhookSubscription, WebhookSubscriptionSpec,
};
use grapnel_values::secret::Secret;
use jiff::Timestamp;
use path_ownership::PathOwners;
pub use references::Reference;
use references::{Dependent, Dependents, Referent, Refers, Values};
use subscriber_policy::SubscriberPolicies;

use super::{
    admission::Admission,
    compile::{self, Delivered, Options, Problem, Problems, References, Served, Standing, Subscribers},
    observed::{EndpointFacts, EndpointReading, SubscriptionFacts, SubscriptionReading},
    snapshot::{DeadLetterEndpoint, Endpoint, Snapshot, Subscription},
    status::{Kind, ObjectView},
};
use crate::telemetry::metrics::Metrics;

/// Data of a Secret.
pub type SecretData = BTreeMap<String, Secret>;
/// Data of a ConfigMap.
pub type ConfigMapData = BTreeMap<String, String>;

/// A change to apply.
#[derive(Debug)]
pub enum Change {
    /// An endpoint exists or has changed.
    Endpoint(Box<Applied<WebhookEndpoint>>),
    /// A subscription exists or has changed.
    Subscription(Box<Applied<WebhookSubscription>>),
    /// An object cannot be parsed; its last good version stays in use.
    Unreadable(Unreadable),
    /// An object was deleted.
    Gone(Kind, ObjectKey),
    /// A Secret exists or has changed; `None` if it was deleted or is known not to exist.
    Secret(ObjectKey, Option<SecretData>),
    /// A ConfigMap exists or has changed; `None` if it was deleted or is known not to exist.
    ConfigMap(ObjectKey, Option<ConfigMapData>),
    /// A namespace has these labels; `None` if it was deleted.
    Namespace(Arc<str>, Option<BTreeMap<String, String>>),
    /// Whether everything has been read completely.
    Synced(bool),
}

impl Change {
    /// The namespace of the change.
    pub fn namespace(&self) -> Option<&str> {
        Some(match self {
            Self::Endpoint(applied) => &applied.key.namespace,
            Self::Subscription(applied) => &applied.key.namespace,
            Self::Unreadable(rejected) => &rejected.key.namespace,
            Self::Gone(_, key) | Self::Secret(key, _) | Self::ConfigMap(key, _) => &key.namespace,
            // The labels of any namespace may allow a subscription.
            Self::Namespace(..) | Self::Synced(_) => return None,
        })
    }
}

/// An object with its source and age.
#[derive(Debug, Clone, PartialEq)]
pub struct Applied<T> {
    /// Its name.
    pub key: ObjectKey,
    /// The object.
    pub object: T,
    /// `file:line`, if it comes from a file.
    pub source: Option<String>,
    /// Determines which of two objects is older: the one with the lesser age.
    pub age: Age,
    /// `metadata.uid`, if any: distinguishes an object from a deleted one of the same name.
    pub uid: Option<Arc<str>>,
}

/// A version of an object that cannot be parsed.
#[derive(Debug, Clone, PartialEq)]
pub struct Unreadable {
    /// Its kind.
    pub kind: Kind,
    /// Its name.
    pub key: ObjectKey,
    /// `file:line`, if it comes from a file.
    pub source: Option<String>,
    /// `metadata.uid`, if any.
    pub uid: Option<Arc<str>>,
    /// `metadata.generation`, if any.
    pub generation: Option<i64>,
    /// Why it cannot be parsed.
    pub problems: Vec<Problem>,
}

/// Order of age: creation time, then a number in order of appearance. Ties are decided by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Age(pub Option<Timestamp>, pub u64);

/// The result of [`Index::publish`].
#[derive(Debug, Clone, Default)]
pub struct Published {
    /// For the data plane.
    pub snapshot: Arc<Snapshot>,
    /// For statuses and the admin API.
    pub objects: Arc<Vec<ObjectView>>,
}

type EndpointEntry = Entry<WebhookEndpointSpec, Endpoint, EndpointFacts>;
type SubscriptionEntry = Entry<WebhookSubscriptionSpec, Subscription, SubscriptionFacts>;

/// The current objects.
pub struct Index {
    options: Options,
    metrics: Metrics,
    /// Boxed, because the nodes of the maps are half empty.
    endpoints: BTreeMap<ObjectKey, Box<EndpointEntry>>,
    subscriptions: BTreeMap<ObjectKey, Box<SubscriptionEntry>>,
    values: Values,
    grants: SubscriberPolicies,
    dependents: Dependents,
    claims: PathOwners,
    dirty: BTreeSet<Dependent>,
    changed: bool,
    synced: bool,
}

impl Index {
    /// An empty index. It receives every Secret and ConfigMap before or together with the objects that refer to them.
    pub fn new(options: Options, metrics: Metrics) -> Self {
        Self {
            options,
            metrics,
            endpoints: BTreeMap::new(),
            subscriptions: BTreeMap::new(),
            values: Values::default(),
            grants: SubscriberPolicies::default(),
            dependents: Dependents::default(),
            claims: PathOwners::default(),
            dirty: BTreeSet::new(),
            changed: false,
            synced: false,
        }
    }

    /// Makes the owner of the index fetch referenced values. An object is compiled only after every referenced value is
    /// known to exist or to be missing ([`Change::Secret`], [`Change::ConfigMap`]); its earlier version stays in use
    /// meanwhile. Values without references are not kept.
    #[must_use]
    pub fn fetching(mut self) -> Self {
        self.values.fetching = true;
        self
    }

    /// References whose values are not known yet. Each is returned once, and again if all references to it were removed
    /// in between.
    pub fn wanted(&mut self) -> Vec<Reference> {
        self.values.take_wanted()
    }

    /// Whether any object refers to this value.
    pub fn refers_to(&self, reference: &Reference) -> bool {
        self.dependents.any(&Referent::Value(reference.clone()))
    }

    /// Records a change. Cheap; nothing is compiled.
    pub fn apply(&mut self, change: Change) {
        match change {
            Change::Endpoint(applied) => self.apply_endpoint(*applied),
            Change::Subscription(applied) => self.apply_subscription(*applied),
            Change::Unreadable(rejected) => self.reject(rejected),
            Change::Gone(Kind::Endpoint, key) => self.remove_endpoint(&key),
            Change::Gone(Kind::Subscription, key) => self.remove_subscription(&key),
            Change::Secret(key, data) => {
                let reference = Reference::Secret(key);
                if self.keeps(&reference) && self.values.set_secret(reference.key(), data) {
                    self.touch(&Referent::Value(reference));
                }
            }
            Change::ConfigMap(key, data) => {
                let reference = Reference::ConfigMap(key);
                if self.keeps(&reference) && self.values.tell_config_map(reference.key(), data) {
                    self.touch(&Referent::Value(reference));
                }
            }
            Change::Namespace(namespace, labels) => {
                if self.grants.label(&namespace, labels) {
                    self.touch_selected(namespace);
                }
            }
            Change::Synced(synced) => {
                self.changed |= self.synced != synced;
                self.synced = synced;
            }
        }
    }

    /// Whether a value has to be kept.
    fn keeps(&self, reference: &Reference) -> bool {
        !self.values.fetching || self.refers_to(reference)
    }

    fn apply_endpoint(&mut self, applied: Applied<WebhookEndpoint>) {
        // The status is needed only to resume its counters.
        let (applied, status) = Held::endpoint(applied);
        let key = applied.key.clone();
        let known = self.endpoints.contains_key(&key);
        let entry = self.endpoints.entry(key.clone()).or_default();
        if entry.has(&applied) {
            return;
        }
        let path = |applied: &Held<WebhookEndpointSpec>| Arc::from(compile::path(&applied.key, &applied.spec));
        let after = applied.referents();
        let place = (applied.age, path(&applied));
        let allowed = Subscribers::of(&applied.spec);
        let replaced = entry.is_replaced_by(&applied);
        let resized = entry.applied.as_ref().is_some_and(|before| before.spec.storage != applied.spec.storage);
        let (before, left) = match &entry.applied {
            Some(before) => (before.referents(), Some((before.age, path(before)))),
            None => (BTreeSet::new(), None),
        };
        entry.accept(applied);
        if let Some(earlier) = status {
            entry.facts.resume(EndpointReading::of(&earlier));
        }
        self.refer(&(Kind::Endpoint, key.clone()), &before, after);
        if left.as_ref() != Some(&place) {
            if let Some((age, path)) = left {
                self.claims.release(age, &key, path);
            }
            self.claims.claim(place.0, &key, place.1);
        }
        let news = self.grants.set(&key, allowed);
        if !known || replaced || resized {
            self.touch(&Referent::Endpoint(key.clone()));
        } else if news {
            self.touch_foreign(&key);
        }
        self.dirty.insert((Kind::Endpoint, key));
    }

    fn apply_subscription(&mut self, applied: Applied<WebhookSubscription>) {
        let (applied, status) = Held::subscription(applied);
        let key = applied.key.clone();
        let entry = self.subscriptions.entry(key.clone()).or_default();
        if entry.has(&applied) {
            return;
        }
        let after = applied.referents();
        let before = entry.applied.as_ref().map(Refers::referents).unwrap_or_default();
        entry.accept(applied);
        if let Some(earlier) = status {
            entry.facts.resume(SubscriptionReading::of(&earlier));
        }
        self.refer(&(Kind::Subscription, key.clone()), &before, after);
        self.dirty.insert((Kind::Subscription, key));
    }

    fn reject(&mut self, rejected: Unreadable) {
        let (key, uid) = (rejected.key.clone(), rejected.uid.as_ref());
        match rejected.kind {
            Kind::Endpoint => {
                if self.endpoints.get(&key).is_some_and(|entry| entry.is_of_another(uid)) {
                    self.remove_endpoint(&key);
                }
                if !self.endpoints.contains_key(&key) {
                    self.touch(&Referent::Endpoint(key.clone()));
                }
                self.changed |= self.endpoints.entry(key).or_default().reject(rejected);
            }
            Kind::Subscription => {
                if self.subscriptions.get(&key).is_some_and(|entry| entry.is_of_another(uid)) {
                    self.remove_subscription(&key);
                }
                self.changed |= self.subscriptions.entry(key).or_default().reject(rejected);
            }
        }
    }

    fn remove_endpoint(&mut self, key: &ObjectKey) {
        let Some(entry) = self.endpoints.remove(key) else { return };
        if let Some(applied) = &entry.applied {
            self.refer(&(Kind::Endpoint, key.clone()), &applied.referents(), BTreeSet::new());
            self.claims.release(applied.age, key, compile::path(key, &applied.spec).into());
        }
        self.grants.revoke(key);
        self.touch(&Referent::Endpoint(key.clone()));
        self.changed = true;
    }

    fn remove_subscription(&mut self, key: &ObjectKey) {
        let Some(entry) = self.subscriptions.remove(key) else { return };
        if let Some(applied) = &entry.applied {
            self.refer(&(Kind::Subscription, key.clone()), &applied.referents(), BTreeSet::new());
        }
        self.changed = true;
    }

    /// Records the current references of an object in place of its previous ones.
    fn refer(&mut self, dependent: &Dependent, before: &BTreeSet<Referent>, after: BTreeSet<Referent>) {
        for referent in before.difference(&after) {
            if self.dependents.remove(referent, dependent)
                && let Referent::Value(reference) = referent
            {
                self.values.forget(reference);
            }
        }
        for referent in after {
            let reference = match &referent {
                Referent::Value(reference) if !before.contains(&referent) => Some(reference.clone()),
                _ => None,
            };
            if self.dependents.add(referent, dependent.clone())
                && let Some(reference) = reference
            {
                self.values.request(&reference);
            }
        }
    }

    /// Marks everything that depends on `referent`.
    fn touch(&mut self, referent: &Referent) {
        self.dirty.extend(self.dependents.of(referent).cloned());
    }

    /// Marks the subscriptions in other namespaces that read an endpoint.
    fn touch_foreign(&mut self, endpoint: &ObjectKey) {
        let referent = Referent::Endpoint(endpoint.clone());
        let readers = self.dependents.of(&referent).filter(|(_, reader)| reader.namespace != endpoint.namespace);
        self.dirty.extend(readers.cloned());
    }

    /// Marks the subscriptions of a namespace whose access depends on its labels.
    fn touch_selected(&mut self, namespace: Arc<str>) {
        let (subscriptions, grants) = (&self.subscriptions, &self.grants);
        let referent = Referent::Namespace(namespace);
        let selected = self.dependents.of(&referent).filter(|(_, key)| {
            let applied = subscriptions.get(key).and_then(|entry| entry.applied.as_ref());
            applied.is_some_and(|applied| grants.by_labels(&compile::endpoint_of(key, &applied.spec)))
        });
        self.dirty.extend(selected.cloned());
    }

    /// Compiles changed objects and their dependents. `None` if nothing has changed since the last call.
    pub fn publish(&mut self) -> Option<Published> {
        self.dirty.extend(self.claims.moved().into_iter().map(|key| (Kind::Endpoint, key)));
        for (kind, key) in std::mem::take(&mut self.dirty) {
            self.changed = true;
            let start = Instant::now();
            let good = match kind {
                Kind::Endpoint => self.compile_endpoint(&key),
                Kind::Subscription => self.compile_subscription(&key),
            };
            if let Some(good) = good {
                let outcome = if good { "programmed" } else { "refused" };
                self.metrics.reconciled(kind.as_str(), outcome, start.elapsed());
            }
        }
        std::mem::take(&mut self.changed)
            .then(|| Published { snapshot: Arc::new(self.snapshot()), objects: Arc::new(self.objects()) })
    }

    /// Every problem of every object.
    pub fn problems(&self) -> impl Iterator<Item = (Kind, &ObjectKey, &Problem)> {
        let endpoints = self
            .endpoints
            .iter()
            .flat_map(|(key, entry)| entry.problems().iter().map(move |problem| (Kind::Endpoint, key, problem)));
        let subscriptions = self
            .subscriptions
            .iter()
            .flat_map(|(key, entry)| entry.problems().iter().map(move |problem| (Kind::Subscription, key, problem)));
        endpoints.chain(subscriptions)
    }

    /// Whether a version of the object is in use: the newest, or an earlier one.
    pub fn is_in_use(&self, kind: Kind, key: &ObjectKey) -> bool {
        match kind {
            Kind::Endpoint => self.endpoints.get(key).is_some_and(|entry| entry.compiled.is_some()),
            Kind::Subscription => self.subscriptions.get(key).is_some_and(|entry| entry.compiled.is_some()),
        }
    }

    /// Returns whether it compiled without a problem; `None` if it was not compiled.
    fn compile_endpoint(&mut self, key: &ObjectKey) -> Option<bool> {
        let entry = self.endpoints.get_mut(key)?;
        let applied = entry.applied.as_ref()?;
        let unknown = applied.values().find(|reference| !self.values.is_known(reference));
        if let Some(reference) = unknown {
            entry.wait(reference, None);
            return None;
        }
        let spec = &applied.spec;
        let mut problems = Problems::default();
        problems.extend(broken_rules(Admission::endpoint(), spec));
        if let Some(owner) = self.claims.owner(&key.namespace, &compile::path(key, spec))
            && owner != key
        {
            problems.add(
                if spec.path.is_some() { "/spec/path" } else { "/metadata/name" },
                Reason::PathConflict,
                format_args!("the path is in use by the older WebhookEndpoint {}; choose another path", owner.name),
            );
        }
        let served = Served {
            uid: applied.uid(),
            facts: Arc::clone(&entry.facts),
            metrics: self.metrics.endpoint(&key.namespace, &key.name),
            previous: entry.compiled.as_deref(),
        };
        let references = References::new(&self.values, &key.namespace);
        let compiled = compile::endpoint(key, spec, &references, &self.options, served, &mut problems);
        let (problems, own) = (problems.into_vec(), views::of_endpoint(spec));
        let good = problems.is_empty();
        let generation = applied.generation;
        entry.compiled(compiled, generation, problems, own);
        Some(good)
    }

    /// Returns whether it compiled without a problem; `None` if it was not compiled.
    fn compile_subscription(&mut self, key: &ObjectKey) -> Option<bool> {
        let entry = self.subscriptions.get_mut(key)?;
        let applied = entry.applied.as_ref()?;
        let spec = &applied.spec;
        let endpoint = compile::endpoint_of(key, spec);
        let exists = self.endpoints.contains_key(&endpoint);
        let standing = if endpoint.namespace == key.namespace {
            if exists { Standing::Open } else { Standing::Absent }
        } else if exists && self.grants.allow(&endpoint, &key.namespace) {
            Standing::Open
        } else {
            Standing::Closed
        };
        let unknown = applied.values().find(|reference| !self.values.is_known(reference));
        if let Some(reference) = unknown {
            entry.wait(reference, standing.problem(key, &endpoint));
            return None;
        }
        let mut problems = Problems::default();
        problems.extend(broken_rules(Admission::subscription(), spec));
        let letters = compile::dead_letter_endpoint_of(key, spec);
        let letters = letters.and_then(|key| self.endpoints.get(&key).map(|entry| (key, entry)));
        problems.extend(compile::dead_letter_problem(key, spec, letters.is_some()));
        let delivered = Delivered {
            uid: applied.uid(),
            endpoint_uid: self.endpoints.get(&endpoint).and_then(|entry| entry.uid()).unwrap_or_default(),
            dead_letter_endpoint: letters.map(|(key, entry)| DeadLetterEndpoint {
                endpoint: Incarnation::new(key, entry.uid().unwrap_or_default()),
                max_bytes: entry.applied.as_ref().and_then(|applied| compile::max_bytes(&applied.spec)),
            }),
            facts: Arc::clone(&entry.facts),
            metrics: self.metrics.subscription(&key.namespace, &key.name),
            previous: entry.compiled.as_deref(),
        };
        let references = References::new(&self.values, &key.namespace);
        let compiled = compile::subscription(key, spec, &references, &self.options, standing, delivered, &mut problems);
        let (problems, own) = (problems.into_vec(), views::of_subscription(spec));
        let good = problems.is_empty();
        let generation = applied.generation;
        entry.compiled(compiled, generation, problems, own);
        Some(good)
    }

    fn snapshot(&self) -> Snapshot {
        let endpoints = self
            .endpoints
            .values()
            .filter_map(|entry| entry.compiled.as_ref())
            // The path has no owner, or this endpoint is the owner.
            .filter(|endpoint| {
                let owner = self.claims.owner(&endpoint.key.namespace, &endpoint.path);
                owner.is_none_or(|owner| *owner == endpoint.key)
            })
            .map(Arc::clone);
        let subscriptions = self.subscriptions.values().filter_map(|entry| entry.compiled.as_ref()).map(Arc::clone);
        let unread = self.endpoints.iter().filter(|(_, entry)| entry.applied.is_none());
        // Compiled subscriptions are known anyway, unless the newest version is of another object.
        let known = self.subscriptions.iter().map(|(key, entry)| (key, entry, entry.uid().unwrap_or_default()));
        let known = known.filter(|(_, entry, uid)| entry.compiled.as_ref().is_none_or(|compiled| compiled.uid != *uid));
        let snapshot = Snapshot::new(endpoints, subscriptions)
            .with_unready(self.claims.places())
            .with_known(known.map(|(key, _, uid)| Incarnation::new(key.clone(), uid)))
            .with_unread(unread.map(|(key, _)| Arc::clone(&key.namespace)));
        if self.synced { snapshot } else { snapshot.incomplete() }
    }

    fn objects(&mut self) -> Vec<ObjectView> {
        let options = &self.options;
        let endpoints = self.endpoints.iter_mut().map(|(key, entry)| views::endpoint(key, entry, options));
        let subscriptions = self.subscriptions.iter_mut().map(|(key, entry)| views::subscription(key, entry));
        endpoints.chain(subscriptions).collect()
    }
}

/// Violations of the CEL rules that an API server without CEL has stored.
fn broken_rules(admission: &Admission, spec: &impl serde::Serialize) -> Vec<Problem> {
    match serde_json::to_value(spec) {
        Ok(spec) => admission.rules(&serde_json::json!({ "spec": spec })),
        // These types can always be serialized.
        Err(_) => Vec::new(),
    }
}
