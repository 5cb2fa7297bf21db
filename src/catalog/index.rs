//! The index: the current objects, recompiled when they or their references change.
//!
//! [`ObjectIndex::apply`] records changes; [`ObjectIndex::publish`] compiles what they affect and returns a snapshot. A burst of
//! changes costs one snapshot, and a change of one object compiles only its dependents.
//!
//! The file source provides the values of all Secrets and ConfigMaps. In a cluster the owner of the index fetches only
//! those that objects refer to: see [`ObjectIndex::fetching`].

mod change;
mod dependencies;
mod elsewhere;
mod entry;
mod path_ownership;
mod recompile;
mod replays;
mod small_set;
mod subscriber_policy;
#[cfg(test)]
mod tests;
mod values;
mod views;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Instant,
};

pub use change::{Age, Applied, Change, Unreadable};
use dependencies::{Dependencies, Referent};
use elsewhere::Elsewhere;
use entry::{Held, ObjectEntry};
use grapnel_api::{
    Incarnation, ObjectKey, WebhookEndpoint, WebhookEndpointSpec, WebhookReplaySpec, WebhookSubscription,
    WebhookSubscriptionSpec,
};
use path_ownership::PathOwners;
use subscriber_policy::SubscriberPolicies;
pub use values::{ConfigMapData, SecretData};

use super::{
    Class,
    compile::{self, EndpointOutline, Options, Problem, Reference},
    observed::{EndpointFacts, EndpointReading, SubscriptionFacts, SubscriptionReading},
    replay::{Replay, ReplayFacts},
    routing::RouteState,
    snapshot::{Endpoint, Snapshot, Subscription},
    status::{ObjectKind, ObjectView, ObjectViews},
};
use crate::telemetry::metrics::Metrics;

/// The result of [`ObjectIndex::publish`].
#[derive(Debug, Clone, Default)]
pub struct Published {
    /// For the data plane.
    pub snapshot: Arc<Snapshot>,
    /// For statuses and the admin API.
    pub objects: ObjectViews,
}

type EndpointEntry = ObjectEntry<WebhookEndpointSpec, Endpoint, EndpointFacts>;
type SubscriptionEntry = ObjectEntry<WebhookSubscriptionSpec, Subscription, SubscriptionFacts>;
type ReplayEntry = ObjectEntry<WebhookReplaySpec, Replay, ReplayFacts>;

/// Whether the CEL rules of the definitions are checked here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rules {
    /// Checked here: an API server without CEL has stored objects that violate them.
    Check,
    /// Checked before, as those of files are.
    Checked,
}

/// The current objects.
pub struct ObjectIndex {
    options: Options,
    metrics: Metrics,
    /// Boxed, because the nodes of the maps are half empty.
    endpoints: BTreeMap<ObjectKey, Box<EndpointEntry>>,
    subscriptions: BTreeMap<ObjectKey, Box<SubscriptionEntry>>,
    replays: BTreeMap<ObjectKey, Box<ReplayEntry>>,
    dependencies: Dependencies,
    grants: SubscriberPolicies,
    claims: PathOwners,
    elsewhere: Elsewhere,
    rules: Rules,
    changed: bool,
    synced: bool,
}

impl ObjectIndex {
    /// An empty index. It receives every Secret and ConfigMap before or together with the objects that refer to them.
    pub fn new(options: Options, metrics: Metrics) -> Self {
        Self {
            options,
            metrics,
            endpoints: BTreeMap::new(),
            subscriptions: BTreeMap::new(),
            replays: BTreeMap::new(),
            dependencies: Dependencies::default(),
            grants: SubscriberPolicies::default(),
            claims: PathOwners::default(),
            elsewhere: Elsewhere::default(),
            rules: Rules::Check,
            changed: false,
            synced: false,
        }
    }

    /// Makes the owner of the index fetch referenced values. An object is compiled only after every referenced value is
    /// known to exist or to be missing ([`Change::Secret`], [`Change::ConfigMap`]); its earlier version stays in use
    /// meanwhile. Values without references are not kept.
    #[must_use]
    pub fn fetching(mut self) -> Self {
        self.dependencies.values.fetching = true;
        self
    }

    /// Skips the CEL rules of the definitions, because the source of the objects has checked them.
    #[must_use]
    pub fn of_checked_objects(mut self) -> Self {
        self.rules = Rules::Checked;
        self
    }

    /// The class of the objects that it serves.
    pub fn class(&self) -> &Class {
        &self.options.class
    }

