//! Subscriber policies: which namespaces may read which endpoints of others.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use grapnel_api::ObjectKey;

use crate::catalog::compile::Subscribers;

/// The label that Kubernetes sets on every namespace (since 1.21).
const NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// The policies of endpoints, and the labels of namespaces.
#[derive(Debug, Default)]
pub(super) struct SubscriberPolicies {
    /// Endpoints that allow other namespaces than their own.
    endpoints: HashMap<ObjectKey, Subscribers>,
    /// Labels, including the implied one.
    namespaces: HashMap<Arc<str>, BTreeMap<String, String>>,
}

impl SubscriberPolicies {
    /// Sets the policy of an endpoint. Returns whether it has changed.
    pub(super) fn set(&mut self, endpoint: &ObjectKey, subscribers: Subscribers) -> bool {
        if subscribers == Subscribers::Same {
            return self.revoke(endpoint);
        }
        if self.endpoints.get(endpoint) == Some(&subscribers) {
            return false;
        }
        self.endpoints.insert(endpoint.clone(), subscribers);
        true
    }

    /// Removes the policy of an endpoint. Returns whether there was one.
    pub(super) fn revoke(&mut self, endpoint: &ObjectKey) -> bool {
        self.endpoints.remove(endpoint).is_some()
    }

    /// Sets the labels of a namespace, or removes it. Returns whether they have changed.
    pub(super) fn label(&mut self, namespace: &Arc<str>, labels: Option<BTreeMap<String, String>>) -> bool {
        let labels = with_name(namespace, labels.unwrap_or_default());
        let news = match self.namespaces.get(namespace) {
            Some(known) => *known != labels,
            None => labels.len() > 1,
        };
        if labels.len() > 1 {
            self.namespaces.insert(Arc::clone(namespace), labels);
        } else {
            self.namespaces.remove(namespace);
        }
        news
    }

    /// Whether access to an endpoint depends on labels.
    pub(super) fn by_labels(&self, endpoint: &ObjectKey) -> bool {
        matches!(self.endpoints.get(endpoint), Some(Subscribers::Selected(_)))
    }

    /// Whether a namespace, other than the endpoint's own, may read it.
    pub(super) fn allow(&self, endpoint: &ObjectKey, namespace: &Arc<str>) -> bool {
        let Some(subscribers) = self.endpoints.get(endpoint) else { return false };
        match self.namespaces.get(namespace) {
            Some(labels) => subscribers.allow(labels),
            None => subscribers.allow(&with_name(namespace, BTreeMap::new())),
        }
    }
}

/// Servers before 1.21 do not set the name label, and no other value is allowed.
fn with_name(namespace: &str, mut labels: BTreeMap<String, String>) -> BTreeMap<String, String> {
    labels.insert(NAME_LABEL.to_owned(), namespace.to_owned());
    labels
}
