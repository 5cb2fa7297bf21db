//! Compiles the objects that a change affects.

use std::sync::Arc;

use grapnel_api::{Condition, Incarnation, ObjectKey};
use grapnel_event::identity::Reading;
use serde::Serialize;

use super::{EndpointEntry, Index, Referent, dependencies::Dependencies, entry::Entry, views};
use crate::catalog::{
    admission::Admission,
    compile::{self, Compiled, Delivered, Problem, Served, Standing},
    snapshot::DeadLetterEndpoint,
    status::Kind,
};

impl Index {
    /// Returns whether it compiled without a problem; `None` if it was not compiled.
    pub(super) fn compile_endpoint(&mut self, key: &ObjectKey) -> Option<bool> {
        let entry = self.endpoints.get_mut(key)?;
        let applied = entry.applied.as_ref()?;
        let owner = self.claims.owner(&key.namespace, &compile::path(key, &applied.spec));
        let served = Served {
            uid: applied.uid(),
            path_owner: owner.filter(|owner| *owner != key),
            facts: Arc::clone(&entry.facts),
            metrics: self.metrics.endpoint(&key.namespace, &key.name),
            previous: entry.compiled.as_deref(),
        };
        let compiled = compile::endpoint(key, &applied.spec, &self.options, &self.dependencies.values, served);
        let own = views::of_endpoint(&applied.spec);
        let reading = |entry: &EndpointEntry| entry.compiled.as_ref().map(|compiled| compiled.reading.clone());
        let before = reading(entry);
        let good = finish((Kind::Endpoint, key), entry, compiled, own, &mut self.dependencies);
        // A first version reads bodies as its subscriptions expect.
        if before.is_some() && reading(entry) != before {
            self.dependencies.touch(&Referent::Endpoint(key.clone()));
        }
        good
    }

    /// Returns whether it compiled without a problem; `None` if it was not compiled.
    pub(super) fn compile_subscription(&mut self, key: &ObjectKey) -> Option<bool> {
        let standing = self.standing(key)?;
        let entry = self.subscriptions.get_mut(key)?;
        let applied = entry.applied.as_ref()?;
        let endpoint = self.endpoints.get(&compile::endpoint_of(key, &applied.spec));
        let letters = compile::dead_letter_endpoint_of(key, &applied.spec);
        let letters = letters.and_then(|key| self.endpoints.get(&key).map(|entry| (key, entry)));
        let delivered = Delivered {
            uid: applied.uid(),
            standing,
            endpoint_uid: endpoint.and_then(|entry| entry.uid()).unwrap_or_default(),
            reading: endpoint.map(|entry| reading(entry)).unwrap_or_default(),
            dead_letter_endpoint: letters.map(|(key, entry)| DeadLetterEndpoint {
                endpoint: Incarnation::new(key, entry.uid().unwrap_or_default()),
                max_bytes: entry.applied.as_ref().and_then(|applied| compile::max_bytes(&applied.spec)),
            }),
            facts: Arc::clone(&entry.facts),
            metrics: self.metrics.subscription(&key.namespace, &key.name),
            previous: entry.compiled.as_deref(),
        };
        let compiled = compile::subscription(key, &applied.spec, &self.options, &self.dependencies.values, delivered);
        let own = views::of_subscription(&applied.spec);
        finish((Kind::Subscription, key), entry, compiled, own, &mut self.dependencies)
    }

    /// Whether a subscription may read its endpoint.
    fn standing(&self, key: &ObjectKey) -> Option<Standing> {
        let applied = self.subscriptions.get(key)?.applied.as_ref()?;
        let endpoint = compile::endpoint_of(key, &applied.spec);
        let exists = self.endpoints.contains_key(&endpoint);
        Some(match endpoint.namespace == key.namespace {
            true if exists => Standing::Open,
            true => Standing::Absent,
            false if exists && self.grants.allow(&endpoint, &key.namespace) => Standing::Open,
            false => Standing::Closed,
        })
    }
}

/// How the version in use reads bodies; that of the newest version if none is in use.
fn reading(endpoint: &EndpointEntry) -> Reading {
    match (&endpoint.compiled, &endpoint.applied) {
        (Some(compiled), _) => compiled.reading.clone(),
        (None, Some(applied)) => compile::reading(&applied.spec),
        (None, None) => Reading::default(),
    }
}

/// Records the compiler's result. Returns whether there was no problem; `None` if a value is awaited.
fn finish<S: Serialize, C, F>(
    (kind, key): (Kind, &ObjectKey),
    entry: &mut Entry<S, C, F>,
    compiled: Compiled<C>,
    own: Vec<Condition>,
    dependencies: &mut Dependencies,
) -> Option<bool> {
    dependencies.replace_values(&(kind, key.clone()), &mut entry.referents, compiled.references);
    if let Some(reference) = compiled.awaits {
        entry.wait(reference, compiled.problems);
        return None;
    }
    let applied = entry.applied.as_ref()?;
    let problems = with_rules(kind, &applied.spec, compiled.problems);
    let (good, generation) = (problems.is_empty(), applied.generation);
    entry.compiled(compiled.object, generation, problems, own);
    Some(good)
}

/// The problems, and the violations of CEL rules that an API server without CEL has stored. Where the compiler has a problem
/// of the same field, that one is reported, because it knows more.
fn with_rules(kind: Kind, spec: &impl Serialize, mut problems: Vec<Problem>) -> Vec<Problem> {
    let admission = match kind {
        Kind::Endpoint => Admission::endpoint(),
        Kind::Subscription => Admission::subscription(),
    };
    // These types can always be serialized.
    let Ok(spec) = serde_json::to_value(spec) else { return problems };
    let mut violations = admission.rules(&serde_json::json!({ "spec": spec }));
    violations.retain(|violation| problems.iter().all(|problem| problem.pointer != violation.pointer));
    problems.splice(0..0, violations);
    problems
}
