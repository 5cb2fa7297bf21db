//! Authorization for the admin API in a cluster: the cluster's own rules, for subresources of Grapnel's kinds.

use std::{fmt, sync::Arc};

use axum::{
    extract::RawPathParams,
    http::{HeaderMap, Uri},
};
use futures_util::future::BoxFuture;
use grapnel_api::{GROUP, ObjectKey};
use zeroize::Zeroizing;

use super::{bearer::bearer, contract::Operation, query::Query, response::Problem};

/// Authorizes holders of tokens.
pub trait Authority: Send + Sync + 'static {
    /// Returns the user whose token this is, if that user may do something.
    ///
    /// # Errors
    /// Returns [`Denied`], which contains no part of the token.
    fn allow<'a>(&'a self, token: &'a str, ask: &'a Ask) -> BoxFuture<'a, Result<Arc<str>, Denied>>;
}

/// Why access is denied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// The token is not valid.
    #[error("the cluster does not accept this bearer token")]
    NotAuthenticated,
    /// No role allows it to this user.
    #[error("user {user:?} may not")]
    Forbidden {
        /// The user.
        user: Arc<str>,
    },
    /// The decision cannot be made now.
    #[error("the API server is unavailable")]
    Unavailable,
}

/// An access to authorize.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Ask {
    /// The verb.
    pub verb: Verb,
    /// The resource.
    pub resource: Resource,
    /// The namespace; `None` means all namespaces.
    pub namespace: Option<Box<str>>,
    /// The name; `None` means all objects.
    pub name: Option<Box<str>>,
}

/// An action on a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verb {
    /// Read one object.
    Get,
    /// Read all objects.
    List,
    /// Change one object: redeliver.
    Update,
}

impl Verb {
    /// The name in the rules of a role.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Update => "update",
        }
    }
}

/// A resource of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Resource {
    /// WebhookEndpoint objects.
    Endpoints,
    /// Accepted events of an endpoint, including payloads.
    Events,
    /// WebhookSubscription objects.
    Subscriptions,
    /// Deliveries of a subscription.
    Deliveries,
    /// WebhookReplay objects.
    Replays,
    /// `/metrics`, which is not an object but a path under `nonResourceURLs` of roles.
    Metrics,
}

impl Resource {
    /// The plural of the kind, or the path.
    pub fn plural(self) -> &'static str {
        match self {
            Self::Endpoints | Self::Events => "webhookendpoints",
            Self::Subscriptions | Self::Deliveries => "webhooksubscriptions",
            Self::Replays => "webhookreplays",
            Self::Metrics => "/metrics",
        }
    }

    /// The subresource, unless it is the object itself.
    pub fn subresource(self) -> Option<&'static str> {
        match self {
            Self::Endpoints | Self::Subscriptions | Self::Replays | Self::Metrics => None,
            Self::Events => Some("events"),
            Self::Deliveries => Some("deliveries"),
        }
    }
}

impl fmt::Display for Resource {
    /// Writes the name in the rules of a role.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.plural())?;
        self.subresource().map_or(Ok(()), |part| write!(f, "/{part}"))
    }
}

impl fmt::Display for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb.as_str(), self.resource)?;
        if self.resource == Resource::Metrics {
            return Ok(());
        }
        if let Some(name) = &self.name {
            write!(f, " {name:?}")?;
        }
        match &self.namespace {
            Some(namespace) => write!(f, " in namespace {namespace:?}"),
            None => f.write_str(" in all namespaces"),
        }
    }
}

impl Ask {
    /// An access to one object.
    pub(super) fn of(verb: Verb, resource: Resource, key: &ObjectKey) -> Self {
        let (namespace, name) = (Some(Box::from(&*key.namespace)), Some(Box::from(&*key.name)));
        Self { verb, resource, namespace, name }
    }

    /// The ClusterRole that allows it, under the name that it has in every installation; `None` for metrics.
    fn chart_role(&self) -> Option<&'static str> {
        match (self.resource, self.verb) {
            (Resource::Endpoints | Resource::Subscriptions | Resource::Replays, _) => Some("grapnel-view"),
            (Resource::Events | Resource::Deliveries, Verb::Update) => Some("grapnel-events-edit"),
            (Resource::Events | Resource::Deliveries, _) => Some("grapnel-events-view"),
            (Resource::Metrics, _) => None,
        }
    }
}

/// The accesses that a request requires, by the parameters of its path and its query. All of them must be allowed.
pub(super) type Asks = fn(&RawPathParams, &Uri) -> Result<Vec<Ask>, Problem>;

/// The object that a path `…/namespaces/{namespace}/…/{name}/…` names.
pub(super) fn one(verb: Verb, resource: Resource, params: &RawPathParams) -> Result<Vec<Ask>, Problem> {
    let param = |wanted: &str| {
        let value = params.iter().find(|(name, value)| *name == wanted && !value.is_empty());
        // An empty name would mean all objects.
        value
            .map(|(_, value)| Some(Box::from(value)))
            .ok_or_else(|| Problem::not_found(format!("the {wanted} is empty")))
    };
    Ok(vec![Ask { verb, resource, namespace: param("namespace")?, name: param("name")? }])
}

