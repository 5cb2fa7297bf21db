//! The addresses of pages. Ids and types are in the query: in a path a browser would resolve `..`.

use std::borrow::Borrow;

use grapnel_api::ObjectKey;
use url::form_urlencoded;

use crate::catalog::ObjectKind;

/// The overview.
pub(super) const OVERVIEW: &str = "/";

/// An endpoint or a subscription.
pub(super) fn object(kind: ObjectKind, key: &ObjectKey) -> String {
    let kind = match kind {
        ObjectKind::Endpoint => "endpoints",
        ObjectKind::Subscription => "subscriptions",
        // It has no page: the overview shows it, and its subscription's page what became of its events.
        ObjectKind::Replay => return OVERVIEW.to_owned(),
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

/// An event, by the endpoint that accepted it.
pub(super) fn event(endpoint: &ObjectKey, id: &str) -> String {
    with(&format!("{}/event", self::endpoint(endpoint)), [("id", id)])
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
        assert_eq!(with("/", [("namespace", "")]), "/");
    }
}
