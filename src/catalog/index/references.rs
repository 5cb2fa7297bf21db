//! References between objects: which objects to recompile after a change, and which values are known.

use std::{
    collections::{BTreeSet, HashMap},
    fmt,
    sync::Arc,
};

use grapnel_api::{KeyReference, ObjectKey, Target, WebhookEndpointSpec, WebhookSubscriptionSpec};

use super::{ConfigMapData, SecretData, entry::Held};
use crate::catalog::{
    compile::{self, Sources},
    status::Kind,
};

/// An object that holds values for others.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reference {
    /// A Secret.
    Secret(ObjectKey),
    /// A ConfigMap.
    ConfigMap(ObjectKey),
}

impl Reference {
    /// Its name.
    pub fn key(&self) -> &ObjectKey {
        match self {
            Self::Secret(key) | Self::ConfigMap(key) => key,
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Secret(key) => write!(f, "Secret {key}"),
            Self::ConfigMap(key) => write!(f, "ConfigMap {key}"),
        }
    }
}

/// Anything that an object can depend on.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Referent {
    /// Whether an endpoint exists and which subscribers it allows.
    Endpoint(ObjectKey),
    /// Labels of a namespace.
    Namespace(Arc<str>),
    /// A value.
    Value(Reference),
}

/// An object that depends on something.
pub(super) type Dependent = (Kind, ObjectKey);

/// The dependents of every referent.
#[derive(Debug, Default)]
pub(super) struct Dependents(HashMap<Referent, BTreeSet<Dependent>>);

impl Dependents {
    /// Adds a dependency. Returns whether it is the first on that referent.
    pub(super) fn add(&mut self, referent: Referent, dependent: Dependent) -> bool {
        let dependents = self.0.entry(referent).or_default();
        let first = dependents.is_empty();
        dependents.insert(dependent);
        first
    }

    /// Removes a dependency. Returns whether it was the last on that referent.
    pub(super) fn remove(&mut self, referent: &Referent, dependent: &Dependent) -> bool {
        let Some(dependents) = self.0.get_mut(referent) else { return false };
        dependents.remove(dependent);
        let last = dependents.is_empty();
        if last {
            self.0.remove(referent);
        }
        last
    }

    /// The dependents of a referent.
    pub(super) fn of(&self, referent: &Referent) -> impl Iterator<Item = &Dependent> {
        self.0.get(referent).into_iter().flatten()
    }

    /// Whether the referent has dependents.
    pub(super) fn any(&self, referent: &Referent) -> bool {
        self.0.contains_key(referent)
    }
}

/// The known Secrets and ConfigMaps.
#[derive(Debug, Default)]
pub(super) struct Values {
    /// Whether only referenced values are provided. If so, a value that was not provided is unknown rather than absent.
    pub(super) fetching: bool,
    /// `None`: known to be absent.
    secrets: HashMap<ObjectKey, Option<SecretData>>,
    config_maps: HashMap<ObjectKey, Option<ConfigMapData>>,
    wanted: BTreeSet<Reference>,
}

impl Values {
    /// Whether the value of a reference is known, including known to be absent.
    pub(super) fn is_known(&self, reference: &Reference) -> bool {
        !self.fetching
            || match reference {
                Reference::Secret(key) => self.secrets.contains_key(key),
                Reference::ConfigMap(key) => self.config_maps.contains_key(key),
            }
    }

    /// Records the first reference to a value.
    pub(super) fn request(&mut self, reference: &Reference) {
        if !self.is_known(reference) {
            self.wanted.insert(reference.clone());
        }
    }

    /// Drops a value that has lost its last reference.
    pub(super) fn forget(&mut self, reference: &Reference) {
        if self.fetching {
            self.wanted.remove(reference);
            match reference {
                Reference::Secret(key) => drop(self.secrets.remove(key)),
                Reference::ConfigMap(key) => drop(self.config_maps.remove(key)),
            }
        }
    }

    /// The references to fetch that were not returned before.
    pub(super) fn take_wanted(&mut self) -> Vec<Reference> {
        std::mem::take(&mut self.wanted).into_iter().collect()
    }

    /// Sets the data of a Secret. Returns whether it has changed.
    pub(super) fn set_secret(&mut self, key: &ObjectKey, data: Option<SecretData>) -> bool {
        self.wanted.remove(&Reference::Secret(key.clone()));
        tell(&mut self.secrets, self.fetching, key, data)
    }

    /// Sets the data of a ConfigMap. Returns whether it has changed.
    pub(super) fn tell_config_map(&mut self, key: &ObjectKey, data: Option<ConfigMapData>) -> bool {
        self.wanted.remove(&Reference::ConfigMap(key.clone()));
        tell(&mut self.config_maps, self.fetching, key, data)
    }
}

