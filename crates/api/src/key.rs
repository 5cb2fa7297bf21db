//! The name by which everything in Grapnel refers to a Kubernetes object.

use std::{fmt, sync::Arc};

/// `namespace/name` of a `WebhookEndpoint` or a `WebhookSubscription`. Cheap to clone; the kind is
/// always clear from where the key is used.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct ObjectKey {
    /// `metadata.namespace`.
    pub namespace: Arc<str>,
    /// `metadata.name`.
    pub name: Arc<str>,
}

impl ObjectKey {
    /// A key of its two parts, taken as they are.
    pub fn new(namespace: impl Into<Arc<str>>, name: impl Into<Arc<str>>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl fmt::Debug for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One life of an object: its name, and the `metadata.uid` that tells it from an earlier object of the same name.
///
/// Objects that come from files have the empty uid: there, a name is its own identity.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct Incarnation {
    /// `metadata.namespace` and `metadata.name`.
    pub key: ObjectKey,
    /// `metadata.uid`; empty for an object that comes from a file.
    pub uid: Arc<str>,
}

impl Incarnation {
    /// An incarnation of its two parts, taken as they are.
    pub fn new(key: ObjectKey, uid: impl Into<Arc<str>>) -> Self {
        Self { key, uid: uid.into() }
    }

    /// The incarnation of an object that comes from a file.
    pub fn of_file(key: ObjectKey) -> Self {
        Self { key, uid: Arc::from("") }
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.key, f)
    }
}

impl fmt::Debug for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.key, self.uid)
    }
}
