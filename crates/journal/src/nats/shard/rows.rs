//! The kept events of one endpoint, by sequence.
//!
//! The rows are in blocks, so that a row takes no more memory than its fields, and a search for settled events skips
//! blocks that have none.

use std::collections::BTreeMap;

use crate::{Sequence, machine::Micros};

/// Maximum number of rows of a block to which a row is appended.
const BLOCK_ROWS: usize = 256;

/// A kept event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) sequence: Sequence,
    pub(super) received: Micros,
    /// The end of its deduplication window.
    pub(super) until: Micros,
    pub(super) bytes: u32,
    /// Number of the incarnation that accepted it.
    pub(super) life: u32,
    /// Number of consumers that have not settled it.
    pub(super) pins: u32,
}

/// The rows of an endpoint. A lookup is logarithmic; a change also moves the rows of one block.
#[derive(Debug, Default)]
pub(super) struct Rows {
    /// By a sequence that is not greater than that of its first row.
    blocks: BTreeMap<Sequence, Block>,
    len: usize,
}

#[derive(Debug)]
struct Block {
    /// Ascending; not empty.
    rows: Vec<Row>,
    /// Number of rows without pins.
    settled: usize,
    /// A lower bound of the times of receipt.
    oldest: Micros,
}

impl Row {
    pub(super) fn is_settled(&self) -> bool {
        self.pins == 0
    }
}

impl Block {
    fn position(&self, sequence: Sequence) -> Result<usize, usize> {
        self.rows.binary_search_by_key(&sequence, |row| row.sequence)
    }

    /// Returns the rows at or after `from`.
    fn tail(&self, from: Sequence) -> &[Row] {
        let at = self.rows.partition_point(|row| row.sequence < from);
        self.rows.get(at..).unwrap_or_default()
    }

    /// Returns the rows at or before `last`.
    fn head(&self, last: Sequence) -> &[Row] {
        let at = self.rows.partition_point(|row| row.sequence <= last);
        self.rows.get(..at).unwrap_or_default()
    }
}

impl Rows {
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds a row. Replaces none: returns false if the sequence has one.
    pub(super) fn insert(&mut self, row: Row) -> bool {
        let settled = usize::from(row.is_settled());
        let block = self.blocks.range_mut(..=row.sequence).next_back().map(|(_, block)| block);
        let is_after = |block: &Block| block.rows.last().is_none_or(|last| last.sequence < row.sequence);
        match block.filter(|block| block.rows.len() < BLOCK_ROWS || !is_after(block)) {
            Some(block) => {
                let Err(at) = block.position(row.sequence) else { return false };
                block.rows.insert(at, row);
                block.settled += settled;
                block.oldest = block.oldest.min(row.received);
            }
            None => {
                let block = Block { rows: vec![row], settled, oldest: row.received };
                self.blocks.insert(row.sequence, block);
            }
        }
        self.len += 1;
        true
    }

    /// Removes and returns a row.
    pub(super) fn remove(&mut self, sequence: Sequence) -> Option<Row> {
        let (&key, block) = self.blocks.range_mut(..=sequence).next_back()?;
        let at = block.position(sequence).ok()?;
        let row = block.rows.remove(at);
        block.settled -= usize::from(row.is_settled());
        if block.rows.is_empty() {
            self.blocks.remove(&key);
        } else if block.rows.len() <= block.rows.capacity() / 4 {
            block.rows.shrink_to_fit();
        }
        self.len -= 1;
        Some(row)
    }

    pub(super) fn get(&self, sequence: Sequence) -> Option<&Row> {
        let (_, block) = self.blocks.range(..=sequence).next_back()?;
        block.rows.get(block.position(sequence).ok()?)
    }

    pub(super) fn contains(&self, sequence: Sequence) -> bool {
        self.get(sequence).is_some()
    }

    pub(super) fn last(&self) -> Option<&Row> {
        self.blocks.last_key_value()?.1.rows.last()
    }

