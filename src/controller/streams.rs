//! Watch streams of every resource that configures the operator.

use std::{collections::BTreeMap, fmt::Debug, sync::Arc};

use futures_util::{
    StreamExt,
    stream::{BoxStream, SelectAll},
};
use grapnel_api::{ConditionType, ObjectKey, WebhookEndpoint, WebhookReplay, WebhookSubscription};
use k8s_openapi::{
    api::core::v1::{ConfigMap, Namespace, Secret},
    apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry,
};
use kube::{
    Api, Client, Resource,
    core::{DeserializeGuard, NamespaceResourceScope, PartialObjectMeta, error_boundary::InvalidObject},
};
use kube_runtime::{WatchStreamExt, watcher};
use serde::de::DeserializeOwned;

use super::{key_of, status::FIELD_MANAGER};
use crate::catalog::Namespaces;

/// A watched resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum ResourceKind {
    Endpoints,
    Subscriptions,
    Replays,
    Secrets,
    ConfigMaps,
    Namespaces,
}

impl ResourceKind {
    /// The resource's name, also a metric label.
    pub(super) fn resource(self) -> &'static str {
        match self {
            Self::Endpoints => "webhookendpoints",
            Self::Subscriptions => "webhooksubscriptions",
            Self::Replays => "webhookreplays",
            Self::Secrets => "secrets",
            Self::ConfigMaps => "configmaps",
            Self::Namespaces => "namespaces",
        }
    }
}

/// An event of a stream.
pub(super) struct WatchEvent {
    pub(super) watched: ResourceKind,
    /// Index of the stream; each stream lists separately.
    pub(super) stream: usize,
    pub(super) step: Step,
}

pub(super) enum Step {
    /// A listing begins: objects that it does not contain are gone.
    Begin,
    /// The listing is complete.
    End,
    /// An object exists or has changed.
    There(ObjectKey, Observed),
    /// An object was deleted.
    Gone(ObjectKey),
    /// The stream has failed; it resumes by itself after a pause.
    Failed(watcher::Error),
}

/// An object as its stream shows it.
pub(super) enum Observed {
    Endpoint(Box<Result<WebhookEndpoint, InvalidObject>>),
    Subscription(Box<Result<WebhookSubscription, InvalidObject>>),
    Replay(Box<Result<WebhookReplay, InvalidObject>>),
    /// The version of a Secret or a ConfigMap.
    Version(Option<String>),
    Labels(BTreeMap<String, String>),
}

/// All watch streams.
pub(super) struct Streams {
    pub(super) notices: SelectAll<BoxStream<'static, WatchEvent>>,
    /// The namespace of each stream; `None` means all namespaces.
    pub(super) scopes: Vec<Option<Arc<str>>>,
}

impl Streams {
    pub(super) fn new(client: &Client, namespaces: &Namespaces) -> Self {
        let mut streams = Self { notices: SelectAll::new(), scopes: Vec::new() };
        let scopes: Vec<Option<&str>> = match namespaces {
            Namespaces::All => vec![None],
            Namespaces::Named(names) => names.iter().map(|name| Some(name.as_str())).collect(),
        };
        for scope in scopes {
            streams.follow(scope, ResourceKind::Endpoints, scoped(client, scope), endpoint);
            streams.follow(scope, ResourceKind::Subscriptions, scoped(client, scope), subscription);
            streams.follow(scope, ResourceKind::Replays, scoped(client, scope), replay);
            streams.follow(scope, ResourceKind::Secrets, scoped::<PartialObjectMeta<Secret>>(client, scope), version);
            streams.follow(
                scope,
                ResourceKind::ConfigMaps,
                scoped::<PartialObjectMeta<ConfigMap>>(client, scope),
                version,
            );
        }
        streams.follow(
            None,
            ResourceKind::Namespaces,
            Api::<PartialObjectMeta<Namespace>>::all(client.clone()),
            labels,
        );
        streams
    }

