//! The operator's HTTPRoutes as the watch shows them, and whether the cluster has HTTPRoutes at all.

use std::{collections::HashMap, sync::Arc};

use grapnel_api::ObjectKey;
use kube::api::DynamicObject;
use kube_runtime::watcher::{self, Event};

use super::manifest::ObservedRoute;
use crate::{catalog::Namespaces, controller::key_of};

/// Whether HTTPRoutes can be listed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) enum Availability {
    /// Not known yet.
    #[default]
    Unknown,
    /// The cluster has no HTTPRoutes.
    Missing,
    /// The operator may not list them.
    Forbidden,
    /// They are listed.
    Listed,
}

/// The routes of one watch stream.
#[derive(Debug, Default)]
struct Stream {
    availability: Availability,
    routes: HashMap<ObjectKey, ObservedRoute>,
    /// The listing in progress.
    listing: HashMap<ObjectKey, ObservedRoute>,
}

/// The routes of all watch streams.
#[derive(Debug)]
pub(super) struct Store {
    /// The namespace of each stream; `None` means all namespaces.
    scopes: Vec<Option<Arc<str>>>,
    streams: Vec<Stream>,
}

impl Store {
    /// An empty store for the watched namespaces.
    pub(super) fn new(namespaces: &Namespaces) -> Self {
        let scopes: Vec<Option<Arc<str>>> = match namespaces {
            Namespaces::All => vec![None],
            Namespaces::Named(names) => names.iter().map(|name| Some(Arc::from(name.as_str()))).collect(),
        };
        let streams = scopes.iter().map(|_| Stream::default()).collect();
        Self { scopes, streams }
    }

    /// The namespace of each stream; `None` means all namespaces.
    pub(super) fn scopes(&self) -> &[Option<Arc<str>>] {
        &self.scopes
    }

    /// Takes an event of a stream. Returns the new availability if it has changed.
    pub(super) fn take(&mut self, number: usize, event: watcher::Result<Event<DynamicObject>>) -> Option<Availability> {
        let stream = self.streams.get_mut(number)?;
        let before = stream.availability.clone();
        match event {
            Ok(Event::Init) => stream.listing.clear(),
            Ok(Event::InitApply(object)) => {
                stream.listing.insert(key_of(&object.metadata), ObservedRoute::read(object));
            }
            Ok(Event::InitDone) => {
                stream.routes = std::mem::take(&mut stream.listing);
                stream.availability = Availability::Listed;
            }
            Ok(Event::Apply(object)) => {
                stream.routes.insert(key_of(&object.metadata), ObservedRoute::read(object));
            }
            Ok(Event::Delete(object)) => {
                stream.routes.remove(&key_of(&object.metadata));
            }
            Err(error) => stream.failed(&error),
        }
        (stream.availability != before).then(|| stream.availability.clone())
    }

    /// Whether HTTPRoutes of a namespace can be listed.
    pub(super) fn availability(&self, namespace: &str) -> Availability {
        self.stream(namespace).map_or(Availability::Unknown, |stream| stream.availability.clone())
    }

    /// A route of the operator's.
    pub(super) fn get(&self, key: &ObjectKey) -> Option<&ObservedRoute> {
        self.stream(&key.namespace)?.routes.get(key)
    }

    /// Records a route that was just read or written, or that was deleted.
    pub(super) fn set(&mut self, key: &ObjectKey, route: Option<ObservedRoute>) {
        let Some(stream) = self.position(&key.namespace).and_then(|at| self.streams.get_mut(at)) else { return };
        match route {
            Some(route) => stream.routes.insert(key.clone(), route),
            None => stream.routes.remove(key),
        };
    }

    fn stream(&self, namespace: &str) -> Option<&Stream> {
        self.streams.get(self.position(namespace)?)
    }

    fn position(&self, namespace: &str) -> Option<usize> {
        self.scopes.iter().position(|scope| scope.as_deref().is_none_or(|scope| scope == namespace))
    }
}

impl Stream {
    /// A failed list says whether there is anything to list. Other failures are temporary: a watch goes on where it ended,
    /// without another list that would say that the right is there again.
    fn failed(&mut self, error: &watcher::Error) {
        use watcher::Error::{InitialListFailed, WatchError, WatchStartFailed};
        let status = match error {
            InitialListFailed(kube::Error::Api(status)) | WatchStartFailed(kube::Error::Api(status)) => status,
            WatchError(status) => status,
            _ => return,
        };
        // By code: the response about a missing resource is no Status, and has no reason that `is_not_found` knows.
        match status.code {
            404 => *self = Self { availability: Availability::Missing, ..Self::default() },
            403 if matches!(error, InitialListFailed(_)) => self.availability = Availability::Forbidden,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;
    use serde_json::json;

    use super::*;

    fn object(namespace: &str, name: &str, host: &str) -> DynamicObject {
        let object = json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
            "metadata": { "name": name, "namespace": namespace, "uid": name }, "spec": { "hostnames": [host] },
        });
        serde_json::from_value(object).unwrap()
    }

