//! Which namespaces may read which endpoints of others.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use grapnel_api::ObjectKey;

use crate::catalog::compile::Subscribers;

/// The label that Kubernetes gives every namespace (from 1.21 on).
const NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// What endpoints allow, and the labels of namespaces.
#[derive(Debug, Default)]
pub(super) struct SubscriberPolicies {
    /// Endpoints that allow other namespaces than their own.
    endpoints: HashMap<ObjectKey, Subscribers>,
    /// With the implied label.
    namespaces: HashMap<Arc<str>, BTreeMap<String, String>>,
}

impl SubscriberPolicies {
    /// Notes what an endpoint allows; says whether that is news.
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

    /// Takes back what an endpoint allows; says whether that is news.
    pub(super) fn revoke(&mut self, endpoint: &ObjectKey) -> bool {
        self.endpoints.remove(endpoint).is_some()
    }

    /// Notes the labels of a namespace, or that it is gone; says whether that is news.
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

    /// Whether labels decide who may read an endpoint.
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

/// Servers before 1.21 do not set the label that tells a namespace's name, and nobody may set another.
fn with_name(namespace: &str, mut labels: BTreeMap<String, String>) -> BTreeMap<String, String> {
    labels.insert(NAME_LABEL.to_owned(), namespace.to_owned());
    labels
}
