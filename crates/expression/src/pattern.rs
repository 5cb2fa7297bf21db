//! Regular expressions in the syntax of RE2. A search takes time linear in the text, with a factor that grows with the
//! compiled size, however short the source is. So compiling is charged, sizes are bounded, and equal patterns are shared.

mod caches;
mod intern;
mod re2;

use std::fmt;

use regex_automata::{
    Input,
    meta::{self, BuildError},
    nfa::thompson::{self, WhichCaptures},
    util::syntax,
};
use regex_syntax::hir::Hir;

pub(super) use self::{caches::Caches, intern::intern};
use crate::limits::{EXPRESSION_PATTERN_BYTES, EXPRESSION_PATTERN_STEPS};

/// A search with a pattern of at most so many bytes takes one step for each byte of the text.
const SMALL: usize = 1024;

/// A search with a larger pattern takes one step per byte of the text for each so many bytes: its states are what is
/// visited in the worst case.
const BYTES_PER_STEP: usize = 128;

/// So many bytes of a pattern that is compiled are one step.
const COMPILED_BYTES_PER_STEP: usize = 8;

/// So many bytes of the memory for searches are one step when it is allocated.
const CACHE_BYTES_PER_STEP: usize = 256;

/// Memory of a search for states that it builds as it goes; when it is full, the search starts to build them anew.
const LAZY_STATES_BYTES: usize = 256 * 1024;

/// Most states of the automaton of a pattern whose deterministic automaton is built with it.
const DFA_STATES: usize = 64;

/// Most bytes of such a deterministic automaton.
const DFA_BYTES: usize = 8 * 1024;

/// How often a pattern is searched with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// Once: it is made of the event.
    Once,
    /// In each evaluation: it is a literal.
    Often,
}

/// A compiled regular expression of at most [`EXPRESSION_PATTERN_BYTES`].
pub(super) struct Pattern {
    source: Box<str>,
    regex: meta::Regex,
    /// Steps for each byte of the text.
    factor: usize,
}

/// Why a pattern is refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum PatternError {
    #[error("not RE2 syntax: {0}")]
    Syntax(String),
    #[error(
        "too large: the pattern needs more than the {} KiB allowed for one when it is compiled; repeat less",
        EXPRESSION_PATTERN_BYTES / 1024
    )]
    TooLarge,
}

/// Either of what ends a compilation.
pub(super) enum Refused<E> {
    Pattern(PatternError),
    /// It is not paid for.
    Unpaid(E),
}

impl Pattern {
    /// Compiles a pattern. `pay` is asked for the steps of each part of the work before it is done.
    pub(super) fn compile<E>(
        source: &str,
        usage: Use,
        mut pay: impl FnMut(usize) -> Result<(), E>,
    ) -> Result<Self, Refused<E>> {
        let mut pay = |steps: usize| pay(steps).map_err(Refused::Unpaid);
        pay(EXPRESSION_PATTERN_STEPS.saturating_mul(1 + source.len()))?;
        let translated = re2::translate(source).map_err(PatternError::Syntax).map_err(Refused::Pattern)?;
        let hir = parse(&translated, true).map_err(Refused::Pattern)?;
        // The size is not known before it is compiled: limits are doubled, so that small patterns stay cheap.
        for limit in limits() {
            pay(limit / COMPILED_BYTES_PER_STEP)?;
            if nfa_size(&hir, limit).is_none() {
                continue;
            }
            // Once more as bytes, and forward and in reverse for the searches.
            pay(3 * limit / COMPILED_BYTES_PER_STEP)?;
            let size = activity(&translated, limit);
            let factor = if size <= SMALL { 1 } else { size / BYTES_PER_STEP };
            let regex = build(&hir, usage).map_err(Refused::Pattern)?;
            return Ok(Self { source: source.into(), regex, factor });
        }
        Err(Refused::Pattern(PatternError::TooLarge))
    }

    /// Bytes that it occupies.
    pub(super) fn size(&self) -> usize {
        size_of::<Self>() + self.source.len() + self.regex.memory_usage()
    }

    /// Steps of a search in so many bytes of text.
    pub(super) fn steps(&self, bytes: usize) -> usize {
        bytes.saturating_mul(self.factor)
    }

    /// Steps of making a cache for its searches.
    pub(super) fn cache_steps(&self) -> usize {
        self.regex.memory_usage() / CACHE_BYTES_PER_STEP
    }

    /// Memory for searches.
    pub(super) fn cache(&self) -> meta::Cache {
        self.regex.create_cache()
    }

    /// Whether it matches a part of the text.
    pub(super) fn is_match(&self, cache: &mut meta::Cache, text: &str) -> bool {
        let input = Input::new(text).earliest(true);
        self.regex.search_half_with(cache, &input).is_some()
    }

