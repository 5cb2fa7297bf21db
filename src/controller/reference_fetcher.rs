//! Fetches the Secrets and ConfigMaps that objects refer to. Of all others only the metadata is ever read.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use futures_util::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use grapnel_api::ObjectKey;
use grapnel_values::secret;
use k8s_openapi::{
    ByteString,
    api::core::v1::{ConfigMap, Secret},
};
use kube::{Api, Client};
use tokio::time::{self, Instant};

use super::api_access::{ApiAccess, Need};
use crate::{
    catalog::{Change, Reference},
    controller::limits,
};

/// Fetches of referenced values, at most [`limits::FETCHES_AT_ONCE`] at a time.
pub(super) struct Fetches {
    client: Client,
    access: ApiAccess,
    queue: VecDeque<Reference>,
    /// Queued or in flight; `true` if the value has changed since it was requested.
    in_flight: HashMap<Reference, bool>,
    under_way: FuturesUnordered<BoxFuture<'static, (Reference, Result<Fetched, kube::Error>)>>,
    /// Failed fetches, retried at [`Self::again`].
    failed: HashSet<Reference>,
    again: Instant,
    pause: Duration,
    /// The version fetched of every reference; `None` if it does not exist.
    versions: HashMap<Reference, Option<String>>,
}

struct Fetched {
    version: Option<String>,
    change: Change,
}

impl Fetches {
    pub(super) fn new(client: Client, access: ApiAccess) -> Self {
        Self {
            client,
            access,
            queue: VecDeque::new(),
            in_flight: HashMap::new(),
            under_way: FuturesUnordered::new(),
            failed: HashSet::new(),
            again: Instant::now(),
            pause: limits::FETCH_PAUSE,
            versions: HashMap::new(),
        }
    }

    /// Whether every request has been answered, or has failed at least once.
    pub(super) fn idle(&self) -> bool {
        self.in_flight.is_empty()
    }

    /// Requests a value; again if it is being fetched, because that response may predate the change.
    pub(super) fn ask(&mut self, reference: Reference) {
        self.failed.remove(&reference);
        if let Some(changed) = self.in_flight.get_mut(&reference) {
            *changed = true;
        } else {
            self.in_flight.insert(reference.clone(), false);
            self.queue.push_back(reference);
        }
        self.fill();
    }

    /// Records the version of a referenced object that a watch has shown.
    pub(super) fn seen(&mut self, reference: Reference, version: Option<&str>) {
        let known = self.versions.get(&reference).and_then(Option::as_deref);
        if version.is_none() || known != version {
            self.ask(reference);
        }
    }

    /// Handles a complete listing: objects believed to exist that were not listed are fetched again.
    pub(super) fn missed(&mut self, listed: &HashSet<Reference>, concerns: impl Fn(&Reference) -> bool) {
        let existing = self.versions.iter().filter(|(_, version)| version.is_some());
        let missed: Vec<_> = existing
            .map(|(reference, _)| reference)
            .filter(|reference| concerns(reference) && !listed.contains(reference))
            .cloned()
            .collect();
        for reference in missed {
            self.ask(reference);
        }
    }

    /// Drops what is no longer referred to.
    pub(super) fn retain(&mut self, wanted: impl Fn(&Reference) -> bool) {
        self.versions.retain(|reference, _| wanted(reference));
        let unwanted: Vec<_> = self.failed.extract_if(|reference| !wanted(reference)).collect();
        for need in unwanted.iter().map(need).filter(|it| !self.failed.iter().any(|failed| need(failed) == *it)) {
            self.access.forget(&need);
        }
    }

    /// The next response, as a change of the index; `None` if a fetch has failed and will be retried. Pends while
    /// nothing is requested. Cancel safe.
    pub(super) async fn next(&mut self) -> Option<Change> {
        loop {
            let answer = tokio::select! {
                Some(answer) = self.under_way.next() => answer,
                () = time::sleep_until(self.again), if !self.failed.is_empty() => {
                    self.pause = (self.pause * 2).min(limits::FETCH_PAUSE_MAX);
                    for reference in std::mem::take(&mut self.failed) {
                        self.ask(reference);
                    }
                    continue;
                }
                else => std::future::pending().await,
            };
            let (reference, result) = answer;
            let changed = self.in_flight.remove(&reference).unwrap_or(false);
            match result {
                Ok(fetched) => {
                    self.pause = limits::FETCH_PAUSE;
                    self.access.recovered(&need(&reference));
                    self.versions.insert(reference.clone(), fetched.version);
                    if changed {
                        self.ask(reference);
                    }
                    self.fill();
                    return Some(fetched.change);
                }
                Err(error) => {
                    self.access.failed(need(&reference), &error);
                    if self.failed.is_empty() {
                        self.again = Instant::now() + self.pause;
                    }
                    self.failed.insert(reference);
                    self.fill();
                    return None;
                }
            }
        }
    }

    fn fill(&mut self) {
        while self.under_way.len() < limits::FETCHES_AT_ONCE {
            let Some(reference) = self.queue.pop_front() else { return };
            self.under_way.push(Box::pin(fetch(self.client.clone(), reference)));
        }
    }
}

/// The right that a fetch takes.
fn need(reference: &Reference) -> Need {
    let resource = match reference {
        Reference::Secret(_) => "secrets",
        Reference::ConfigMap(_) => "configmaps",
    };
    let need = Need::new("get", resource).within(Some(Arc::clone(&reference.key().namespace)));
    need.without_it("objects that refer to them are not served").vital()
}

async fn fetch(client: Client, reference: Reference) -> (Reference, Result<Fetched, kube::Error>) {
    let fetched = match &reference {
        Reference::Secret(key) => get::<Secret>(client, key).await.map(|secret| Fetched {
            version: secret.as_ref().and_then(|secret| secret.metadata.resource_version.clone()),
            change: Change::Secret(key.clone(), secret.map(|secret| secret_values(secret.data))),
        }),
        Reference::ConfigMap(key) => get::<ConfigMap>(client, key).await.map(|map| Fetched {
            version: map.as_ref().and_then(|map| map.metadata.resource_version.clone()),
            change: Change::ConfigMap(key.clone(), map.map(|map| map.data.unwrap_or_default())),
        }),
    };
    (reference, fetched)
}

async fn get<K>(client: Client, key: &ObjectKey) -> Result<Option<K>, kube::Error>
where
    K: kube::Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
        + Clone
        + serde::de::DeserializeOwned
        + std::fmt::Debug,
{
    let api = Api::<K>::namespaced(client, &key.namespace);
    match time::timeout(limits::FETCH_TIMEOUT, api.get_opt(&key.name)).await {
        Ok(answer) => answer,
        Err(_) => Err(kube::Error::Service("the API server did not answer in time".into())),
    }
}

/// Moves values into types that are zeroed on drop.
fn secret_values(data: Option<BTreeMap<String, ByteString>>) -> BTreeMap<String, secret::Secret> {
    data.unwrap_or_default().into_iter().map(|(key, value)| (key, secret::Secret::from(value.0))).collect()
}
