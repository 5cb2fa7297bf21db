//! Who has which path: of the endpoints of a namespace that want one, the oldest.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use super::Age;
use crate::api::ObjectKey;

/// Namespace and path.
type Place = (Arc<str>, Arc<str>);

/// Who wants which path.
#[derive(Debug, Default)]
pub(super) struct Claims {
    places: HashMap<Place, Claimants>,
    /// Places whose claimants have changed since the last call of [`Self::moved`].
    touched: HashSet<Place>,
}

#[derive(Debug, Default)]
struct Claimants {
    /// Oldest first.
    by_age: BTreeSet<(Age, ObjectKey)>,
    /// Who was the oldest when the others were told last.
    told: Option<ObjectKey>,
}

impl Claims {
    /// An endpoint wants a path.
    pub(super) fn claim(&mut self, age: Age, key: &ObjectKey, path: Arc<str>) {
        let place = (Arc::clone(&key.namespace), path);
        self.places.entry(place.clone()).or_default().by_age.insert((age, key.clone()));
        self.touched.insert(place);
    }

    /// An endpoint does not want a path any more.
    pub(super) fn release(&mut self, age: Age, key: &ObjectKey, path: Arc<str>) {
        let place = (Arc::clone(&key.namespace), path);
        let Some(claimants) = self.places.get_mut(&place) else { return };
        claimants.by_age.remove(&(age, key.clone()));
        if claimants.by_age.is_empty() {
            self.places.remove(&place);
        } else {
            self.touched.insert(place);
        }
    }

    /// Every claimant of a path that has another owner than when this was called last. Whatever happened in between, each
    /// is named once, so that a burst of claims to one path costs no more than their number.
    pub(super) fn moved(&mut self) -> Vec<ObjectKey> {
        let mut moved = Vec::new();
        for place in self.touched.drain() {
            let Some(claimants) = self.places.get_mut(&place) else { continue };
            let owner = claimants.by_age.first().map(|(_, key)| key);
            if owner != claimants.told.as_ref() {
                claimants.told = owner.cloned();
                moved.extend(claimants.by_age.iter().map(|(_, key)| key.clone()));
            }
        }
        moved
    }

    /// The oldest endpoint that wants a path.
    pub(super) fn owner(&self, namespace: &Arc<str>, path: &str) -> Option<&ObjectKey> {
        let claimants = self.places.get(&(Arc::clone(namespace), Arc::from(path)))?;
        claimants.by_age.first().map(|(_, key)| key)
    }

    /// Every namespace and path that somebody wants.
    pub(super) fn places(&self) -> impl Iterator<Item = (&str, &str)> {
        self.places.keys().map(|(namespace, path)| (&**namespace, &**path))
    }
}
