//! The addresses of pages. Ids and types are in the query: in a path a browser would resolve `..`.

use std::borrow::Borrow;

use grapnel_api::ObjectKey;
use url::form_urlencoded;

use crate::catalog::ObjectKind;

/// The overview of all namespaces.
pub(super) const OVERVIEW: &str = "/";

/// The overview of one namespace, or of all.
pub(super) fn overview(namespace: Option<&str>) -> String {
    with(OVERVIEW, [("namespace", namespace.unwrap_or_default())])
}

/// An object.
pub(super) fn object(kind: ObjectKind, key: &ObjectKey) -> String {
    let kind = match kind {
        ObjectKind::Endpoint => "endpoints",
        ObjectKind::Subscription => "subscriptions",
        ObjectKind::Replay => "replays",
    };
    format!("/console/{kind}/{}/{}", segment(&key.namespace), segment(&key.name))
}

/// An endpoint.
pub(super) fn endpoint(key: &ObjectKey) -> String {
    object(ObjectKind::Endpoint, key)
}

/// A subscription.
pub(super) fn subscription(key: &ObjectKey) -> String {
    object(ObjectKind::Subscription, key)
}

/// A replay.
pub(super) fn replay(key: &ObjectKey) -> String {
    object(ObjectKind::Replay, key)
}

/// The conditions and the YAML of an object.
pub(super) fn yaml(kind: ObjectKind, key: &ObjectKey) -> String {
    format!("{}/yaml", object(kind, key))
}

/// An event, by the endpoint that accepted it.
pub(super) fn event(endpoint: &ObjectKey, id: &str) -> String {
    with(&format!("{}/event", self::endpoint(endpoint)), [("id", id)])
}

/// The links between the overview and a page below an object: that of the namespace, and `more`.
pub(super) fn above(key: &ObjectKey, more: impl IntoIterator<Item = (String, String)>) -> Vec<(String, String)> {
    std::iter::once((key.namespace.to_string(), overview(Some(&key.namespace)))).chain(more).collect()
}

/// An address with the parameters that are not empty.
pub(super) fn with<'a>(path: &str, query: impl IntoIterator<Item = impl Borrow<(&'a str, &'a str)>>) -> String {
    let mut pairs = form_urlencoded::Serializer::new(String::new());
    for pair in query {
        let (name, value) = pair.borrow();
        if !value.is_empty() {
            pairs.append_pair(name, value);
        }
    }
    match pairs.finish() {
        query if query.is_empty() => path.to_owned(),
        query => format!("{path}?{query}"),
    }
}

fn segment(name: &str) -> String {
    form_urlencoded::byte_serialize(name.as_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_escaped() {
        let key = ObjectKey::new("shop", "orders");
        assert_eq!(event(&key, "../a&b=\"c"), "/console/endpoints/shop/orders/event?id=..%2Fa%26b%3D%22c");
        assert_eq!((overview(None), overview(Some("shop"))), ("/".into(), "/?namespace=shop".into()));
    }
}
