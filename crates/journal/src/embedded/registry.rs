//! Registries of endpoints and consumers by name and by number.

use std::{collections::HashMap, sync::Arc};

use grapnel_api::ObjectKey;

use super::{consumer::Consumer, endpoint::Endpoint};

/// An object that the log identifies by number and callers by name.
pub(super) trait Numbered {
    fn key(&self) -> &ObjectKey;
    fn number(&self) -> u32;
}

impl Numbered for Endpoint {
    fn key(&self) -> &ObjectKey {
        &self.key
    }

    fn number(&self) -> u32 {
        self.number
    }
}

impl Numbered for Consumer {
    fn key(&self) -> &ObjectKey {
        &self.object.key
    }

    fn number(&self) -> u32 {
        self.number
    }
}

/// All objects of one kind, by name and by number.
pub(super) struct Registry<T> {
    by_key: HashMap<ObjectKey, Arc<T>>,
    by_number: HashMap<u32, Arc<T>>,
}

impl<T> Default for Registry<T> {
    fn default() -> Self {
        Self { by_key: HashMap::new(), by_number: HashMap::new() }
    }
}

impl<T: Numbered> Registry<T> {
    pub(super) fn get(&self, key: &ObjectKey) -> Option<&Arc<T>> {
        self.by_key.get(key)
    }

    pub(super) fn numbered(&self, number: u32) -> Option<&Arc<T>> {
        self.by_number.get(&number)
    }

    /// Adds an object, replacing one of the same name.
    pub(super) fn insert(&mut self, one: Arc<T>) {
        if let Some(replaced) = self.by_key.insert(one.key().clone(), Arc::clone(&one)) {
            self.by_number.remove(&replaced.number());
        }
        self.by_number.insert(one.number(), one);
    }

    /// Removes an object, but not another of the same name.
    pub(super) fn remove(&mut self, one: &T) {
        if self.by_number.remove(&one.number()).is_some() {
            self.by_key.remove(one.key());
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<T>> {
        self.by_number.values()
    }

    pub(super) fn all(&self) -> Vec<Arc<T>> {
        self.iter().cloned().collect()
    }
}
