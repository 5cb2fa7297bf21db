//! The texts of failures, shared by all that have the same.

use std::{collections::HashSet, sync::Arc};

use crate::limits::FAILURE_MESSAGE_BYTES;

/// Maximum bytes of the different texts of one consumer's failures.
pub(super) const FAILURE_TEXTS_BYTES: usize = 4 << 20;

/// Stands for the message of a failure that exceeds [`FAILURE_TEXTS_BYTES`].
const NOT_KEPT: &str = "(the message was not kept: the subscription has too many failures with different messages)";

/// Further bytes for failures whose messages are not kept.
const RESERVE_BYTES: usize = 64 << 10;

/// Stands for the reason of a failure for which that is not enough either.
const OTHER: &str = "other";

/// Maximum length of a reason in bytes: reasons are words of a small, fixed set.
const REASON_BYTES: usize = 64;

/// The reason and message of failures.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct FailureTexts {
    pub(super) reason: Box<str>,
    pub(super) message: Box<str>,
}

/// The texts of one consumer.
#[derive(Debug, Default)]
pub(super) struct TextPool {
    texts: HashSet<Arc<FailureTexts>>,
    bytes: usize,
    /// Unused texts are dropped when there are more bytes than this.
    prune_at: usize,
}

impl FailureTexts {
    fn len(&self) -> usize {
        self.reason.len() + self.message.len()
    }
}

impl TextPool {
    /// Returns texts equal to these, or shorter ones if there is no room.
    pub(super) fn share(&mut self, reason: &str, message: &str) -> Arc<FailureTexts> {
        let (reason, message) = (truncated(reason, REASON_BYTES), truncated(message, FAILURE_MESSAGE_BYTES));
        self.fit(reason, message, FAILURE_TEXTS_BYTES)
            .or_else(|| self.fit(reason, NOT_KEPT, FAILURE_TEXTS_BYTES + RESERVE_BYTES))
            .unwrap_or_else(|| self.insert(FailureTexts { reason: OTHER.into(), message: NOT_KEPT.into() }))
    }

    /// Returns the texts if they are known or fit in `most` bytes.
    fn fit(&mut self, reason: &str, message: &str, most: usize) -> Option<Arc<FailureTexts>> {
        let texts = FailureTexts { reason: reason.into(), message: message.into() };
        if let Some(known) = self.texts.get(&texts) {
            return Some(Arc::clone(known));
        }
        if self.bytes + texts.len() > self.prune_at.min(most) {
            self.prune();
        }
        (self.bytes + texts.len() <= most).then(|| self.insert(texts))
    }

    fn insert(&mut self, texts: FailureTexts) -> Arc<FailureTexts> {
        if let Some(known) = self.texts.get(&texts) {
            return Arc::clone(known);
        }
        let texts = Arc::new(texts);
        self.bytes += texts.len();
        self.texts.insert(Arc::clone(&texts));
        texts
    }

    /// Drops texts that no failure has.
    fn prune(&mut self) {
        self.texts.retain(|texts| Arc::strong_count(texts) > 1);
        self.bytes = self.texts.iter().map(|texts| texts.len()).sum();
        self.prune_at = 2 * self.bytes + FAILURE_TEXTS_BYTES / 16;
    }

    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.texts.iter().map(|texts| texts.len()).sum()
    }
}

/// Returns the beginning of a text, at most `bytes` long.
fn truncated(text: &str, bytes: usize) -> &str {
    (0..=bytes.min(text.len())).rev().find_map(|end| text.get(..end)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_texts_are_shared() {
        let mut pool = TextPool::default();
        let first = pool.share("status", "503");
        assert!(Arc::ptr_eq(&first, &pool.share("status", "503")));
        assert!(!Arc::ptr_eq(&first, &pool.share("status", "504")));
    }

    #[test]
    fn unused_texts_are_dropped() {
        let mut pool = TextPool::default();
        let held = pool.share("status", "held");
        for n in 0..100_000 {
            pool.share("status", &format!("{n:0>900}"));
            assert!(pool.bytes <= FAILURE_TEXTS_BYTES / 8, "{}", pool.bytes);
        }
        assert!(Arc::ptr_eq(&held, &pool.share("status", "held")));
    }

    #[test]
    fn messages_beyond_the_bound_are_not_kept() {
        let mut pool = TextPool::default();
        let message = |n: usize| format!("{n:0>1000}");
        let mut held: Vec<_> = (0..5000).map(|n| pool.share("status", &message(n))).collect();
        assert!(pool.bytes() <= FAILURE_TEXTS_BYTES + 200, "{}", pool.bytes());
        assert_eq!(*held[0].message, *message(0));
        assert_eq!((&*held[4999].message, &*held[4999].reason), (NOT_KEPT, "status"));
        let reasons: Vec<_> = (0..9999).map(|n| pool.share(&format!("reason-{n}"), "new")).collect();
        assert!(pool.bytes() <= FAILURE_TEXTS_BYTES + RESERVE_BYTES + 200, "{}", pool.bytes());
        assert_eq!((&*reasons[9998].message, &*reasons[9998].reason), (NOT_KEPT, OTHER));
        drop(reasons);
        // There is room again.
        held.truncate(10);
        assert_eq!(*pool.share("status", &message(4999)).message, *message(4999));
    }

    #[test]
    fn texts_are_truncated() {
        let mut pool = TextPool::default();
        let texts = pool.share(&"r".repeat(100), &"é".repeat(1000));
        assert_eq!((texts.reason.len(), texts.message.len()), (REASON_BYTES, FAILURE_MESSAGE_BYTES));
    }
}
