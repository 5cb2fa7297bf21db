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

    /// Searches with the cache of a pattern, which is made if there is none.
    pub(crate) fn is_match(&mut self, pattern: &'a Pattern, text: &str) -> bool {
        if let Some((_, cache)) = self.caches.iter_mut().find(|(known, _)| ptr::eq(*known, pattern)) {
            return pattern.is_match(cache, text);
        }
        let bytes: usize = self.caches.iter().map(|(_, cache)| cache.memory_usage()).sum();
        if self.caches.len() >= MOST || bytes > MOST_BYTES {
            self.caches.clear();
        }
        let mut cache = pattern.regex.create_cache();
        let matched = pattern.is_match(&mut cache, text);
        self.caches.push((pattern, cache));
        matched
    }
}
