//! One object of the index: as applied, as programmed, and its problems.

use std::sync::Arc;

use grapnel_api::{
    Condition, ConditionType, ObjectKey, Reason, WebhookEndpoint, WebhookEndpointSpec, WebhookEndpointStatus,
    WebhookReplay, WebhookReplaySpec, WebhookReplayStatus, WebhookSubscription, WebhookSubscriptionSpec,
    WebhookSubscriptionStatus,
};

use super::{
    change::{Age, Applied, Unreadable},
    dependencies::Referent,
};
use crate::catalog::{
    compile::{Problem, Reference},
    status::ObjectView,
};

/// The stored part of an object: its spec `S` and some metadata, without its status.
pub(super) struct Held<S> {
    pub(super) key: ObjectKey,
    pub(super) spec: Arc<S>,
    pub(super) generation: Option<i64>,
    source: Option<Arc<str>>,
    pub(super) age: Age,
    uid: Option<Arc<str>>,
}

impl<S> Held<S> {
    /// `metadata.uid`; empty if there is none.
    pub(super) fn uid(&self) -> Arc<str> {
        self.uid.clone().unwrap_or_default()
    }
}

impl Held<WebhookEndpointSpec> {
    /// An endpoint and its status.
    pub(super) fn endpoint(applied: Applied<WebhookEndpoint>) -> (Self, Option<WebhookEndpointStatus>) {
        let Applied { key, object, source, age, uid } = applied;
        let (spec, generation) = (Arc::new(object.spec), object.metadata.generation);
        (Self { key, spec, generation, source: source.map(Arc::from), age, uid }, object.status)
    }
}

impl Held<WebhookSubscriptionSpec> {
    /// A subscription and its status.
    pub(super) fn subscription(applied: Applied<WebhookSubscription>) -> (Self, Option<WebhookSubscriptionStatus>) {
        let Applied { key, object, source, age, uid } = applied;
        let (spec, generation) = (Arc::new(object.spec), object.metadata.generation);
        (Self { key, spec, generation, source: source.map(Arc::from), age, uid }, object.status)
    }
}

impl Held<WebhookReplaySpec> {
    /// A replay and its status.
    pub(super) fn replay(applied: Applied<WebhookReplay>) -> (Self, Option<WebhookReplayStatus>) {
        let Applied { key, object, source, age, uid } = applied;
        let (spec, generation) = (Arc::new(object.spec), object.metadata.generation);
        (Self { key, spec, generation, source: source.map(Arc::from), age, uid }, object.status)
    }
}

/// An object with the spec `S`, its compiled form `C` and its facts `F`.
pub(super) struct ObjectEntry<S, C, F> {
    /// The last version that can be parsed.
    pub(super) applied: Option<Held<S>>,
    /// The newest version, if it cannot be parsed.
    unreadable: Option<Unreadable>,
    /// The programmed version: the newest, or the last good one.
    pub(super) compiled: Option<Arc<C>>,
    /// The result of the compiler; `None` before the first version.
    judgement: Option<Judgement>,
    /// What it depends on, in order.
    pub(super) referents: Box<[Referent]>,
    /// A reference whose value has to be known before the newest version can be compiled.
    waits_for: Option<Reference>,
    /// Facts from the data plane; kept across recompilation.
    pub(super) facts: Arc<F>,
    /// The last view, while it is up to date.
    pub(super) view: Option<Arc<ObjectView>>,
}

/// The compiler's result for a version.
#[derive(Default)]
struct Judgement {
    generation: Option<i64>,
    problems: Vec<Problem>,
    own: Own,
}

/// Conditions specific to the kind.
#[derive(Default)]
pub(super) struct Own {
    pub(super) conditions: Vec<Condition>,
    /// `Ready` of an object that is fine itself, if what it depends on is not ready.
    pub(super) upstream: Option<Condition>,
}

/// The parts of an entry in every kind of view.
pub(super) struct Shown {
    pub(super) uid: Option<Arc<str>>,
    /// The generation that the conditions refer to.
    pub(super) generation: Option<i64>,
    pub(super) source: Option<Arc<str>>,
    pub(super) conditions: Arc<[Condition]>,
    /// A version is in use.
    pub(super) in_use: bool,
    /// No version is in use, and no value is awaited.
    pub(super) unusable: bool,
}

