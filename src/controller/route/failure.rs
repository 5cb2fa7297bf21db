//! Why a request about an HTTPRoute has failed, and what `Routed` says about it.

use std::time::Duration;

use grapnel_api::{ConditionStatus, Reason};
use kube::core::Status;

use super::{limits, plan::Step};
use crate::{catalog::RouteState, controller::api_access::is_about_rights};

/// Why a request about a route has failed, as far as it matters for the endpoint.
pub(super) enum Failure {
    /// For a reason common to all requests, which are sent again after at least this pause.
    Common(Duration),
    /// For a reason common to the requests of a namespace: a missing right.
    Namespace(RouteState),
    /// For a reason of this route.
    Own(RouteState),
}

/// What a failed request says about other routes.
pub(super) fn failure(error: kube::Error, step: &Step) -> Failure {
    let kube::Error::Api(status) = error else { return Failure::Common(Duration::ZERO) };
    match status.code {
        409 if *step == Step::Create => Failure::Own(conflict()),
        409 => {
            Failure::Own(RouteState::new(ConditionStatus::Unknown, Reason::Progressing, "the HTTPRoute has changed"))
        }
        403 if is_about_rights(&status.message) => Failure::Namespace(forbidden(&status.message)),
        404 | 401 | 429 | 500.. => Failure::Common(retry_after(&status)),
        _ => Failure::Own(rejected(&status.message)),
    }
}

fn retry_after(status: &Status) -> Duration {
    let seconds = status.details.as_ref().map_or(0, |details| details.retry_after_seconds);
    Duration::from_secs(seconds.into())
}

/// The operator manages no routes.
pub(super) fn disabled() -> RouteState {
    let message = "the operator manages no HTTPRoutes: start it with --route-service NAMESPACE/NAME:PORT (chart: \
                   routes.enabled), or remove spec.route";
    RouteState::new(ConditionStatus::False, Reason::RouteDisabled, message)
}

/// The cluster has no routes.
pub(super) fn unavailable() -> RouteState {
    let message = "the cluster has no HTTPRoutes (gateway.networking.k8s.io/v1): install the Gateway API, which the \
                   operator then notices by itself";
    RouteState::new(ConditionStatus::False, Reason::RouteUnavailable, message)
}

/// A right is missing.
pub(super) fn forbidden(what: &str) -> RouteState {
    let message = format!(
        "{what}; the operator needs get, list, watch, create, patch and delete on httproutes in this namespace (chart: \
         routes.enabled)"
    );
    RouteState::new(ConditionStatus::False, Reason::RouteForbidden, message)
}

/// The route of that name is not the endpoint's.
pub(super) fn conflict() -> RouteState {
    let message = "another HTTPRoute in the namespace has the endpoint's name and is left untouched: rename or delete it, \
                   or rename the endpoint";
    RouteState::new(ConditionStatus::False, Reason::RouteConflict, message)
}

fn rejected(message: &str) -> RouteState {
    let message: String = message.chars().take(limits::ROUTE_MESSAGE_CHARS).collect();
    let message = format!("the API server rejects the HTTPRoute; correct spec.route: {message}");
    RouteState::new(ConditionStatus::False, Reason::RouteRejected, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(code: u16, message: &str, step: &Step) -> Failure {
        failure(kube::Error::Api(Status::failure(message, "").with_code(code).boxed()), step)
    }

    #[test]
    fn only_a_missing_right_and_an_overloaded_server_concern_all_routes() {
        let forbidden = "httproutes.gateway.networking.k8s.io \"a\" is forbidden: User \"grapnel\" cannot patch resource \
                         \"httproutes\" in API group \"gateway.networking.k8s.io\"";
        let Failure::Namespace(state) = of(403, forbidden, &Step::Create) else { panic!("a missing right") };
        assert_eq!(state.condition.reason, Reason::RouteForbidden);
        for message in ["exceeded quota: routes", "admission webhook \"policy\" denied the request: no"] {
            let Failure::Own(state) = of(403, message, &Step::Create) else { panic!("{message}") };
            assert_eq!(state.condition.reason, Reason::RouteRejected);
        }
        for code in [401, 404, 429, 500, 503] {
            assert!(matches!(of(code, "", &Step::Create), Failure::Common(_)), "{code}");
        }
        let Failure::Own(state) = of(422, "spec.hostnames: too long", &Step::Create) else { panic!("invalid") };
        assert!(state.condition.message.ends_with("spec.hostnames: too long"), "{}", state.condition.message);
    }

    #[test]
    fn a_conflict_is_another_owner_only_when_a_route_is_created() {
        let Failure::Own(state) = of(409, "", &Step::Create) else { panic!("create") };
        assert_eq!(state.condition.reason, Reason::RouteConflict);
        let Failure::Own(state) = of(409, "", &Step::Update("uid".into())) else { panic!("update") };
        assert_eq!(state.condition.reason, Reason::Progressing);
    }
}
