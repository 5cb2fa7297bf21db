//! A small set of sequences, and its form in a status.

use std::{collections::BTreeSet, fmt, str::FromStr};

use grapnel_journal::Sequence;

use crate::catalog::limits::REPLAY_WAITING;

/// A set of at most [`REPLAY_WAITING`] sequences. `Display` and `FromStr` are inverses of each other: `7,9-12`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sequences(BTreeSet<Sequence>);

/// The text is not a set of sequences.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a set of at most {REPLAY_WAITING} sequences")]
pub struct InvalidSequences;

impl Sequences {
    /// Number of sequences.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many may be added.
    pub fn room(&self) -> usize {
        REPLAY_WAITING.saturating_sub(self.0.len())
    }

    /// Adds a sequence, if there is room. Returns whether it was added.
    pub fn insert(&mut self, sequence: Sequence) -> bool {
        self.room() > 0 && self.0.insert(sequence)
    }

    /// Removes a sequence. Returns whether it was there.
    pub fn remove(&mut self, sequence: Sequence) -> bool {
        self.0.remove(&sequence)
    }

    /// The sequences from this one on, in ascending order.
    pub fn from(&self, first: Sequence) -> impl Iterator<Item = Sequence> {
        self.0.range(first..).copied()
    }
}

impl fmt::Display for Sequences {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut sequences = self.0.iter().copied().peekable();
        let mut comma = "";
        while let Some(first) = sequences.next() {
            let mut last = first;
            while let Some(next) = sequences.next_if(|next| last.checked_add(1) == Some(*next)) {
                last = next;
            }
            match last {
                last if last == first => write!(f, "{comma}{first}")?,
                last => write!(f, "{comma}{first}-{last}")?,
            }
            comma = ",";
        }
        Ok(())
    }
}

impl FromStr for Sequences {
    type Err = InvalidSequences;

    fn from_str(text: &str) -> Result<Self, InvalidSequences> {
        let number = |text: &str| {
            let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            if plain { text.parse::<Sequence>().map_err(|_| InvalidSequences) } else { Err(InvalidSequences) }
        };
        let mut sequences = Self::default();
        for part in text.split(',').filter(|_| !text.is_empty()) {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (number(first)?, number(last)?);
            if first > last || last - first >= REPLAY_WAITING as u64 {
                return Err(InvalidSequences);
            }
            for sequence in first..=last {
                if !sequences.insert(sequence) {
                    return Err(InvalidSequences);
                }
            }
        }
        Ok(sequences)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(sequences: &[Sequence]) -> Sequences {
        Sequences(sequences.iter().copied().collect())
    }

    #[test]
    fn neighbours_are_written_as_a_range() {
        assert_eq!(of(&[]).to_string(), "");
        assert_eq!(of(&[7]).to_string(), "7");
        assert_eq!(of(&[12, 7, 9, 10, 11]).to_string(), "7,9-12");
        assert_eq!(of(&[u64::MAX - 1, u64::MAX]).to_string(), format!("{}-{}", u64::MAX - 1, u64::MAX));
    }

    #[test]
    fn other_texts_are_no_sequences() {
        let too_many = format!("1-{}", REPLAY_WAITING + 1);
        let endless = format!("0-{}", u64::MAX);
        for wrong in [",", "1,", "a", "-1", "1-", "3-2", "1-2-3", "1,1", "1-3,2", " 1", "+1", &too_many, &endless] {
            assert_eq!(wrong.parse::<Sequences>(), Err(InvalidSequences), "{wrong:?}");
        }
        assert_eq!(format!("1-{REPLAY_WAITING}").parse::<Sequences>().unwrap().room(), 0);
    }

    #[test]
    fn a_full_set_takes_no_more() {
        let mut full: Sequences = format!("1-{REPLAY_WAITING}").parse().unwrap();
        assert!(!full.insert(0));
        assert!(full.remove(5) && !full.remove(5) && full.insert(0));
        assert_eq!(full.from(4).take(2).collect::<Vec<_>>(), [4, 6]);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(sequences in prop::collection::btree_set(0..5000_u64, 0..REPLAY_WAITING)) {
            let set = Sequences(sequences);
            prop_assert_eq!(set.to_string().parse(), Ok(set));
        }
    }
}
