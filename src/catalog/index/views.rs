//! Views of the objects for statuses and the admin API.

use std::sync::Arc;

use grapnel_api::{
    Condition, ConditionType, DeliveryMode, ObjectKey, Reason, WebhookEndpointSpec, WebhookSubscriptionSpec,
};
use grapnel_signature::{Provider, Scheme};

use super::{
    EndpointEntry, ReplayEntry, SubscriptionEntry,
    entry::{Own, Shown},
    path_ownership::PathOwners,
};
use crate::catalog::{
    compile::{self, Options},
    routing::{RouteSpec, RouteState},
    status::{Facts, ObjectKind, ObjectSpec, ObjectView},
};

/// The view of an endpoint. An unchanged view is reused. An endpoint whose path another one owns has neither path nor
/// URL: a sender that got them would send to the other one.
pub(super) fn endpoint(
    key: &ObjectKey,
    entry: &mut EndpointEntry,
    claims: &PathOwners,
    options: &Options,
) -> Arc<ObjectView> {
    let path = path(key, entry).filter(|path| {
        let owner = claims.owner(&key.namespace, path);
        owner.is_none_or(|owner| owner == key)
    });
    match &entry.view {
        Some(view) if view.path.is_some() == path.is_some() => Arc::clone(view),
        _ => {
            let view = Arc::new(of_endpoint_entry(key, entry, path, options));
            Arc::clone(entry.view.insert(view))
        }
    }
}

/// The path in use; before that, the future one.
fn path<'a>(key: &'a ObjectKey, entry: &'a EndpointEntry) -> Option<&'a str> {
    match (&entry.compiled, &entry.applied) {
        (Some(compiled), _) => Some(compiled.path()),
        (None, Some(applied)) => Some(compile::path(key, &applied.spec)),
        (None, None) => None,
    }
}

fn of_endpoint_entry(key: &ObjectKey, entry: &EndpointEntry, path: Option<&str>, options: &Options) -> ObjectView {
    let Shown { uid, generation, source, mut conditions, in_use, unusable } = entry.shown();
    let spec = entry.applied.as_ref().map(|applied| &applied.spec);
    if !options.service_accounts && spec.is_some_and(|spec| spec.route.is_some()) {
        conditions = conditions.iter().cloned().chain([RouteState::without_cluster().condition]).collect();
    }
    ObjectView {
        kind: ObjectKind::Endpoint,
        key: key.clone(),
        uid,
        generation,
        source,
        endpoint_ref: None,
        subscription_ref: None,
        url: path.and_then(|path| options.url(&key.namespace, path)).map(Arc::from),
        path: path.map(|path| options.path(&key.namespace, path).into()),
        route: route(entry, path, options),
        event_id_from: entry.compiled.as_ref().map(|compiled| compiled.id_sources.sources().describe_ids().into()),
        conditions,
        in_use,
        unusable,
        facts: Facts::Endpoint(Arc::clone(&entry.facts)),
        spec: entry.applied.as_ref().map(|applied| ObjectSpec::Endpoint(Arc::clone(&applied.spec))),
    }
}

/// The HTTPRoute of the version in use. There is none to a path that another endpoint owns: it would publish the other one.
fn route(entry: &EndpointEntry, path: Option<&str>, options: &Options) -> RouteSpec {
    match &entry.compiled {
        _ if !options.service_accounts => RouteSpec::Absent,
        _ if path.is_none() && entry.applied.is_some() => RouteSpec::Absent,
        None => RouteSpec::Undecided,
        Some(endpoint) => endpoint.route.clone().map_or(RouteSpec::Absent, RouteSpec::Wanted),
    }
}

/// The view of a subscription. An unchanged view is reused.
pub(super) fn subscription(key: &ObjectKey, entry: &mut SubscriptionEntry) -> Arc<ObjectView> {
    if let Some(view) = &entry.view {
        return Arc::clone(view);
    }
    let view = Arc::new(of_subscription_entry(key, entry));
    Arc::clone(entry.view.insert(view))
}

