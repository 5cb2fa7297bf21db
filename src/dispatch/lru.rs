//! A cache of values shared by all subscriptions that need the same one: connection pools and access tokens.
//!
//! A value that is removed or evicted is dropped at once, unlike one of [`crate::cache::BoundedCache`]: its connections
//! close, and its secrets are overwritten.

use std::collections::{HashMap, HashSet};

use parking_lot::Mutex;

use crate::catalog::target::Fingerprint;

/// Values by the fingerprint of their inputs, with a maximum size; the least recently used value is evicted.
pub(super) struct LruCache<V> {
    most: usize,
    entries: Mutex<Entries<V>>,
}

struct Entries<V> {
    by_fingerprint: HashMap<Fingerprint, CachedValue<V>>,
    uses: u64,
}

struct CachedValue<V> {
    value: V,
    /// Sequence number of the last use.
    used: u64,
}

impl<V: Clone> LruCache<V> {
    /// An empty cache for at most `most` values.
    pub(super) fn new(most: usize) -> Self {
        Self { most, entries: Mutex::new(Entries { by_fingerprint: HashMap::new(), uses: 0 }) }
    }

    /// The cached value, or a new one.
    ///
    /// # Errors
    /// Those of `make`.
    pub(super) fn get<E>(&self, key: Fingerprint, make: impl FnOnce() -> Result<V, E>) -> Result<V, E> {
        let mut entries = self.entries.lock();
        entries.uses = entries.uses.saturating_add(1);
        let used = entries.uses;
        if let Some(entry) = entries.by_fingerprint.get_mut(&key) {
            entry.used = used;
            return Ok(entry.value.clone());
        }
        let value = make()?;
        if entries.by_fingerprint.len() >= self.most
            && let Some(oldest) = entries.by_fingerprint.iter().min_by_key(|(_, entry)| entry.used).map(|(key, _)| *key)
        {
            entries.by_fingerprint.remove(&oldest);
        }
        entries.by_fingerprint.insert(key, CachedValue { value: value.clone(), used });
        Ok(value)
    }

    /// Whether the cache is empty.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.lock().by_fingerprint.is_empty()
    }

    /// Drops values that are no longer in use.
    pub(super) fn retain(&self, used: &HashSet<Fingerprint>) {
        self.entries.lock().by_fingerprint.retain(|key, _| used.contains(key));
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;
    use crate::catalog::TlsIdentity;

    fn fingerprint(name: &str) -> Fingerprint {
        TlsIdentity::default().calling(name).unwrap().fingerprint()
    }

    #[test]
    fn one_is_made_for_equals_and_the_one_unused_longest_makes_room() {
        let kept = LruCache::new(2);
        let mut made = Vec::new();
        for name in ["a.test", "a.test", "b.test", "a.test", "c.test", "a.test", "b.test"] {
            let make = || {
                made.push(name);
                Ok::<_, Infallible>(name)
            };
            assert_eq!(kept.get(fingerprint(name), make).unwrap(), name);
        }
        assert_eq!(made, ["a.test", "b.test", "c.test", "b.test"]);
    }

    #[test]
    fn what_nobody_uses_goes_and_what_cannot_be_made_is_not_kept() {
        let kept = LruCache::new(8);
        assert!(kept.get(fingerprint("a.test"), || Err::<(), _>("no")).is_err());
        assert!(kept.is_empty());
        for name in ["a.test", "b.test"] {
            kept.get(fingerprint(name), || Ok::<_, Infallible>(())).unwrap();
        }
        kept.retain(&HashSet::from([fingerprint("b.test")]));
        let mut made = 0;
        for name in ["a.test", "b.test"] {
            let make = || {
                made += 1;
                Ok::<_, Infallible>(())
            };
            kept.get(fingerprint(name), make).unwrap();
        }
        assert_eq!(made, 1);
        kept.retain(&HashSet::new());
        assert!(kept.is_empty());
    }
}
