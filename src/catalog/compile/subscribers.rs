//! `spec.allowedSubscribers`: which namespaces may read an endpoint.

use std::collections::{BTreeMap, BTreeSet};

use grapnel_api::{LabelOperator, LabelRequirement, LabelSelector, Reason, SubscribersFrom, WebhookEndpointSpec};
use grapnel_values::label::{check_key, check_value};
use kube::core::{Expression, Selector, SelectorExt};

use super::field::Field;

/// Which namespaces may read an endpoint, besides its own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Subscribers {
    /// None.
    #[default]
    Same,
    /// All namespaces.
    All,
    /// Namespaces whose labels match.
    Selected(Selector),
}

impl Subscribers {
    /// Whether a namespace with these labels, other than the endpoint's own, may read it.
    pub fn allow(&self, labels: &BTreeMap<String, String>) -> bool {
        match self {
            Self::Same => false,
            Self::All => true,
            Self::Selected(selector) => selector.matches(labels),
        }
    }
}

/// The subscribers that an endpoint allows; `None` if the rule is invalid.
pub(super) fn read(spec: &Field<'_, WebhookEndpointSpec>) -> Option<Subscribers> {
    let Some(allowed) = spec.at("allowedSubscribers", &spec.allowed_subscribers).given() else {
        return Some(Subscribers::Same);
    };
    match allowed.from.unwrap_or(SubscribersFrom::Same) {
        SubscribersFrom::Same => Some(Subscribers::Same),
        SubscribersFrom::All => Some(Subscribers::All),
        SubscribersFrom::Selector => {
            selector(&allowed.at("namespaceSelector", &allowed.namespace_selector)).map(Subscribers::Selected)
        }
    }
}

fn selector(field: &Field<'_, Option<LabelSelector>>) -> Option<Selector> {
    let Some(given) = field.value() else {
        return field.fail(Reason::InvalidSpec, "must be set when from is Selector");
    };
    let mut selector = Selector::default();
    let mut complete = true;
    for (key, value) in field.at("matchLabels", &given.match_labels).entries() {
        let checked = value.check(check_key(key).and_then(|()| check_value(&value)));
        complete &= checked.is_some();
        selector.extend([Expression::Equal(key.into(), value.clone())]);
    }
    for requirement in field.at("matchExpressions", &given.match_expressions).items() {
        let expression = expression(&requirement);
        complete &= expression.is_some();
        selector.extend(expression);
    }
    complete.then_some(selector)
}

/// One requirement. Kube's own conversion checks neither the syntax of labels nor that values fit the operator.
fn expression(field: &Field<'_, LabelRequirement>) -> Option<Expression> {
    field.check(check_key(&field.key))?;
    let key = field.key.clone();
    match field.operator {
        LabelOperator::In => values(field).map(|values| Expression::In(key, values)),
        LabelOperator::NotIn => values(field).map(|values| Expression::NotIn(key, values)),
        LabelOperator::Exists | LabelOperator::DoesNotExist if !field.values.is_empty() => {
            let message = "values are allowed only with the operators In and NotIn; remove them";
            field.at("values", &field.values).fail(Reason::InvalidSpec, message)
        }
        LabelOperator::Exists => Some(Expression::Exists(key)),
        LabelOperator::DoesNotExist => Some(Expression::DoesNotExist(key)),
    }
}

fn values(field: &Field<'_, LabelRequirement>) -> Option<BTreeSet<String>> {
    if field.values.is_empty() {
        return field.fail(Reason::InvalidSpec, "values are needed for the operators In and NotIn");
    }
    field.check(field.values.iter().try_for_each(|value| check_value(value)))?;
    Some(field.values.iter().cloned().collect())
}
