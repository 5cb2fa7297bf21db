//! The lines in which two bodies differ.

use serde::Serialize;
use serde_json::Value;

use super::limits::{PLAN_COMPARED_LINES, PLAN_DIFF_LINES, PLAN_LINE_CHARS};

/// A line of a diff.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DiffLine {
    /// In both bodies.
    Same(String),
    /// Only in the old one.
    Removed(String),
    /// Only in the new one.
    Added(String),
}

impl DiffLine {
    /// The line with its sign.
    pub fn signed(&self) -> String {
        match self {
            Self::Same(line) => format!("  {line}"),
            Self::Removed(line) => format!("- {line}"),
            Self::Added(line) => format!("+ {line}"),
        }
    }
}

/// The lines in which two bodies differ, with at most two lines around them. JSON is indented first, so that there are
/// none if only its formatting differs. At most
/// [`PLAN_DIFF_LINES`] lines of [`PLAN_LINE_CHARS`] characters.
pub(super) fn diff(old: &[u8], new: &[u8]) -> Vec<DiffLine> {
    const AROUND: usize = 2;
    let (old, new) = (lines(old), lines(new));
    if old == new {
        return Vec::new();
    }
    let same_start = old.iter().zip(&new).take_while(|(one, other)| one == other).count();
    let (old_rest, new_rest) = (old.get(same_start..).unwrap_or_default(), new.get(same_start..).unwrap_or_default());
    let same_end = old_rest.iter().rev().zip(new_rest.iter().rev()).take_while(|(one, other)| one == other).count();
    let middle = |rest: &[String]| {
        let until = (rest.len() - same_end).min(PLAN_COMPARED_LINES);
        rest.get(..until).unwrap_or_default().to_vec()
    };
    let before = old.get(same_start.saturating_sub(AROUND)..same_start).unwrap_or_default();
    let after = old_rest.get(old_rest.len() - same_end..).unwrap_or_default().iter().take(AROUND);
    let mut found: Vec<DiffLine> = before.iter().cloned().map(DiffLine::Same).collect();
    found.extend(compared(&middle(old_rest), &middle(new_rest)));
    found.extend(after.cloned().map(DiffLine::Same));
    found.truncate(PLAN_DIFF_LINES);
    found
}

/// The lines of a body: of JSON, indented.
fn lines(body: &[u8]) -> Vec<String> {
    let pretty = serde_json::from_slice::<Value>(body).ok().and_then(|json| serde_json::to_string_pretty(&json).ok());
    let text = pretty.unwrap_or_else(|| match std::str::from_utf8(body) {
        Ok(text) => text.to_owned(),
        Err(_) => format!("({} bytes that are not text)", body.len()),
    });
    text.lines().map(short).collect()
}

/// A line of bounded length.
pub(super) fn short(line: &str) -> String {
    let mut short: String = line.chars().take(PLAN_LINE_CHARS).collect();
    if short.len() < line.len() {
        short.push('…');
    }
    short
}

/// The differences of two texts by their longest common subsequence.
fn compared(old: &[String], new: &[String]) -> Vec<DiffLine> {
    let width = new.len() + 1;
    // Lengths of the longest common subsequences of what follows line i of the old and line j of the new text.
    let mut common = vec![0_u32; (old.len() + 1) * width];
    let at = |common: &[u32], i: usize, j: usize| common.get(i * width + j).copied().unwrap_or(0);
    for (i, one) in old.iter().enumerate().rev() {
        for (j, other) in new.iter().enumerate().rev() {
            let longest = match one == other {
                true => at(&common, i + 1, j + 1) + 1,
                false => at(&common, i + 1, j).max(at(&common, i, j + 1)),
            };
            if let Some(cell) = common.get_mut(i * width + j) {
                *cell = longest;
            }
        }
    }
    let (mut i, mut j, mut found) = (0, 0, Vec::new());
    loop {
        match (old.get(i), new.get(j)) {
            (Some(one), Some(other)) if one == other => {
                found.push(DiffLine::Same(one.clone()));
                (i, j) = (i + 1, j + 1);
            }
            (Some(one), other) if other.is_none() || at(&common, i + 1, j) >= at(&common, i, j + 1) => {
                found.push(DiffLine::Removed(one.clone()));
                i += 1;
            }
            (_, Some(other)) => {
                found.push(DiffLine::Added(other.clone()));
                j += 1;
            }
            _ => return found,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn signed(old: &str, new: &str) -> Vec<String> {
        diff(old.as_bytes(), new.as_bytes()).iter().map(DiffLine::signed).collect()
    }

    #[test]
    fn json_is_compared_by_its_members() {
        let found = signed(r#"{"a":1,"b":2,"c":3,"d":4,"e":5}"#, r#"{"a":1,"b":2,"c":"x","d":4,"e":5}"#);
        assert_eq!(
            found,
            ["    \"a\": 1,", "    \"b\": 2,", "-   \"c\": 3,", "+   \"c\": \"x\",", "    \"d\": 4,", "    \"e\": 5"]
        );
        assert_eq!(signed(r#"{"a":1}"#, r#"{ "a": 1 }"#), Vec::<String>::new());
        assert_eq!(signed("a=1", "{}"), ["- a=1", "+ {}"]);
        assert!(diff(&[0xff], b"x").iter().any(|line| line.signed().contains("not text")));
    }

    proptest! {
        /// The old lines are those that are not added, and the new ones those that are not removed.
        #[test]
        fn both_texts_are_in_the_comparison(old in prop::collection::vec("[a-c]", 0..12), new in prop::collection::vec("[a-c]", 0..12)) {
            let found = compared(&old, &new);
            let of = |skips: fn(&DiffLine) -> bool| -> Vec<String> {
                found.iter().filter(|line| !skips(line)).map(|line| line.signed().split_off(2)).collect()
            };
            prop_assert_eq!(of(|line| matches!(line, DiffLine::Added(_))), old);
            prop_assert_eq!(of(|line| matches!(line, DiffLine::Removed(_))), new);
        }

        #[test]
        fn a_diff_is_bounded(old in prop::collection::vec(any::<u8>(), 0..5000), new in prop::collection::vec(any::<u8>(), 0..5000)) {
            let found = diff(&old, &new);
            prop_assert!(found.len() <= PLAN_DIFF_LINES);
            prop_assert!(found.iter().all(|line| line.signed().chars().count() <= PLAN_LINE_CHARS + 3));
        }
    }
}
