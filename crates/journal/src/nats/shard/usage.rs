//! Bytes of kept events, and how many of them may be removed.

use std::ops::{Add, AddAssign, Neg};

use super::rows::Row;

/// Bytes of kept events, or a change of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Usage {
    bytes: i64,
    /// Bytes of the events that all their consumers have settled.
    settled: i64,
}

impl Usage {
    /// Returns what one event adds.
    pub(super) fn of(row: &Row) -> Self {
        let bytes = i64::from(row.bytes);
        Self { bytes, settled: if row.is_settled() { bytes } else { 0 } }
    }

    pub(super) fn bytes(self) -> u64 {
        u64::try_from(self.bytes).unwrap_or_default()
    }

    /// Returns the bytes of the events that may be removed.
    pub(super) fn settled(self) -> u64 {
        u64::try_from(self.settled).unwrap_or_default()
    }

    /// Returns the bytes of the events that must be kept.
    pub(super) fn pinned(self) -> u64 {
        self.bytes().saturating_sub(self.settled())
    }
}

impl Add for Usage {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { bytes: self.bytes + other.bytes, settled: self.settled + other.settled }
    }
}

impl AddAssign for Usage {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Neg for Usage {
    type Output = Self;

    fn neg(self) -> Self {
        Self { bytes: -self.bytes, settled: -self.settled }
    }
}
