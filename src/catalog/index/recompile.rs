//! Compiles the objects that a change affects.

use std::{collections::BTreeMap, sync::Arc};

use grapnel_api::{Condition, ConditionType, Incarnation, ObjectKey, Reason};
use grapnel_event::identity::Reading;
use serde::Serialize;

use super::{
    EndpointEntry, ObjectIndex, Referent, Rules,
    dependencies::Dependencies,
    elsewhere::Elsewhere,
    entry::{ObjectEntry, Own},
    views,
};
use crate::catalog::{
    admission::Admission,
    compile::{self, Compiled, Problem, Served, Standing, SubscriptionInputs},
    snapshot::DeadLetterEndpoint,
    status::ObjectKind,
};

impl ObjectIndex {
    /// Returns whether it compiled without a problem; `None` if it was not compiled.
    pub(super) fn compile_endpoint(&mut self, key: &ObjectKey) -> Option<bool> {
        let entry = self.endpoints.get_mut(key)?;
        let applied = entry.applied.as_ref()?;
        let owner = self.claims.owner(&key.namespace, compile::path(key, &applied.spec));
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
        let availability = Availability::of(entry);
        let good = finish((ObjectKind::Endpoint, key), entry, compiled, own, &mut self.dependencies, self.rules);
        // A first version reads bodies as its subscriptions expect.
        let reads_otherwise = before.is_some() && reading(entry) != before;
        if reads_otherwise || Availability::of(entry) != availability {
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
        let class = applied.spec.class_name.as_deref();
        let dead_letters_elsewhere =
            letters.as_ref().is_some_and(|letters| has_other_class(letters, class, &self.endpoints, &self.elsewhere));
        let letters = letters.and_then(|key| self.endpoints.get(&key).map(|entry| (key, entry)));
        let delivered = SubscriptionInputs {
            uid: applied.uid(),
            standing,
            endpoint_uid: endpoint.and_then(|entry| entry.uid()).unwrap_or_default(),
            reading: endpoint.map(|entry| reading(entry)).unwrap_or_default(),
            dead_letter_endpoint: letters.map(|(key, entry)| DeadLetterEndpoint {
                endpoint: Incarnation::new(key, entry.uid().unwrap_or_default()),
                max_bytes: entry.applied.as_ref().and_then(|applied| compile::max_bytes(&applied.spec)),
            }),
            dead_letters_elsewhere,
            facts: Arc::clone(&entry.facts),
            metrics: self.metrics.subscription(&key.namespace, &key.name),
            previous: entry.compiled.as_deref(),
        };
        let compiled = compile::subscription(key, &applied.spec, &self.options, &self.dependencies.values, delivered);
        let own = Own {
            conditions: views::of_subscription(&applied.spec),
            upstream: endpoint.and_then(|entry| {
                let endpoint = compile::endpoint_of(key, &applied.spec);
                Availability::of(entry).ready_of_subscription(&endpoint)
            }),
        };
        finish((ObjectKind::Subscription, key), entry, compiled, own, &mut self.dependencies, self.rules)
    }

    /// Whether a subscription may read its endpoint.
    fn standing(&self, key: &ObjectKey) -> Option<Standing> {
        let applied = self.subscriptions.get(key)?.applied.as_ref()?;
        let endpoint = compile::endpoint_of(key, &applied.spec);
        let exists = self.endpoints.contains_key(&endpoint);
        let is_elsewhere =
            has_other_class(&endpoint, applied.spec.class_name.as_deref(), &self.endpoints, &self.elsewhere);
        Some(match endpoint.namespace == key.namespace {
            true if is_elsewhere => Standing::OtherClass,
            true if exists => Standing::Open,
            true => Standing::Absent,
            false if exists && self.grants.allow(&endpoint, &key.namespace) => match is_elsewhere {
                true => Standing::OtherClass,
                false => Standing::Open,
            },
            false => Standing::Closed,
        })
    }
}

/// Whether an endpoint exists with another class than this one.
fn has_other_class(
    endpoint: &ObjectKey,
    class: Option<&str>,
    served: &BTreeMap<ObjectKey, Box<EndpointEntry>>,
    elsewhere: &Elsewhere,
) -> bool {
    match served.get(endpoint).and_then(|entry| entry.applied.as_ref()) {
        Some(applied) => applied.spec.class_name.as_deref() != class,
        None => elsewhere.has_endpoint(endpoint),
    }
}

/// Whether an endpoint takes events in, as far as its subscriptions report it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Availability {
    Ready,
    Pending,
    NotReady(Reason),
    Suspended,
}

