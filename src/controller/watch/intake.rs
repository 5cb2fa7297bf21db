//! Turns the events of watch streams into changes of the configuration.

use std::{collections::HashSet, sync::Arc};

use grapnel_api::{DeletionPolicy, ObjectKey, Reason, WebhookEndpoint, WebhookReplay, WebhookSubscription};
use kube::{
    Resource,
    core::{ObjectMeta, error_boundary::InvalidObject},
};
use kube_runtime::watcher;
use serde::Serialize;

use super::listing::{Listed, Listings};
use crate::{
    catalog::{Age, Applied, Change, Class, ObjectKind, Problem, Reference, Unreadable},
    controller::{
        api_access::Cause,
        drain::{is_held_by, serving_class},
        limits,
        observed_state::{Finalizer, FinalizerList, ObservedState, Sighting, Unfinished},
        streams::{Observed, ResourceKind, Step, WatchEvent},
    },
};

/// What the watch streams have shown.
pub(super) struct Intake {
    listings: Listings,
    sightings: ObservedState,
    class: Class,
}

/// What follows from an event.
#[derive(Debug)]
pub(super) enum Effect {
    /// The configuration changes.
    Change(Change),
    /// A Secret or a ConfigMap has this version; `None` if it does not exist.
    Version(Reference, Option<String>),
    /// A stream has listed all its Secrets or ConfigMaps.
    Listed {
        /// Secrets or ConfigMaps.
        watched: ResourceKind,
        /// Index of the stream.
        stream: usize,
        /// Those that exist.
        existing: HashSet<Reference>,
    },
    /// A stream has listed what it watches.
    Watches {
        /// The watched resource.
        watched: ResourceKind,
        /// Index of the stream.
        stream: usize,
    },
    /// A watch has failed, and resumes by itself.
    Failed {
        /// The watched resource.
        watched: ResourceKind,
        /// Index of the stream.
        stream: usize,
        /// Why.
        error: watcher::Error,
    },
}

impl Intake {
    /// An intake of that many streams. Observations of the objects of this class are recorded in `sightings`.
    pub(super) fn new(streams: usize, sightings: ObservedState, class: Class) -> Self {
        Self { listings: Listings::new(streams), sightings, class }
    }

    /// Whether every stream has been listed at least once.
    pub(super) fn complete(&self) -> bool {
        self.listings.complete()
    }

    /// Takes an event. Returns what follows from it.
    pub(super) fn take(&mut self, event: WatchEvent) -> Vec<Effect> {
        let WatchEvent { watched, stream, step } = event;
        match step {
            Step::Begin => {
                self.listings.begin(stream);
                Vec::new()
            }
            Step::There(key, seen) => {
                let tracked = !matches!(watched, ResourceKind::Secrets | ResourceKind::ConfigMaps);
                self.listings.exists(stream, &key, tracked);
                self.observed(watched, key, seen).into_iter().collect()
            }
            Step::Gone(key) => {
                self.listings.gone(stream, &key);
                self.gone(watched, key).into_iter().collect()
            }
            Step::End => {
                let listed = self.listings.end(stream);
                let changes = listed.map(|listed| self.listed(watched, stream, listed)).unwrap_or_default();
                [Effect::Watches { watched, stream }].into_iter().chain(changes).collect()
            }
            Step::Failed(error) => {
                // Without the right to list namespaces, no namespace has labels. A cluster that was upgraded may lack the
                // definition of WebhookReplays, or the right to list them.
                let is_optional = match watched {
                    ResourceKind::Namespaces => error.is_missing_right(),
                    ResourceKind::Replays => error.is_missing_right() || error.code() == Some(404),
                    _ => false,
                };
                if is_optional {
                    self.listings.excuse(stream);
                }
                vec![Effect::Failed { watched, stream, error }]
            }
        }
    }

    fn observed(&self, watched: ResourceKind, key: ObjectKey, seen: Observed) -> Option<Effect> {
        let change = match seen {
            Observed::Endpoint(read) => match *read {
                Ok(object) => self.endpoint(key, object)?,
                Err(invalid) => self.unreadable(ObjectKind::Endpoint, key, &invalid),
            },
            Observed::Subscription(read) => match *read {
                Ok(object) => self.subscription(key, object)?,
                Err(invalid) => self.unreadable(ObjectKind::Subscription, key, &invalid),
            },
            Observed::Replay(read) => match *read {
                Ok(object) => self.replay(key, object)?,
                Err(invalid) => self.unreadable(ObjectKind::Replay, key, &invalid),
            },
            Observed::Labels(labels) => Change::Namespace(key.name, Some(labels)),
            Observed::Version(version) => return Some(Effect::Version(reference(watched, key)?, version)),
        };
        Some(Effect::Change(change))
    }