impl<S, C, F: Default> Default for ObjectEntry<S, C, F> {
    fn default() -> Self {
        Self {
            applied: None,
            unreadable: None,
            compiled: None,
            judgement: None,
            referents: Box::default(),
            waits_for: None,
            facts: Arc::default(),
            view: None,
        }
    }
}

impl<S, C, F: Default> ObjectEntry<S, C, F> {
    /// Whether this version is already applied: same object, same generation.
    pub(super) fn has(&self, version: &Held<S>) -> bool {
        let Some(applied) = &self.applied else { return false };
        self.unreadable.is_none()
            && version.uid.is_some()
            && version.uid == applied.uid
            && version.generation.is_some()
            && version.generation == applied.generation
    }

    /// Applies a version. If the object was deleted and created again, the old one is dropped, except for its referents,
    /// which are replaced by those of the new one.
    pub(super) fn accept(&mut self, applied: Held<S>) {
        if self.is_of_another(applied.uid.as_ref()) {
            *self = Self { referents: std::mem::take(&mut self.referents), ..Self::default() };
        }
        self.applied = Some(applied);
        self.unreadable = None;
        self.view = None;
    }

    /// Records a version that cannot be parsed. Returns whether this is a change.
    pub(super) fn reject(&mut self, rejected: Unreadable) -> bool {
        if self.unreadable.as_ref() == Some(&rejected) {
            return false;
        }
        self.unreadable = Some(rejected);
        self.view = None;
        true
    }

    /// Whether this version belongs to another object than the current one.
    pub(super) fn is_replaced_by(&self, applied: &Held<S>) -> bool {
        self.is_of_another(applied.uid.as_ref())
    }

    /// Whether an object with this uid is another one than the current one.
    pub(super) fn is_of_another(&self, uid: Option<&Arc<str>>) -> bool {
        matches!((self.uid(), uid), (Some(known), Some(uid)) if known != *uid)
    }
}

impl<S, C, F> ObjectEntry<S, C, F> {
    /// `metadata.uid` of the newest version, if any.
    pub(super) fn uid(&self) -> Option<Arc<str>> {
        let rejected = self.unreadable.as_ref().and_then(|rejected| rejected.uid.as_ref());
        rejected.or(self.applied.as_ref().and_then(|applied| applied.uid.as_ref())).cloned()
    }

    /// Records the compiler's result for the applied version, and conditions specific to the kind. A spec that does not
    /// compile leaves the last good version in use, so that a mistake loses nothing. A missing Secret does not, so that
    /// a revoked one is no longer accepted, and neither does a forbidden configuration.
    pub(super) fn compiled(&mut self, compiled: Option<C>, generation: Option<i64>, problems: Vec<Problem>, own: Own) {
        let refused = problems.iter().any(|problem| problem.condition() == ConditionType::Accepted);
        if !refused {
            self.compiled = compiled.map(Arc::new);
        } else if problems.iter().any(ends_at_once) {
            self.compiled = None;
        }
        self.judgement = Some(Judgement { generation, problems, own });
        self.waits_for = None;
        self.view = None;
    }

    /// Postpones compiling until the reference is known. The earlier version stays in use, unless one of the problems
    /// found so far forbids it.
    pub(super) fn wait(&mut self, reference: Reference, problems: Vec<Problem>) {
        if let Some(problem) = problems.into_iter().find(ends_at_once) {
            self.compiled = None;
            if let Some(judgement) = &mut self.judgement {
                judgement.problems = vec![problem];
            }
        }
        self.waits_for = Some(reference);
        self.view = None;
    }

    /// Problems of the newest version.
    pub(super) fn problems(&self) -> &[Problem] {
        match (&self.unreadable, &self.judgement) {
            (Some(rejected), _) => &rejected.problems,
            (None, Some(judgement)) => &judgement.problems,
            (None, None) => &[],
        }
    }

    /// The parts for views.
    pub(super) fn shown(&self) -> Shown {
        let conditions = self.make_conditions().into();
        let applied = self.applied.as_ref();
        let seen = self.judgement.is_some() || self.unreadable.is_some();
        let unusable = self.compiled.is_none() && self.waits_for.is_none() && seen;
        match &self.unreadable {
            Some(rejected) => Shown {
                uid: self.uid(),
                generation: rejected.generation,
                source: rejected.source.as_deref().map(Arc::from),
                conditions,
                in_use: self.compiled.is_some(),
                unusable,
            },
            None => Shown {
                uid: self.uid(),
                generation: self.judgement.as_ref().and_then(|judgement| judgement.generation),
                source: applied.and_then(|applied| applied.source.clone()),
                conditions,
                in_use: self.compiled.is_some(),
                unusable,
            },
        }
    }