impl Availability {
    fn of(endpoint: &EndpointEntry) -> Self {
        let is_suspended = || endpoint.compiled.as_ref().is_some_and(|compiled| compiled.suspended);
        match endpoint.failing() {
            _ if endpoint.is_pending() => Self::Pending,
            Some(reason) => Self::NotReady(reason),
            None if is_suspended() => Self::Suspended,
            None => Self::Ready,
        }
    }

    /// `Ready` of a subscription that has no problem of its own; `None` if it is ready. The endpoint may be in another
    /// namespace, so only its reason is shown.
    fn ready_of_subscription(self, endpoint: &ObjectKey) -> Option<Condition> {
        let ObjectKey { namespace, name } = endpoint;
        let endpoint = format!("WebhookEndpoint {name} in namespace {namespace}");
        match self {
            Self::Ready => None,
            Self::Pending => {
                let message = format!("{endpoint} is being prepared");
                Some(Condition::unknown(ConditionType::Ready, Reason::EndpointNotReady, message))
            }
            Self::NotReady(reason) => {
                let message = format!("{endpoint} is not ready ({reason}); its conditions say what to do");
                Some(Condition::fails(ConditionType::Ready, Reason::EndpointNotReady, message))
            }
            Self::Suspended => {
                let message = format!("{endpoint} is suspended by its spec.suspend, so no events arrive");
                Some(Condition::unknown(ConditionType::Ready, Reason::EndpointSuspended, message))
            }
        }
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
pub(super) fn finish<S: Serialize, C, F>(
    (kind, key): (ObjectKind, &ObjectKey),
    entry: &mut ObjectEntry<S, C, F>,
    compiled: Compiled<C>,
    own: Own,
    dependencies: &mut Dependencies,
    rules: Rules,
) -> Option<bool> {
    dependencies.replace_values(&(kind, key.clone()), &mut entry.referents, compiled.references);
    if let Some(reference) = compiled.awaits {
        entry.wait(reference, compiled.problems);
        return None;
    }
    let applied = entry.applied.as_ref()?;
    let problems = match rules {
        Rules::Check => with_rules(kind, &applied.spec, compiled.problems),
        Rules::Checked => compiled.problems,
    };
    let (good, generation) = (problems.is_empty(), applied.generation);
    entry.compiled(compiled.object, generation, problems, own);
    Some(good)
}

/// The problems, and the violations of CEL rules that an API server without CEL has stored. Where the compiler has a problem
/// of the same field, that one is reported, because it knows more.
fn with_rules(kind: ObjectKind, spec: &impl Serialize, mut problems: Vec<Problem>) -> Vec<Problem> {
    let admission = match kind {
        ObjectKind::Endpoint => Admission::endpoint(),
        ObjectKind::Subscription => Admission::subscription(),
        ObjectKind::Replay => Admission::replay(),
    };
    // These types can always be serialized.
    let Ok(spec) = serde_json::to_value(spec) else { return problems };
    let mut violations = admission.rules(&serde_json::json!({ "spec": spec }));
    violations.retain(|violation| problems.iter().all(|problem| problem.pointer != violation.pointer));
    problems.splice(0..0, violations);
    problems
}
