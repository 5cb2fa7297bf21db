//! References to Secrets and ConfigMaps.

use std::{collections::BTreeMap, fmt};

use grapnel_api::ObjectKey;
use grapnel_values::secret::Secret;

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

/// What is known about the data of a reference.
#[derive(Debug)]
pub enum Lookup<'a, T> {
    /// It exists.
    Found(&'a T),
    /// It does not exist.
    Absent,
    /// Neither is known yet.
    Unknown,
}

/// The source of referenced values.
pub trait ReferencedValues {
    /// The data of a Secret.
    fn secret(&self, key: &ObjectKey) -> Lookup<'_, BTreeMap<String, Secret>>;
    /// The data of a ConfigMap.
    fn config_map(&self, key: &ObjectKey) -> Lookup<'_, BTreeMap<String, String>>;
}
