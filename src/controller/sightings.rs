//! Objects as the API server showed them last: what a status is compared with before it is written.

use std::{collections::HashMap, sync::Arc};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use parking_lot::Mutex;
use serde_json::Value;

use crate::{api::ObjectKey, catalog::Kind};

/// An object as the API server showed it last.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sighting {
    /// `metadata.uid`.
    pub uid: Option<Arc<str>>,
    /// `metadata.generation`.
    pub generation: Option<i64>,
    /// `status`, whoever wrote it; `None` when there is none or it cannot be read.
    pub status: Option<Arc<Value>>,
}

impl Sighting {
    /// The conditions of the status.
    pub fn conditions(&self) -> Vec<Condition> {
        conditions(self.status.as_deref())
    }
}

/// The conditions of a status, those that can be read.
pub(super) fn conditions(status: Option<&Value>) -> Vec<Condition> {
    let listed = status.and_then(|status| status.get("conditions")).and_then(Value::as_array);
    listed.into_iter().flatten().filter_map(|condition| serde_json::from_value(condition.clone()).ok()).collect()
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

    /// Forgets an object that is gone.
    pub fn forget(&self, kind: Kind, key: &ObjectKey) {
        self.seen.lock().remove(&(kind, key.clone()));
    }

    /// The last sighting of an object.
    pub fn get(&self, kind: Kind, key: &ObjectKey) -> Option<Sighting> {
        self.seen.lock().get(&(kind, key.clone())).cloned()
    }
}
