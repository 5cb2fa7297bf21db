//! The condition `Routed` of an endpoint, from what Gateways report about its HTTPRoute.

use grapnel_api::{ConditionStatus, ParentReference, Reason};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::{
    limits::ROUTE_MESSAGE_CHARS,
    manifest::{GATEWAY_GROUP, ObservedRoute, ParentReport},
};
use crate::catalog::RouteState;

/// What the controllers of one parent say.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Report {
    Accepted,
    NotAccepted(String),
    NotResolved(String),
    /// None has reported about this generation of the HTTPRoute.
    Missing,
}

/// The state of an up-to-date HTTPRoute in `namespace`, without the URL.
pub(super) fn state(namespace: &str, route: &ObservedRoute) -> RouteState {
    let reports: Vec<_> =
        route.fields.parent_refs.iter().map(|parent| (parent, report(namespace, parent, route))).collect();
    let failing = reports.iter().find_map(|(parent, report)| match report {
        Report::NotAccepted(message) => Some((Reason::RouteNotAccepted, parent, message)),
        Report::NotResolved(message) => Some((Reason::RouteNotResolved, parent, message)),
        Report::Accepted | Report::Missing => None,
    });
    if let Some((reason, parent, message)) = failing {
        return RouteState::new(ConditionStatus::False, reason, format!("{}: {message}", name(namespace, parent)));
    }
    let names = |wanted: Report| {
        let of = reports.iter().filter(|(_, report)| *report == wanted);
        of.map(|(parent, _)| name(namespace, parent)).collect::<Vec<_>>().join(", ")
    };
    let missing = names(Report::Missing);
    if missing.is_empty() {
        let message = format!("accepted by {}", names(Report::Accepted));
        return RouteState::new(ConditionStatus::True, Reason::RouteAccepted, message);
    }
    let message = format!(
        "waiting for {missing}: no Gateway controller has reported about the current HTTPRoute; check that the parent \
         exists and that its controller runs"
    );
    RouteState::new(ConditionStatus::Unknown, Reason::Progressing, message)
}

/// The parents that accept the HTTPRoute.
pub(super) fn accepting<'a>(namespace: &str, route: &'a ObservedRoute) -> Vec<&'a ParentReference> {
    let parents = route.fields.parent_refs.iter();
    parents.filter(|parent| report(namespace, parent, route) == Report::Accepted).collect()
}

/// What the controllers of one parent say. Several controllers may report; one that accepts suffices.
fn report(namespace: &str, parent: &ParentReference, route: &ObservedRoute) -> Report {
    let about = route.reports.iter().filter(|report| is_same(namespace, &report.parent_ref, parent));
    let reports: Vec<_> = about.map(|report| of_controller(report, route.generation)).collect();
    let accepted = reports.iter().find(|report| **report == Report::Accepted);
    let failing = reports.iter().find(|report| **report != Report::Missing);
    accepted.or(failing).cloned().unwrap_or(Report::Missing)
}

fn of_controller(report: &ParentReport, generation: i64) -> Report {
    let condition = |kind: &str| {
        let mut conditions = report.conditions.iter();
        conditions.find(|it| it.type_ == kind && it.observed_generation.is_none_or(|observed| observed >= generation))
    };
    match (condition("Accepted"), condition("ResolvedRefs")) {
        (Some(accepted), _) if accepted.status == "False" => Report::NotAccepted(text(accepted)),
        (_, Some(resolved)) if resolved.status == "False" => {
            Report::NotResolved(format!("{}{}", text(resolved), hint(resolved)))
        }
        (Some(accepted), _) if accepted.status == "True" => Report::Accepted,
        _ => Report::Missing,
    }
}

/// Reason and message of a controller's condition, as one line of bounded length.
fn text(condition: &Condition) -> String {
    let printable = |c: char| if c.is_control() { ' ' } else { c };
    let whole = format!("{}: {}", condition.reason, condition.message);
    whole.chars().take(ROUTE_MESSAGE_CHARS).map(printable).collect::<String>().trim_end().to_owned()
}

/// What to do about a reason that concerns the operator's Service.
fn hint(condition: &Condition) -> &'static str {
    match condition.reason.as_str() {
        "RefNotPermitted" => {
            "; add the endpoint's namespace to a ReferenceGrant in the namespace of the operator's Service (chart: \
             routes.namespaces)"
        }
        "BackendNotFound" => "; correct --route-service",
        _ => "",
    }
}

/// Whether two references name the same parent for an HTTPRoute in `namespace`.
fn is_same(namespace: &str, one: &ParentReference, other: &ParentReference) -> bool {
    let identity = |parent: &ParentReference| {
        let or = |field: &Option<String>, default: &str| field.clone().unwrap_or_else(|| default.to_owned());
        (
            or(&parent.group, GATEWAY_GROUP),
            or(&parent.kind, "Gateway"),
            or(&parent.namespace, namespace),
            parent.name.clone(),
            parent.section_name.clone(),
            parent.port,
        )
    };
    identity(one) == identity(other)
}