    fn error(code: u16, reason: &str) -> watcher::Error {
        let status = Status::failure("refused", reason).with_code(code);
        watcher::Error::InitialListFailed(kube::Error::Api(status.boxed()))
    }

    fn hosts(store: &Store, key: &ObjectKey) -> Option<Vec<String>> {
        store.get(key).map(|route| route.fields.hostnames.clone())
    }

    #[test]
    fn a_listing_replaces_what_was_known_when_it_is_complete() {
        let mut store = Store::new(&Namespaces::All);
        let (one, two) = (ObjectKey::new("shop", "one"), ObjectKey::new("shop", "two"));
        assert_eq!(store.availability("shop"), Availability::Unknown);
        store.take(0, Ok(Event::Init));
        store.take(0, Ok(Event::InitApply(object("shop", "one", "a"))));
        assert_eq!(store.get(&one), None);
        assert_eq!(store.take(0, Ok(Event::InitDone)), Some(Availability::Listed));
        store.take(0, Ok(Event::Apply(object("shop", "two", "b"))));
        assert_eq!((hosts(&store, &one), hosts(&store, &two)), (Some(vec!["a".into()]), Some(vec!["b".into()])));
        store.take(0, Ok(Event::Init));
        store.take(0, Ok(Event::InitApply(object("shop", "two", "c"))));
        assert!(store.get(&one).is_some(), "until the listing is complete");
        store.take(0, Ok(Event::InitDone));
        assert_eq!((hosts(&store, &one), hosts(&store, &two)), (None, Some(vec!["c".into()])));
        store.take(0, Ok(Event::Delete(object("shop", "two", "c"))));
        assert_eq!(store.get(&two), None);
    }

    #[test]
    fn a_missing_resource_is_noticed_and_its_arrival_too() {
        let mut store = Store::new(&Namespaces::All);
        assert_eq!(store.take(0, Err(error(404, "Failed to parse error data"))), Some(Availability::Missing));
        assert_eq!(store.take(0, Err(error(404, "NotFound"))), None, "said once");
        assert_eq!(store.take(0, Err(error(500, "InternalError"))), None);
        store.take(0, Ok(Event::Init));
        assert_eq!(store.take(0, Ok(Event::InitDone)), Some(Availability::Listed));
        store.take(0, Ok(Event::Apply(object("shop", "one", "a"))));
        assert_eq!(store.take(0, Err(error(404, "NotFound"))), Some(Availability::Missing), "its CRD was deleted");
        assert_eq!(store.get(&ObjectKey::new("shop", "one")), None);
    }

    #[test]
    fn a_watch_that_is_refused_leaves_what_was_listed() {
        let mut store = Store::new(&Namespaces::All);
        store.take(0, Ok(Event::Init));
        store.take(0, Ok(Event::InitApply(object("shop", "one", "a"))));
        store.take(0, Ok(Event::InitDone));
        let refused = Status::failure("refused", "Forbidden").with_code(403);
        let refused = watcher::Error::WatchStartFailed(kube::Error::Api(refused.boxed()));
        assert_eq!(store.take(0, Err(refused)), None, "when the right is there again, no event says so");
        assert_eq!(store.availability("shop"), Availability::Listed);
        assert!(store.get(&ObjectKey::new("shop", "one")).is_some());
    }

    #[test]
    fn namespaces_are_separate() {
        let mut store = Store::new(&Namespaces::Named(["billing".to_owned(), "shop".to_owned()].into()));
        let shop = store.scopes().iter().position(|scope| scope.as_deref() == Some("shop")).unwrap();
        store.take(shop, Err(error(403, "Forbidden")));
        assert_eq!(store.availability("shop"), Availability::Forbidden);
        assert_eq!(store.availability("billing"), Availability::Unknown);
        let key = ObjectKey::new("shop", "one");
        store.set(&key, Some(ObservedRoute::default()));
        assert!(store.get(&key).is_some());
        store.set(&key, None);
        assert!(store.get(&key).is_none());
        store.set(&ObjectKey::new("elsewhere", "one"), Some(ObservedRoute::default()));
        assert!(store.get(&ObjectKey::new("elsewhere", "one")).is_none());
    }
}
