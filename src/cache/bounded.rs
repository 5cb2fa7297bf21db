//! A cache with a maximum number of values.

use std::{borrow::Borrow, hash::Hash};

use moka::{policy::EvictionPolicy, sync::Cache};

/// Values by key, at most a fixed number; the least recently used is evicted.
///
/// Values are cloned on reading. A value that was removed or evicted may stay in memory until later operations on the
/// cache, so values must not be secret, and must not hold a connection.
pub(crate) struct BoundedCache<K, V>(Cache<K, V>);

impl<K, V> BoundedCache<K, V>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// An empty cache for at most `most` values.
    pub(crate) fn new(most: usize) -> Self {
        let most = u64::try_from(most).unwrap_or(u64::MAX);
        Self(Cache::builder().max_capacity(most).eviction_policy(EvictionPolicy::lru()).build())
    }

    /// The value of a key, which counts as a use.
    pub(crate) fn get<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        self.0.get(key)
    }

    /// Inserts or replaces a value.
    pub(crate) fn insert(&self, key: K, value: V) {
        self.0.insert(key, value);
        // The library evicts in batches; without this, a small cache would hold a multiple of its maximum.
        self.0.run_pending_tasks();
    }

    /// Removes a value.
    pub(crate) fn remove<Q: Hash + Eq + ?Sized>(&self, key: &Q)
    where
        K: Borrow<Q>,
    {
        self.0.invalidate(key);
    }

    /// Number of values.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.0.iter().count()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone, Copy)]
    enum Operation {
        Get(u8),
        Insert(u8, u16),
        Remove(u8),
    }

    fn operations() -> impl Strategy<Value = Vec<Operation>> {
        let operation = prop_oneof![
            (0..12_u8).prop_map(Operation::Get),
            (0..12_u8, any::<u16>()).prop_map(|(key, value)| Operation::Insert(key, value)),
            (0..12_u8).prop_map(Operation::Remove),
        ];
        prop::collection::vec(operation, 0..60)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn the_least_recently_used_value_is_evicted(operations in operations()) {
            let cache = BoundedCache::new(5);
            // The least recently used value first.
            let mut model: VecDeque<(u8, u16)> = VecDeque::new();
            for operation in operations {
                match operation {
                    Operation::Get(key) => {
                        let position = model.iter().position(|(known, _)| *known == key);
                        let known = position.and_then(|position| model.remove(position));
                        model.extend(known);
                        prop_assert_eq!(cache.get(&key), known.map(|(_, value)| value));
                    }
                    Operation::Insert(key, value) => {
                        model.retain(|(known, _)| *known != key);
                        model.push_back((key, value));
                        while model.len() > 5 {
                            model.pop_front();
                        }
                        cache.insert(key, value);
                    }
                    Operation::Remove(key) => {
                        model.retain(|(known, _)| *known != key);
                        cache.remove(&key);
                    }
                }
                prop_assert!(model.iter().all(|(key, _)| cache.0.contains_key(key)), "not a use");
                prop_assert_eq!(cache.len(), model.len());
            }
        }
    }
}