fn of_subscription_entry(key: &ObjectKey, entry: &SubscriptionEntry) -> ObjectView {
    let Shown { uid, generation, source, conditions, in_use, unusable } = entry.shown();
    ObjectView {
        kind: ObjectKind::Subscription,
        key: key.clone(),
        uid,
        generation,
        source,
        endpoint_ref: entry.applied.as_ref().map(|applied| compile::endpoint_of(key, &applied.spec)),
        subscription_ref: None,
        path: None,
        url: None,
        event_id_from: None,
        conditions,
        in_use,
        unusable,
        route: RouteSpec::Absent,
        facts: Facts::Subscription(Arc::clone(&entry.facts)),
        spec: entry.applied.as_ref().map(|applied| ObjectSpec::Subscription(Arc::clone(&applied.spec))),
    }
}

/// The view of a replay. An unchanged view is reused.
pub(super) fn replay(key: &ObjectKey, entry: &mut ReplayEntry) -> Arc<ObjectView> {
    if let Some(view) = &entry.view {
        return Arc::clone(view);
    }
    let Shown { uid, generation, source, conditions, in_use, unusable } = entry.shown();
    let view = ObjectView {
        kind: ObjectKind::Replay,
        key: key.clone(),
        uid,
        generation,
        source,
        endpoint_ref: None,
        subscription_ref: entry.applied.as_ref().map(|applied| compile::subscription_of(key, &applied.spec)),
        path: None,
        url: None,
        event_id_from: None,
        conditions,
        in_use,
        unusable,
        route: RouteSpec::Absent,
        facts: Facts::Replay(Arc::clone(&entry.facts)),
        spec: entry.applied.as_ref().map(|applied| ObjectSpec::Replay(Arc::clone(&applied.spec))),
    };
    Arc::clone(entry.view.insert(Arc::new(view)))
}

/// Conditions specific to endpoints.
pub(super) fn of_endpoint(spec: &WebhookEndpointSpec) -> Own {
    let unverified = match &spec.verification.provider {
        _ if spec.verification.none.is_some() => Some("verification is none: every request is accepted".into()),
        Some(preset) if Provider::of(preset.name).scheme() == Scheme::None => Some(format!(
            "{} does not sign requests: every request is accepted; use a spec.path that cannot be guessed, and set \
             spec.allowedSources",
            preset.name
        )),
        _ => None,
    };
    let mut conditions = match unverified {
        None => {
            vec![Condition::holds(ConditionType::Verified, Reason::Authenticated, "every request is verified")]
        }
        Some(message) => vec![
            Condition::fails(ConditionType::Verified, Reason::Unauthenticated, message.clone()),
            Condition::holds(ConditionType::Unauthenticated, Reason::Unauthenticated, message),
        ],
    };
    if spec.suspend.unwrap_or(false) {
        conditions.push(suspended("suspended by spec.suspend; requests get 503"));
    }
    Own { conditions, upstream: None }
}

/// Conditions specific to subscriptions that follow from their spec.
pub(super) fn of_subscription(spec: &WebhookSubscriptionSpec) -> Vec<Condition> {
    const SHADOW: &str = "spec.mode is Shadow: events are filtered, transformed and counted, and not sent";
    const MESSAGE: &str = "suspended by spec.suspend; events are retained";
    if spec.suspend.unwrap_or(false) {
        vec![Condition::fails(ConditionType::Delivering, Reason::Suspended, MESSAGE), suspended(MESSAGE)]
    } else if spec.mode == Some(DeliveryMode::Shadow) {
        vec![Condition::fails(ConditionType::Delivering, Reason::Shadow, SHADOW)]
    } else {
        Vec::new()
    }
}

fn suspended(message: &'static str) -> Condition {
    Condition::holds(ConditionType::Suspended, Reason::Suspended, message)
}
