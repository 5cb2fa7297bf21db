//! `spec.allowedSubscribers`: which namespaces may read an endpoint.

use std::collections::BTreeMap;

use grapnel_api::{LabelOperator, Reason, SubscribersFrom, WebhookEndpointSpec};
use grapnel_values::{
    pointer::escaped,
    selector::{Requirement, Selector},
};

use super::Problems;

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
    /// The subscribers that an endpoint allows. An invalid rule allows none.
    pub fn of(spec: &WebhookEndpointSpec) -> Self {
        read(spec, &mut Problems::default()).unwrap_or_default()
    }

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
pub(super) fn read(spec: &WebhookEndpointSpec, problems: &mut Problems) -> Option<Subscribers> {
    const SELECTOR: &str = "/spec/allowedSubscribers/namespaceSelector";
    let Some(allowed) = &spec.allowed_subscribers else { return Some(Subscribers::Same) };
    match allowed.from.unwrap_or(SubscribersFrom::Same) {
        SubscribersFrom::Same => return Some(Subscribers::Same),
        SubscribersFrom::All => return Some(Subscribers::All),
        SubscribersFrom::Selector => {}
    }
    let Some(given) = &allowed.namespace_selector else {
        problems.add(SELECTOR, Reason::InvalidSpec, "must be set when from is Selector");
        return None;
    };
    let mut selector = Selector::default();
    let mut complete = true;
    for (key, value) in &given.match_labels {
        let pointer = format!("{SELECTOR}/matchLabels/{}", escaped(key));
        let required = selector.require(key, Requirement::In(vec![value.clone()]));
        complete &= problems.check(pointer, required).is_some();
    }
    for (number, expression) in given.match_expressions.iter().enumerate() {
        let pointer = format!("{SELECTOR}/matchExpressions/{number}");
        let requirement = match expression.operator {
            LabelOperator::In => Requirement::In(expression.values.clone()),
            LabelOperator::NotIn => Requirement::NotIn(expression.values.clone()),
            LabelOperator::Exists | LabelOperator::DoesNotExist if !expression.values.is_empty() => {
                let message = "values are allowed only with the operators In and NotIn; remove them";
                problems.add(format!("{pointer}/values"), Reason::InvalidSpec, message);
                complete = false;
                continue;
            }
            LabelOperator::Exists => Requirement::Exists,
            LabelOperator::DoesNotExist => Requirement::DoesNotExist,
        };
        complete &= problems.check(pointer, selector.require(&expression.key, requirement)).is_some();
    }
    complete.then_some(Subscribers::Selected(selector))
}
