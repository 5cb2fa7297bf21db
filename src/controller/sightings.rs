//! Objects as the API server showed them last: what a status is compared with before it is written.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;

use crate::{api::ObjectKey, catalog::Kind};

/// An object as the API server showed it last.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sighting {
    /// `metadata.uid`.
    pub uid: Option<Arc<str>>,
    /// `metadata.generation`.
    pub generation: Option<i64>,
    /// `status` as JSON, whoever wrote it; `None` when there is none or it cannot be read. One string takes a fraction
    /// of the memory of the parsed form.
    pub status: Option<Arc<str>>,
}

/// Every object's last sighting. Cheap to clone; clones are the same. There are as many as objects.
#[derive(Debug, Clone, Default)]
pub struct Sightings {
    seen: Arc<Mutex<HashMap<(Kind, ObjectKey), Sighting>>>,
}

impl Sightings {
    /// Notes a sighting and gives the one before.
    pub fn note(&self, kind: Kind, key: &ObjectKey, sighting: Sighting) -> Option<Sighting> {
        self.seen.lock().insert((kind, key.clone()), sighting)
    }

    /// Notes a status that was just written, if that object is still there.
    pub fn wrote(&self, kind: Kind, key: &ObjectKey, uid: Option<&str>, status: Arc<str>) {
        if let Some(sighting) = self.seen.lock().get_mut(&(kind, key.clone()))
            && sighting.uid.as_deref() == uid
        {
            sighting.status = Some(status);
        }
    }

    /// Forgets an object that is gone.
    pub fn forget(&self, kind: Kind, key: &ObjectKey) {
        self.seen.lock().remove(&(kind, key.clone()));
    }

    /// The last sighting of an object.
    pub fn get(&self, kind: Kind, key: &ObjectKey) -> Option<Sighting> {
        self.seen.lock().get(&(kind, key.clone())).cloned()
    }
}
