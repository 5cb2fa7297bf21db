//! Views of the objects for statuses and the admin API.

use std::{borrow::Cow, sync::Arc};

use grapnel_api::{Condition, ConditionType, ObjectKey, Reason, WebhookEndpointSpec, WebhookSubscriptionSpec};
use grapnel_signature::{Provider, Scheme};

use super::{EndpointEntry, SubscriptionEntry, entry::Shown};
use crate::catalog::{
    compile::{self, Options},
    routing::{RouteSpec, RouteState},
    status::{Facts, ObjectKind, ObjectView},
};

/// The view of an endpoint. An unchanged view is reused.
pub(super) fn endpoint(key: &ObjectKey, entry: &mut EndpointEntry, options: &Options) -> ObjectView {
    if let Some(view) = &entry.view {
        return view.clone();
    }
    let view = of_endpoint_entry(key, entry, options);
    entry.view.insert(view).clone()
}

fn of_endpoint_entry(key: &ObjectKey, entry: &EndpointEntry, options: &Options) -> ObjectView {
    let Shown { uid, generation, source, mut conditions, unusable } = entry.shown();
    let spec = entry.applied.as_ref().map(|applied| &applied.spec);
    if !options.service_accounts && spec.is_some_and(|spec| spec.route.is_some()) {
        conditions = conditions.iter().cloned().chain([RouteState::without_cluster().condition]).collect();
    }
    // The path in use; before that, the future one.
    let path = match (&entry.compiled, &entry.applied) {
        (Some(compiled), _) => Some(Cow::Borrowed(&*compiled.path)),
        (None, Some(applied)) => Some(Cow::Owned(compile::path(key, &applied.spec))),
        (None, None) => None,
    };
    ObjectView {
        kind: ObjectKind::Endpoint,
        key: key.clone(),
        uid,
        generation,
        source,
        endpoint_ref: None,
        url: path.as_ref().and_then(|path| options.url(&key.namespace, path)).map(Arc::from),
        path: path.map(|path| options.path(&key.namespace, &path).into()),
        route: route(entry, options),
        event_id_from: entry.compiled.as_ref().map(|compiled| compiled.id_sources.describe_ids().into()),
        conditions,
        unusable,
        facts: Facts::Endpoint(Arc::clone(&entry.facts)),
    }
}

/// The HTTPRoute of the version in use.
fn route(entry: &EndpointEntry, options: &Options) -> RouteSpec {
    match &entry.compiled {
        _ if !options.service_accounts => RouteSpec::Absent,
        None => RouteSpec::Undecided,
        Some(endpoint) => endpoint.route.clone().map_or(RouteSpec::Absent, RouteSpec::Wanted),
    }
}

/// The view of a subscription. An unchanged view is reused.
pub(super) fn subscription(key: &ObjectKey, entry: &mut SubscriptionEntry) -> ObjectView {
    if let Some(view) = &entry.view {
        return view.clone();
    }
    let view = of_subscription_entry(key, entry);
    entry.view.insert(view).clone()
}

fn of_subscription_entry(key: &ObjectKey, entry: &SubscriptionEntry) -> ObjectView {
    let Shown { uid, generation, source, conditions, unusable } = entry.shown();
    ObjectView {
        kind: ObjectKind::Subscription,
        key: key.clone(),
        uid,
        generation,
        source,
        endpoint_ref: entry.applied.as_ref().map(|applied| compile::endpoint_of(key, &applied.spec)),
        path: None,
        url: None,
        event_id_from: None,
        conditions,
        unusable,
        route: RouteSpec::Absent,
        facts: Facts::Subscription(Arc::clone(&entry.facts)),
    }
}

/// Conditions specific to endpoints.
pub(super) fn of_endpoint(spec: &WebhookEndpointSpec) -> Vec<Condition> {
    let verification = &spec.verification;
    let unauthenticated = |message: String| Condition::fails(ConditionType::Verified, Reason::Unauthenticated, message);
    let verified = match &verification.provider {
        _ if verification.none.is_some() => unauthenticated("verification is none: every request is accepted".into()),
        Some(preset) if Provider::of(preset.name).scheme() == Scheme::None => unauthenticated(format!(
            "{} does not sign requests: every request is accepted; use a spec.path that cannot be guessed, and set \
             spec.allowedSources",
            preset.name
        )),
        _ => Condition::holds(ConditionType::Verified, Reason::Authenticated, "every request is verified"),
    };
    vec![verified]
}

/// Conditions specific to subscriptions that follow from their spec.
pub(super) fn of_subscription(spec: &WebhookSubscriptionSpec) -> Vec<Condition> {
    let parked = spec.suspend.unwrap_or(false).then(|| {
        Condition::fails(ConditionType::Delivering, Reason::Suspended, "suspended by spec.suspend; events are retained")
    });
    parked.into_iter().collect()
}
