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
    /// `metadata.resourceVersion`.
    pub version: Option<Arc<str>>,
    /// The last writer of the status, if it is not this operator.
    pub rival: Option<Arc<str>>,
    /// Whether this operator has written the status since it was last overwritten.
    pub is_own: bool,
    /// Whether its deletion is to be delayed.
    pub finalizer: Finalizer,
    /// All finalizers, if this one may have to be added or removed.
    pub finalizers: Option<Arc<FinalizerList>>,
}

/// All finalizers of an object, and the version of the object that had them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FinalizerList {
    /// `metadata.finalizers`.
    pub names: Vec<String>,
    /// `metadata.resourceVersion`.
    pub version: Option<String>,
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
    /// Another operator serves the object, which this one has served before.
    pub is_elsewhere: bool,
}

impl Finalizer {
    /// Whether it may have to be added or removed. It is never added while the object is being deleted.
    pub fn is_unfinished(self) -> bool {
        match self.held {
            true => !self.wanted || self.is_elsewhere || self.deleted.is_some(),
            false => self.wanted && self.deleted.is_none(),
        }
    }
}

/// A subscription whose finalizer may have to be added or removed.
#[derive(Debug, Clone)]
pub struct Unfinished {
    /// Its name.
    pub key: ObjectKey,
    /// `metadata.uid`.
    pub uid: Arc<str>,
    /// What decides on its finalizer.
    pub finalizer: Finalizer,
    /// All of its finalizers.
    pub finalizers: Arc<FinalizerList>,
}

/// The last observation of every object. Cheap to clone; clones share the state. Its size is bounded by the number of
/// objects.
#[derive(Debug, Clone)]
pub struct ObservedState {
    /// How this operator names itself in statuses.
    writer: Arc<str>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    seen: HashMap<(ObjectKind, ObjectKey), Sighting>,
    /// Subscriptions that another operator serves, and that have this operator's finalizer.
    left: HashMap<ObjectKey, Unfinished>,
    /// Objects whose status another writer has overwritten, with its name.
    overwritten: HashMap<(ObjectKind, ObjectKey), Arc<str>>,
}

impl ObservedState {
    /// Nothing was observed yet. `writer` is the name of this operator in the statuses that it writes.
    pub fn new(writer: impl Into<Arc<str>>) -> Self {
        Self { writer: writer.into(), state: Arc::default() }
    }

    /// The name of this operator in the statuses that it writes.
    pub fn writer(&self) -> &Arc<str> {
        &self.writer
    }

    /// Records an observation and returns the previous one. A status older than one that was written meanwhile does not
    /// count.
    pub fn note(&self, kind: ObjectKind, key: &ObjectKey, mut sighting: Sighting) -> Option<Sighting> {
        let mut state = self.state.lock();
        let object = (kind, key.clone());
        if kind == ObjectKind::Subscription {
            state.left.remove(key);
        }
        let before = state.seen.get(&object).filter(|before| before.uid == sighting.uid && before.is_own);
        if let Some(before) = before {
            sighting.is_own = true;
            if is_older(sighting.version.as_deref(), before.version.as_deref()) {
                (sighting.status, sighting.version) = (before.status.clone(), before.version.clone());
                sighting.rival = None;
            } else if let Some(rival) = sighting.rival.as_ref().filter(|_| sighting.status != before.status) {
                sighting.is_own = false;
                let rival = Arc::clone(rival);
                state.overwritten.insert(object.clone(), rival);
            }
        }
        state.seen.insert(object, sighting)
    }

    /// Records a status that was just written, with the version of the object that it made, if that object still exists.
    pub fn wrote(
        &self,
        kind: ObjectKind,
        key: &ObjectKey,
        uid: Option<&str>,
        status: Arc<str>,
        version: Option<String>,
    ) {
        if let Some(sighting) = self.state.lock().seen.get_mut(&(kind, key.clone()))
            && sighting.uid.as_deref() == uid
        {
            (sighting.status, sighting.rival, sighting.is_own) = (Some(status), None, true);
            sighting.version = version.map(Arc::from).or(sighting.version.take());
        }
    }

