//! One object of the index: as it was applied, as it is programmed, and what is wrong with it.

use std::sync::Arc;

use super::{Applied, Referent};
use crate::{
    api::{Condition, ConditionType, KeyReference, ObjectKey, Reason, WebhookEndpoint, WebhookSubscription},
    catalog::compile::Problem,
};

/// An object `O`, its compiled form `C` and its facts `F`.
pub(super) struct Entry<O, C, F> {
    /// The last readable version.
    pub(super) applied: Option<Applied<O>>,
    /// Why the newest version cannot be read, if it cannot, and where it is.
    unreadable: Option<(Option<String>, Vec<Problem>)>,
    /// The version that is programmed: the newest, or the last good one.
    pub(super) compiled: Option<Arc<C>>,
    /// What the compiler found in `applied`.
    pub(super) problems: Vec<Problem>,
    /// What the data plane sees; outlives recompilation.
    pub(super) facts: Arc<F>,
}

impl<O, C, F: Default> Default for Entry<O, C, F> {
    fn default() -> Self {
        Self { applied: None, unreadable: None, compiled: None, problems: Vec::new(), facts: Arc::default() }
    }
}

impl<O, C, F> Entry<O, C, F> {
    pub(super) fn accept(&mut self, applied: Applied<O>) {
        self.applied = Some(applied);
        self.unreadable = None;
    }

    /// Notes a version that cannot be read; says whether that is news.
    pub(super) fn reject(&mut self, source: Option<String>, problems: Vec<Problem>) -> bool {
        let rejected = Some((source, problems));
        let news = self.unreadable != rejected;
        self.unreadable = rejected;
        news
    }

    /// Takes what the compiler made. A spec that does not compile leaves the last good version in place, so that a
    /// mistake loses nothing; missing Secrets do not, so that a revoked one is no longer believed.
    pub(super) fn compiled(&mut self, compiled: Option<C>, problems: Vec<Problem>) {
        let refused = problems.iter().any(|problem| problem.condition() == ConditionType::Accepted);
        if !refused {
            self.compiled = compiled.map(Arc::new);
        }
        self.problems = problems;
    }

    /// Where the newest version is.
    pub(super) fn source(&self) -> Option<String> {
        match &self.unreadable {
            Some((source, _)) => source.clone(),
            None => self.applied.as_ref().and_then(|applied| applied.source.clone()),
        }
    }

    /// What is wrong with the newest version.
    pub(super) fn current_problems(&self) -> &[Problem] {
        self.unreadable.as_ref().map_or(&self.problems, |(_, problems)| problems)
    }

    /// Accepted, SecretsResolved, Ready and, while a person has to act, Stalled.
    pub(super) fn conditions(&self) -> Vec<Condition> {
        let problems = self.current_problems();
        let of = |kind: ConditionType| {
            let mut of_kind = problems.iter().filter(|problem| problem.condition() == kind);
            of_kind.next().map(|first| (first.reason, message(first, of_kind.count())))
        };
        let accepted = of(ConditionType::Accepted);
        let resolved = of(ConditionType::SecretsResolved);
        let kept = match (&accepted, &self.compiled) {
            (Some(_), Some(_)) => "; the last good version is still in use",
            _ => "",
        };
        let condition = |kind, found: Option<&(Reason, String)>, reason, well: &str| match found {
            None => Condition::holds(kind, reason, well),
            Some((reason, message)) => Condition::fails(kind, *reason, format!("{message}{kept}")),
        };
        let failing = accepted.as_ref().or(resolved.as_ref());
        let mut conditions = vec![
            condition(ConditionType::Accepted, accepted.as_ref(), Reason::Accepted, "the spec is valid"),
            condition(ConditionType::SecretsResolved, resolved.as_ref(), Reason::Resolved, "every reference resolves"),
            condition(ConditionType::Ready, failing, Reason::Programmed, "in use as it is written"),
        ];
        if let Some((reason, message)) = failing {
            conditions.push(Condition::holds(ConditionType::Stalled, *reason, message.clone()));
        }
        conditions
    }
}

fn message(first: &Problem, others: usize) -> String {
    match others {
        0 => first.to_string(),
        1 => format!("{first} (and one more problem)"),
        _ => format!("{first} (and {others} more problems)"),
    }
}

/// What an endpoint refers to.
pub(super) fn endpoint_references(applied: &Applied<WebhookEndpoint>) -> impl Iterator<Item = Referent> {
    let spec = &applied.object.spec;
    let secrets = spec.verification.secret_refs.iter().map(|reference| Referent::Secret(own(&applied.key, reference)));
    let config_maps = spec.schemas.iter().filter_map(|rule| rule.config_map_ref.as_ref());
    secrets.chain(config_maps.map(|reference| Referent::ConfigMap(own(&applied.key, reference))))
}

/// What a subscription refers to.
pub(super) fn subscription_references(applied: &Applied<WebhookSubscription>) -> impl Iterator<Item = Referent> {
    let spec = &applied.object.spec;
    let endpoint = ObjectKey::new(Arc::clone(&applied.key.namespace), spec.endpoint_ref.name.as_str());
    let signing = spec.signing.iter().flat_map(|signing| &signing.secret_refs);
    let headers = spec.target.headers_from.iter().map(|header| &header.secret_key_ref);
    std::iter::once(Referent::Endpoint(endpoint))
        .chain(signing.chain(headers).map(|reference| Referent::Secret(own(&applied.key, reference))))
}

/// A referenced object in the referring object's namespace.
fn own(key: &ObjectKey, reference: &KeyReference) -> ObjectKey {
    ObjectKey::new(Arc::clone(&key.namespace), reference.name.as_str())
}
