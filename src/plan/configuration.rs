//! One version of the configuration, compiled without Secrets.

use std::{collections::BTreeMap, sync::Arc};

use grapnel_api::{ObjectKey, WebhookEndpointSpec, WebhookSubscriptionSpec};
use grapnel_delivery::egress::EgressPolicy;
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    catalog::{
        Applied, Change, Class, Endpoint, ObjectIndex, ObjectKind, Options, Replay, Snapshot, Subscription,
        admission::Admission,
    },
    telemetry::metrics::Metrics,
};

/// A target that compiles in every configuration, and is never called.
const NOWHERE: &str = "https://receiver.invalid/";

/// One version of the configuration.
#[derive(Debug, Default)]
pub struct Configuration {
    /// The specs as defined, with defaults.
    specs: BTreeMap<(ObjectKind, ObjectKey), Value>,
    snapshot: Arc<Snapshot>,
}

impl Configuration {
    /// Compiles the objects of a class. An object that does not compile is defined, but judges no event.
    pub fn compile(changes: impl IntoIterator<Item = Change>, class: &Class) -> Self {
        let everywhere = ["0.0.0.0/0", "::/0"].into_iter().filter_map(|network| network.parse().ok()).collect();
        let options = Options {
            egress: EgressPolicy::default().allowing(everywhere).allowing_loopback(),
            service_accounts: true,
            class: class.clone(),
            verifies: false,
            ..Options::default()
        };
        let mut index = ObjectIndex::new(options, Metrics::new());
        let mut specs = BTreeMap::new();
        for mut change in changes {
            match &mut change {
                Change::Endpoint(applied) if class.serves(applied.object.spec.class_name.as_deref()) => {
                    let Applied { key, object, .. } = &mut **applied;
                    specs.insert((ObjectKind::Endpoint, key.clone()), complete(ObjectKind::Endpoint, &object.spec));
                    for_rehearsal_endpoint(&mut object.spec);
                }
                Change::Subscription(applied) if class.serves(applied.object.spec.class_name.as_deref()) => {
                    let Applied { key, object, .. } = &mut **applied;
                    let spec = complete(ObjectKind::Subscription, &object.spec);
                    specs.insert((ObjectKind::Subscription, key.clone()), spec);
                    for_rehearsal_subscription(&mut object.spec);
                }
                Change::Replay(applied) if class.serves(applied.object.spec.class_name.as_deref()) => {
                    let Applied { key, object, .. } = &**applied;
                    specs.insert((ObjectKind::Replay, key.clone()), complete(ObjectKind::Replay, &object.spec));
                }
                _ => {}
            }
            index.apply(change);
        }
        let snapshot = index.publish().map(|published| published.snapshot).unwrap_or_default();
        Self { specs, snapshot }
    }

    /// The specs of all objects, with defaults.
    pub(super) fn specs(&self) -> &BTreeMap<(ObjectKind, ObjectKey), Value> {
        &self.specs
    }

    /// An endpoint that compiles.
    pub(super) fn endpoint(&self, key: &ObjectKey) -> Option<&Arc<Endpoint>> {
        self.snapshot.endpoint(key)
    }

    /// A subscription that compiles.
    pub(super) fn subscription(&self, key: &ObjectKey) -> Option<&Arc<Subscription>> {
        self.snapshot.subscription(key)
    }

    /// A replay that compiles.
    pub(super) fn replay(&self, key: &ObjectKey) -> Option<&Arc<Replay>> {
        self.snapshot.replays().iter().find(|replay| replay.key == *key)
    }

    /// The endpoint that a subscription names.
    pub(super) fn endpoint_of(&self, key: &ObjectKey) -> Option<ObjectKey> {
        let spec = self.specs.get(&(ObjectKind::Subscription, key.clone()))?;
        let name = spec.pointer("/endpointRef/name")?.as_str()?;
        let namespace = spec.pointer("/endpointRef/namespace").and_then(Value::as_str).unwrap_or(&key.namespace);
        Some(ObjectKey::new(namespace, name))
    }

    /// A text in the spec of an object.
    pub(super) fn text(&self, kind: ObjectKind, key: &ObjectKey, pointer: &str) -> Option<&str> {
        self.specs.get(&(kind, key.clone()))?.pointer(pointer)?.as_str()
    }

    /// The subscriptions that read an endpoint.
    pub(super) fn readers(&self, endpoint: &ObjectKey) -> impl Iterator<Item = &ObjectKey> {
        let subscriptions = self.specs.keys().filter(|(kind, _)| *kind == ObjectKind::Subscription);
        subscriptions.map(|(_, key)| key).filter(move |key| self.endpoint_of(key).as_ref() == Some(endpoint))
    }

    /// Whether an object is defined.
    pub(super) fn defines(&self, kind: ObjectKind, key: &ObjectKey) -> bool {
        self.specs.contains_key(&(kind, key.clone()))
    }
}

/// The spec with its defaults, as an API server stores it.
fn complete(kind: ObjectKind, spec: &impl Serialize) -> Value {
    let admission = match kind {
        ObjectKind::Endpoint => Admission::endpoint(),
        ObjectKind::Subscription => Admission::subscription(),
        ObjectKind::Replay => Admission::replay(),
    };
    // These types can always be serialized.
    let mut object = json!({ "spec": serde_json::to_value(spec).unwrap_or_default() });
    admission.complete(&mut object);
    object.get_mut("spec").map(Value::take).unwrap_or_default()
}

/// Removes what needs other objects: who may subscribe is not known here, because it depends on labels of namespaces.
fn for_rehearsal_endpoint(spec: &mut WebhookEndpointSpec) {
    spec.allowed_subscribers = serde_json::from_value(json!({ "from": "All" })).ok();
    spec.route = None;
}

/// Removes what needs Secrets or other objects, and is used only when something is sent.
fn for_rehearsal_subscription(spec: &mut WebhookSubscriptionSpec) {
    if let Ok(target) = serde_json::from_value(json!({ "url": NOWHERE })) {
        spec.target = target;
    }
    spec.signing = None;
    spec.dead_letter = None;
}