    fn follow<K>(&mut self, scope: Option<&str>, watched: ResourceKind, api: Api<K>, seen: fn(K) -> Observed)
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
    {
        let stream = self.scopes.len();
        self.scopes.push(scope.map(Arc::from));
        let there = move |object: K| Step::There(key_of(object.meta()), seen(object));
        let notices = watcher(api, watcher::Config::default()).default_backoff().map(move |event| {
            let step = match event {
                Ok(watcher::Event::Init) => Step::Begin,
                Ok(watcher::Event::InitApply(object) | watcher::Event::Apply(object)) => there(object),
                Ok(watcher::Event::InitDone) => Step::End,
                Ok(watcher::Event::Delete(object)) => Step::Gone(key_of(object.meta())),
                Err(error) => Step::Failed(error),
            };
            WatchEvent { watched, stream, step }
        });
        self.notices.push(notices.boxed());
    }
}

fn scoped<K>(client: &Client, scope: Option<&str>) -> Api<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    match scope {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

fn endpoint(guarded: DeserializeGuard<WebhookEndpoint>) -> Observed {
    Observed::Endpoint(Box::new(guarded.0.map(lean)))
}

fn subscription(guarded: DeserializeGuard<WebhookSubscription>) -> Observed {
    Observed::Subscription(Box::new(guarded.0.map(lean)))
}

fn replay(guarded: DeserializeGuard<WebhookReplay>) -> Observed {
    Observed::Replay(Box::new(guarded.0.map(lean)))
}

/// Removes large metadata that is not used here. Of the managed fields, the managers that have written parts of the
/// status that are Grapnel's remain.
fn lean<K: Resource>(mut object: K) -> K {
    let metadata = object.meta_mut();
    (metadata.annotations, metadata.labels) = (None, None);
    let entries = metadata.managed_fields.take().into_iter().flatten();
    let others = entries.filter(writes_own_status).map(|entry| ManagedFieldsEntry { fields_v1: None, ..entry });
    let others: Vec<_> = others.collect();
    metadata.managed_fields = (!others.is_empty()).then_some(others);
    object
}

/// Whether another field manager owns parts of the status that are Grapnel's: any field, or a condition of its types.
fn writes_own_status(entry: &ManagedFieldsEntry) -> bool {
    let fields = entry.fields_v1.as_ref().and_then(|fields| fields.0.get("f:status")?.as_object());
    let Some(fields) = fields.filter(|_| entry.manager.as_deref() != Some(FIELD_MANAGER)) else { return false };
    fields.iter().any(|(field, inner)| match (field.as_str(), inner.as_object()) {
        (".", _) => false,
        ("f:conditions", Some(conditions)) if !conditions.is_empty() => {
            conditions.keys().any(|key| is_own_condition(key))
        }
        _ => true,
    })
}

/// Whether `k:{"type":"Ready"}` names a condition of Grapnel.
fn is_own_condition(key: &str) -> bool {
    ConditionType::ALL.iter().any(|kind| key.strip_prefix("k:") == Some(&*format!(r#"{{"type":"{kind}"}}"#)))
}

fn version<K>(object: PartialObjectMeta<K>) -> Observed {
    Observed::Version(object.metadata.resource_version)
}

fn labels(object: PartialObjectMeta<Namespace>) -> Observed {
    Observed::Labels(object.metadata.labels.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn only_another_writer_of_ones_own_part_of_the_status_counts() {
        let writes = |manager: &str, fields: Value| {
            let entry = json!({ "manager": manager, "fieldsV1": fields });
            writes_own_status(&serde_json::from_value(entry).unwrap())
        };
        let condition = |kind: &str| {
            let key = json!({ "type": kind });
            json!({ "f:status": { "f:conditions": { ".": {}, format!("k:{key}"): { ".": {}, "f:status": {} } } } })
        };
        assert!(writes("kubectl-edit", condition("Ready")));
        assert!(!writes("grapnel", condition("Ready")));
        assert!(!writes("scanner", condition("Scanned")), "a condition of its own");
        assert!(writes("kubectl-edit", json!({ "f:status": { "f:received": {} } })));
        assert!(writes("kubectl-edit", json!({ "f:status": { "f:conditions": {} } })), "all of them");
        assert!(!writes("kubectl", json!({ "f:spec": { "f:suspend": {} } })));
    }
}