    /// Changes the rows from `first` to `last`; `change` must not change their sequences.
    pub(super) fn update(&mut self, first: Sequence, last: Sequence, mut change: impl FnMut(&mut Row)) {
        if first > last {
            return;
        }
        let begin = self.block_of(first);
        for block in self.blocks.range_mut(begin..=last).map(|(_, block)| block) {
            let at = block.rows.partition_point(|row| row.sequence < first);
            for row in block.rows.iter_mut().skip(at).take_while(|row| row.sequence <= last) {
                let before = usize::from(row.is_settled());
                change(row);
                block.settled = block.settled + usize::from(row.is_settled()) - before;
            }
        }
    }

    /// Iterates over the rows at or after `from`, ascending.
    pub(super) fn ascending(&self, from: Sequence) -> impl Iterator<Item = &Row> {
        self.blocks.range(self.block_of(from)..).flat_map(move |(_, block)| block.tail(from))
    }

    /// Iterates over the rows at or before `last`, descending.
    pub(super) fn descending(&self, last: Sequence) -> impl Iterator<Item = &Row> {
        self.blocks.range(..=last).rev().flat_map(move |(_, block)| block.head(last).iter().rev())
    }

    /// Iterates over the rows at or after `from` that are settled, ascending. Skips most of those received after
    /// `cutoff`, but not all.
    pub(super) fn settled(&self, from: Sequence, cutoff: Micros) -> impl Iterator<Item = &Row> {
        self.blocks
            .range(self.block_of(from)..)
            .filter(move |(_, block)| block.settled > 0 && block.oldest <= cutoff)
            .flat_map(move |(_, block)| block.tail(from))
            .filter(|row| row.is_settled())
    }

    /// Returns the key of the block in which a row of this sequence is.
    fn block_of(&self, sequence: Sequence) -> Sequence {
        self.blocks.range(..=sequence).next_back().map_or(sequence, |(key, _)| *key)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn row(sequence: Sequence, pins: u32) -> Row {
        let received = Micros((sequence as i64 * 37) % 1000);
        Row { sequence, received, until: received, bytes: 1, life: 1, pins }
    }

    proptest! {
        /// The rows are those of a plain map, in both directions, from every position.
        #[test]
        fn rows_are_those_of_a_plain_map(
            appended in prop::collection::vec((1u64..4, 0u32..2), 0..1500),
            changes in prop::collection::vec((1u64..3000, 0u8..4), 0..600),
            from in 0u64..3500,
            cutoff in 0i64..1000,
        ) {
            let (mut rows, mut plain) = (Rows::default(), BTreeMap::new());
            let mut at = 0;
            for (step, pins) in appended {
                at += step;
                prop_assert!(rows.insert(row(at, pins)));
                plain.insert(at, row(at, pins));
            }
            for (sequence, change) in changes {
                match change {
                    0 => prop_assert_eq!(rows.insert(row(sequence, 1)), !plain.contains_key(&sequence)),
                    1 => rows.update(sequence, sequence + 9, |row| row.pins ^= 1),
                    _ => prop_assert_eq!(rows.remove(sequence), plain.get(&sequence).copied()),
                }
                match change {
                    0 => { plain.entry(sequence).or_insert(row(sequence, 1)); }
                    1 => plain.range_mut(sequence..sequence + 10).for_each(|(_, row)| row.pins ^= 1),
                    _ => { plain.remove(&sequence); }
                }
            }
            prop_assert_eq!(rows.len(), plain.len());
            prop_assert_eq!(rows.last(), plain.values().last());
            prop_assert_eq!(rows.get(from), plain.get(&from));
            prop_assert!(rows.ascending(from).eq(plain.range(from..).map(|(_, row)| row)));
            prop_assert!(rows.descending(from).eq(plain.range(..=from).rev().map(|(_, row)| row)));
            let is_free = |row: &&Row| row.is_settled() && row.received <= Micros(cutoff);
            let free = rows.settled(from, Micros(cutoff)).filter(is_free);
            prop_assert!(free.eq(plain.range(from..).map(|(_, row)| row).filter(is_free)));
        }
    }
}
