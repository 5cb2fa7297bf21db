//! The earliest retries of a consumer, in memory; the rest stays on disk.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::{journal::Sequence, rules::limits::DUE_WINDOW};

/// A place in the due-time order.
pub(super) type DueKey = (Timestamp, Sequence);

/// A window on the due-time order on disk: everything up to the horizon that is not in flight.
#[derive(Debug, Default)]
pub(super) struct DueWindow {
    near: BTreeMap<DueKey, u32>,
    horizon: Horizon,
    /// Rows beyond the horizon that were written while a scan for the next part was under way: the
    /// scan may or may not have seen them.
    beside: Option<BTreeMap<DueKey, u32>>,
    /// No retry that waits, here or on disk, has a lower sequence.
    lowest: Sequence,
    /// How many have been inserted: tells whether a search on disk may have missed one.
    inserted: u64,
}

/// How far the window reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Horizon {
    /// Nothing has been read yet.
    #[default]
    Nothing,
    /// Up to and including this row.
    UpTo(DueKey),
    /// Everything there is.
    All,
}

impl DueWindow {
    /// A window on a consumer that has no retries on disk.
    pub(super) fn complete() -> Self {
        Self { horizon: Horizon::All, ..Self::default() }
    }

    /// A retry has been written, or given back.
    pub(super) fn insert(&mut self, key: DueKey, attempt: u32) {
        self.lowest = self.lowest.min(key.1);
        self.inserted += 1;
        let inside = match self.horizon {
            Horizon::Nothing => false,
            Horizon::UpTo(last) => key <= last,
            Horizon::All => true,
        };
        if inside {
            self.near.insert(key, attempt);
            self.shrink();
        } else if let Some(beside) = &mut self.beside {
            beside.insert(key, attempt);
        }
    }

    /// Takes the earliest one, if it is due at `now`.
    pub(super) fn take(&mut self, now: Timestamp) -> Option<(DueKey, u32)> {
        let first = self.near.first_entry()?;
        (first.key().0 <= now).then(|| first.remove_entry())
    }

    /// Takes this one, if it is in the window; what lies beyond the horizon is only on disk.
    pub(super) fn remove(&mut self, key: &DueKey) {
        self.near.remove(key);
    }

    /// Where a search on disk for the lowest sequence begins, and what to end it with.
    pub(super) fn begin_search(&self) -> (Sequence, u64) {
        (self.lowest, self.inserted)
    }

    /// The search found `lowest` to be the lowest sequence. False when it may have missed another one.
    pub(super) fn end_search(&mut self, begun: u64, lowest: Option<Sequence>) -> bool {
        if self.inserted != begun {
            return false;
        }
        self.lowest = lowest.unwrap_or(self.lowest);
        true
    }

    /// When the earliest one is due.
    pub(super) fn next_due(&self) -> Option<Timestamp> {
        self.near.first_key_value().map(|((due, _), _)| *due)
    }

    /// The window is empty but the disk may hold more.
    pub(super) fn is_exhausted(&self) -> bool {
        self.near.is_empty() && self.horizon != Horizon::All
    }

    /// Where to read on. What is written beyond the horizon is remembered until `end_scan`.
    pub(super) fn begin_scan(&mut self) -> Horizon {
        self.beside = Some(BTreeMap::new());
        self.horizon
    }

    /// What a scan from the horizon found up to `last`; `complete` if it came to the end.
    pub(super) fn end_scan(&mut self, rows: Vec<(DueKey, u32)>, last: Option<DueKey>, complete: bool) {
        self.horizon = match last {
            _ if complete => Horizon::All,
            Some(last) => Horizon::UpTo(last),
            None => self.horizon,
        };
        self.near.extend(rows);
        for (key, attempt) in self.beside.take().unwrap_or_default() {
            self.insert(key, attempt);
        }
        self.shrink();
    }

    /// A scan failed: nothing has changed.
    pub(super) fn abandon_scan(&mut self) {
        self.beside = None;
    }

    fn shrink(&mut self) {
        if self.near.len() <= 2 * DUE_WINDOW {
            return;
        }
        while self.near.len() > DUE_WINDOW {
            self.near.pop_last();
        }
        self.horizon = self.near.last_key_value().map_or(Horizon::Nothing, |(key, _)| Horizon::UpTo(*key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn forgets_the_latest_and_finds_them_again() {
        let mut window = DueWindow::complete();
        for n in 0..=2 * DUE_WINDOW as u64 {
            window.insert((at(n as i64), n), 2);
        }
        let last = (at(DUE_WINDOW as i64 - 1), DUE_WINDOW as u64 - 1);
        assert_eq!(window.begin_scan(), Horizon::UpTo(last));
        window.abandon_scan();
        for n in 0..DUE_WINDOW as u64 {
            assert_eq!(window.take(at(i64::from(u32::MAX))), Some(((at(n as i64), n), 2)));
        }
        assert!(window.is_exhausted());
        window.begin_scan();
        // Written while the scan is under way, before and beyond where it ends.
        let (seen, unseen) = ((at(5000), 9001), (at(90000), 9002));
        window.insert(seen, 3);
        window.insert(unseen, 3);
        window.end_scan(vec![((at(6000), 6000), 2)], Some((at(6000), 6000)), false);
        assert_eq!(window.take(at(100_000)), Some((seen, 3)));
        assert_eq!(window.take(at(100_000)), Some(((at(6000), 6000), 2)));
        assert!(window.is_exhausted());
    }

    #[test]
    fn nothing_before_its_time() {
        let mut window = DueWindow::complete();
        window.insert((at(10), 1), 2);
        assert_eq!(window.take(at(9)), None);
        assert_eq!(window.next_due(), Some(at(10)));
        assert!(window.take(at(10)).is_some());
        assert!(!window.is_exhausted());
    }
}