/// `Gateway infra/public` or `Gateway infra/public (https)`.
fn name(namespace: &str, parent: &ParentReference) -> String {
    let kind = parent.kind.as_deref().unwrap_or("Gateway");
    let namespace = parent.namespace.as_deref().unwrap_or(namespace);
    let section = parent.section_name.as_ref().map_or_else(String::new, |section| format!(" ({section})"));
    format!("{kind} {namespace}/{}{section}", parent.name)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// A route of generation 2 to two Gateways, with these reports.
    fn route(reports: Value) -> ObservedRoute {
        let object = json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
            "metadata": { "name": "orders", "generation": 2 },
            "spec": { "parentRefs": [{ "name": "public" }, { "name": "inner", "namespace": "infra", "sectionName": "https" }] },
            "status": { "parents": reports },
        });
        ObservedRoute::read(serde_json::from_value(object).unwrap())
    }

    fn condition(kind: &str, status: &str, reason: &str, generation: i64) -> Value {
        json!({
            "type": kind, "status": status, "reason": reason, "message": "told\nby the Gateway",
            "observedGeneration": generation, "lastTransitionTime": "2026-01-01T00:00:00Z",
        })
    }

    fn report(parent: Value, conditions: Value) -> Value {
        json!({ "parentRef": parent, "controllerName": "example.org/gateway", "conditions": conditions })
    }

    fn public(conditions: Value) -> Value {
        // With defaults written out, as some controllers do.
        report(json!({ "group": GATEWAY_GROUP, "kind": "Gateway", "namespace": "shop", "name": "public" }), conditions)
    }

    fn inner(conditions: Value) -> Value {
        report(json!({ "name": "inner", "namespace": "infra", "sectionName": "https" }), conditions)
    }

    fn accepted(generation: i64) -> Value {
        json!([
            condition("Accepted", "True", "Accepted", generation),
            condition("ResolvedRefs", "True", "ResolvedRefs", generation)
        ])
    }

    fn told(reports: Value) -> (&'static str, &'static str, String) {
        let condition = state("shop", &route(reports)).condition;
        (condition.status.as_str(), condition.reason.as_str(), condition.message.into_owned())
    }

    #[test]
    fn every_parent_has_to_accept() {
        let (status, reason, message) = told(json!([public(accepted(2)), inner(accepted(2))]));
        assert_eq!((status, reason), ("True", "RouteAccepted"));
        assert_eq!(message, "accepted by Gateway shop/public, Gateway infra/inner (https)");

        let (status, reason, message) = told(json!([public(accepted(2))]));
        assert_eq!((status, reason), ("Unknown", "Progressing"));
        assert!(message.starts_with("waiting for Gateway infra/inner (https): "), "{message}");
        let both = route(json!([public(accepted(2))]));
        assert_eq!(accepting("shop", &both).iter().map(|it| &*it.name).collect::<Vec<_>>(), ["public"]);
    }

    #[test]
    fn a_report_about_an_older_generation_does_not_count() {
        assert_eq!(told(json!([public(accepted(1)), inner(accepted(2))])).1, "Progressing");
        let older = json!([condition("Accepted", "False", "NotAllowedByListeners", 1)]);
        assert_eq!(told(json!([public(older), inner(accepted(2))])).1, "Progressing");
    }

    #[test]
    fn the_gateways_own_words_are_passed_on_as_one_line() {
        let refused = json!([condition("Accepted", "False", "NotAllowedByListeners", 2)]);
        let (status, reason, message) = told(json!([public(refused), inner(accepted(2))]));
        assert_eq!((status, reason), ("False", "RouteNotAccepted"));
        assert_eq!(message, "Gateway shop/public: NotAllowedByListeners: told by the Gateway");

        let unresolved = json!([
            condition("Accepted", "True", "Accepted", 2),
            condition("ResolvedRefs", "False", "RefNotPermitted", 2)
        ]);
        let (status, reason, message) = told(json!([public(accepted(2)), inner(unresolved)]));
        assert_eq!((status, reason), ("False", "RouteNotResolved"));
        assert!(message.contains("RefNotPermitted") && message.contains("ReferenceGrant"), "{message}");

        let mut long = condition("Accepted", "False", "X", 2);
        long["message"] = "ä".repeat(5000).into();
        assert!(told(json!([public(json!([long]))])).2.chars().count() < ROUTE_MESSAGE_CHARS + 64);
    }

    #[test]
    fn one_of_several_controllers_that_accepts_suffices() {
        let refused = json!([condition("Accepted", "False", "NoMatchingParent", 2)]);
        assert_eq!(told(json!([public(refused), public(accepted(2)), inner(accepted(2))])).0, "True");
    }
}
