//! What the index publishes.

mod availability;
mod claims;
mod classes;
mod credentials;
mod expressions;
mod fetching;
mod pacing;
mod scale;
mod targets;
mod tenancy;
mod verification;
mod versions;

use std::{collections::BTreeMap, sync::Arc};

use grapnel_api::{Condition, ConditionStatus, ConditionType, Reason};
use grapnel_values::secret::Secret;
use serde_json::{Value, json};

use super::*;
use crate::catalog::{
    routing::RouteSpec,
    snapshot::{DeadLetterEndpoint, Route},
    status::{Facts, JournalReading},
};

/// An index and its last publication.
struct Stage {
    index: ObjectIndex,
    metrics: Metrics,
    published: Published,
}

impl Stage {
    fn new() -> Self {
        Self::with(|index| index)
    }

    fn fetching() -> Self {
        Self::with(ObjectIndex::fetching)
    }

    fn with(make: impl FnOnce(ObjectIndex) -> ObjectIndex) -> Self {
        let metrics = Metrics::new();
        let options = Options { service_accounts: true, ..Options::default() };
        Self { index: make(ObjectIndex::new(options, metrics.clone())), metrics, published: Published::default() }
    }

    fn apply(&mut self, changes: impl IntoIterator<Item = Change>) -> &mut Self {
        for change in changes {
            self.index.apply(change);
        }
        self
    }

    /// Publishes. Returns whether anything has changed.
    fn publish(&mut self) -> bool {
        match self.index.publish() {
            Some(published) => {
                self.published = published;
                true
            }
            None => false,
        }
    }

    /// Applies and publishes.
    fn tell(&mut self, changes: impl IntoIterator<Item = Change>) -> bool {
        self.apply(changes).publish()
    }

    /// How many objects the last call compiled.
    fn compiled_by(&mut self, changes: impl IntoIterator<Item = Change>) -> usize {
        let before = self.compilations();
        self.tell(changes);
        self.compilations() - before
    }

    fn compilations(&self) -> usize {
        let text = self.metrics.encode();
        let counts = text.lines().filter(|line| line.starts_with("grapnel_reconcile_total{"));
        counts.map(|line| line.rsplit(' ').next().unwrap().parse::<usize>().unwrap()).sum()
    }

    fn view(&self, kind: ObjectKind, key: &ObjectKey) -> &ObjectView {
        let views = &self.published.objects;
        views.iter().find(|view| view.kind == kind && view.key == *key).expect("such an object")
    }

    fn condition(&self, kind: ObjectKind, key: &ObjectKey, of: ConditionType) -> Option<Condition> {
        self.view(kind, key).conditions(&JournalReading::default()).into_iter().find(|condition| condition.kind == of)
    }

    /// `Ready`: its status, its reason and its message.
    fn ready(&self, kind: ObjectKind, key: &ObjectKey) -> (ConditionStatus, Reason, String) {
        let ready = self.condition(kind, key, ConditionType::Ready).expect("Ready");
        (ready.status, ready.reason, ready.message.into_owned())
    }

    /// The reason of an endpoint's `Ready`.
    fn endpoint(&self, key: &ObjectKey) -> Reason {
        self.ready(ObjectKind::Endpoint, key).1
    }

    /// The reason of a subscription's `Ready`.
    fn subscription(&self, key: &ObjectKey) -> Reason {
        self.ready(ObjectKind::Subscription, key).1
    }

    fn serves(&self, path: &str) -> Option<ObjectKey> {
        match self.published.snapshot.route(path) {
            Some(Route::Ready(endpoint)) => Some(endpoint.key.clone()),
            Some(Route::NotReady) | None => None,
        }
    }

    fn delivers(&self, key: &ObjectKey) -> bool {
        self.published.snapshot.subscription(key).is_some()
    }
}

/// The object of this name and uid.
fn object(namespace: &str, name: &str, uid: &str) -> Incarnation {
    Incarnation::new(key(namespace, name), uid)
}

fn key(namespace: &str, name: &str) -> ObjectKey {
    ObjectKey::new(namespace, name)
}

/// An object to apply: its first generation, with the uid `uid-1`.
struct Object {
    key: ObjectKey,
    spec: Value,
    generation: i64,
    uid: &'static str,
    age: u64,
}

impl Object {
    fn new(namespace: &str, name: &str, spec: Value) -> Self {
        Self { key: key(namespace, name), spec, generation: 1, uid: "uid-1", age: 0 }
    }

    fn generation(self, generation: i64) -> Self {
        Self { generation, ..self }
    }

    fn uid(self, uid: &'static str) -> Self {
        Self { uid, ..self }
    }

    fn age(self, age: u64) -> Self {
        Self { age, ..self }
    }

    fn applied<T: serde::de::DeserializeOwned>(self, kind: &str) -> Box<Applied<T>> {
        let object = json!({
            "apiVersion": "grapnel.dev/v1beta1",
            "kind": kind,
            "metadata": { "namespace": &*self.key.namespace, "name": &*self.key.name, "generation": self.generation },
            "spec": self.spec,
        });
        Box::new(Applied {
            object: serde_json::from_value(object).unwrap(),
            source: None,
            age: Age(None, self.age),
            uid: Some(Arc::from(self.uid)),
            key: self.key,
        })
    }

    fn endpoint(self) -> Change {
        Change::Endpoint(self.applied("WebhookEndpoint"))
    }

    fn subscription(self) -> Change {
        Change::Subscription(self.applied("WebhookSubscription"))
    }
}

/// An endpoint without verification.
fn open(namespace: &str, name: &str) -> Object {
    Object::new(namespace, name, json!({ "verification": { "none": {} } }))
}

/// An endpoint that requires the key `k` of Secrets.
fn locked(namespace: &str, name: &str, secrets: &[&str]) -> Object {
    let references: Vec<_> = secrets.iter().map(|secret| json!({ "name": secret, "key": "k" })).collect();
    Object::new(namespace, name, json!({ "verification": { "token": {}, "secretRefs": references } }))
}

/// An endpoint that allows other namespaces.
fn shared(namespace: &str, name: &str, allowed: Value) -> Object {
    Object::new(namespace, name, json!({ "verification": { "none": {} }, "allowedSubscribers": allowed }))
}

/// A subscription of `namespace` to an endpoint, `name` or `namespace/name`.
fn subscriber(namespace: &str, name: &str, endpoint: &str) -> Object {
    let reference = match endpoint.split_once('/') {
        Some((namespace, name)) => json!({ "namespace": namespace, "name": name }),
        None => json!({ "name": endpoint }),
    };
    let spec = json!({ "endpointRef": reference, "target": { "url": "https://receiver.example/" } });
    Object::new(namespace, name, spec)
}

fn secret(namespace: &str, name: &str, value: &str) -> Change {
    Change::Secret(key(namespace, name), Some(BTreeMap::from([("k".to_owned(), Secret::from(value))])))
}

fn no_secret(namespace: &str, name: &str) -> Change {
    Change::Secret(key(namespace, name), None)
}

fn labels(namespace: &str, labels: &[(&str, &str)]) -> Change {
    let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    Change::Namespace(namespace.into(), Some(labels.collect()))
}