    fn endpoint(&self, key: ObjectKey, object: WebhookEndpoint) -> Option<Change> {
        if !self.class.serves(object.spec.class_name.as_deref()) {
            self.sightings.forget(ObjectKind::Endpoint, &key);
            return Some(Change::Endpoint(Box::new(applied(key, object))));
        }
        let (metadata, status) = (&object.metadata, object.status.as_ref());
        let writer = status.and_then(|status| status.writer.as_deref());
        let changed =
            self.record_and_changed(ObjectKind::Endpoint, &key, metadata, (status, writer), Finalizer::default());
        changed.then(|| Change::Endpoint(Box::new(applied(key, object))))
    }

    fn subscription(&self, key: ObjectKey, mut object: WebhookSubscription) -> Option<Change> {
        let class = serving_class(&object.metadata, object.spec.class_name.as_deref()).map(str::to_owned);
        object.spec.class_name = class;
        let wanted = object.spec.deletion_policy == Some(DeletionPolicy::Drain);
        let finalizer = Finalizer { wanted, ..self.finalizer(&object.metadata) };
        if !self.class.serves(object.spec.class_name.as_deref()) {
            self.left(&key, &object.metadata, finalizer);
            return Some(Change::Subscription(Box::new(applied(key, object))));
        }
        let (metadata, status) = (&object.metadata, object.status.as_ref());
        let writer = status.and_then(|status| status.writer.as_deref());
        let changed = self.record_and_changed(ObjectKind::Subscription, &key, metadata, (status, writer), finalizer);
        changed.then(|| Change::Subscription(Box::new(applied(key, object))))
    }

    fn replay(&self, key: ObjectKey, object: WebhookReplay) -> Option<Change> {
        if !self.class.serves(object.spec.class_name.as_deref()) {
            self.sightings.forget(ObjectKind::Replay, &key);
            return Some(Change::Replay(Box::new(applied(key, object))));
        }
        let (metadata, status) = (&object.metadata, object.status.as_ref());
        let writer = status.and_then(|status| status.writer.as_deref());
        let changed =
            self.record_and_changed(ObjectKind::Replay, &key, metadata, (status, writer), Finalizer::default());
        changed.then(|| Change::Replay(Box::new(applied(key, object))))
    }

    /// Records a subscription that another operator serves.
    fn left(&self, key: &ObjectKey, metadata: &ObjectMeta, finalizer: Finalizer) {
        match uid(metadata) {
            Some(uid) => self.sightings.left(Unfinished {
                key: key.clone(),
                uid,
                finalizer: Finalizer { is_elsewhere: true, ..finalizer },
                finalizers: finalizers(metadata),
            }),
            None => self.sightings.forget(ObjectKind::Subscription, key),
        }
    }

    /// The finalizer of this operator, as far as the metadata determines it.
    fn finalizer(&self, metadata: &ObjectMeta) -> Finalizer {
        let held = is_held_by(metadata, self.class.name());
        let deleted = metadata.deletion_timestamp.as_ref().map(|time| time.0);
        Finalizer { wanted: false, held, deleted, is_elsewhere: false }
    }

    /// Records an observation. Returns whether more than the status or a label has changed.
    fn record_and_changed(
        &self,
        kind: ObjectKind,
        key: &ObjectKey,
        metadata: &ObjectMeta,
        (status, writer): (Option<&impl Serialize>, Option<&str>),
        finalizer: Finalizer,
    ) -> bool {
        let status = status.and_then(|status| serde_json::to_string(status).ok()).map(Arc::from);
        let sighting = Sighting {
            uid: uid(metadata),
            generation: metadata.generation,
            status,
            version: metadata.resource_version.as_deref().map(Arc::from),
            rival: self.rival(metadata, writer),
            is_own: false,
            finalizer,
            finalizers: finalizer.is_unfinished().then(|| finalizers(metadata)),
        };
        let (uid, generation) = (sighting.uid.clone(), sighting.generation);
        let before = self.sightings.note(kind, key, sighting);
        before.is_none_or(|before| before.uid != uid || before.generation != generation || generation.is_none())
    }

