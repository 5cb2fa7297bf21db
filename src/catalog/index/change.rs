//! Changes that the index receives.

use std::{collections::BTreeMap, sync::Arc};

use grapnel_api::{ObjectKey, WebhookEndpoint, WebhookReplay, WebhookSubscription};
use jiff::Timestamp;

use super::values::{ConfigMapData, SecretData};
use crate::catalog::{compile::Problem, status::ObjectKind};

/// A change to apply.
#[derive(Debug)]
pub enum Change {
    /// An endpoint exists or has changed.
    Endpoint(Box<Applied<WebhookEndpoint>>),
    /// A subscription exists or has changed.
    Subscription(Box<Applied<WebhookSubscription>>),
    /// A replay exists or has changed.
    Replay(Box<Applied<WebhookReplay>>),
    /// An object cannot be parsed; its last good version stays in use.
    Unreadable(Unreadable),
    /// An object was deleted.
    Gone(ObjectKind, ObjectKey),
    /// A Secret exists or has changed; `None` if it was deleted or is known not to exist.
    Secret(ObjectKey, Option<SecretData>),
    /// A ConfigMap exists or has changed; `None` if it was deleted or is known not to exist.
    ConfigMap(ObjectKey, Option<ConfigMapData>),
    /// A namespace has these labels; `None` if it was deleted.
    Namespace(Arc<str>, Option<BTreeMap<String, String>>),
    /// Whether everything has been read completely.
    Synced(bool),
}

impl Change {
    /// The namespace of the change.
    pub fn namespace(&self) -> Option<&str> {
        Some(match self {
            Self::Endpoint(applied) => &applied.key.namespace,
            Self::Subscription(applied) => &applied.key.namespace,
            Self::Replay(applied) => &applied.key.namespace,
            Self::Unreadable(rejected) => &rejected.key.namespace,
            Self::Gone(_, key) | Self::Secret(key, _) | Self::ConfigMap(key, _) => &key.namespace,
            // The labels of any namespace may allow a subscription.
            Self::Namespace(..) | Self::Synced(_) => return None,
        })
    }
}

/// An object with its source and age.
#[derive(Debug, Clone, PartialEq)]
pub struct Applied<T> {
    /// Its name.
    pub key: ObjectKey,
    /// The object.
    pub object: T,
    /// `file:line`, if it comes from a file.
    pub source: Option<String>,
    /// Determines which of two objects is older: the one with the lesser age.
    pub age: Age,
    /// `metadata.uid`, if any: distinguishes an object from a deleted one of the same name.
    pub uid: Option<Arc<str>>,
}

/// A version of an object that cannot be parsed.
#[derive(Debug, Clone, PartialEq)]
pub struct Unreadable {
    /// Its kind.
    pub kind: ObjectKind,
    /// Its name.
    pub key: ObjectKey,
    /// `file:line`, if it comes from a file.
    pub source: Option<String>,
    /// `metadata.uid`, if any.
    pub uid: Option<Arc<str>>,
    /// `metadata.generation`, if any.
    pub generation: Option<i64>,
    /// Why it cannot be parsed.
    pub problems: Vec<Problem>,
}

/// Order of age: creation time, then a number in order of appearance. Ties are decided by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Age(pub Option<Timestamp>, pub u64);
