//! Globs for event types and header names.
//!
//! ```
//! use grapnel_values::glob::{Glob, GlobSet};
//!
//! let created = Glob::parse("order.*")?;
//! assert!(created.matches("order.created") && !created.matches("invoice.paid"));
//! let types = GlobSet::new(vec![created, Glob::parse("invoice.paid")?]);
//! assert!(types.matches("invoice.paid"));
//! # Ok::<(), grapnel_values::glob::GlobError>(())
//! ```

use std::{fmt, str::Chars};

use super::limits::GLOB_BYTES;

/// A pattern that matches a whole text: `*` matches any number of characters (including dots, and none), `?` matches
/// exactly one, every other character matches itself.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Glob {
    source: Box<str>,
    /// Adjacent stars are merged.
    tokens: Box<[GlobToken]>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum GlobToken {
    Literal(char),
    One,
    Run,
}

/// Why a text is not a glob.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GlobError {
    /// The text is empty and would match only the empty text.
    #[error("a glob is empty; write `*` to match everything")]
    Empty,
    /// The text exceeds [`GLOB_BYTES`].
    #[error("a glob has {0} bytes, more than the {GLOB_BYTES} allowed")]
    TooLong(usize),
}

impl Glob {
    /// Parses a glob of at most [`GLOB_BYTES`].
    ///
    /// # Errors
    ///
    /// [`GlobError`] when the text is empty or too long.
    pub fn parse(source: &str) -> Result<Self, GlobError> {
        if source.is_empty() {
            return Err(GlobError::Empty);
        }
        if source.len() > GLOB_BYTES {
            return Err(GlobError::TooLong(source.len()));
        }
        let mut tokens: Vec<GlobToken> = source
            .chars()
            .map(|c| match c {
                '*' => GlobToken::Run,
                '?' => GlobToken::One,
                other => GlobToken::Literal(other),
            })
            .collect();
        tokens.dedup_by(|a, b| *a == GlobToken::Run && *b == GlobToken::Run);
        Ok(Self { source: source.into(), tokens: tokens.into() })
    }

    /// Returns whether the whole text matches. Only the last star is ever reconsidered, so the time is bounded by the
    /// product of the two lengths, without recursion or allocation.
    pub fn matches(&self, text: &str) -> bool {
        let mut tokens = self.tokens.iter();
        let mut text = text.chars();
        // Where to continue when the tokens after the last star do not match: the star consumes one more character.
        let mut retry: Option<(std::slice::Iter<'_, GlobToken>, Chars<'_>)> = None;
        loop {
            let here = (tokens.clone(), text.clone());
            let fits = match (tokens.next(), text.next()) {
                (None, None) => return true,
                (Some(GlobToken::Run), _) => {
                    text = here.1;
                    retry = Some((tokens.clone(), text.clone()));
                    continue;
                }
                (Some(GlobToken::One), Some(_)) => true,
                (Some(GlobToken::Literal(wanted)), Some(c)) => *wanted == c,
                _ => false,
            };
            if fits {
                continue;
            }
            let Some((after_run, from)) = &mut retry else { return false };
            if from.next().is_none() {
                return false;
            }
            tokens = after_run.clone();
            text = from.clone();
        }
    }

    /// Returns whether the glob has no wildcard and therefore matches exactly one text.
    pub fn is_literal(&self) -> bool {
        self.tokens.iter().all(|token| matches!(token, GlobToken::Literal(_)))
    }

    /// Returns the source text.
    pub fn as_str(&self) -> &str {
        &self.source
    }
}

impl fmt::Debug for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.source, f)
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)
    }
}

/// A set of globs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GlobSet(Box<[Glob]>);

impl GlobSet {
    /// Creates a set.
    pub fn new(globs: Vec<Glob>) -> Self {
        Self(globs.into())
    }

    /// Returns whether any glob matches. An empty set matches nothing; use [`GlobSet::admits`] for lists where empty
    /// means everything.
    pub fn matches(&self, text: &str) -> bool {
        self.0.iter().any(|glob| glob.matches(text))
    }

    /// Returns whether the set is empty or any glob matches, as in `eventTypes`.
    pub fn admits(&self, text: &str) -> bool {
        self.is_empty() || self.matches(text)
    }

    /// Returns whether the set is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matches(glob: &str, text: &str) -> bool {
        Glob::parse(glob).unwrap().matches(text)
    }

    #[test]
    fn wildcards_and_literals() {
        for (glob, text) in [
            ("invoice.*", "invoice.paid"),
            ("invoice.*", "invoice.line.added"),
            ("invoice.*", "invoice."),
            ("*", ""),
            ("*", "anything.at.all"),
            ("*.paid", "invoice.paid"),
            ("a*b*c", "a__b__b__c"),
            ("?", "é"),
            ("inv?ice", "invoice"),
            ("***", "x"),
            ("[a].+", "[a].+"),
            ("a*?", "ab"),
        ] {
            assert!(matches(glob, text), "{glob} should match {text}");
        }
        for (glob, text) in [
            ("invoice.*", "invoice"),
            ("invoice.*", "xinvoice.paid"),
            ("invoice", "invoice.paid"),
            ("Invoice", "invoice"),
            ("?", ""),
            ("?", "ab"),
            ("a.c", "abc"),
            ("a*?", "a"),
            ("*a", "ab"),
        ] {
            assert!(!matches(glob, text), "{glob} should not match {text}");
        }
    }

    #[test]
    fn empty_and_endless_globs_are_refused() {
        assert_eq!(Glob::parse(""), Err(GlobError::Empty));
        assert!(Glob::parse(&"a".repeat(GLOB_BYTES)).is_ok());
        assert_eq!(Glob::parse(&"a".repeat(GLOB_BYTES + 1)), Err(GlobError::TooLong(GLOB_BYTES + 1)));
    }

    #[test]
    fn many_stars_over_a_long_text_end_soon() {
        // Exponential for a matcher that backtracks into every star.
        let glob = Glob::parse(&format!("{}b", "a*".repeat(127))).unwrap();
        assert!(!glob.matches(&"a".repeat(10_000)));
    }

    #[test]
    fn an_empty_set_matches_nothing_and_admits_all() {
        assert!(!GlobSet::default().matches("x"));
        assert!(GlobSet::default().admits("x"));
        let set = GlobSet::new(vec![Glob::parse("a.*").unwrap(), Glob::parse("b").unwrap()]);
        assert!(set.matches("a.x") && set.matches("b") && !set.matches("c") && !set.admits("c"));
    }

    /// A literal implementation of the definition, with full backtracking.
    fn reference(glob: &[char], text: &[char]) -> bool {
        match (glob.split_first(), text.split_first()) {
            (None, None) => true,
            (Some(('*', rest)), _) => reference(rest, text) || (!text.is_empty() && reference(glob, &text[1..])),
            (Some(('?', rest)), Some((_, after))) => reference(rest, after),
            (Some((wanted, rest)), Some((c, after))) => wanted == c && reference(rest, after),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn matches_as_the_definition_does(glob in "[ab.é*?]{1,8}", text in "[ab.é]{0,10}") {
            let chars = |text: &str| text.chars().collect::<Vec<_>>();
            prop_assert_eq!(matches(&glob, &text), reference(&chars(&glob), &chars(&text)));
        }

        #[test]
        fn a_literal_matches_itself_alone(text in "[a-z.]{1,20}", other in "[a-z.]{1,20}") {
            let glob = Glob::parse(&text).unwrap();
            prop_assert!(glob.is_literal() && glob.matches(&text));
            prop_assert_eq!(glob.matches(&other), text == other);
        }
    }
}
