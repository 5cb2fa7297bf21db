//! Memory for the searches of one evaluation. Patterns keep none: they live as long as their expressions, and a cache can
//! become larger than its pattern.

use std::ptr;

use regex_automata::meta::Cache;

use super::Pattern;

/// Most caches that are kept for later searches of an evaluation.
const MOST: usize = 16;

/// Most memory of these caches, in bytes.
const MOST_BYTES: usize = 1 << 20;

#[derive(Default)]
pub(crate) struct Caches<'a> {
    caches: Vec<(&'a Pattern, Cache)>,
}

impl<'a> Caches<'a> {
    /// Whether there is a cache for a pattern.
    pub(crate) fn has(&self, pattern: &Pattern) -> bool {
        self.caches.iter().any(|(known, _)| ptr::eq(*known, pattern))
    }

    /// Calls `search` with the cache of a pattern, and creates the cache for its first search.
    pub(crate) fn with<T>(&mut self, pattern: &'a Pattern, search: impl FnOnce(&mut Cache) -> T) -> T {
        if let Some((_, cache)) = self.caches.iter_mut().find(|(known, _)| ptr::eq(*known, pattern)) {
            return search(cache);
        }
        let bytes: usize = self.caches.iter().map(|(_, cache)| cache.memory_usage()).sum();
        if self.caches.len() >= MOST || bytes > MOST_BYTES {
            self.caches.clear();
        }
        let mut cache = pattern.cache();
        let found = search(&mut cache);
        self.caches.push((pattern, cache));
        found
    }
}
