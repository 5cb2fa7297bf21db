//! Watches the cluster and publishes configuration.
//!
//! Changes are collected for a moment, so that a burst causes one snapshot; the longer a snapshot takes, the less often
//! it is made. Nothing is published before everything has been listed: what is absent then does not exist.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use futures_util::{FutureExt, StreamExt};
use grapnel_api::{DeletionPolicy, ObjectKey, Reason, WebhookEndpoint, WebhookSubscription};
use kube::{
    Resource,
    core::{ObjectMeta, error_boundary::InvalidObject},
};
use kube_runtime::watcher;
use serde::Serialize;
use tokio::{
    sync::watch::Sender,
    time::{self, Instant},
};
use tokio_util::sync::CancellationToken;

use super::{
    connect::Clients,
    drain::FINALIZER,
    observed_state::{Finalizer, ObservedState, Sighting},
    reference_fetcher::Fetches,
    streams::{Observed, ResourceKind, Step, Streams, WatchEvent},
};
use crate::{
    catalog::{Age, Applied, Change, Index, Kind, Namespaces, Problem, Published, Reference, Unreadable},
    controller::limits,
    telemetry::metrics::Metrics,
};

/// The watches and the index that they fill.
pub struct Watch {
    streams: Streams,
    /// By index of the stream.
    listings: HashMap<usize, Listing>,
    fetches: Fetches,
    sightings: ObservedState,
    metrics: Metrics,
    /// Moves to a blocking thread for compiling, and back.
    index: Option<Index>,
    synced: bool,
    /// When the pending changes are published.
    due: Option<Instant>,
    /// Nothing is published before this time.
    earliest: Instant,
}

/// The progress of one stream.
#[derive(Default)]
struct Listing {
    complete: bool,
    /// Existing objects, of the resources of which every object counts.
    known: HashSet<ObjectKey>,
    /// Objects named so far by the listing in progress.
    listed: Option<HashSet<ObjectKey>>,
}

impl Watch {
    /// Watches that begin when run. `index` must fetch its references ([`Index::fetching`]).
    pub fn new(
        clients: &Clients,
        namespaces: &Namespaces,
        index: Index,
        sightings: ObservedState,
        metrics: Metrics,
    ) -> Self {
        let streams = Streams::new(&clients.patient, namespaces);
        Self {
            listings: (0..streams.scopes.len()).map(|stream| (stream, Listing::default())).collect(),
            streams,
            fetches: Fetches::new(clients.patient.clone()),
            sightings,
            metrics,
            index: Some(index),
            synced: false,
            due: None,
            earliest: Instant::now(),
        }
    }

