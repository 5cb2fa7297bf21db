//! What the streams have listed: which objects exist, and which have disappeared while a stream was interrupted.

use std::collections::{HashMap, HashSet};

use grapnel_api::ObjectKey;

/// The progress of all streams.
pub(super) struct Listings {
    /// By index of the stream.
    streams: HashMap<usize, Listing>,
}

/// The progress of one stream.
#[derive(Default)]
struct Listing {
    complete: bool,
    /// Existing objects, if the stream tracks them.
    known: HashSet<ObjectKey>,
    /// Objects named so far by the listing in progress.
    listed: Option<HashSet<ObjectKey>>,
}

/// The result of a complete listing.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Listed {
    /// Objects that it named.
    pub(super) existing: HashSet<ObjectKey>,
    /// Tracked objects that existed before and that it did not name.
    pub(super) missing: Vec<ObjectKey>,
}

impl Listings {
    /// Listings of that many streams, of which none is complete.
    pub(super) fn new(streams: usize) -> Self {
        Self { streams: (0..streams).map(|stream| (stream, Listing::default())).collect() }
    }

    /// Records that a listing begins. One in progress is abandoned.
    pub(super) fn begin(&mut self, stream: usize) {
        self.of(stream).listed = Some(HashSet::new());
    }

    /// Records an existing object. Only a tracked one can be missing from a later listing.
    pub(super) fn exists(&mut self, stream: usize, key: &ObjectKey, tracked: bool) {
        let listing = self.of(stream);
        if let Some(listed) = &mut listing.listed {
            listed.insert(key.clone());
        }
        if tracked {
            listing.known.insert(key.clone());
        }
    }

    /// Records a deleted object.
    pub(super) fn gone(&mut self, stream: usize, key: &ObjectKey) {
        let listing = self.of(stream);
        listing.known.remove(key);
        if let Some(listed) = &mut listing.listed {
            listed.remove(key);
        }
    }

    /// Records that the listing in progress is complete. Missing objects are no longer known.
    pub(super) fn end(&mut self, stream: usize) -> Option<Listed> {
        let listing = self.of(stream);
        listing.complete = true;
        let existing = listing.listed.take()?;
        let missing: Vec<_> = listing.known.difference(&existing).cloned().collect();
        listing.known.retain(|key| existing.contains(key));
        Some(Listed { existing, missing })
    }

    /// Records that a stream cannot be listed and is not waited for.
    pub(super) fn excuse(&mut self, stream: usize) {
        self.of(stream).complete = true;
    }

    /// Whether every stream has been listed at least once.
    pub(super) fn complete(&self) -> bool {
        self.streams.values().all(|listing| listing.complete)
    }

    fn of(&mut self, stream: usize) -> &mut Listing {
        self.streams.entry(stream).or_default()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(number: u8) -> ObjectKey {
        ObjectKey::new("shop", format!("object-{number}"))
    }

    /// What happens at the API server, and to the stream.
    #[derive(Debug, Clone)]
    enum Event {
        Create(u8),
        Delete(u8),
        /// The stream breaks, and later changes are not shown.
        Break,
        /// The stream lists everything.
        List,
        /// The stream begins to list, and breaks after that many objects.
        ListSome(usize),
    }

    fn events() -> impl Strategy<Value = Vec<Event>> {
        let event = prop_oneof![
            4 => (0..6_u8).prop_map(Event::Create),
            4 => (0..6_u8).prop_map(Event::Delete),
            1 => Just(Event::Break),
            2 => Just(Event::List),
            1 => (0..6_usize).prop_map(Event::ListSome),
        ];
        prop::collection::vec(event, 0..60)
    }

    /// A follower of one stream.
    struct Follower {
        listings: Listings,
        /// What the listings say exists.
        believed: HashSet<ObjectKey>,
    }

    impl Follower {
        fn exists(&mut self, key: &ObjectKey) {
            self.listings.exists(0, key, true);
            self.believed.insert(key.clone());
        }

        fn gone(&mut self, key: &ObjectKey) {
            self.listings.gone(0, key);
            self.believed.remove(key);
        }

        fn list(&mut self, existing: &HashSet<ObjectKey>, most: usize) {
            self.listings.begin(0);
            for key in existing.iter().take(most) {
                self.exists(key);
            }
        }

        fn end(&mut self) -> Vec<ObjectKey> {
            let missing = self.listings.end(0).unwrap().missing;
            for key in &missing {
                self.believed.remove(key);
            }
            missing
        }
    }

    proptest! {
        #[test]
        fn after_a_listing_exactly_what_exists_is_known(events in events()) {
            let mut follower = Follower { listings: Listings::new(1), believed: HashSet::new() };
            let (mut existing, mut watching) = (HashSet::new(), false);
            for event in events {
                match event {
                    Event::Create(number) => {
                        existing.insert(key(number));
                        if watching {
                            follower.exists(&key(number));
                        }
                    }
                    Event::Delete(number) => {
                        if existing.remove(&key(number)) && watching {
                            follower.gone(&key(number));
                        }
                    }
                    Event::Break => watching = false,
                    Event::ListSome(most) => {
                        let before = follower.believed.clone();
                        follower.list(&existing, most);
                        watching = false;
                        prop_assert!(follower.believed.is_superset(&before), "only a complete listing says what is missing");
                    }
                    Event::List => {
                        follower.list(&existing, usize::MAX);
                        let before = follower.believed.clone();
                        let missing = follower.end();
                        prop_assert!(missing.iter().all(|key| before.contains(key) && !existing.contains(key)));
                        watching = true;
                    }
                }
                if watching {
                    prop_assert_eq!(&follower.believed, &existing);
                }
            }
        }
    }

    #[test]
    fn an_untracked_object_is_listed_and_never_missing() {
        let mut listings = Listings::new(1);
        listings.begin(0);
        listings.exists(0, &key(1), false);
        assert_eq!(listings.end(0), Some(Listed { existing: HashSet::from([key(1)]), missing: Vec::new() }));
        listings.begin(0);
        assert_eq!(listings.end(0), Some(Listed::default()));
    }

    #[test]
    fn everything_is_listed_when_every_stream_is_and_stays_so() {
        let mut listings = Listings::new(2);
        listings.begin(0);
        listings.end(0);
        listings.begin(1);
        assert!(!listings.complete());
        listings.end(1);
        assert!(listings.complete());
        listings.begin(1);
        assert!(listings.complete(), "while it is listed again, what is known stays in use");
    }

    #[test]
    fn a_stream_that_cannot_be_listed_may_be_excused() {
        let mut listings = Listings::new(1);
        listings.excuse(0);
        assert!(listings.complete());
        listings.begin(0);
        listings.exists(0, &key(1), true);
        assert!(listings.end(0).is_some_and(|listed| listed.existing.contains(&key(1))), "when it can be, it is");
    }
}
