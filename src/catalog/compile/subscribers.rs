//! `spec.allowedSubscribers`: which namespaces may read an endpoint.

use std::collections::BTreeMap;

use grapnel_api::{LabelOperator, LabelRequirement, LabelSelector, Reason, SubscribersFrom, WebhookEndpointSpec};
use grapnel_values::selector::{Requirement, Selector};

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
        let required = selector.require(key, Requirement::In(vec![value.clone()]));
        complete &= value.check(required).is_some();
    }
    for expression in field.at("matchExpressions", &given.match_expressions).items() {
        complete &= requirement(&expression)
            .is_some_and(|required| expression.check(selector.require(&expression.key, required)).is_some());
    }
    complete.then_some(selector)
}

fn requirement(expression: &Field<'_, LabelRequirement>) -> Option<Requirement> {
    Some(match expression.operator {
        LabelOperator::In => Requirement::In(expression.values.clone()),
        LabelOperator::NotIn => Requirement::NotIn(expression.values.clone()),
        LabelOperator::Exists | LabelOperator::DoesNotExist if !expression.values.is_empty() => {
            let message = "values are allowed only with the operators In and NotIn; remove them";
            return expression.at("values", &expression.values).fail(Reason::InvalidSpec, message);
        }
        LabelOperator::Exists => Requirement::Exists,
        LabelOperator::DoesNotExist => Requirement::DoesNotExist,
    })
}
