//! The latest events of a shard, in memory: a consumer without a backlog reads nothing from the brokers.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::{Sequence, limits::NATS_RECENT_BYTES};

/// Bytes that an entry counts for in addition to its record.
const ENTRY_BYTES: usize = 64;

/// Records of the latest events, at most [`NATS_RECENT_BYTES`] together.
#[derive(Default)]
pub(super) struct Recent {
    rows: BTreeMap<Sequence, Bytes>,
    bytes: usize,
}

impl Recent {
    pub(super) fn insert(&mut self, sequence: Sequence, row: Bytes) {
        self.bytes += row.len() + ENTRY_BYTES;
        if let Some(before) = self.rows.insert(sequence, row) {
            self.bytes -= before.len() + ENTRY_BYTES;
        }
        while self.bytes > NATS_RECENT_BYTES {
            let Some((_, row)) = self.rows.pop_first() else { return };
            self.bytes -= row.len() + ENTRY_BYTES;
        }
    }

    pub(super) fn get(&self, sequence: Sequence) -> Option<Bytes> {
        self.rows.get(&sequence).cloned()
    }

    pub(super) fn remove(&mut self, sequence: Sequence) {
        if let Some(row) = self.rows.remove(&sequence) {
            self.bytes -= row.len() + ENTRY_BYTES;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_leave_first_and_the_bound_holds() {
        let mut recent = Recent::default();
        let row = Bytes::from(vec![0; NATS_RECENT_BYTES / 10]);
        for sequence in 1..=100 {
            recent.insert(sequence, row.clone());
            recent.insert(sequence, row.clone());
            assert!(recent.bytes <= NATS_RECENT_BYTES, "{}", recent.bytes);
        }
        assert_eq!(recent.get(91), None);
        assert_eq!(recent.get(92), Some(row));
        (1..=100).for_each(|sequence| recent.remove(sequence));
        assert_eq!((recent.bytes, recent.rows.len()), (0, 0));
    }
}
