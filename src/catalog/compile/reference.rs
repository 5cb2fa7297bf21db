//! Secrets and ConfigMaps that objects refer to.

use std::collections::BTreeMap;

use grapnel_api::{KeyReference, ObjectKey, Reason};
use grapnel_signature::KeyError;
use grapnel_values::secret::Secret;

use super::Problems;

/// The source of referenced values.
pub trait Sources {
    /// The data of a Secret.
    fn secret(&self, key: &ObjectKey) -> Option<&BTreeMap<String, Secret>>;
    /// The data of a ConfigMap.
    fn config_map(&self, key: &ObjectKey) -> Option<&BTreeMap<String, String>>;
}

/// The references of one object, resolved only in its own namespace.
pub struct References<'a> {
    sources: &'a dyn Sources,
    namespace: &'a str,
}

impl<'a> References<'a> {
    /// References of an object in `namespace`.
    pub fn new(sources: &'a dyn Sources, namespace: &'a str) -> Self {
        Self { sources, namespace }
    }

    /// The value of a Secret key; an empty one is invalid.
    pub fn secret(&self, reference: &KeyReference, pointer: &str, problems: &mut Problems) -> Option<Secret> {
        let value = self.secret_or_empty(reference, pointer, problems)?;
        if value.expose().is_empty() {
            let KeyReference { name, key } = reference;
            problems.add(
                pointer,
                Reason::InvalidSecret,
                format_args!("key {key} of Secret {name} is empty; give it a value"),
            );
            return None;
        }
        Some(value)
    }

    /// The value of a Secret key, which may be empty.
    pub fn secret_or_empty(&self, reference: &KeyReference, pointer: &str, problems: &mut Problems) -> Option<Secret> {
        let KeyReference { name, key } = reference;
        let namespace = self.namespace;
        let Some(data) = self.sources.secret(&ObjectKey::new(namespace, name.as_str())) else {
            problems.add(
                pointer,
                Reason::SecretNotFound,
                format_args!("Secret {name} does not exist in namespace {namespace}; create it or correct the name"),
            );
            return None;
        };
        let Some(value) = data.get(key) else {
            problems.add(
                pointer,
                Reason::KeyNotFound,
                format_args!("Secret {name} has no key {key}; it has {}", keys(data.keys())),
            );
            return None;
        };
        Some(value.clone())
    }

    /// The values of several Secret keys that resolve and that `check` accepts as keys of their scheme; others are
    /// problems.
    pub(super) fn keys(
        &self,
        several: &[KeyReference],
        pointer: &str,
        problems: &mut Problems,
        check: impl Fn(Secret) -> Result<(), KeyError>,
    ) -> Vec<Secret> {
        let mut secrets = Vec::new();
        for (number, reference) in several.iter().enumerate() {
            let pointer = format!("{pointer}/{number}");
            let Some(secret) = self.secret(reference, &pointer, problems) else { continue };
            match check(secret.clone()) {
                Ok(()) => secrets.push(secret),
                Err(error) => problems.add(
                    pointer,
                    Reason::InvalidSecret,
                    format_args!(
                        "key {} of Secret {}: {}; correct the Secret",
                        reference.key, reference.name, error.problem
                    ),
                ),
            }
        }
        secrets
    }

    /// The value of a ConfigMap key.
    pub fn config_map(&self, reference: &KeyReference, pointer: &str, problems: &mut Problems) -> Option<&'a str> {
        let KeyReference { name, key } = reference;
        let namespace = self.namespace;
        let Some(data) = self.sources.config_map(&ObjectKey::new(namespace, name.as_str())) else {
            problems.add(
                pointer,
                Reason::SecretNotFound,
                format_args!("ConfigMap {name} does not exist in namespace {namespace}; create it or correct the name"),
            );
            return None;
        };
        let value = data.get(key);
        if value.is_none() {
            problems.add(
                pointer,
                Reason::KeyNotFound,
                format_args!("ConfigMap {name} has no key {key}; it has {}", keys(data.keys())),
            );
        }
        value.map(String::as_str)
    }
}

/// A bounded list of keys for a message.
fn keys<'a>(keys: impl ExactSizeIterator<Item = &'a String>) -> String {
    const SHOWN: usize = 8;
    let count = keys.len();
    if count == 0 {
        return "no keys".into();
    }
    let mut text = keys.take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    if count > SHOWN {
        text.push_str(", …");
    }
    text
}
