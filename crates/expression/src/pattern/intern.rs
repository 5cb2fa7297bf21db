//! Literal patterns are shared by all expressions of the process that have them.

use std::{
    collections::HashMap,
    convert::Infallible,
    sync::{Arc, LazyLock, Mutex, PoisonError, Weak},
};

use super::{Pattern, PatternError, Refused, Use};

/// Entries below which the map is not searched for dead ones.
const FEW: usize = 64;

static PATTERNS: LazyLock<Mutex<Interned>> = LazyLock::new(Mutex::default);

#[derive(Default)]
struct Interned {
    patterns: HashMap<Box<str>, Weak<Pattern>>,
    /// Entries at which dead ones are removed.
    full: usize,
}

impl Interned {
    fn get(&self, source: &str) -> Option<Arc<Pattern>> {
        self.patterns.get(source)?.upgrade()
    }

    /// Adds a pattern, unless there is one by now, and removes dead entries each time the map has doubled.
    fn add(&mut self, pattern: Pattern) -> Arc<Pattern> {
        if let Some(known) = self.get(&pattern.source) {
            return known;
        }
        if self.patterns.len() >= self.full.max(FEW) {
            self.patterns.retain(|_, pattern| pattern.strong_count() > 0);
            self.full = 2 * self.patterns.len();
        }
        let pattern = Arc::new(pattern);
        self.patterns.insert(pattern.source.clone(), Arc::downgrade(&pattern));
        pattern
    }
}

/// The compiled pattern of a text: the one that another expression holds, or a new one.
///
/// # Errors
///
/// Those of [`Pattern::compile`].
pub(crate) fn intern(source: &str) -> Result<Arc<Pattern>, PatternError> {
    let lock = || PATTERNS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = lock().get(source) {
        return Ok(known);
    }
    let compiled =
        Pattern::compile(source, Use::Often, |_| Ok::<_, Infallible>(())).map_err(|refused| match refused {
            Refused::Pattern(error) => error,
            Refused::Unpaid(never) => match never {},
        })?;
    Ok(lock().add(compiled))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_patterns_are_shared_while_they_are_used() {
        let first = intern("^shared-[0-9]+$").unwrap();
        let second = intern("^shared-[0-9]+$").unwrap();
        assert!(Arc::ptr_eq(&first, &second));
        let weak = Arc::downgrade(&first);
        drop((first, second));
        assert!(weak.upgrade().is_none());
    }

    #[test]
    fn entries_of_patterns_that_are_gone_are_removed() {
        let mut interned = Interned::default();
        for number in 0..10 * FEW {
            let pattern = Pattern::compile(&format!("gone-{number}"), Use::Often, |_| Ok::<_, Infallible>(()));
            let Ok(pattern) = pattern else { panic!("{number} is refused") };
            drop(interned.add(pattern));
            assert!(interned.patterns.len() <= FEW);
        }
    }
}