    /// Publishes configuration until `shutdown`.
    pub async fn run(mut self, published: Sender<Published>, shutdown: CancellationToken) {
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                Some(notice) = self.streams.notices.next() => {
                    self.note(notice);
                    // Events that have already arrived are taken together.
                    for _ in 1..limits::NOTICES_AT_ONCE {
                        match self.streams.notices.next().now_or_never() {
                            Some(Some(notice)) => self.note(notice),
                            _ => break,
                        }
                    }
                    self.ask();
                }
                answer = self.fetches.next() => {
                    if let Some(change) = answer {
                        self.change(change);
                    }
                }
                () = time::sleep_until(self.due.unwrap_or_else(Instant::now)), if self.due.is_some() => {
                    self.publish(&published).await;
                }
            }
            if self.index.is_none() {
                // Nothing can be programmed any more; the supervisor stops the process when this task ends.
                return;
            }
            self.complete();
        }
    }

    fn note(&mut self, notice: WatchEvent) {
        let WatchEvent { watched, stream, step } = notice;
        match step {
            Step::Begin => self.listing(stream).listed = Some(HashSet::new()),
            Step::There(key, seen) => self.there(watched, stream, key, seen),
            Step::Gone(key) => self.gone(watched, stream, key),
            Step::End => self.end(watched, stream),
            Step::Failed(error) => {
                self.metrics.cluster().watch_failed(watched.resource());
                let hint = hint(&error);
                tracing::warn!(resource = watched.resource(), %error, hint, "watch failed; restarting it");
            }
        }
    }

    fn listing(&mut self, stream: usize) -> &mut Listing {
        self.listings.entry(stream).or_default()
    }

    fn there(&mut self, watched: ResourceKind, stream: usize, key: ObjectKey, seen: Observed) {
        let listing = self.listing(stream);
        if let Some(listed) = &mut listing.listed {
            listed.insert(key.clone());
        }
        if !matches!(watched, ResourceKind::Secrets | ResourceKind::ConfigMaps) {
            listing.known.insert(key.clone());
        }
        match seen {
            Observed::Endpoint(read) => match *read {
                Ok(object) => self.endpoint(key, object),
                Err(invalid) => self.unreadable(Kind::Endpoint, key, &invalid),
            },
            Observed::Subscription(read) => match *read {
                Ok(object) => self.subscription(key, object),
                Err(invalid) => self.unreadable(Kind::Subscription, key, &invalid),
            },
            Observed::Labels(labels) => self.change(Change::Namespace(key.name, Some(labels))),
            Observed::Version(version) => {
                let Some(reference) = reference(watched, key) else { return };
                if self.index.as_ref().is_some_and(|index| index.refers_to(&reference)) {
                    self.fetches.seen(reference, version.as_deref());
                }
            }
        }
    }

    fn endpoint(&mut self, key: ObjectKey, object: WebhookEndpoint) {
        if self.record_and_changed(Kind::Endpoint, &key, &object.metadata, object.status.as_ref(), Finalizer::default())
        {
            let applied = applied(key, object);
            self.change(Change::Endpoint(Box::new(applied)));
        }
    }

    fn subscription(&mut self, key: ObjectKey, object: WebhookSubscription) {
        let wanted = object.spec.deletion_policy == Some(DeletionPolicy::Drain);
        let finalizer = Finalizer { wanted, ..finalizer(&object.metadata) };
        if self.record_and_changed(Kind::Subscription, &key, &object.metadata, object.status.as_ref(), finalizer) {
            let applied = applied(key, object);
            self.change(Change::Subscription(Box::new(applied)));
        }
    }

    /// Records an observation. Returns whether more than the status or a label has changed.
    fn record_and_changed(
        &self,
        kind: Kind,
        key: &ObjectKey,
        metadata: &ObjectMeta,
        status: Option<&impl Serialize>,
        finalizer: Finalizer,
    ) -> bool {
        let status = status.and_then(|status| serde_json::to_string(status).ok()).map(Arc::from);
        let sighting = Sighting { uid: uid(metadata), generation: metadata.generation, status, finalizer };
        let (uid, generation) = (sighting.uid.clone(), sighting.generation);
        let before = self.sightings.note(kind, key, sighting);
        before.is_none_or(|before| before.uid != uid || before.generation != generation || generation.is_none())
    }

    fn unreadable(&mut self, kind: Kind, key: ObjectKey, invalid: &InvalidObject) {
        // An unreadable spec changes nothing.
        let finalizer = finalizer(&invalid.metadata);
        let finalizer = Finalizer { wanted: finalizer.held, ..finalizer };
        self.record_and_changed(kind, &key, &invalid.metadata, None::<&()>, finalizer);
        let message = format!("the object cannot be read: {}; correct it and apply it again", invalid.error);
        self.change(Change::Unreadable(Unreadable {
            kind,
            key,
            source: None,
            uid: uid(&invalid.metadata),
            generation: invalid.metadata.generation,
            problems: vec![Problem::new("", Reason::InvalidSpec, message)],
        }));
    }

    fn gone(&mut self, watched: ResourceKind, stream: usize, key: ObjectKey) {
        let listing = self.listing(stream);
        listing.known.remove(&key);
        if let Some(listed) = &mut listing.listed {
            listed.remove(&key);
        }
        match watched {
            ResourceKind::Endpoints => self.object_gone(Kind::Endpoint, key),
            ResourceKind::Subscriptions => self.object_gone(Kind::Subscription, key),
            ResourceKind::Namespaces => self.change(Change::Namespace(key.name, None)),
            ResourceKind::Secrets | ResourceKind::ConfigMaps => {
                let Some(reference) = reference(watched, key) else { return };
                if self.index.as_ref().is_some_and(|index| index.refers_to(&reference)) {
                    self.fetches.seen(reference, None);
                }
            }
        }
    }

    fn object_gone(&mut self, kind: Kind, key: ObjectKey) {
        self.sightings.forget(kind, &key);
        self.change(Change::Gone(kind, key));
    }

    fn end(&mut self, watched: ResourceKind, stream: usize) {
        let listing = self.listing(stream);
        listing.complete = true;
        let Some(listed) = listing.listed.take() else { return };
        let missing: Vec<_> = listing.known.difference(&listed).cloned().collect();
        match watched {
            ResourceKind::Endpoints | ResourceKind::Subscriptions | ResourceKind::Namespaces => {
                for key in missing {
                    self.gone(watched, stream, key);
                }
            }
            ResourceKind::Secrets | ResourceKind::ConfigMaps => {
                let scope = self.streams.scopes.get(stream).cloned().flatten();
                let listed = listed.into_iter().filter_map(|key| reference(watched, key)).collect();
                self.fetches.missed(&listed, |reference| {
                    concerns(reference, watched)
                        && scope.as_ref().is_none_or(|scope| *scope == reference.key().namespace)
                });
            }
        }
    }

    fn change(&mut self, change: Change) {
        if let Some(index) = &mut self.index {
            index.apply(change);
        }
        let soon = Instant::now() + limits::GATHER;
        self.due.get_or_insert(soon.max(self.earliest));
    }

    /// Requests new references, and drops those no longer used.
    fn ask(&mut self) {
        let Some(index) = &mut self.index else { return };
        let wanted = index.wanted();
        for reference in wanted {
            self.fetches.ask(reference);
        }
    }

    /// Completes the first sync: everything is listed, and every referenced value has been requested.
    fn complete(&mut self) {
        if !self.synced && self.fetches.idle() && self.listings.values().all(|listing| listing.complete) {
            self.synced = true;
            tracing::info!("all objects of the cluster are listed");
            self.change(Change::Synced(true));
        }
    }

    async fn publish(&mut self, published: &Sender<Published>) {
        self.due = None;
        if !self.synced {
            return;
        }
        let Some(mut index) = self.index.take() else { return };
        let began = Instant::now();
        let compiled = tokio::task::spawn_blocking(move || {
            let published = index.publish();
            (index, published)
        });
        match compiled.await {
            Ok((index, news)) => {
                self.fetches.retain(|reference| index.refers_to(reference));
                self.index = Some(index);
                // The compiler may have come to references that were not known before.
                self.ask();
                if let Some(news) = news {
                    published.send_replace(news);
                }
            }
            Err(error) => tracing::error!(%error, "compiling has failed"),
        }
        // Making snapshots takes at most a quarter of the time.
        let cost = began.elapsed();
        self.earliest = Instant::now() + limits::PUBLISH_PAUSE.max(cost * 3);
    }
}

