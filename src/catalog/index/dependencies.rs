//! Dependencies between objects: which objects to recompile after a change, and which values to keep.

use std::{collections::BTreeSet, sync::Arc};

use grapnel_api::{ObjectKey, WebhookSubscriptionSpec};

use super::{
    small_set::SmallSet,
    values::{ConfigMapData, SecretData, Values},
};
use crate::{
    catalog::{
        compile::{self, Reference},
        status::ObjectKind,
    },
    fast_map::FastMap,
};

/// Anything that an object can depend on.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Referent {
    /// Whether an endpoint exists and which subscribers it allows.
    Endpoint(ObjectKey),
    /// Whether a subscription exists, and its class.
    Subscription(ObjectKey),
    /// Labels of a namespace.
    Namespace(Arc<str>),
    /// A value.
    Value(Reference),
}

impl Referent {
    /// The endpoints that a subscription names, and what decides whether it may read them.
    pub(super) fn of_subscription(key: &ObjectKey, spec: &WebhookSubscriptionSpec) -> BTreeSet<Self> {
        let endpoint = compile::endpoint_of(key, spec);
        let labels = (endpoint.namespace != key.namespace).then(|| Self::Namespace(Arc::clone(&key.namespace)));
        let letters = compile::dead_letter_endpoint_of(key, spec).map(Self::Endpoint);
        std::iter::once(Self::Endpoint(endpoint)).chain(letters).chain(labels).collect()
    }
}

/// An object that depends on something.
pub(super) type Dependent = (ObjectKind, ObjectKey);

/// The dependencies of all objects.
#[derive(Debug, Default)]
pub(super) struct Dependencies {
    dependents: FastMap<Referent, SmallSet<Dependent>>,
    /// The values of references. Those without dependents are not kept if they are fetched.
    pub(super) values: Values,
    /// Objects to recompile.
    dirty: BTreeSet<Dependent>,
}

impl Dependencies {
    /// Records the current referents of an object in place of its previous ones, which are in order.
    pub(super) fn replace(
        &mut self,
        dependent: &Dependent,
        previous: &mut Box<[Referent]>,
        current: BTreeSet<Referent>,
    ) {
        for referent in previous.iter().filter(|referent| !current.contains(*referent)) {
            self.remove(referent, dependent);
        }
        for referent in current.iter().filter(|referent| previous.binary_search(referent).is_err()) {
            self.add(referent, dependent);
        }
        *previous = current.into_iter().collect();
    }

    /// Records the references that the compiler has looked up in place of the previous ones.
    pub(super) fn replace_values(
        &mut self,
        dependent: &Dependent,
        referents: &mut Box<[Referent]>,
        references: Box<[Reference]>,
    ) {
        let others = referents.iter().filter(|referent| !matches!(referent, Referent::Value(_))).cloned();
        let current = others.chain(references.into_iter().map(Referent::Value)).collect();
        self.replace(dependent, referents, current);
    }

    fn add(&mut self, referent: &Referent, dependent: &Dependent) {
        let dependents = self.dependents.entry(referent.clone()).or_default();
        let first = dependents.is_empty();
        dependents.insert(dependent.clone());
        if let Referent::Value(reference) = referent
            && first
        {
            self.values.request(reference);
        }
    }

    fn remove(&mut self, referent: &Referent, dependent: &Dependent) {
        let Some(dependents) = self.dependents.get_mut(referent) else { return };
        dependents.remove(dependent);
        if !dependents.is_empty() {
            return;
        }
        self.dependents.remove(referent);
        if let Referent::Value(reference) = referent {
            self.values.forget(reference);
        }
    }

    /// Whether any object refers to this value.
    pub(super) fn refers_to(&self, reference: &Reference) -> bool {
        self.dependents.contains_key(&Referent::Value(reference.clone()))
    }

    fn keeps(&self, reference: &Reference) -> bool {
        !self.values.fetching || self.refers_to(reference)
    }

    /// Sets the data of a Secret, and marks its dependents if it has changed.
    pub(super) fn set_secret(&mut self, key: ObjectKey, data: Option<SecretData>) {
        let reference = Reference::Secret(key);
        if self.keeps(&reference) && self.values.set_secret(reference.key(), data) {
            self.touch(&Referent::Value(reference));
        }
    }

    /// Sets the data of a ConfigMap, and marks its dependents if it has changed.
    pub(super) fn set_config_map(&mut self, key: ObjectKey, data: Option<ConfigMapData>) {
        let reference = Reference::ConfigMap(key);
        if self.keeps(&reference) && self.values.set_config_map(reference.key(), data) {
            self.touch(&Referent::Value(reference));
        }
    }

    /// Marks an object.
    pub(super) fn mark(&mut self, object: Dependent) {
        self.dirty.insert(object);
    }

    /// Marks everything that depends on `referent`.
    pub(super) fn touch(&mut self, referent: &Referent) {
        self.touch_those(referent, |_| true);
    }

    /// Marks those of the dependents of `referent` whose names are affected.
    pub(super) fn touch_those(&mut self, referent: &Referent, affected: impl Fn(&ObjectKey) -> bool) {
        let dependents = self.dependents.get(referent).into_iter().flat_map(SmallSet::iter);
        self.dirty.extend(dependents.filter(|(_, key)| affected(key)).cloned());
    }

    /// Takes the objects of a kind to recompile, in order.
    pub(super) fn take_dirty(&mut self, kind: ObjectKind) -> Vec<ObjectKey> {
        let (taken, rest) = std::mem::take(&mut self.dirty).into_iter().partition(|(of, _)| *of == kind);
        self.dirty = rest;
        let taken: BTreeSet<Dependent> = taken;
        taken.into_iter().map(|(_, key)| key).collect()
    }
}
