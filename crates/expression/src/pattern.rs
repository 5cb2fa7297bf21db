//! Regular expressions (RE2 syntax) and what they cost: time linear in the text, but with a factor that grows with the
//! pattern once it is compiled, however short its source is.

use regex::{Error, Regex, RegexBuilder, bytes};

use crate::limits::{EXPRESSION_PATTERN_BYTES, EXPRESSION_PATTERN_STEPS};

/// A pattern up to this is one step for each byte of the text.
const SMALL: usize = 1024;

/// So many bytes of a larger one are one step for each byte of the text: its states are what is looked at, if the worst
/// comes to the worst.
const BYTES_PER_STEP: usize = 128;

/// So many bytes of a pattern that is being compiled are one step.
const COMPILED_BYTES_PER_STEP: usize = 8;

/// Why a pattern is refused.
pub(super) const UNREADABLE: &str =
    "not a valid RE2 regular expression, or too large; look-around and back-references are not supported";

/// A compiled regular expression of at most [`EXPRESSION_PATTERN_BYTES`].
#[derive(Debug)]
pub(super) struct Pattern {
    regex: Regex,
    /// Steps for each byte of the text.
    factor: usize,
}

impl Pattern {
    /// Compiles a pattern and measures it. `pay` is asked for the steps of each attempt before it is made; `None` when the
    /// text is no pattern, or too large a one.
    pub(super) fn compile<E>(source: &str, mut pay: impl FnMut(usize) -> Result<(), E>) -> Result<Option<Self>, E> {
        let mut attempt = |limit: usize| {
            let read = EXPRESSION_PATTERN_STEPS.saturating_mul(1 + source.len());
            pay(read.saturating_add(limit / COMPILED_BYTES_PER_STEP))
        };
        for limit in limits() {
            attempt(limit)?;
            match RegexBuilder::new(source).size_limit(limit).dfa_size_limit(EXPRESSION_PATTERN_BYTES).build() {
                Ok(regex) => {
                    let size = activity(source, limit, attempt)?;
                    let factor = if size <= SMALL { 1 } else { size / BYTES_PER_STEP };
                    return Ok(Some(Self { regex, factor }));
                }
                Err(Error::CompiledTooBig(_)) => {}
                Err(_) => return Ok(None),
            }
        }
        Ok(None)
    }

    /// Steps of a search in so many bytes of text.
    pub(super) fn steps(&self, bytes: usize) -> usize {
        bytes.saturating_mul(self.factor)
    }

    pub(super) fn is_match(&self, text: &str) -> bool {
        self.regex.is_match(text)
    }
}

/// The sizes that are tried, for the compiler of patterns knows a limit but tells no size.
fn limits() -> impl Iterator<Item = usize> {
    std::iter::successors(Some(SMALL), |limit| limit.checked_mul(2))
        .take_while(|limit| *limit <= EXPRESSION_PATTERN_BYTES)
}

/// How large a pattern that compiles within `whole` bytes is, to a factor of two, where its classes are those of ASCII: a
/// class such as `\d` has hundreds of states in Unicode, but they are one place of the pattern, of which a few are looked at
/// for a byte.
fn activity<E>(source: &str, whole: usize, mut attempt: impl FnMut(usize) -> Result<(), E>) -> Result<usize, E> {
    for limit in limits().take_while(|limit| *limit < whole) {
        attempt(limit)?;
        match bytes::RegexBuilder::new(source).unicode(false).size_limit(limit).build() {
            Ok(_) => return Ok(limit),
            Err(Error::CompiledTooBig(_)) => {}
            // It names what only Unicode has.
            Err(_) => break,
        }
    }
    Ok(whole)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    fn factor(source: &str) -> Option<usize> {
        let Ok(pattern) = Pattern::compile(source, |_| Ok::<_, Infallible>(()));
        pattern.map(|pattern| pattern.factor)
    }

    #[test]
    fn patterns_cost_what_they_are_when_they_are_compiled() {
        for source in ["", "^refs/heads/.*$", "(?i)fix(es)? #", r"^v\d+\.\d+$", "[^@]+@example[.]com", "^日本"] {
            assert_eq!(factor(source), Some(1), "{source}");
        }
        for (source, least, most) in [
            (r"^\d{4}-\d{2}-\d{2}$", 1, 8),
            ("[ax]{0,99}", 8, 128),
            ("[ax]{0,400}([ax]{0,40}x){0,9}", 128, 2048),
            (r"\p{Greek}", 8, 128),
        ] {
            let factor = factor(source).unwrap_or_else(|| panic!("{source}"));
            assert!((least..=most).contains(&factor), "{source}: {factor}");
        }
        assert_eq!(factor("(x{1,999}){1,999}"), None);
        assert_eq!(factor("("), None);
    }
}