fn reference(watched: ResourceKind, key: ObjectKey) -> Option<Reference> {
    match watched {
        ResourceKind::Secrets => Some(Reference::Secret(key)),
        ResourceKind::ConfigMaps => Some(Reference::ConfigMap(key)),
        ResourceKind::Endpoints | ResourceKind::Subscriptions | ResourceKind::Namespaces => None,
    }
}

fn concerns(reference: &Reference, watched: ResourceKind) -> bool {
    match reference {
        Reference::Secret(_) => watched == ResourceKind::Secrets,
        Reference::ConfigMap(_) => watched == ResourceKind::ConfigMaps,
    }
}

fn applied<T: Resource>(key: ObjectKey, object: T) -> Applied<T> {
    // Within one second names decide, so that every replica derives the same order.
    let age = Age(object.meta().creation_timestamp.as_ref().map(|time| time.0), 0);
    let uid = uid(object.meta());
    Applied { key, object, source: None, age, uid }
}

/// What a user can do about a failed watch.
fn hint(error: &watcher::Error) -> Option<&'static str> {
    use watcher::Error::{InitialListFailed, WatchStartFailed};
    let (InitialListFailed(kube::Error::Api(status)) | WatchStartFailed(kube::Error::Api(status))) = error else {
        return None;
    };
    if status.is_not_found() {
        Some("the CustomResourceDefinition is not installed: grapnel crd | kubectl apply -f -")
    } else if status.is_forbidden() {
        Some("the service account needs to list and watch it: look at the roles of the chart or of manifests/")
    } else {
        None
    }
}

/// The finalizer, as far as the metadata determines it.
fn finalizer(metadata: &ObjectMeta) -> Finalizer {
    let held = metadata.finalizers.iter().flatten().any(|name| name == FINALIZER);
    Finalizer { wanted: false, held, deleted: metadata.deletion_timestamp.as_ref().map(|time| time.0) }
}

fn uid(metadata: &ObjectMeta) -> Option<Arc<str>> {
    metadata.uid.as_deref().map(Arc::from)
}
