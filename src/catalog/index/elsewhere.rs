//! Objects of other classes, which other operators serve.
//!
//! Nothing of them is compiled or reported. Their names are kept: a subscription whose endpoint is served elsewhere can say
//! so, and the consumer of a subscription that went to another operator keeps its events until the object is deleted or
//! comes back.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use grapnel_api::{Incarnation, ObjectKey};

use crate::catalog::status::ObjectKind;

/// The objects of other classes.
#[derive(Debug, Default)]
pub(super) struct Elsewhere {
    endpoints: HashSet<ObjectKey>,
    /// With their uids; empty for an object from a file.
    subscriptions: HashMap<ObjectKey, Arc<str>>,
    replays: HashSet<ObjectKey>,
}

impl Elsewhere {
    /// Adds an endpoint. Returns whether it is new.
    pub(super) fn add_endpoint(&mut self, key: &ObjectKey) -> bool {
        self.endpoints.insert(key.clone())
    }

    /// Adds a subscription. Returns whether it is new.
    pub(super) fn add_subscription(&mut self, key: &ObjectKey, uid: Arc<str>) -> bool {
        self.subscriptions.insert(key.clone(), Arc::clone(&uid)) != Some(uid)
    }

    /// Adds a replay. Returns whether it is new.
    pub(super) fn add_replay(&mut self, key: &ObjectKey) -> bool {
        self.replays.insert(key.clone())
    }

    /// Removes an object. Returns whether it was there.
    pub(super) fn remove(&mut self, kind: ObjectKind, key: &ObjectKey) -> bool {
        match kind {
            ObjectKind::Endpoint => self.endpoints.remove(key),
            ObjectKind::Subscription => self.subscriptions.remove(key).is_some(),
            ObjectKind::Replay => self.replays.remove(key),
        }
    }

    pub(super) fn has(&self, kind: ObjectKind, key: &ObjectKey) -> bool {
        match kind {
            ObjectKind::Endpoint => self.endpoints.contains(key),
            ObjectKind::Subscription => self.subscriptions.contains_key(key),
            ObjectKind::Replay => self.replays.contains(key),
        }
    }

    /// Whether this subscription is among them.
    pub(super) fn has_subscription(&self, key: &ObjectKey) -> bool {
        self.subscriptions.contains_key(key)
    }

    /// Whether this endpoint is among them.
    pub(super) fn has_endpoint(&self, key: &ObjectKey) -> bool {
        self.endpoints.contains(key)
    }

    /// Its subscriptions.
    pub(super) fn subscriptions(&self) -> impl Iterator<Item = Incarnation> {
        self.subscriptions.iter().map(|(key, uid)| Incarnation::new(key.clone(), Arc::clone(uid)))
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.endpoints.len() + self.subscriptions.len() + self.replays.len()
    }
}