    /// The reason why the newest version is not in use, if it is not.
    pub(super) fn failing(&self) -> Option<Reason> {
        let of = |kind| self.problems().iter().find(|problem| problem.condition() == kind);
        let first = of(ConditionType::Accepted).or_else(|| of(ConditionType::SecretsResolved));
        first.map(|problem| problem.reason)
    }

    /// Whether the newest version cannot be parsed.
    pub(super) fn is_unreadable(&self) -> bool {
        self.unreadable.is_some()
    }

    /// Whether it is not known yet what becomes of the newest version.
    pub(super) fn is_pending(&self) -> bool {
        self.unreadable.is_none() && (self.judgement.is_none() || self.waits_for.is_some())
    }

    /// Accepted, SecretsResolved, Ready and the conditions specific to the kind; Stalled while the user has to act,
    /// Reconciling while a value is awaited.
    fn make_conditions(&self) -> Vec<Condition> {
        let waits = match (&self.unreadable, &self.waits_for) {
            (None, Some(reference)) => Some(format!("waiting for the API server to return {reference}")),
            _ => None,
        };
        let mut conditions = match (&waits, &self.judgement, &self.unreadable) {
            (Some(message), None, _) => {
                vec![Condition::unknown(ConditionType::Ready, Reason::Progressing, message.clone())]
            }
            _ => self.judged(),
        };
        if let Some(message) = waits {
            conditions.retain(|condition| condition.kind != ConditionType::Stalled);
            conditions.push(Condition::holds(ConditionType::Reconciling, Reason::Progressing, message));
        }
        conditions
    }

    fn judged(&self) -> Vec<Condition> {
        let problems = self.problems();
        let of = |kind: ConditionType| {
            let mut of_kind = problems.iter().filter(|problem| problem.condition() == kind);
            of_kind.next().map(|first| (first.reason, message(first, of_kind.count())))
        };
        let accepted = of(ConditionType::Accepted);
        let resolved = of(ConditionType::SecretsResolved);
        let kept = match (&accepted, &self.compiled) {
            (Some(_), Some(_)) => "; the last valid version is still in use",
            _ => "",
        };
        let condition = |kind, found: Option<&(Reason, String)>, reason, well: &'static str| match found {
            None => Condition::holds(kind, reason, well),
            Some((reason, message)) => Condition::fails(kind, *reason, format!("{message}{kept}")),
        };
        let failing = accepted.as_ref().or(resolved.as_ref());
        let upstream = self.judgement.as_ref().and_then(|judgement| judgement.own.upstream.clone());
        let referenced = problems.iter().find(|problem| problem.condition() == ConditionType::SecretsResolved);
        let referenced = resolved.as_ref().zip(referenced);
        let referenced = referenced.map(|((_, message), problem)| (problem.reference_reason(), message.clone()));
        const RESOLVED: &str = "every reference resolves";
        let ready = condition(ConditionType::Ready, failing, Reason::Programmed, "the current generation is in use");
        let mut conditions = vec![
            condition(ConditionType::Accepted, accepted.as_ref(), Reason::Accepted, "the spec is valid"),
            condition(ConditionType::SecretsResolved, resolved.as_ref(), Reason::Resolved, RESOLVED),
            condition(ConditionType::ReferencesResolved, referenced.as_ref(), Reason::Resolved, RESOLVED),
            upstream.filter(|_| failing.is_none()).unwrap_or(ready),
        ];
        if let Some((reason, message)) = failing {
            conditions.push(Condition::holds(ConditionType::Stalled, *reason, message.clone()));
        }
        if let Some(judgement) = &self.judgement {
            conditions.extend(judgement.own.conditions.iter().cloned());
        }
        conditions
    }
}

/// Whether this problem also ends the version in use: a subscription that is no longer allowed receives nothing more,
/// and a forbidden target is no longer called.
fn ends_at_once(problem: &Problem) -> bool {
    matches!(problem.reason, Reason::NotAllowed | Reason::TargetForbidden)
}

fn message(first: &Problem, others: usize) -> String {
    match others {
        0 => first.to_string(),
        1 => format!("{first} (and one more problem)"),
        _ => format!("{first} (and {others} more problems)"),
    }
}