    /// The first part of the text that it matches.
    pub(super) fn find<'t>(&self, cache: &mut meta::Cache, text: &'t str) -> Option<&'t str> {
        text.get(self.regex.search_with(cache, &Input::new(text))?.range())
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pattern").field(&self.source).finish()
    }
}

/// The limits that are tried.
fn limits() -> impl Iterator<Item = usize> {
    std::iter::successors(Some(SMALL), |limit| limit.checked_mul(2))
        .take_while(|limit| *limit <= EXPRESSION_PATTERN_BYTES)
}

fn parse(translated: &str, unicode: bool) -> Result<Hir, PatternError> {
    let config = syntax::Config::new().unicode(unicode).utf8(unicode);
    syntax::parse_with(translated, &config).map_err(|error| match error {
        // The positions are those of the translation, and what it refuses are names.
        regex_syntax::Error::Parse(error) => PatternError::Syntax(error.kind().to_string()),
        regex_syntax::Error::Translate(error) => PatternError::Syntax(error.kind().to_string()),
        _ => PatternError::Syntax("the pattern cannot be read".into()),
    })
}

/// The size of the automaton of a pattern, if that is at most `limit`.
fn nfa_size(hir: &Hir, limit: usize) -> Option<usize> {
    let config = thompson::Config::new().nfa_size_limit(Some(limit)).which_captures(WhichCaptures::None);
    let nfa = thompson::Compiler::new().configure(config).build_from_hir(hir).ok()?;
    Some(nfa.memory_usage())
}

/// The size of a pattern that compiles within `whole` bytes if its characters were single bytes: a class such as
/// `\p{Greek}` has hundreds of states, of which a search visits a few for each byte.
fn activity(translated: &str, whole: usize) -> usize {
    // A pattern that names characters beyond ASCII does not parse like this.
    let bytes = parse(translated, false).ok().and_then(|hir| nfa_size(&hir, whole));
    bytes.unwrap_or(whole)
}

fn build(hir: &Hir, usage: Use) -> Result<meta::Regex, PatternError> {
    // One memory bound for all: without it the automaton in reverse, which is built too, may be refused.
    let config = meta::Config::new()
        .nfa_size_limit(Some(4 * EXPRESSION_PATTERN_BYTES))
        .which_captures(WhichCaptures::Implicit)
        .onepass(false)
        // Of a small pattern, all states are built at once: a search needs hardly any memory of its own then.
        .dfa(usage == Use::Often)
        .dfa_state_limit(Some(DFA_STATES))
        .dfa_size_limit(Some(DFA_BYTES))
        .hybrid_cache_capacity(LAZY_STATES_BYTES);
    meta::Builder::new().configure(config).build_from_hir(hir).map_err(|error: BuildError| match error.size_limit() {
        Some(_) => PatternError::TooLarge,
        None => PatternError::Syntax("the pattern cannot be compiled".into()),
    })
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    fn compile(source: &str) -> Result<Pattern, String> {
        Pattern::compile(source, Use::Often, |_| Ok::<_, Infallible>(())).map_err(|refused| match refused {
            Refused::Pattern(error) => error.to_string(),
            Refused::Unpaid(never) => match never {},
        })
    }

    fn factor(source: &str) -> usize {
        compile(source).unwrap_or_else(|error| panic!("{source}: {error}")).factor
    }

    #[test]
    fn patterns_cost_what_they_are_when_they_are_compiled() {
        for source in ["", "^refs/heads/.*$", "(?i)fix(es)? #", r"^v\d+\.\d+$", "[^@]+@example[.]com", "^日本"] {
            assert_eq!(factor(source), 1, "{source}");
        }
        for (source, least, most) in [
            (r"^\d{4}-\d{2}-\d{2}$", 1, 8),
            ("[ax]{0,99}", 8, 128),
            ("[ax]{0,400}([ax]{0,40}x){0,9}", 128, 2048),
            (r"\p{Greek}", 4, 128),
            // Of the size that it has in RE2.
            (r"^\w{7}$", 1, 8),
            (r"^[\w.-]{1,39}/[\w.-]{1,100}$", 8, 128),
        ] {
            let factor = factor(source);
            assert!((least..=most).contains(&factor), "{source}: {factor}");
        }
        assert!(compile("(x{1,999}){1,999}").unwrap_err().starts_with("too large: "));
        assert!(compile("(").unwrap_err().starts_with("not RE2 syntax: "));
    }

    #[test]
    fn the_size_of_a_pattern_is_bounded() {
        for source in ["x{1000}", "[ax]{0,400}", r"\p{L}{1,9}", "(a|b|c|d|e|f){1,100}", "(?i)straße{1,900}"] {
            let size = compile(source).unwrap().size();
            assert!(size < 4 * EXPRESSION_PATTERN_BYTES, "{source}: {size}");
        }
    }
}
