//! The known Secrets and ConfigMaps.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use grapnel_api::ObjectKey;
use grapnel_values::secret::Secret;

use crate::catalog::compile::{Lookup, Reference, ReferencedValues};

/// Data of a Secret.
pub type SecretData = BTreeMap<String, Secret>;
/// Data of a ConfigMap.
pub type ConfigMapData = BTreeMap<String, String>;

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
    fn is_known(&self, reference: &Reference) -> bool {
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
        set(&mut self.secrets, self.fetching, key, data)
    }

    /// Sets the data of a ConfigMap. Returns whether it has changed.
    pub(super) fn set_config_map(&mut self, key: &ObjectKey, data: Option<ConfigMapData>) -> bool {
        self.wanted.remove(&Reference::ConfigMap(key.clone()));
        set(&mut self.config_maps, self.fetching, key, data)
    }
}

fn set<V: PartialEq>(
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

impl ReferencedValues for Values {
    fn secret(&self, key: &ObjectKey) -> Lookup<'_, SecretData> {
        look_up(&self.secrets, self.fetching, key)
    }

    fn config_map(&self, key: &ObjectKey) -> Lookup<'_, ConfigMapData> {
        look_up(&self.config_maps, self.fetching, key)
    }
}

fn look_up<'a, V>(known: &'a HashMap<ObjectKey, Option<V>>, fetching: bool, key: &ObjectKey) -> Lookup<'a, V> {
    match known.get(key) {
        Some(Some(data)) => Lookup::Found(data),
        None if fetching => Lookup::Unknown,
        Some(None) | None => Lookup::Absent,
    }
}