    /// The last writer of the status, if it is not this operator: another operator, or another field manager.
    fn rival(&self, metadata: &ObjectMeta, writer: Option<&str>) -> Option<Arc<str>> {
        let operator = writer.filter(|writer| **writer != **self.sightings.writer());
        let operator = operator.map(|writer| format!("the operator with the Lease {}", as_name(writer)));
        let manager =
            || Some(format!("the field manager {}", metadata.managed_fields.as_ref()?.first()?.manager.as_deref()?));
        operator.or_else(manager).map(Arc::from)
    }

    fn unreadable(&self, kind: ObjectKind, key: ObjectKey, invalid: &InvalidObject) -> Change {
        // An unreadable spec changes nothing.
        let finalizer = self.finalizer(&invalid.metadata);
        let finalizer = Finalizer { wanted: finalizer.held, ..finalizer };
        self.record_and_changed(kind, &key, &invalid.metadata, (None::<&()>, None), finalizer);
        let message = format!("the object cannot be read: {}; correct it and apply it again", invalid.error);
        Change::Unreadable(Unreadable {
            kind,
            key,
            source: None,
            uid: uid(&invalid.metadata),
            generation: invalid.metadata.generation,
            problems: vec![Problem::new("", Reason::InvalidSpec, message)],
        })
    }

    fn gone(&self, watched: ResourceKind, key: ObjectKey) -> Option<Effect> {
        let change = match watched {
            ResourceKind::Endpoints => self.object_gone(ObjectKind::Endpoint, key),
            ResourceKind::Subscriptions => self.object_gone(ObjectKind::Subscription, key),
            ResourceKind::Replays => self.object_gone(ObjectKind::Replay, key),
            ResourceKind::Namespaces => Change::Namespace(key.name, None),
            ResourceKind::Secrets | ResourceKind::ConfigMaps => {
                return Some(Effect::Version(reference(watched, key)?, None));
            }
        };
        Some(Effect::Change(change))
    }

    fn object_gone(&self, kind: ObjectKind, key: ObjectKey) -> Change {
        self.sightings.forget(kind, &key);
        Change::Gone(kind, key)
    }

    fn listed(&self, watched: ResourceKind, stream: usize, listed: Listed) -> Vec<Effect> {
        match watched {
            ResourceKind::Endpoints
            | ResourceKind::Subscriptions
            | ResourceKind::Replays
            | ResourceKind::Namespaces => {
                listed.missing.into_iter().filter_map(|key| self.gone(watched, key)).collect()
            }
            ResourceKind::Secrets | ResourceKind::ConfigMaps => {
                let existing = listed.existing.into_iter().filter_map(|key| reference(watched, key)).collect();
                vec![Effect::Listed { watched, stream, existing }]
            }
        }
    }
}

/// The name of a writer as one short line: anyone who may write statuses chooses it, and conditions and the log show it.
fn as_name(writer: &str) -> String {
    let printable = |c: char| if c.is_control() { ' ' } else { c };
    writer.chars().take(limits::WRITER_CHARS).map(printable).collect()
}

fn reference(watched: ResourceKind, key: ObjectKey) -> Option<Reference> {
    match watched {
        ResourceKind::Secrets => Some(Reference::Secret(key)),
        ResourceKind::ConfigMaps => Some(Reference::ConfigMap(key)),
        ResourceKind::Endpoints | ResourceKind::Subscriptions | ResourceKind::Replays | ResourceKind::Namespaces => {
            None
        }
    }
}

fn applied<T: Resource>(key: ObjectKey, object: T) -> Applied<T> {
    // Within one second names decide, so that every replica derives the same order.
    let age = Age(object.meta().creation_timestamp.as_ref().map(|time| time.0), 0);
    let uid = uid(object.meta());
    Applied { key, object, source: None, age, uid }
}

fn finalizers(metadata: &ObjectMeta) -> Arc<FinalizerList> {
    let names = metadata.finalizers.clone().unwrap_or_default();
    Arc::new(FinalizerList { names, version: metadata.resource_version.clone() })
}

fn uid(metadata: &ObjectMeta) -> Option<Arc<str>> {
    metadata.uid.as_deref().map(Arc::from)
}

#[cfg(test)]
mod tests;
