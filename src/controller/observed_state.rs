//! Objects as the API server last showed them. Statuses are compared with them before they are written.

use std::{collections::HashMap, sync::Arc};

use grapnel_api::ObjectKey;
use jiff::Timestamp;
use parking_lot::Mutex;

use crate::catalog::ObjectKind;

/// An object as the API server last showed it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sighting {
    /// `metadata.uid`.
    pub uid: Option<Arc<str>>,
    /// `metadata.generation`.
    pub generation: Option<i64>,
    /// `status` as JSON, regardless of its writer; `None` if it is absent or cannot be read. A string takes a fraction
    /// of the memory of the parsed form.
    pub status: Option<Arc<str>>,
    /// Whether its deletion is to be delayed.
    pub finalizer: Finalizer,
}

/// The inputs that decide on the finalizer of `spec.deletionPolicy: Drain`. Only for subscriptions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Finalizer {
    /// The spec requests it.
    pub wanted: bool,
    /// The object has it.
    pub held: bool,
    /// `metadata.deletionTimestamp`.
    pub deleted: Option<Timestamp>,
}

impl Finalizer {
    /// Whether it may have to be added or removed. It is never added while the object is being deleted.
    fn is_unfinished(self) -> bool {
        match self.held {
            true => !self.wanted || self.deleted.is_some(),
            false => self.wanted && self.deleted.is_none(),
        }
    }
}

/// The last observation of every object. Cheap to clone; clones share the state. Its size is bounded by the number of
/// objects.
#[derive(Debug, Clone, Default)]
pub struct ObservedState {
    seen: Arc<Mutex<HashMap<(ObjectKind, ObjectKey), Sighting>>>,
}

impl ObservedState {
    /// Records an observation and returns the previous one.
    pub fn note(&self, kind: ObjectKind, key: &ObjectKey, sighting: Sighting) -> Option<Sighting> {
        self.seen.lock().insert((kind, key.clone()), sighting)
    }

    /// Records a status that was just written, if that object still exists.
    pub fn wrote(&self, kind: ObjectKind, key: &ObjectKey, uid: Option<&str>, status: Arc<str>) {
        if let Some(sighting) = self.seen.lock().get_mut(&(kind, key.clone()))
            && sighting.uid.as_deref() == uid
        {
            sighting.status = Some(status);
        }
    }

    /// Removes a deleted object.
    pub fn forget(&self, kind: ObjectKind, key: &ObjectKey) {
        self.seen.lock().remove(&(kind, key.clone()));
    }

    /// Subscriptions whose finalizer may have to be added or removed, with their uids.
    pub fn unfinished(&self) -> Vec<(ObjectKey, Arc<str>, Finalizer)> {
        let seen = self.seen.lock();
        let unfinished = seen.iter().filter_map(|((_, key), sighting)| {
            let uid = sighting.uid.clone()?;
            sighting.finalizer.is_unfinished().then(|| (key.clone(), uid, sighting.finalizer))
        });
        unfinished.collect()
    }

    /// The last observation of an object.
    pub fn get(&self, kind: ObjectKind, key: &ObjectKey) -> Option<Sighting> {
        self.seen.lock().get(&(kind, key.clone())).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finalizer_is_put_while_wanted_and_removed_when_it_is_not_or_the_object_goes() {
        let deleted = Some(Timestamp::UNIX_EPOCH);
        for (wanted, held, deleted, unfinished) in [
            (false, false, None, false),
            (true, false, None, true),
            (true, true, None, false),
            (false, true, None, true),
            (true, true, deleted, true),
            (false, true, deleted, true),
            (true, false, deleted, false),
        ] {
            let finalizer = Finalizer { wanted, held, deleted };
            assert_eq!(finalizer.is_unfinished(), unfinished, "{finalizer:?}");
        }
    }
}