/// Endpoints and subscriptions, in one namespace if the query of the operation names it. Replays are left out of the
/// response for those who may not list them: see [`replays`].
pub(super) fn objects(uri: &Uri, operation: Operation) -> Result<Vec<Ask>, Problem> {
    Ok(listing(Query::parse(uri, operation)?.namespace()?).into())
}

/// Endpoints and subscriptions, in all namespaces or in one.
pub(super) fn listing(namespace: Option<&str>) -> [Ask; 2] {
    [Resource::Endpoints, Resource::Subscriptions].map(|resource| list(resource, namespace))
}

/// Replays, in all namespaces or in one.
pub(super) fn replays(namespace: Option<&str>) -> Ask {
    list(Resource::Replays, namespace)
}

fn list(resource: Resource, namespace: Option<&str>) -> Ask {
    Ask { verb: Verb::List, resource, namespace: namespace.map(Box::from), name: None }
}

/// Lets a request pass if its token allows all required accesses. Returns the token and its user.
pub(super) async fn admit(
    authority: &dyn Authority,
    headers: &HeaderMap,
    asks: impl FnOnce() -> Result<Vec<Ask>, Problem>,
) -> Result<(Zeroizing<String>, Arc<str>), Problem> {
    let token = bearer(headers).and_then(|token| std::str::from_utf8(token).ok()).filter(|token| !token.is_empty());
    let Some(token) = token else {
        return Err(Problem::unauthorized(
            "the admin API needs the header Authorization: Bearer <token>, with a token for the cluster's API server; \
             create one with kubectl create token",
        ));
    };
    let asks = asks()?;
    let mut allowed: Option<Arc<str>> = None;
    let mut missing: Option<(Arc<str>, Vec<String>)> = None;
    for ask in &asks {
        match authority.allow(token, ask).await {
            Ok(user) => allowed = Some(user),
            Err(Denied::NotAuthenticated) => {
                return Err(Problem::unauthorized(
                    "the cluster does not accept this bearer token; send an unexpired token issued for its API server, \
                     such as one from kubectl create token",
                ));
            }
            Err(Denied::Unavailable) => {
                return Err(Problem::unavailable(
                    "cannot authorize the request, because the API server is unavailable; retry later",
                ));
            }
            Err(Denied::Forbidden { user }) => {
                missing.get_or_insert_with(|| (user, Vec::new())).1.push(ask.to_string());
            }
        }
    }
    let Some((user, missing)) = missing else {
        return Ok((Zeroizing::new(token.to_owned()), allowed.unwrap_or_default()));
    };
    if asks.iter().any(|ask| ask.resource == Resource::Metrics) {
        return Err(Problem::forbidden(format!(
            "user {user:?} may not {}; grant that verb on that path under nonResourceURLs in a ClusterRole",
            missing.join(" and "),
        )));
    }
    let hint = if asks.iter().any(|ask| ask.namespace.is_none()) {
        "; or ask for one namespace (?namespace=, grapnel status -n)"
    } else {
        ""
    };
    let role = asks.first().and_then(Ask::chart_role);
    let role = role.map(|role| format!(", as the chart's ClusterRole {role} does")).unwrap_or_default();
    Err(Problem::forbidden(format!(
        "user {user:?} may not {}; grant that verb on that resource of the API group {GROUP} in a role{role}{hint}",
        missing.join(" and "),
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ask_is_named_as_roles_name_it() {
        let ask = |verb, resource, namespace: Option<&str>, name: Option<&str>| {
            Ask { verb, resource, namespace: namespace.map(Box::from), name: name.map(Box::from) }.to_string()
        };
        assert_eq!(
            ask(Verb::Get, Resource::Events, Some("shop"), Some("orders")),
            r#"get webhookendpoints/events "orders" in namespace "shop""#
        );
        assert_eq!(ask(Verb::List, Resource::Subscriptions, None, None), "list webhooksubscriptions in all namespaces");
        assert_eq!(
            ask(Verb::Update, Resource::Deliveries, Some("shop"), Some("x")),
            r#"update webhooksubscriptions/deliveries "x" in namespace "shop""#
        );
    }

    #[test]
    fn objects_are_of_all_namespaces_or_of_one() {
        let asks = objects(&Uri::from_static("/api/v1/objects"), Operation::ListObjects).unwrap();
        assert!(asks.iter().all(|ask| ask.verb == Verb::List && ask.namespace.is_none() && ask.name.is_none()));
        assert_eq!(
            asks.iter().map(|ask| ask.resource).collect::<Vec<_>>(),
            [Resource::Endpoints, Resource::Subscriptions]
        );
        let asks = objects(&Uri::from_static("/api/v1/objects?namespace=shop"), Operation::ListObjects).unwrap();
        assert!(asks.iter().all(|ask| ask.namespace.as_deref() == Some("shop")));
        assert!(objects(&Uri::from_static("/api/v1/objects?namespace="), Operation::ListObjects).is_err());
        assert!(objects(&Uri::from_static("/api/v1/objects?namespace=a&namespace=b"), Operation::ListObjects).is_err());
        assert!(objects(&Uri::from_static("/api/v1/objects?namespace=A_B"), Operation::ListObjects).is_err());
    }
}
