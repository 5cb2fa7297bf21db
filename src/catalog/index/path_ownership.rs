//! Path ownership: of the endpoints of a namespace that claim a path, the oldest owns it.

use std::{collections::HashSet, sync::Arc};

use grapnel_api::ObjectKey;

use super::{change::Age, small_set::SmallSet};
use crate::fast_map::FastMap;

/// Namespace and path.
type NamespacedPath = (Arc<str>, Arc<str>);

/// Owners and claimants of all paths.
#[derive(Debug, Default)]
pub(super) struct PathOwners {
    /// By namespace and path.
    places: FastMap<Arc<str>, FastMap<Arc<str>, Candidates>>,
    /// Paths whose claimants have changed since the last call of [`Self::moved`].
    touched: HashSet<NamespacedPath>,
}

#[derive(Debug, Default)]
struct Candidates {
    /// Oldest first.
    by_age: SmallSet<(Age, ObjectKey)>,
    /// The owner as of the last notification.
    reported: Option<ObjectKey>,
}

impl PathOwners {
    /// Records that an endpoint claims a path.
    pub(super) fn claim(&mut self, age: Age, key: &ObjectKey, path: Arc<str>) {
        let namespace = self.places.entry(Arc::clone(&key.namespace)).or_default();
        namespace.entry(Arc::clone(&path)).or_default().by_age.insert((age, key.clone()));
        self.touched.insert((Arc::clone(&key.namespace), path));
    }

    /// Removes an endpoint's claim to a path.
    pub(super) fn release(&mut self, age: Age, key: &ObjectKey, path: Arc<str>) {
        let Some(namespace) = self.places.get_mut(&key.namespace) else { return };
        let Some(claimants) = namespace.get_mut(&path) else { return };
        claimants.by_age.remove(&(age, key.clone()));
        if !claimants.by_age.is_empty() {
            self.touched.insert((Arc::clone(&key.namespace), path));
            return;
        }
        namespace.remove(&path);
        if namespace.is_empty() {
            self.places.remove(&key.namespace);
        }
    }

    /// Every claimant of a path whose owner has changed since the last call. Each is returned once, whatever happened
    /// in between, so that a burst of claims to one path costs no more than their number.
    pub(super) fn moved(&mut self) -> Vec<ObjectKey> {
        let mut moved = Vec::new();
        for (namespace, path) in self.touched.drain() {
            let claimants = self.places.get_mut(&namespace).and_then(|namespace| namespace.get_mut(&path));
            let Some(claimants) = claimants else { continue };
            let owner = claimants.by_age.first().map(|(_, key)| key);
            if owner != claimants.reported.as_ref() {
                claimants.reported = owner.cloned();
                moved.extend(claimants.by_age.iter().map(|(_, key)| key.clone()));
            }
        }
        moved
    }

    /// The oldest endpoint that claims a path.
    pub(super) fn owner(&self, namespace: &str, path: &str) -> Option<&ObjectKey> {
        let claimants = self.places.get(namespace)?.get(path)?;
        claimants.by_age.first().map(|(_, key)| key)
    }
}