fn tell<V: PartialEq>(
    known: &mut HashMap<ObjectKey, Option<V>>,
    keep_absence: bool,
    key: &ObjectKey,
    value: Option<V>,
) -> bool {
    if known.get(key) == Some(&value) {
        return false;
    }
    if value.is_none() && !keep_absence {
        return known.remove(key).is_some();
    }
    known.insert(key.clone(), value);
    true
}

impl Sources for Values {
    fn secret(&self, key: &ObjectKey) -> Option<&SecretData> {
        self.secrets.get(key)?.as_ref()
    }

    fn config_map(&self, key: &ObjectKey) -> Option<&ConfigMapData> {
        self.config_maps.get(key)?.as_ref()
    }
}

/// An object that refers to others.
pub(super) trait Refers {
    /// Its dependencies, each once.
    fn referents(&self) -> BTreeSet<Referent>;

    /// The values that it requires, in order of their names.
    fn values(&self) -> impl Iterator<Item = Reference> {
        self.referents().into_iter().filter_map(|referent| match referent {
            Referent::Value(reference) => Some(reference),
            Referent::Endpoint(_) | Referent::Namespace(_) => None,
        })
    }
}

impl Refers for Held<WebhookEndpointSpec> {
    fn referents(&self) -> BTreeSet<Referent> {
        let spec = &self.spec;
        let secrets = spec
            .verification
            .secrets()
            .map(|name| Referent::Value(Reference::Secret(ObjectKey::new(Arc::clone(&self.key.namespace), name))));
        let config_maps = spec.schemas.iter().filter_map(|rule| rule.config_map_ref.as_ref());
        let config_maps = config_maps.map(|reference| Referent::Value(Reference::ConfigMap(own(&self.key, reference))));
        secrets.chain(config_maps).collect()
    }
}

impl Refers for Held<WebhookSubscriptionSpec> {
    fn referents(&self) -> BTreeSet<Referent> {
        let spec = &self.spec;
        let endpoint = compile::endpoint_of(&self.key, spec);
        let labels =
            (endpoint.namespace != self.key.namespace).then(|| Referent::Namespace(Arc::clone(&self.key.namespace)));
        let signing = spec.signing.iter().flat_map(|signing| &signing.secret_refs);
        let letters = compile::dead_letter_endpoint_of(&self.key, spec).map(Referent::Endpoint);
        std::iter::once(Referent::Endpoint(endpoint))
            .chain(letters)
            .chain(labels)
            .chain(signing.map(|reference| secret(&self.key, reference)))
            .chain(of_target(&self.key, &spec.target))
            .collect()
    }
}

/// The references of a target.
fn of_target(key: &ObjectKey, target: &Target) -> impl Iterator<Item = Referent> {
    let headers = target.headers_from.iter().map(|header| header.secret_key_ref.name.as_str());
    let url = target.url_from.iter().map(|source| source.secret_key_ref.name.as_str());
    let auth = target.auth.iter().flat_map(|auth| {
        let basic = auth.basic.iter().map(|basic| basic.secret_ref.name.as_str());
        let bearer = auth.bearer.iter().map(|bearer| bearer.secret_key_ref.name.as_str());
        let oauth = auth.oauth2_client_credentials.iter();
        let oauth =
            oauth.flat_map(|client| [client.client_id_ref.name.as_str(), client.client_secret_ref.name.as_str()]);
        basic.chain(bearer).chain(oauth)
    });
    let clients = target.auth.iter().flat_map(|auth| &auth.oauth2_client_credentials);
    let tls = || target.tls.iter().chain(clients.clone().flat_map(|client| &client.tls));
    let authorities = || tls().filter_map(|tls| tls.ca_ref.as_ref());
    let maps = authorities().filter_map(|source| source.config_map_ref.as_ref()).map(|map| map.name.as_str());
    let authorities = authorities().filter_map(|source| source.secret_key_ref.as_ref()).map(|key| key.name.as_str());
    let shown = tls().filter_map(|tls| tls.client_cert_ref.as_ref()).map(|secret| secret.name.as_str());
    let object = |name: &str| ObjectKey::new(Arc::clone(&key.namespace), name);
    let secrets = headers.chain(url).chain(auth).chain(authorities).chain(shown);
    let secrets: Vec<_> = secrets.map(|name| Referent::Value(Reference::Secret(object(name)))).collect();
    let maps: Vec<_> = maps.map(|name| Referent::Value(Reference::ConfigMap(object(name)))).collect();
    secrets.into_iter().chain(maps)
}

fn secret(key: &ObjectKey, reference: &KeyReference) -> Referent {
    Referent::Value(Reference::Secret(own(key, reference)))
}

/// A referenced object in the referring object's namespace.
fn own(key: &ObjectKey, reference: &KeyReference) -> ObjectKey {
    ObjectKey::new(Arc::clone(&key.namespace), reference.name.as_str())
}
