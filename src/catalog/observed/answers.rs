//! What receivers have answered to deliveries that succeeded.

use std::collections::VecDeque;

use grapnel_journal::Sequence;
use parking_lot::Mutex;

use crate::catalog::limits::{ANSWER_BYTES, ANSWERS};

/// The starts of the latest answers of a receiver to deliveries that succeeded. They are kept in memory only, by the
/// process that delivered; what a receiver answers to a failed attempt is stored with its outcome.
#[derive(Debug, Default)]
pub struct Answers(Mutex<VecDeque<(Sequence, Box<str>)>>);

impl Answers {
    /// Remembers the start of an answer, up to [`ANSWER_BYTES`]; of the last [`ANSWERS`] events.
    pub fn remember(&self, sequence: Sequence, start: &[u8]) {
        if start.is_empty() {
            return;
        }
        let text = String::from_utf8_lossy(start.get(..ANSWER_BYTES).unwrap_or(start)).into();
        let mut answers = self.0.lock();
        answers.retain(|(known, _)| *known != sequence);
        if answers.len() >= ANSWERS {
            answers.pop_front();
        }
        answers.push_back((sequence, text));
    }

    /// The start of the answer to an event, if it is still remembered.
    pub fn of(&self, sequence: Sequence) -> Option<Box<str>> {
        self.0.lock().iter().find(|(known, _)| *known == sequence).map(|(_, text)| text.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_answers_are_remembered_within_bounds() {
        let answers = Answers::default();
        for sequence in 1..=1000 {
            answers.remember(sequence, format!("answer {sequence}").as_bytes());
        }
        answers.remember(1001, b"");
        let last = 1000 - ANSWERS as u64;
        assert_eq!((answers.of(last), answers.of(1001)), (None, None));
        assert_eq!(answers.of(last + 1).as_deref(), Some(&*format!("answer {}", last + 1)));
        // A redelivery has another answer.
        answers.remember(1000, &[b'x'; 10 * ANSWER_BYTES]);
        assert_eq!(answers.of(1000).map(|text| text.len()), Some(ANSWER_BYTES));
        let kept = answers.0.lock();
        assert!(kept.len() == ANSWERS && kept.capacity() <= 2 * ANSWERS);
        drop(kept);
        answers.remember(1002, &[0xff, b'o', b'k']);
        assert_eq!(answers.of(1002).as_deref(), Some("\u{fffd}ok"));
    }
}
