//! Fields that refer to a Secret or a ConfigMap of the object's namespace.

use std::fmt;

use grapnel_api::{KeyReference, Reason};
use grapnel_signature::KeyError;
use grapnel_values::secret::Secret;

use super::{Lookup, field::Field};

/// The kind of a referenced object.
#[derive(Clone, Copy)]
pub(super) enum ReferentKind {
    Secret,
    ConfigMap,
}

impl fmt::Display for ReferentKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Secret => "Secret",
            Self::ConfigMap => "ConfigMap",
        })
    }
}

impl<'a, T: ?Sized> Field<'a, T> {
    /// The value of a key of a Secret; an empty one is invalid.
    pub(super) fn secret_key(&self, name: &str, key: &str) -> Option<&'a Secret> {
        let value = self.secret_key_or_empty(name, key)?;
        if value.expose().is_empty() {
            let message = format_args!("key {key} of Secret {name} is empty; give it a value");
            return self.fail(Reason::InvalidSecret, message);
        }
        Some(value)
    }

    /// The value of a key of a Secret, which may be empty.
    pub(super) fn secret_key_or_empty(&self, name: &str, key: &str) -> Option<&'a Secret> {
        let data = self.existing(ReferentKind::Secret, name, self.run().secret(name))?;
        data.get(key).or_else(|| self.no_key(ReferentKind::Secret, name, key, data.keys()))
    }

    fn existing<V>(&self, kind: ReferentKind, name: &str, found: Lookup<'a, V>) -> Option<&'a V> {
        match found {
            Lookup::Found(data) => Some(data),
            Lookup::Absent => {
                let namespace = self.namespace();
                let message =
                    format!("{kind} {name} does not exist in namespace {namespace}; create it or correct the name");
                self.refuse(kind, Reason::SecretNotFound, message)
            }
            // The run reports that the object awaits it.
            Lookup::Unknown => None,
        }
    }

    fn no_key<'k, V>(
        &self,
        kind: ReferentKind,
        name: &str,
        key: &str,
        present: impl ExactSizeIterator<Item = &'k String>,
    ) -> Option<V> {
        let message = format!("{kind} {name} has no key {key}; it has {}", listed(present));
        self.refuse(kind, Reason::KeyNotFound, message)
    }

    /// Adds a problem of the Secret or ConfigMap that this field names.
    pub(super) fn refuse<V>(&self, kind: ReferentKind, reason: Reason, message: String) -> Option<V> {
        match kind {
            ReferentKind::Secret => self.fail(reason, message),
            ReferentKind::ConfigMap => self.fail_config_map(reason, message),
        }
    }
}

impl<'a> Field<'a, KeyReference> {
    /// The value of the key of a Secret; an empty one is invalid.
    pub(super) fn secret(&self) -> Option<&'a Secret> {
        self.secret_key(&self.name, &self.key)
    }

    /// The value of the key of a ConfigMap.
    pub(super) fn config_map(&self) -> Option<&'a str> {
        let KeyReference { name, key } = self.value();
        let data = self.existing(ReferentKind::ConfigMap, name, self.run().config_map(name))?;
        let value = data.get(key).or_else(|| self.no_key(ReferentKind::ConfigMap, name, key, data.keys()))?;
        Some(value)
    }
}

impl Field<'_, Vec<KeyReference>> {
    /// The values of the Secret keys that resolve and that `check` accepts as keys of their scheme; others are
    /// problems.
    pub(super) fn keys(self, check: impl Fn(Secret) -> Result<(), KeyError>) -> Vec<Secret> {
        let mut secrets = Vec::new();
        for reference in self.items() {
            let Some(secret) = reference.secret() else { continue };
            match check(secret.clone()) {
                Ok(()) => secrets.push(secret.clone()),
                Err(KeyError { problem, .. }) => {
                    let KeyReference { name, key } = reference.value();
                    let message = format_args!("key {key} of Secret {name}: {problem}; correct the Secret");
                    reference.problem(Reason::InvalidSecret, message);
                }
            }
        }
        secrets
    }
}

/// A bounded list of keys for a message.
fn listed<'a>(keys: impl ExactSizeIterator<Item = &'a String>) -> String {
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