    /// Takes the objects whose status another writer has overwritten since the last call, each with its name.
    pub fn take_overwritten(&self) -> HashMap<(ObjectKind, ObjectKey), Arc<str>> {
        std::mem::take(&mut self.state.lock().overwritten)
    }

    /// Removes a deleted object.
    pub fn forget(&self, kind: ObjectKind, key: &ObjectKey) {
        let mut state = self.state.lock();
        state.seen.remove(&(kind, key.clone()));
        state.overwritten.remove(&(kind, key.clone()));
        if kind == ObjectKind::Subscription {
            state.left.remove(key);
        }
    }

    /// Records a subscription that another operator serves.
    pub fn left(&self, subscription: Unfinished) {
        self.forget(ObjectKind::Subscription, &subscription.key);
        if subscription.finalizer.held {
            self.state.lock().left.insert(subscription.key.clone(), subscription);
        }
    }

    /// Subscriptions whose finalizer may have to be added or removed.
    pub fn unfinished(&self) -> Vec<Unfinished> {
        let state = self.state.lock();
        let unfinished = state.seen.iter().filter_map(|((_, key), sighting)| {
            let (uid, finalizers) = (sighting.uid.clone()?, sighting.finalizers.clone()?);
            let finalizer = sighting.finalizer;
            finalizer.is_unfinished().then(|| Unfinished { key: key.clone(), uid, finalizer, finalizers })
        });
        unfinished.chain(state.left.values().cloned()).collect()
    }

    /// The last observation of an object.
    pub fn get(&self, kind: ObjectKind, key: &ObjectKey) -> Option<Sighting> {
        self.state.lock().seen.get(&(kind, key.clone())).cloned()
    }
}

/// Whether one version is older than another. Versions that cannot be compared are not.
fn is_older(one: Option<&str>, other: Option<&str>) -> bool {
    let number = |version: Option<&str>| version.and_then(|version| version.parse::<u64>().ok());
    matches!((number(one), number(other)), (Some(one), Some(other)) if one < other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_overwritten_only_by_another_writer_after_ones_own_write() {
        let state = ObservedState::new("shop/grapnel");
        let key = ObjectKey::new("shop", "orders");
        let seen = |version: &str, status: &str, rival: Option<&str>| {
            let sighting = Sighting {
                uid: Some("u".into()),
                status: Some(status.into()),
                version: Some(version.into()),
                rival: rival.map(Arc::from),
                ..Sighting::default()
            };
            state.note(ObjectKind::Endpoint, &key, sighting);
            state.take_overwritten().len()
        };
        let wrote = |version: &str, status: &str| {
            state.wrote(ObjectKind::Endpoint, &key, Some("u"), status.into(), Some(version.into()));
        };
        assert_eq!(seen("7", "theirs", Some("other")), 0, "it was theirs before");
        wrote("9", "ours");
        assert_eq!(seen("8", "theirs, later", Some("other")), 0, "before one's own write");
        assert_eq!(state.get(ObjectKind::Endpoint, &key).unwrap().status.as_deref(), Some("ours"));
        assert_eq!(seen("9", "ours", None), 0);
        assert_eq!(seen("10", "ours", Some("other")), 0, "the same status");
        assert_eq!(seen("11", "theirs", Some("other")), 1);
        assert_eq!(seen("12", "theirs again", Some("other")), 0, "once for each own write");
        wrote("13", "ours");
        assert_eq!(seen("14", "theirs", Some("other")), 1);
    }

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
            let finalizer = Finalizer { wanted, held, deleted, is_elsewhere: false };
            assert_eq!(finalizer.is_unfinished(), unfinished, "{finalizer:?}");
        }
    }
}