    /// References whose values are not known yet. Each is returned once, and again if all references to it were removed
    /// in between.
    pub fn wanted(&mut self) -> Vec<Reference> {
        self.dependencies.values.take_wanted()
    }

    /// Whether any object refers to this value.
    pub fn refers_to(&self, reference: &Reference) -> bool {
        self.dependencies.refers_to(reference)
    }

    /// Records a change. Cheap; nothing is compiled.
    pub fn apply(&mut self, change: Change) {
        match change {
            Change::Endpoint(applied) => self.apply_endpoint(*applied),
            Change::Subscription(applied) => self.apply_subscription(*applied),
            Change::Replay(applied) => self.apply_replay(*applied),
            Change::Unreadable(rejected) => self.reject(rejected),
            Change::Gone(kind, key) => {
                self.remove(kind, &key);
                let was_elsewhere = self.elsewhere.remove(kind, &key);
                if was_elsewhere && kind == ObjectKind::Endpoint {
                    self.dependencies.touch(&Referent::Endpoint(key));
                } else if was_elsewhere && kind == ObjectKind::Subscription {
                    self.dependencies.touch(&Referent::Subscription(key));
                }
                self.changed |= was_elsewhere;
            }
            Change::Secret(key, data) => self.dependencies.set_secret(key, data),
            Change::ConfigMap(key, data) => self.dependencies.set_config_map(key, data),
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

    fn remove(&mut self, kind: ObjectKind, key: &ObjectKey) {
        match kind {
            ObjectKind::Endpoint => self.remove_endpoint(key),
            ObjectKind::Subscription => self.remove_subscription(key),
            ObjectKind::Replay => self.remove_replay(key),
        }
    }

    /// How many objects are ignored because of their class.
    pub fn elsewhere(&self) -> usize {
        self.elsewhere.count()
    }

    fn apply_endpoint(&mut self, applied: Applied<WebhookEndpoint>) {
        if !self.options.class.serves(applied.object.spec.class_name.as_deref()) {
            if self.elsewhere.add_endpoint(&applied.key) {
                self.remove_endpoint(&applied.key);
                self.dependencies.touch(&Referent::Endpoint(applied.key));
            }
            return;
        }
        self.elsewhere.remove(ObjectKind::Endpoint, &applied.key);
        // The status is needed only to resume its counters.
        let (applied, status) = Held::endpoint(applied);
        let key = applied.key.clone();
        let known = self.endpoints.contains_key(&key);
        let entry = self.endpoints.entry(key.clone()).or_default();
        if entry.has(&applied) {
            return;
        }
        let outline = compile::outline_endpoint(&key, &applied.spec, &self.options);
        let EndpointOutline { references, subscribers } = outline;
        let dependent = (ObjectKind::Endpoint, key.clone());
        self.dependencies.replace_values(&dependent, &mut entry.referents, references);
        let path = |applied: &Held<WebhookEndpointSpec>| Arc::from(compile::path(&applied.key, &applied.spec));
        let place = (applied.age, path(&applied));
        let left = entry.applied.as_ref().map(|before| (before.age, path(before)));
        let replaced = entry.is_replaced_by(&applied);
        let concerns_readers = |before: &Held<WebhookEndpointSpec>| {
            before.spec.storage != applied.spec.storage || before.spec.class_name != applied.spec.class_name
        };
        let changed = entry.is_unreadable() || entry.applied.as_ref().is_some_and(concerns_readers);
        let generation = applied.generation;
        entry.accept(applied);
        if let Some(earlier) = status {
            entry.facts.resume(EndpointReading::of(&earlier));
            let state = RouteState::of(&earlier).filter(|_| earlier.observed_generation == generation);
            state.into_iter().for_each(|state| entry.facts.resume_route(state));
        }
        if left.as_ref() != Some(&place) {
            if let Some((age, path)) = left {
                self.claims.release(age, &key, path);
            }
            self.claims.claim(place.0, &key, place.1);
        }
        let news = self.grants.set(&key, subscribers);
        let referent = Referent::Endpoint(key.clone());
        if !known || replaced || changed {
            self.dependencies.touch(&referent);
        } else if news {
            self.dependencies.touch_those(&referent, |reader| reader.namespace != key.namespace);
        }
        self.dependencies.mark(dependent);
    }

    fn apply_subscription(&mut self, applied: Applied<WebhookSubscription>) {
        if !self.options.class.serves(applied.object.spec.class_name.as_deref()) {
            if self.elsewhere.add_subscription(&applied.key, applied.uid.unwrap_or_default()) {
                self.remove_subscription(&applied.key);
                self.dependencies.touch(&Referent::Subscription(applied.key));
                self.changed = true;
            }
            return;
        }
        if self.elsewhere.remove(ObjectKind::Subscription, &applied.key)
            || !self.subscriptions.contains_key(&applied.key)
        {
            self.dependencies.touch(&Referent::Subscription(applied.key.clone()));
        }
        let (applied, status) = Held::subscription(applied);
        let key = applied.key.clone();
        let entry = self.subscriptions.entry(key.clone()).or_default();
        if entry.has(&applied) {
            return;
        }
        let references = compile::outline_subscription(&key, &applied.spec, &self.options);
        let mut referents = Referent::of_subscription(&key, &applied.spec);
        referents.extend(references.into_iter().map(Referent::Value));
        let dependent = (ObjectKind::Subscription, key);
        self.dependencies.replace(&dependent, &mut entry.referents, referents);
        let class = |entry: &SubscriptionEntry| entry.applied.as_ref().map(|applied| applied.spec.class_name.clone());
        let before = class(entry);
        entry.accept(applied);
        let has_other_class = class(entry) != before;
        if let Some(earlier) = status {
            entry.facts.resume(SubscriptionReading::of(&earlier));
        }
        if has_other_class {
            self.dependencies.touch(&Referent::Subscription(dependent.1.clone()));
        }
        self.dependencies.mark(dependent);
    }

    fn reject(&mut self, rejected: Unreadable) {
        let (key, uid) = (rejected.key.clone(), rejected.uid.as_ref());
        let is_known = match rejected.kind {
            ObjectKind::Endpoint => self.endpoints.contains_key(&key),
            ObjectKind::Subscription => self.subscriptions.contains_key(&key),
            ObjectKind::Replay => self.replays.contains_key(&key),
        };
        let is_elsewhere = self.elsewhere.has(rejected.kind, &key);
        if is_elsewhere || !(is_known || self.options.class.serves_unknown()) {
            return;
        }
        match rejected.kind {
            ObjectKind::Endpoint => {
                if self.endpoints.get(&key).is_some_and(|entry| entry.is_of_another(uid)) {
                    self.remove_endpoint(&key);
                }
                self.dependencies.touch(&Referent::Endpoint(key.clone()));
                self.changed |= self.endpoints.entry(key).or_default().reject(rejected);
            }
            ObjectKind::Subscription => {
                if self.subscriptions.get(&key).is_some_and(|entry| entry.is_of_another(uid)) {
                    self.remove_subscription(&key);
                }
                self.dependencies.touch(&Referent::Subscription(key.clone()));
                self.changed |= self.subscriptions.entry(key).or_default().reject(rejected);
            }
            ObjectKind::Replay => {
                if self.replays.get(&key).is_some_and(|entry| entry.is_of_another(uid)) {
                    self.remove_replay(&key);
                }
                self.changed |= self.replays.entry(key).or_default().reject(rejected);
            }
        }
    }

    fn remove_endpoint(&mut self, key: &ObjectKey) {
        let Some(mut entry) = self.endpoints.remove(key) else { return };
        self.dependencies.replace(&(ObjectKind::Endpoint, key.clone()), &mut entry.referents, BTreeSet::new());
        if let Some(applied) = &entry.applied {
            self.claims.release(applied.age, key, compile::path(key, &applied.spec).into());
        }
        self.grants.revoke(key);
        self.dependencies.touch(&Referent::Endpoint(key.clone()));
        self.changed = true;
    }

    fn remove_subscription(&mut self, key: &ObjectKey) {
        let Some(mut entry) = self.subscriptions.remove(key) else { return };
        self.dependencies.replace(&(ObjectKind::Subscription, key.clone()), &mut entry.referents, BTreeSet::new());
        self.dependencies.touch(&Referent::Subscription(key.clone()));
        self.changed = true;
    }

    /// Marks the subscriptions of a namespace whose access depends on its labels.
    fn touch_selected(&mut self, namespace: Arc<str>) {
        let (subscriptions, grants) = (&self.subscriptions, &self.grants);
        self.dependencies.touch_those(&Referent::Namespace(namespace), |key| {
            let applied = subscriptions.get(key).and_then(|entry| entry.applied.as_ref());
            applied.is_some_and(|applied| grants.by_labels(&compile::endpoint_of(key, &applied.spec)))
        });
    }

    /// Compiles changed objects and their dependents. `None` if nothing has changed since the last call.
    pub fn publish(&mut self) -> Option<Published> {
        for key in self.claims.moved() {
            self.dependencies.mark((ObjectKind::Endpoint, key));
        }
        // Endpoints first: they mark the subscriptions that they affect.
        for kind in ObjectKind::ALL {
            for key in self.dependencies.take_dirty(kind) {
                self.recompile(kind, &key);
            }
        }
        std::mem::take(&mut self.changed).then(|| {
            let objects = Arc::new(self.objects());
            Published { snapshot: Arc::new(self.snapshot()), objects }
        })
    }

    fn recompile(&mut self, kind: ObjectKind, key: &ObjectKey) {
        self.changed = true;
        let start = Instant::now();
        let good = match kind {
            ObjectKind::Endpoint => self.compile_endpoint(key),
            ObjectKind::Subscription => self.compile_subscription(key),
            ObjectKind::Replay => self.compile_replay(key),
        };
        if let Some(good) = good {
            let outcome = if good { "programmed" } else { "refused" };
            self.metrics.reconciled(kind.as_str(), outcome, start.elapsed());
        }
    }

    /// Every problem of every object.
    pub fn problems(&self) -> impl Iterator<Item = (ObjectKind, &ObjectKey, &Problem)> {
        let endpoints = self
            .endpoints
            .iter()
            .flat_map(|(key, entry)| entry.problems().iter().map(move |problem| (ObjectKind::Endpoint, key, problem)));
        let subscriptions = self.subscriptions.iter().flat_map(|(key, entry)| {
            entry.problems().iter().map(move |problem| (ObjectKind::Subscription, key, problem))
        });
        let replays = self
            .replays
            .iter()
            .flat_map(|(key, entry)| entry.problems().iter().map(move |problem| (ObjectKind::Replay, key, problem)));
        endpoints.chain(subscriptions).chain(replays)
    }

    /// Whether a version of the object is in use: the newest, or an earlier one.
    pub fn is_in_use(&self, kind: ObjectKind, key: &ObjectKey) -> bool {
        match kind {
            ObjectKind::Endpoint => self.endpoints.get(key).is_some_and(|entry| entry.compiled.is_some()),
            ObjectKind::Subscription => self.subscriptions.get(key).is_some_and(|entry| entry.compiled.is_some()),
            ObjectKind::Replay => self.replays.get(key).is_some_and(|entry| entry.compiled.is_some()),
        }
    }

    /// The snapshot. The views have to be current, because they know which endpoints own their paths.
    fn snapshot(&self) -> Snapshot {
        let owns_path = |entry: &EndpointEntry| entry.view.as_ref().is_some_and(|view| view.path.is_some());
        let endpoints = self.endpoints.values().filter(|entry| owns_path(entry));
        let endpoints = endpoints.filter_map(|entry| entry.compiled.as_ref()).map(Arc::clone);
        let subscriptions = self.subscriptions.values().filter_map(|entry| entry.compiled.as_ref()).map(Arc::clone);
        // What claims a path without being served there.
        let unready = self.endpoints.iter().filter_map(|(key, entry)| {
            let path = compile::path(key, &entry.applied.as_ref()?.spec);
            let is_served = entry.compiled.as_ref().is_some_and(|compiled| compiled.path() == path);
            (!is_served).then_some((&*key.namespace, path))
        });
        let unread = self.endpoints.iter().filter(|(_, entry)| entry.applied.is_none());
        // Compiled subscriptions are known anyway, unless the newest version is of another object.
        let known = self.subscriptions.iter().map(|(key, entry)| (key, entry, entry.uid().unwrap_or_default()));
        let known = known.filter(|(_, entry, uid)| entry.compiled.as_ref().is_none_or(|compiled| compiled.uid != *uid));
        let snapshot = Snapshot::new(endpoints, subscriptions)
            .with_unready(unready)
            .with_uncompiled(known.map(|(key, _, uid)| Incarnation::new(key.clone(), uid)))
            .with_uncompiled(self.elsewhere.subscriptions())
            .with_replays(self.replays.values().filter_map(|entry| entry.compiled.as_ref()).map(Arc::clone))
            .with_unread(unread.map(|(key, _)| Arc::clone(&key.namespace)));
        if self.synced { snapshot } else { snapshot.incomplete() }
    }

    fn objects(&mut self) -> Vec<Arc<ObjectView>> {
        let (options, claims) = (&self.options, &self.claims);
        let endpoints = self.endpoints.iter_mut().map(|(key, entry)| views::endpoint(key, entry, claims, options));
        let subscriptions = self.subscriptions.iter_mut().map(|(key, entry)| views::subscription(key, entry));
        let replays = self.replays.iter_mut().map(|(key, entry)| views::replay(key, entry));
        endpoints.chain(subscriptions).chain(replays).collect()
    }
}
